-- map and starmap, waiting or not: the first result of each call, in input order.

local core = require "moonfleet.core"
local call = require "moonfleet.call"
local check = require "moonfleet.check"
local label = require "moonfleet.label"
local later = require "moonfleet.later"
local map_options = require "moonfleet.map_options"
local callbacks = require "moonfleet.callbacks"

local map = {}

local EVERYTHING <const> = math.maxinteger

local function time_left(deadline)
  return deadline and math.max(0, deadline - core.time())
end

-- Taking results ---------------------------------------------------------------------------------

-- Is it the one to raise, of these two? What was dropped because of another is not.
local function comes_first(failure, other)
  if not other then return true end
  local dropped, was_dropped = failure.status == "cancelled", other.status == "cancelled"
  if dropped ~= was_dropped then return was_dropped end
  return failure.index < other.index
end

local function note(work, failures)
  for _, failure in ipairs(failures or {}) do
    if work.collect then
      work.results[failure.index] = work:collected(failure)
    elseif comes_first(failure, work.failure) then
      work.failure = failure
    end
  end
end

-- Takes one ended job, waiting at most that long; nil, reason when there is none.
local function take(work, timeout)
  local results = work.results
  local n, first, failures = work:receive(results, nil, "first", timeout)
  if not n then return nil, first end
  work.chunks:saw_result(results[first])
  note(work, failures)
  work:release(n)
  return n
end

-- Takes all that has ended.
local function take_all(work)
  if work.collect then
    while take(work, 0) do end
    return
  end
  local n, failures, rest = core.batch_take(work.batch, work.results, "first")
  note(work, failures)
  if rest then note(work, { { index = EVERYTHING, status = rest } }) end
  work:release(n)
end

-- Running ----------------------------------------------------------------------------------------

-- Submits everything at once: the chunks are given, and nothing bounds what is in flight.
local function feed_everything(work)
  local source, size = work.source, work.chunks.size
  if not work.collect then
    while source:left() ~= 0 and work:submit(EVERYTHING, size) > 0 do end
    return
  end
  work.chunks.window = EVERYTHING
  while work:feed() or work.hole do
    if work.hole then note(work, { work.hole }) end
    work.hole = nil
  end
end

-- Submits while there is room. A hole ends a call that raises; else it is a failed place.
local function feed(work, timeout)
  repeat
    local fed = work:feed(work:patience(timeout))
    if work.hole then
      note(work, { work.hole })
      if not work.collect then return end
      work.hole, fed = nil, true
    end
  until not fed
end

-- Is nothing in flight and nothing to come?
local function is_over(work)
  return work.failure ~= nil or work.in_flight == 0 and work:drained()
end

-- Brings it further: submits, then takes a job, waiting at most until the deadline, and with a
-- failure what else has ended by then. Is it over?
local function advance(work, deadline)
  local timeout = time_left(deadline)
  feed(work, timeout)
  if not is_over(work) and work.in_flight > 0 then
    local n = take(work, timeout)
    while n and work.failure do n = take(work, 0) end
  end
  return is_over(work)
end

-- What map returns, or the error that it raises.
local function outcome(work)
  local failure = work.failure
  if work.late then return nil, work:time_is_up() end
  if failure then return nil, work:error_of(failure), failure end
  if work.source.failure then return nil, work.source.failure[1] end
  work.results.n = work.index - 1
  return work.results
end

local function wait_for_everything(work, deadline)
  if work.bar then return false end
  if not core.batch_wait(work.batch, time_left(deadline)) then error(work:time_is_up(), 0) end
  take_all(work)
  return true
end

local function run(work, deadline)
  while not advance(work, deadline) do
    if time_left(deadline) == 0 then error(work:time_is_up(), 0) end
  end
end

-- May all be submitted at once? Where chunks are measured or windowed it may not.
local function is_eager(source, options)
  return options.chunksize ~= nil and not options.window and source:left() ~= nil
end

-- Begins the call. waits: for everything at once. count: of the arguments behind f.
local function begin(pool, name, star, waits, count, f, xs, opts)
  local options, source = map_options.check(name, star, f, xs, 3, opts, count)
  local each = not is_eager(source, options) or options.progress ~= nil
  local work = call.new(pool, f, source, options, {
    label = label.here(name), unordered = true, stop = not options.collect,
    each = each, cells = waits and not each,
  })
  work.results = {}
  return work, options
