-- Constructors of queues, pipes, locks and semaphores; their methods are the C half's.

local core = require "moonfleet.core"
local check = require "moonfleet.check"

local sync = {}

local queue_options = { maxsize = "size", max_bytes = "count" }

--- A first in, first out queue of any sendable values, for all workers.
---@param maxsize? integer|{ maxsize?: integer, max_bytes?: integer }   messages; 0, nil: unbounded
---@return Queue   max_bytes counts encoded bytes; one larger message may enter an empty queue
---@usage local q = mf.Queue(10)
function sync.Queue(maxsize)
  if check.is_options(maxsize) then
    local o = check.options(maxsize, queue_options, "Queue")
    return core.Queue(o.maxsize or 0, o.max_bytes)
  end
  return core.Queue(maxsize == nil and 0 or check.integer(maxsize, 1, "Queue", 0))
end

sync.JoinableQueue, sync.SimpleQueue = sync.Queue, sync.Queue

--- Two Connections: what one sends the other receives.
---@param duplex? boolean|{ duplex?: boolean }   default true; false: the first end receives only,
---@return Connection, Connection   the second one sends only
---@usage local here, there = mf.Pipe()
function sync.Pipe(duplex)
  if check.is_options(duplex) then
    duplex = check.options(duplex, { duplex = "boolean" }, "Pipe").duplex
  else
    check.type(duplex, 1, "Pipe", "boolean", true)
  end
  return core.Pipe(duplex ~= false)
end

--- A lock between all workers, which tells when its last holder ended while it held it.
---@return Lock
---@usage local lock = mf.Lock() lock:with(print, "alone")
function sync.Lock() return core.Lock() end

--- A lock that its holder may acquire again.
---@return RLock
function sync.RLock() return core.RLock() end

--- A number of permits.
---@param count? integer   permits at the begin; default 1
---@return Semaphore
---@usage local two_at_once = mf.Semaphore(2)
function sync.Semaphore(count)
  return core.Semaphore(count == nil and 1 or check.integer(count, 1, "Semaphore", 0))
end

--- A semaphore whose release above its first number raises, and which gets back what a dead worker
--- had acquired.
---@param count? integer   permits at the begin; default 1
---@return BoundedSemaphore
function sync.BoundedSemaphore(count)
  return core.BoundedSemaphore(count == nil and 1 or check.integer(count, 1, "BoundedSemaphore", 0))
end

--- A flag that workers wait for. A set frees all who wait at that moment, even if it is cleared at
--- once.
---@return Event
---@usage local ready = mf.Event() mf.spawn(function() ready:set() end) ready:wait()
function sync.Event() return core.Event() end

--- Where workers wait for a change that others tell them of; it goes with a lock.
---@param lock? Lock|RLock   default: an RLock of its own
---@return Condition
---@usage cond:with(function() cond:wait_for(function() return not q:empty() end) end)
function sync.Condition(lock)
  if lock == nil then return core.Condition(core.RLock()) end
  local kind = check.kind(lock)
  if kind ~= "Lock" and kind ~= "RLock" then
    check.bad(1, "Condition", "Lock or RLock expected, got " .. check.what(lock))
  end
  return core.Condition(lock)
end

local barrier_options = { parties = "count", action = "target", timeout = "seconds" }

--- Where `parties` workers wait until all have come.
---@param parties integer|{ parties: integer, action?: function|string, timeout?: number }
---@param options? { action?: function|string, timeout?: number }   action: called by one of them,
--- a copy of it, before any goes on; timeout: seconds, of a wait that names none
---@return Barrier
---@usage local barrier = mf.Barrier(3, { timeout = 10 })
function sync.Barrier(parties, options)
  local o = {}
  if check.is_options(parties) then
    o = check.options(parties, barrier_options, "Barrier")
    if not o.parties then check.bad_option("Barrier", "parties", "positive integer", nil) end
    return core.Barrier(o.parties, o.timeout, o.action)
  end
  parties = check.integer(parties, 1, "Barrier", 1)
  if options ~= nil then
    if not check.is_options(options) then
      check.bad(2, "Barrier", ("options table expected, got %s; write { action = f }")
        :format(check.what(options)))
    end
    o = check.options(options, barrier_options, "Barrier")
  end
  return core.Barrier(parties, o.timeout, o.action)
end

return sync
