-- select and wait_any: waiting for the first of several queues, connections, processes, futures
-- and events.
--
-- The C half sleeps on handles. A list of nothing else goes there as it is; all others come here,
-- the wrong ones too. Each element has a handle that stands for it: of an instance of a subclass
-- its Process, of a future made in Lua (later.lua) what brings that further, or nothing, then
-- callbacks do.

local core = require "moonfleet.core"
local check = require "moonfleet.check"
local later = require "moonfleet.later"
local process = require "moonfleet.process"

local select = {}

-- The list ---------------------------------------------------------------------------------------

local expected = "Queue, Connection, Process, Future or Event expected"

local function bad_element(name, list, i)
  local value = list[i]
  local kind = check.kind(value)
  local problem = ("%s, got %s"):format(expected, check.what(value))
  if kind == "Connection" then
    problem = tostring(value) .. " only sends"
  elseif (kind == "Process" or kind == "Thread") and process.find(value) then
    problem = core.worker_get(process.find(value), "name") .. " is not started"
  end
  check.bad(1, name, ("element %d: %s"):format(i, problem))
end

local function check_list(list, name)
  if type(list) ~= "table" or core.type(list) or process.find(list) or later.is(list) then
    check.bad(1, name, "list expected, got " .. check.what(list))
  end
  if #list == 0 then check.bad(1, name, "list is empty: nothing could become ready") end
end

-- What stands for an element; nil: nothing. Raises when it is none.
local function handle_of(name, list, i)
  local value = list[i]
  if later.is(value) then return later.handle(value) end
  local handle = core.type(value) and value or process.find(value)
  return handle or bad_element(name, list, i)
end

-- One may end another, and what stood for that is closed then: all come first.
local function bring_further(list)
  for i = 1, #list do
    if later.is(list[i]) then list[i]:done() end
  end
end

-- The handles of a list, the place in it of each, the places of futures made in Lua that have
-- ended, and whether a callback that runs meanwhile may end one.
local function translate(name, list)
  local handles, places, done, callbacks = {}, {}, {}, false
  bring_further(list)
  for i = 1, #list do
    local own = later.is(list[i])
    local ended = own and later.has_ended(list[i])
    local handle = not ended and handle_of(name, list, i)
    callbacks = callbacks or own and not ended
    if handle then
      handles[#handles + 1], places[#handles + 1] = handle, i
    elseif ended then
      done[#done + 1] = i
    end
  end
  return handles, places, done, callbacks
end

local function time_left(deadline)
  return deadline and math.max(0, deadline - core.time())
end

-- select -----------------------------------------------------------------------------------------

-- A future that has ended, and its first result.
local function give(object) return object, (object:get()) end

-- What the element at place i gave, where it is not what stands for it.
local function give_own(list, i, ...)
  local object = list[i]
  if later.is(object) or core.type(object) == "Future" then return give(object) end
  return object, ...
end

local function select_slowly(list, timeout)
  check_list(list, "select")
  local seconds = check.timeout(timeout, "select")
  local deadline = seconds and core.time() + seconds
  while true do
    local handles, places, done, callbacks = translate("select", list)
    if #done > 0 then return give(list[done[math.random(#done)]]) end
    local found = table.pack(core.select_among(handles, time_left(deadline), callbacks))
    local at = found[1]
    if at == nil then return nil, "timeout" end
    if at == false then bad_element("select", list, places[found[2]]) end
    if at ~= true and not later.is(list[places[at]]) then
      return give_own(list, places[at], table.unpack(found, 2, found.n))
    end
  end
end

core.on_select(select_slowly, give)

--- Waits for the first of several queues, connections, processes, futures and events that is ready,
--- and gives it with what it gave: a message, which is taken; an exitcode; a future's first result
--- (a failed one raises its error, as get() does); true of an event. Fair when several are ready.
---@param list table
---@param timeout? number   seconds; nil: for ever
---@return any object   nil after a timeout
---@return any value   "timeout" after a timeout
---@return string? reason   "closed": this queue or connection is, and it is drained
---@usage local object, value, reason = mf.select({ queue, worker }, 1)
select.select = core.select

-- wait_any ---------------------------------------------------------------------------------------

-- Of handles that are ready those that stand for themselves, and what has ended by now.
local function merge(list, places, found, done)
  local at, ready = {}, {}
  for _, i in ipairs(done) do at[i] = true end
  for _, k in ipairs(found) do
    local i = places[k]
    at[i] = at[i] or not later.is(list[i]) or list[i]:done()
  end
  for i = 1, #list do
    if at[i] then ready[#ready + 1] = list[i] end
  end
  return ready
end

local function wait_slowly(list, seconds)
  local deadline = seconds and core.time() + seconds
  while true do
    local handles, places, done, callbacks = translate("wait_any", list)
    local left = #done > 0 and 0 or time_left(deadline)
    local found, bad = core.wait_any(handles, left, callbacks)
    if found == false then bad_element("wait_any", list, places[bad]) end
    local ready = merge(list, places, found == true and {} or found, done)
    if #ready > 0 or time_left(deadline) == 0 then return ready end
  end
end

--- Waits until at least one is ready, of what select() takes; takes nothing.
---@param list table
---@param timeout? number   seconds; nil: for ever
---@return table   those that are ready, in the list's order; empty after a timeout
---@usage for _, queue in ipairs(mf.wait_any { first, second }) do print(queue:get()) end
function select.wait_any(list, timeout)
  check_list(list, "wait_any")
  local seconds = check.timeout(timeout, "wait_any")
  local found = core.wait_any(list, seconds)
  if not found then return wait_slowly(list, seconds) end
  for i, at in ipairs(found) do found[i] = list[at] end
  return found
end

return select
