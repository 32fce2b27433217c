-- A process worker started and joined, from a small parent and from one of 1 GiB, against
-- fork + new state + exit + wait of a small C program.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local plain_fork = bench.c_program "plain_fork"
local count = bench.count(300)

local function row(name)
  local ours, peer = bench.by_turns {
    function() return bench.start_and_join(mf.Process, count) end,
    function() return plain_fork(count) end,
  }
  bench.cost_row("a process worker, parent of " .. name, ours, peer, 1.3)
end

row("5 MB")
local ballast = {}
for i = 1, 64 do ballast[i] = ("x"):rep((16 << 20) - i) end -- touched, every page
row("1 GiB")
assert(#ballast == 64)
