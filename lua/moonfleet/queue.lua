-- What of queues is written in Lua: their iterators.

local iterator = require "moonfleet.iterator"

local function step(self)
  local value, reason = self.queue:get()
  if reason ~= nil then return nil end
  self.count = self.count + 1
  return self.count, value
end

--- q:iter(): yields (running number, message) until the queue is closed and drained.
---@param queue Queue
---@usage for i, v in q:iter() do print(i, v) end
return function(queue)
  local it = iterator.new(tostring(queue), step)
  it.queue, it.count = queue, 0
  return iterator.results(it)
end
