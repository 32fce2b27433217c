-- A thread worker started and joined, against pthread_create + luaL_newstate + luaL_openlibs +
-- lua_close + pthread_join in C.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local plain_thread = bench.c_program "plain_thread"
local count = bench.count(500)
local ours, peer = bench.by_turns {
  function() return bench.start_and_join(mf.Thread, count) end,
  function() return plain_thread(count) end,
}
bench.cost_row("a thread worker, started and joined", ours, peer, 1.2)
