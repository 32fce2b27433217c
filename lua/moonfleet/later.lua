-- Futures made in Lua: of several jobs (map_async) and of chains (then_). They have the surface of
-- a job's future, and belong to the state that made them.
--
--   pending --[fulfil]--> ok;  pending --[reject]--> failed | cancelled
--
-- `source`: a handle (or another such future) that is ready when there is something to bring it
-- further; nil: callbacks do.
-- `advance(self, timeout)` is what brings it further; it is called in waiting calls and in poll().

local core = require "moonfleet.core"
local callbacks = require "moonfleet.callbacks"
local check = require "moonfleet.check"
local errors = require "moonfleet.errors"

local later = {}

local methods = {}
local Later = { __name = "Future", moonfleet = "Future" }

local function check_self(self, name)
  if getmetatable(self) == Later then return self end
  check.bad_self(self, "Future", name)
end

-- Ending -----------------------------------------------------------------------------------------

local function settle(self, state)
  self.state, self.advance, self.stop = state, nil, nil
  callbacks.forget(self)
  local list = self.callbacks
  self.callbacks = nil
  for _, fn in ipairs(list or {}) do callbacks.run(self.label, fn, self) end
end

--- Ends it with results.
function later.fulfil(self, ...)
  self.values = table.pack(...)
  settle(self, "ok")
end

--- Ends it with an error value.
---@param state "failed"|"cancelled"
---@param raised any   what get() raises
---@param bare any   what exception() gives
---@param traceback? string
function later.reject(self, state, raised, bare, traceback)
  self.raised, self.bare, self.trace = raised, bare, traceback
  settle(self, state)
end

-- Brings it further; has it ended? A callback that runs inside finds it busy.
local function advance(self, timeout)
  if self.state == "pending" and not self.busy then
    self.busy = true
    local ok, err = pcall(self.advance, self, timeout)
    self.busy = false
    if not ok and core.is_error(err, "interrupted") then error(err, 0) end
    if not ok then later.reject(self, "failed", err, err) end
  end
  return self.state ~= "pending"
end

-- Waits until it has ended; false when the time is over.
local function await(self, timeout)
  local deadline = timeout and core.time() + timeout
  repeat
    if advance(self, timeout) then return true end
    timeout = deadline and math.max(0, deadline - core.time())
  until timeout == 0
  return advance(self, 0)
end

local function ended(self, timeout, name)
  timeout = check.timeout(timeout, name)
  if not await(self, timeout) then
    error(errors.timeout(self.label .. " to end", timeout), 0)
  end
end

-- Methods: see future.lua for what they promise --------------------------------------------------

local function get_as(name)
  return function(self, timeout)
    check_self(self, name)
    ended(self, timeout, name)
    self.asked = true
    if self.state == "ok" then return table.unpack(self.values, 1, self.values.n) end
    error(self.raised, 0)
  end
end

methods.get, methods.result = get_as "get", get_as "result"

function methods:wait(timeout)
  check_self(self, "wait")
  if await(self, check.timeout(timeout, "wait")) then return true end
  return false, "timeout"
end

function methods:exception(timeout)
  check_self(self, "exception")
  ended(self, timeout, "exception")
  self.asked = true
  if self.state == "ok" then return nil end
  return self.bare, self.trace
end

function methods:traceback()
  check_self(self, "traceback")
  advance(self, 0)
  return self.trace
end

function methods:done()
  check_self(self, "done")
  return advance(self, 0)
end

function methods:running()
  check_self(self, "running")
  return not advance(self, 0)
end

function methods:successful()
  check_self(self, "successful")
  advance(self, 0)
  return self.state == "ok"
end

function methods:cancelled()
  check_self(self, "cancelled")
  advance(self, 0)
  return self.state == "cancelled"
end

function methods:cancel(options)
  check_self(self, "cancel")
  check.type(options, 1, "cancel", "table", true)
  local force = check.options(options or {}, { force = "boolean" }, "cancel").force
  if advance(self, 0) then return self.state == "cancelled" end
  if not self.stop(self, force or false) then return false end
  local err = core.error("cancelled", self.label .. " was cancelled")
  later.reject(self, "cancelled", err, err)
  return true
end

function methods:add_done_callback(fn)
  check_self(self, "add_done_callback")
  if not check.is_callable(fn) then check.func(fn, 1, "add_done_callback") end
  if advance(self, 0) then
    callbacks.run(self.label, fn, self)
  else
    self.callbacks = self.callbacks or {}
    table.insert(self.callbacks, fn)
  end
end

function methods:then_(fn)
  check_self(self, "then_")
  if not check.is_callable(fn) then check.func(fn, 1, "then_") end
  return later.chain(self, fn, self.label)
end

function Later:__index(key)
  if key == "fd" then
    if advance(self, 0) then return core.lit_fd() end
    return self.descriptor and self.descriptor() or core.fd()
  end
  return methods[key]
end

function Later:__tostring()
  return ("Future(%s, %s)"):format(self.label, self.state)
end

-- An error that nobody asked for is told once.
function Later:__gc()
  if self.state == "failed" and not self.asked then
    callbacks.report(self.label .. " failed, and nobody asked for it", self.raised)
  end
end

-- Making -----------------------------------------------------------------------------------------

--- Is it a future made in Lua?
function later.is(value)
  return type(value) == "table" and debug.getmetatable(value) == Later
end

--- Has this future ended? Brings it no further.
function later.has_ended(self) return self.state ~= "pending" end

--- What brings it further once it is ready, for who sleeps on handles; nil: callbacks do.
function later.handle(self)
  local source = self.source
  if later.is(source) then return later.handle(source) end
  return source
end

local function look(self) return advance(self, 0) end

--- Makes a pending one.
---@param label string
---@param step fun(self, timeout: number|nil)   waits at most that long; ends it if it can
---@param stop fun(self, force: boolean): boolean
---@param descriptor? fun(): integer
function later.new(label, step, stop, descriptor)
  return setmetatable({
    label = label, state = "pending", advance = step, stop = stop, descriptor = descriptor,
  }, Later)
end

--- Has it looked at in poll() until it has ended; it lives so long.
function later.keep(self)
  if not advance(self, 0) then callbacks.look_at(self, look) end
  return self
end

-- The error of a source that failed, as it raises it and bare.
local function pass_error(self, source)
  local _, raised = pcall(source.get, source, 0)
  local bare, traceback = source:exception(0)
  later.reject(self, source:cancelled() and "cancelled" or "failed", raised, bare, traceback)
end

local function pass_results(self, fn, ...)
  local results = table.pack(xpcall(fn, function(err)
    return { err, debug.traceback(nil, 2) }
  end, ...))
  if results[1] then return later.fulfil(self, table.unpack(results, 2, results.n)) end
  local err, traceback = results[2][1], results[2][2]:gsub("^\n", "")
  later.reject(self, "failed", errors.raised(err, traceback), err, traceback)
end

-- Ends a chain whose source has ended.
local function follow(self, source, fn)
  if self.state ~= "pending" or self.following then return end
  self.following = true
  if source:successful() then pass_results(self, fn, source:get(0))
  else pass_error(self, source) end
end

--- The future of fn(results of source...); a failed source passes its error on.
---@param source any   a future of either sort
---@param fn function
---@param label string
function later.chain(source, fn, label)
  local self = later.new("then_ of " .. label, function(self, timeout)
    if source:wait(timeout) then follow(self, source, fn) end
  end, function(_, force)
    return source:cancel { force = force }
  end, function() return source.fd end)
  self.source = source
  source:add_done_callback(function() follow(self, source, fn) end)
  return self
end

return later