end

--- pool:map and pool:starmap. Applies `f` to every item; lists the first result of each call in
--- input order (`n` set). Raises the first failed item's error once it is known; tasks that have
--- not started are dropped.
---@param name "map"|"starmap"
---@param star boolean
function map.run(pool, name, star, f, ...)
  local work <close>, options = begin(pool, name, star, true, select("#", ...), f, ...)
  local deadline = work:start_clock()
  local eager = not work.timed and is_eager(work.source, options)
  if eager then feed_everything(work) end
  if not (eager and wait_for_everything(work, deadline)) then run(work, deadline) end
  local results, err = outcome(work)
  if results then return results end
  error(err, 0)
end

--- Runs a call to its end: its results, or its error raised.
---@param work table   a call whose `results` is a table
---@param deadline number|nil   see Call:start_clock
function map.finish(work, deadline)
  run(work, deadline)
  local results, err = outcome(work)
  if results then return results end
  error(err, 0)
end

-- Later ------------------------------------------------------------------------------------------

local function finish(self, work)
  local results, err, failure = outcome(work)
  work:close()
  if results then return later.fulfil(self, results) end
  local bare = failure and failure.status == "failed" and failure.value or err
  later.reject(self, "failed", err, bare, failure and failure.traceback)
end

-- Brings it further without waiting: takes what has ended, submits what there is room for.
local function glance(work)
  repeat until not take(work, 0) or work.failure
  if not work.failure then feed(work, 0) end
  return is_over(work)
end

-- A step of the future: as far as it goes within the timeout, and the call's own.
local function step(work, deadline)
  return function(self, timeout)
    local until_s = timeout and core.time() + timeout
    if deadline and (not until_s or deadline < until_s) then until_s = deadline end
    if glance(work) then return finish(self, work) end
    while timeout ~= 0 and time_left(until_s) ~= 0 do
      if advance(work, until_s) then return finish(self, work) end
    end
    if time_left(deadline) == 0 then
      local err = work:time_is_up()
      later.reject(self, "failed", err, err)
    end
  end
end

-- Cancels what has not begun; with force what runs, too.
local function stop(work)
  return function(_, force)
    core.batch_cancel(work.batch, force, "cancelled")
    work:close()
    return true
  end
end

-- Without a word about it, chunks are a quarter of a worker's share: nobody waits and measures.
local function plan(work, options)
  local source = work.source
  if source.read_all and not options.window then source:read_all() end
  local left = source:left()
  if options.chunksize or work.timed or not left then return end
  local plan_of = work.chunks
  plan_of.fixed = true
  plan_of.size = math.max(1, math.min(plan_of.largest, left // (4 * plan_of.workers)))
end

local function start(work, options)
  plan(work, options)
  if options.window or work.timed then feed(work, 0) else feed_everything(work) end
end

-- callback and error_callback stand behind opts. What is no function there belongs to something
-- else: behind opts it is misuse, which begin() finds; else it is a rest of io.lines and its like.
local function callbacks_of(count, opts, ...)
  local callback, error_callback = ...
  local good = check.is_callable(callback) and callback or nil
  local bad = check.is_callable(error_callback) and error_callback or nil
  local all = good == callback and bad == error_callback and count <= 4
  return opts ~= nil and all and 2 or count, good, bad
end

local function call_back(self, callback, error_callback)
  self:add_done_callback(function()
    if self.state == "ok" then
      if callback then callback(self.values[1]) end
    elseif error_callback then
      self.asked = true
      error_callback(self.bare)
    end
  end)
end

--- pool:map_async and pool:starmap_async: the same as a Future of the list. All of a list is
--- submitted at once; where `window` bounds that, waiting calls go on with it. Behind opts:
--- callback(list), error_callback(error value).
---@return table   a Future
function map.run_later(pool, name, star, f, ...)
  local count, callback, error_callback = callbacks_of(select("#", ...), select(2, ...))
  local work, options = begin(pool, name, star, false, count, f, ...)
  local deadline = work:start_clock()
  local ok, err = pcall(start, work, options)
  if not ok then
    work:close()
    error(err, 0)
  end
  local self = later.new(work.label, step(work, deadline), stop(work))
  self.source = work.batch
  callbacks.watch_batch(work.batch, work.label, function() self:done() end)
  if callback or error_callback then call_back(self, callback, error_callback) end
  return later.keep(self)
end

return map
