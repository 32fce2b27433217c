-- One map-like call: takes items from a source, makes jobs of them, takes what has ended.
--
--   source --feed--> batch (jobs queued, running, ended) --receive--> results, failures
--
-- In flight: items submitted and not yet taken by the caller's code; chunks.room() bounds them.
--
-- feed_below: a feed would do nothing while more than this is in flight; infinite when it is not
-- known.
--
-- In a serial pool a task runs while it is submitted: there the call's timeout is a limit of each
-- task, whatever is left of it; `deadline` is its end, `late` that a task was stopped by it.
--
-- A hole is an item that never became a job, as it could not be sent; it is delivered in its turn,
-- and until then nothing more is fed.

local core = require "moonfleet.core"
local broken = require "moonfleet.broken"
local chunks = require "moonfleet.chunks"
local errors = require "moonfleet.errors"

local call = {}

local Call = {}
Call.__index = Call

-- Feeding ----------------------------------------------------------------------------------------

--- Is there no item any more that could be submitted?
function Call:drained()
  return self.source:left() == 0
end

-- The next item alone: one that cannot be sent becomes a hole.
local function feed_single(self, count)
  for _ = 1, count do
    local ok, err = pcall(self.submit, self, 1, 1)
    if not ok then
      if not core.is_error(err, "not_sendable") then error(err, 0) end
      self.source:skip(self.index)
      self.hole = { index = self.index, status = "not_sendable", value = err }
      self.index = self.index + 1
      return
    end
  end
end

--- Makes jobs of at most `n` items; how many it took.
function Call:submit(n, chunksize, wait)
  local source = self.source
  local taken = broken.guard(self.pool, self.label, source.submit, source, self.batch, n,
    chunksize, self.index, wait)
  self.index, self.in_flight = self.index + taken, self.in_flight + taken
  return taken
end

--- The call's timeout, or its step's, begins to count; or it does already.
---@param deadline? number   when it is over, in core.time()'s seconds
---@return number|nil deadline
function Call:start_clock(deadline)
  deadline = deadline or self.timeout and core.time() + self.timeout
  if self.timed then self.deadline = deadline end
  return deadline
end

-- May a task begin? Of a call that limits its tasks by what is left.
local function is_in_time(self)
  local left = self.deadline - core.time()
  if left <= 0 then return false end
  core.batch_limit(self.batch, math.min(left, self.limit or left, 1e9))
  return true
end

local function note_late(self, failures)
  if core.time() < self.deadline then return end
  for _, failure in ipairs(failures) do
    if failure.status == "task_timeout" then self.late = true end
  end
end

--- Submits one chunk, if the window has room and there is one. What cannot be sent becomes a hole.
---@return boolean   did it?
function Call:feed(wait)
  local source = self.source
  if self.hole or source:left() == 0 then
    self.feed_below = -1
    return false
  end
  self.chunks:saw_item(source:sample())
  local size = self.chunks:next(source:left())
  local most = self.chunks:room() - size
  if self.in_flight > 0 and self.in_flight > most then
    self.feed_below = most
    return false
  end
  if self.deadline and not is_in_time(self) then return false end
  local index = self.index
  local ok, taken = pcall(self.submit, self, size, size, wait)
  if ok then return taken > 0 end
  if not core.is_error(taken, "not_sendable") then error(taken, 0) end
  feed_single(self, size)
  return self.index > index
end

--- Seconds that the next feed may wait for its input: none while something is in flight.
function Call:patience(timeout)
  if self.in_flight > 0 then return 0 end
  return timeout
end

-- Receiving --------------------------------------------------------------------------------------

local STARVED_S <const> = 0.01 -- how often a queue that was empty is looked at again

