-- Constructors of queues, locks and semaphores; their methods are the C half's.

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

return sync
