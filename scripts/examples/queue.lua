-- A queue between processes: what a child puts arrives as it was, the hole in a list included.

local mf = require "moonfleet"

local function child(queue)
  queue:put { 42, nil, "hello" }
  queue:put("and any other value")
end

local queue = mf.Queue()
local p = mf.spawn(child, queue)

local list = queue:get()
print(list[1], list[2], list[3])
print(queue:get())
p:join()
