-- imap, imap_unordered and istarmap: results as they come. Input is pulled only as fast as results
-- are taken; a step feeds at least one chunk when there is room, and more until a result is there.

local core = require "moonfleet.core"
local call = require "moonfleet.call"
local iterator = require "moonfleet.iterator"
local label = require "moonfleet.label"
local map_options = require "moonfleet.map_options"

local imap = {}

-- A job in hand: `taken` holds the results of its items, of which `at` is the next to yield.

local function put_in_hand(work, n, first, failures)
  work.at, work.count, work.first = 0, n, first
  work.failed = nil
  if not failures then return end
  work.failed = {}
  for _, failure in ipairs(failures) do work.failed[failure.index] = failure end
end

-- Takes the next job into the hand, waiting at most that long.
local function take(work, timeout)
  local n, first, failures = work:receive(work.taken, 1, "all", timeout)
  if not n then return nil end
  put_in_hand(work, n, first, failures)
  work.chunks:saw_result(work.taken[1] and work.taken[1][1])
  return n
end

local function has_result(work) return work.at < work.count end

-- Raises a failure in its turn; the iterator goes on behind it, unless there is nothing behind.
local function fail(work, failure)
  local err = work:error_of(failure)
  if work.broken then work:close() end
  error(err, 0)
end

local function yield(work)
  local at = work.at + 1
  local index = work.first + at - 1
  local result = work.taken[at]
  local failure = work.failed and work.failed[index]
  work.at, work.taken[at] = at, nil
  work.in_flight = work.in_flight - 1
  if work.bar then work.bar:update(1) end
  if not failure then
    if work.collect then work.source:forget(index) end
    if result.n == 1 then return index, result[1] end
    return index, table.unpack(result, 1, result.n)
  end
  if not work.collect then fail(work, failure) end
  local err = work:collected(failure)
  work.source:forget(index)
  return index, err
end

-- An item that could not be sent: its turn has come.
local function yield_hole(work)
  local hole = work.hole
  work.hole, work.feed_below = nil, math.huge
  if work.bar then work.bar:update(1) end
  if not work.collect then fail(work, hole) end
  local err = work:collected(hole)
  work.source:forget(hole.index)
  return hole.index, err
end

-- Everything that was submitted has been yielded, and nothing more can be fed.
local function finish(work)
  local failure = work.source.failure
  work:close()
  if failure then error(failure[1], 0) end
  return nil
end

local function time_left(deadline)
  return deadline and math.max(0, deadline - core.time())
end

-- Feeds one chunk, and more until a result is there or there is no room.
local function feed(work, deadline)
  while work:feed(work:patience(time_left(deadline))) do
    if has_result(work) or take(work, 0) then return end
  end
end

local function step_until(work, deadline)
  while true do
    feed(work, deadline)
    if has_result(work) then return yield(work) end
    if work.in_flight == 0 then
      if work.hole then return yield_hole(work) end
      if work:drained() then return finish(work) end
    else
      take(work, time_left(deadline))
    end
    if work.late then error(work:time_is_up(), 0) end
    if not has_result(work) and time_left(deadline) == 0 then error(work:time_is_up(), 0) end
  end
end

local function step(it)
  local work = it.work
  if work.at < work.count and work.in_flight > work.feed_below then return yield(work) end
  if work.closed then return nil end
  return step_until(work, work:start_clock())
end

local function release(it)
  local work = it.work
  work.at, work.count = 0, 0
  work:close()
end

local function begin(pool, name, star, unordered, count, f, xs, opts)
  local options, source = map_options.check(name, star, f, xs, 3, opts, count)
  local work = call.new(pool, f, source, options, {
    label = label.here(name), unordered = unordered, stop = false, each = true,
  })
  work.taken, work.at, work.count = {}, 0, 0
  return work
end

-- All workers begin at once; a serial pool has none, and works step by step.
local function start(work, pool)
  if core.pool_get(pool, "backend") == "serial" then return end
  local ok, err = pcall(function()
    for _ = 1, work.chunks.workers do
      if not work:feed(0) then return end
    end
  end)
  if ok then return end
  work:close()
  error(err, 0)
end

--- pool:imap, pool:imap_unordered and pool:istarmap: an iterator of (i, results...), i the input's
--- index. It begins at once.
---@param name string
---@param star boolean
---@param unordered boolean   whatever is done first
function imap.run(pool, name, star, unordered, f, ...)
  local work = begin(pool, name, star, unordered, select("#", ...), f, ...)
  start(work, pool)
  local it = iterator.new(work.label, step, release)
  it.work = work
  return iterator.results(it)
end

return imap