-- A job that ended as a whole: its items that have no result of their own.
local function add_rest(self, first, n, status, total, failures)
  if status == "ok" then return failures end
  failures = failures or {}
  for index = first + n, first + math.max(total, n + 1) - 1 do
    failures[#failures + 1] = { index = index, status = status }
  end
  self.broken = status
  return failures
end

--- Takes the next ended job: results to out[at], out[at + 1] …; at nil: to out[index] …
---@return integer|nil n   items; nil: none, with "timeout" or "closed"
---@return integer|string first   index of the first
---@return table[]|nil failures
function Call:receive(out, at, mode, timeout)
  if self.source.starved then timeout = math.min(timeout or math.huge, STARVED_S) end
  local n, first, failures, status, total = core.batch_next(self.batch, out, at, mode, timeout)
  if not n then return nil, first end
  failures = add_rest(self, first, n, status, total or n, failures)
  if self.deadline and failures then note_late(self, failures) end
  self.chunks:took(n)
  self.feed_below = math.huge
  return status == "ok" and n or math.max(total or n, n), first, failures
end

--- Items that were in flight are now in the hands of the caller's code.
function Call:release(count)
  self.in_flight = self.in_flight - count
  if self.bar then self.bar:update(count) end
end

-- Errors -----------------------------------------------------------------------------------------

--- The error value of a failure, as it is raised.
function Call:error_of(failure)
  local status = failure.status
  if status == "initializer" then return broken.error(self.pool, self.label) end
  local death = failure.death or { item = failure.index < math.maxinteger and failure.index }
  if failure.value ~= nil or status == "failed" then
    return errors.outcome(status, self.label, failure.value, failure.traceback)
  end
  return errors.outcome(status, self.label, death, self.limit)
end

local function copy_of(err)
  local fields = {}
  for key, value in pairs(err) do fields[key] = value end
  return core.error(err.kind, err.message, fields)
end

--- The same as a mf.Error with index, item, value and traceback: for on_error = "collect".
function Call:collected(failure)
  local value = failure.value
  local err = self:error_of(failure)
  if not core.is_error(err) then
    err = core.error("failed", ("item %d of %s failed: %s"):format(failure.index, self.label,
      core.error_text(value)))
  elseif rawequal(err, value) then
    err = copy_of(err)
  end
  err.index, err.item = failure.index, self.source:item(failure.index)
  err.value, err.traceback = value, failure.traceback
  return err
end

--- The error of a call that took longer than its timeout: what runs is stopped.
function Call:time_is_up()
  core.batch_cancel(self.batch, true, "task_timeout")
  self:close()
  return core.error("timeout", ("%s was stopped after its timeout of %.14g s")
    :format(self.label, self.timeout), { stopped = true })
end

-- Ending -----------------------------------------------------------------------------------------

--- Lets go of everything: what has not begun is dropped, what runs goes on for nobody.
function Call:close()
  if self.closed then return end
  self.closed = true
  core.batch_close(self.batch)
  self.source:close()
  if self.bar then self.bar:close() end
end

-- Ctrl-C stops what it waits for, any other error only drops it.
function Call:__close(err)
  if not self.closed and core.is_error(err, "interrupted") then
    core.batch_cancel(self.batch, true, "cancelled")
  end
  self:close()
end

local function open_bar(progress, total)
  if not progress then return nil end
  return require "moonfleet.progress".bar(total, progress ~= true and progress or nil)
end

--- Begins a call.
---@param pool userdata
---@param f any   a function for workers
---@param source table   see inputs.lua
---@param opts table   checked (map_options.lua)
---@param how { label: string, unordered: boolean, stop: boolean, each: boolean, cells?: boolean }
--- cells: nobody takes results before all is over, so that many small tasks may share a job
function call.new(pool, f, source, opts, how)
  local workers = math.max(1, core.pool_get(pool, "size") or 1)
  local timed = opts.timeout ~= nil and core.pool_get(pool, "backend") == "serial"
  local batch = broken.guard(pool, how.label, core.batch, pool, f, {
    label = how.label, limit = opts.task_timeout, unordered = how.unordered,
    stop_on_error = how.stop, each = how.each, cells = how.cells, seed = opts.seed,
  })
  return setmetatable({
    pool = pool, batch = batch, source = source, label = how.label, timeout = opts.timeout,
    limit = opts.task_timeout or core.pool_get(pool, "limit"), collect = opts.collect,
    timed = timed, chunks = chunks.new(timed and 1 or opts.chunksize, opts.window, workers),
    index = 1, in_flight = 0, feed_below = math.huge, bar = open_bar(opts.progress, source.count),
  }, Call)
end

return call
