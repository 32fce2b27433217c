-- A pipe between two processes: what one end sends the other receives, and each end learns when
-- the other is gone.

local mf = require "moonfleet"

local function child(connection)
  connection:send { 42, nil, "hello" }
  return connection:recv()
end

local here, there = mf.Pipe()
local p = mf.spawn(child, there)
there:close() -- the child has its own

local list = here:recv()
print(list[1], list[2], list[3])
here:send("an answer")
print(here:recv())
print("the child got", p:result())
