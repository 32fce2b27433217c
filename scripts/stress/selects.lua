-- A storm of kills among workers that wait for several things at once.
--
--   moonfleet scripts/stress/selects.lua [SECONDS] [process|thread|both] [SEED]
--
-- Servers select over three queues and a pipe of their own; they log what they took from the
-- queues and call it done, and send back what came through the pipe. They are killed at random
-- instants and replaced. The main state selects over the log, all pipes and all servers. Checked:
--
--   queues   no message comes twice, none is lost but what a killed server had in its hand; once
--            all are taken, join() returns
--   pipes    answers come in the order of the questions; the pipe of a killed server gives closed
--   servers  each one's end is seen, by its exitcode
--   all      nothing hangs; no object or block of shared memory is left over
--
-- Prints a summary; exit code 1 when a promise was broken.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local common = require "common"

local SECONDS <const>, SEED <const>, PATIENCE <const> = common.SECONDS, common.SEED, common.PATIENCE
local BACKEND <const> = common.BACKEND
local SERVERS <const>, QUEUES <const>, AHEAD <const> = 4, 3, 200

math.randomseed(SEED)

local violation = common.violation
local kills, put, logged, answers = 0, 0, 0, 0

-- Servers ----------------------------------------------------------------------------------------

local function serve(queues, log, connection)
  local list = { connection, table.unpack(queues) }
  while true do
    local from, value, reason = mf.select(list)
    if reason then return end -- the main state has let its end go
    if from == connection then
      connection:send(value)
    else
      log:put(value)
      from:task_done()
    end
  end
end

local jobs, log, servers

local function start_server(place)
  local here, there = mf.Pipe()
  local kind = BACKEND == "both" and (place % 2 == 0 and "process" or "thread") or BACKEND
  local worker = mf.with(kind).spawn(serve, jobs, log, there)
  there:close()
  servers[place] = { worker = worker, here = here, asked = 0, answered = 0 }
end

-- What the main state is told --------------------------------------------------------------------

local seen = {}

local function take_log(number)
  if seen[number] then violation("message %d came twice", number) end
  seen[number] = true
  logged = logged + 1
end

local function take_answer(server, value, reason)
  if reason then
    if not server.killed then violation("the pipe of a server that lives is closed") end
    server.closed = true
    return
  end
  answers, server.answered = answers + 1, server.answered + 1
  if value ~= server.answered then
    violation("answer %s instead of %d", tostring(value), server.answered)
  end
end

-- Waits for something that is due; false: nothing came in time.
local function look(timeout)
  local list, owner = { log }, {}
  for place, server in pairs(servers) do
    if not server.closed then
      list[#list + 1] = server.here
      owner[server.here] = server
    end
    if not server.ended then
      list[#list + 1] = server.worker
      owner[server.worker] = place
    end
  end
  local from, value, reason = mf.select(list, timeout)
  if not from then return false end
  if from == log then
    take_log(value)
  elseif mf.type(from) == "Connection" then
    take_answer(owner[from], value, reason)
  else
    local server = servers[owner[from]]
    server.ended = true
    if not server.killed then violation("a server ended by itself: %s", tostring(value)) end
  end
  return true
end

local function renew()
  for place = 1, SERVERS do
    local server = servers[place]
    if server.ended and server.closed then
      server.here:close()
      server.worker:close()
      start_server(place)
    end
  end
end

-- The storm --------------------------------------------------------------------------------------

local function push()
  if put - logged - kills < AHEAD then
    put = put + 1
    jobs[math.random(QUEUES)]:put(put)
  end
  local server = servers[math.random(SERVERS)]
  if not server.closed and server.asked - server.answered < 20 then
    server.asked = server.asked + 1
    server.here:send(server.asked)
  end
end

local function kill_one()
  local server = servers[math.random(SERVERS)]
  if server.killed then return end
  server.killed = true
  kills = kills + 1
  server.worker:kill()
end

local function finish()
  for i, queue in ipairs(jobs) do
    local deadline = mf.time() + PATIENCE
    while not queue:join(0.01) do -- the log is emptied meanwhile, so that nobody waits for us
      while look(0) do renew() end
      if mf.time() > deadline then
        violation("queue %d is not done: %s", i, tostring(queue))
        break
      end
    end
  end
  while look(0.2) do renew() end
  for _, server in pairs(servers) do server.here:close() end
  for _, server in pairs(servers) do
    if not server.worker:join(PATIENCE) then violation("a server does not end") end
    server.worker:close()
  end
  while not log:empty() do take_log(log:get()) end
  if put - logged > kills then violation("%d messages lost, %d kills", put - logged, kills) end
end

local function storm()
  jobs, log, servers = {}, mf.Queue(), {}
  for i = 1, QUEUES do jobs[i] = mf.Queue() end
  for place = 1, SERVERS do start_server(place) end
  local ends, next_kill = mf.time() + SECONDS, mf.time()
  while mf.time() < ends do
    push()
    if mf.time() >= next_kill then
      kill_one()
      next_kill = mf.time() + math.random() * 0.05
    end
    if put - logged - kills >= AHEAD then
      if not look(PATIENCE) then violation("nothing comes any more") break end
    else
      look(0)
    end
    renew()
  end
  finish()
  jobs, log, servers = nil, nil, nil
  print(("%d kills, %d messages, %d of them lost with the killed, %d answers"):format(kills, put,
    put - logged, answers))
end

common.run(storm)
