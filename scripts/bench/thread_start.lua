-- A thread worker started and joined, against pthread_create + luaL_newstate + luaL_openlibs +
-- lua_close + pthread_join in C.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

local function nothing() end

local function start_and_join(count)
  local times = {}
  for i = 1, count do
    local started = mf.time()
    local worker = mf.Thread(nothing)
    worker:start()
    worker:join()
    times[i] = mf.time() - started
    worker:close()
  end
  return bench.median(times)
end

local plain_thread = bench.c_program "plain_thread"
local count = bench.count(500)
local ours, peer = bench.by_turns {
  function() return start_and_join(count) end,
  function() return plain_thread(count) end,
}
bench.cost_row("a thread worker, started and joined", ours, peer, 1.2)
