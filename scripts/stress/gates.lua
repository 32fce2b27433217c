-- A storm of kills over events, conditions and barriers.
--
--   moonfleet scripts/stress/gates.lua [SECONDS] [process|thread|both] [SEED]
--
-- Actors set and wait, bring and take pieces of work, meet at a barrier. At random instants one is
-- killed or terminated and replaced. What is checked: nobody waits in vain (each piece of work that
-- was told of is taken, each set frees, each broken barrier is told), everybody ends when told to,
-- and no worker, object or block of shared memory is left over. Exit code 1 when that was broken.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local common = require "common"

local SECONDS <const>, SEED <const>, PATIENCE <const> = common.SECONDS, common.SEED, common.PATIENCE
local BACKEND <const> = common.BACKEND
local PARTIES <const> = 3

math.randomseed(SEED)

local violation = common.violation

-- Actors: what they do again and again; what they give is a complaint -----------------------------

local roles = {}

function roles.setter(s)
  s.event:set()
  s.event:clear()
  if math.random(3) == 1 then mf.sleep(math.random() / 1000) end
end

function roles.watcher(s)
  if not s.event:wait(PATIENCE) then return "a watcher hung" end
  s.freed:add(1)
end

-- One piece of work at a time. One that a dead producer left may not have been told of.
function roles.producer(s)
  s.changed:with(function()
    s.stock.value = 1
    s.changed:notify()
  end)
  local deadline = mf.time() + PATIENCE
  while s.stock.value ~= 0 and not s.stop:is_set() do
    if mf.time() > deadline then return "a piece of work was not taken" end
    mf.sleep(0.0001)
  end
end

function roles.consumer(s)
  local _ <close> = s.changed:hold()
  local ready = s.changed:wait_for(function()
    return s.stop:is_set() or s.stock.value > 0
  end, PATIENCE)
  if not ready then return "a consumer hung" end
  if s.stock.value > 0 then
    s.taken:add(1)
    s.stock.value = 0
  end
end

function roles.meeter(s)
  local index, reason = s.barrier:wait(PATIENCE)
  if reason == "timeout" then return "a meeter hung" end
  if index then
    s.passed:add(1)
  else
    s.broken:add(1)
    mf.sleep(math.random() / 2000)
  end
end

function roles.mender(s)
  if s.barrier:broken() and not s.stop:is_set() then s.barrier:reset() end
  mf.sleep(0.0002)
end

local function act(name, s)
  while not s.stop:is_set() do
    local complaint = roles[name](s)
    if complaint then return s.log:put(complaint) end
  end
end

-- The stage ---------------------------------------------------------------------------------------

local function set_stage()
  return {
    event = mf.Event(),
    changed = mf.Condition(),
    barrier = mf.Barrier(PARTIES, { action = function() return math.random(10) end }),
    stop = mf.Event(),
    log = mf.Queue(),
    stock = mf.Value("i64"),
    freed = mf.Value("i64"),
    taken = mf.Value("i64"),
    passed = mf.Value("i64"),
    broken = mf.Value("i64"),
  }
end

local started = 0

local function start(name, s)
  started = started + 1
  local backend = BACKEND
  if backend == "both" then backend = started % 2 == 0 and "process" or "thread" end
  local worker = mf.Process {
    target = act, args = { name, s }, backend = backend, name = name .. started, daemon = true,
  }
  worker:start()
  return { name = name, worker = worker }
end

local function kill_some(actors, s)
  local index = math.random(#actors)
  local actor = actors[index]
  local how, code = "kill", -9
  if math.random(3) == 1 then how, code = "terminate", -15 end
  actor.worker[how](actor.worker)
  if not actor.worker:join(PATIENCE) then
    return violation("%s does not end", actor.worker.name)
  end
  if actor.worker.exitcode ~= code then
    violation("%s ended with %s after %s", actor.worker.name, tostring(actor.worker.exitcode), how)
  end
  actor.worker:close()
  actors[index] = start(actor.name, s)
end

local function end_all(actors, s)
  s.stop:set()
  for _, actor in ipairs(actors) do
    local deadline = mf.time() + PATIENCE
    repeat
      s.event:set()
      s.barrier:abort()
      s.changed:with(s.changed.notify_all, s.changed)
    until actor.worker:join(0.001) or mf.time() > deadline
    if actor.worker.exitcode ~= 0 then
      violation("%s ended with %s", actor.worker.name, tostring(actor.worker.exitcode))
    end
    actor.worker:close()
  end
end

local function play()
  local s, actors, kills = set_stage(), {}, 0
  for _, name in ipairs { "setter", "watcher", "watcher", "producer", "consumer", "consumer",
    "consumer", "meeter", "meeter", "meeter", "mender" } do
    actors[#actors + 1] = start(name, s)
  end
  local deadline = mf.time() + SECONDS
  repeat
    kill_some(actors, s)
    kills = kills + 1
    mf.sleep(math.random() / 200)
  until mf.time() >= deadline
  end_all(actors, s)
  s.log:close()
  for _, complaint in s.log:iter() do violation("%s", complaint) end
  for _, what in ipairs { "freed", "taken", "passed", "broken" } do
    if s[what].value == 0 then violation("nobody was %s", what) end
  end
  print(("%d killed; %d freed, %d taken, %d passed, %d broken"):format(kills, s.freed.value,
    s.taken.value, s.passed.value, s.broken.value))
end

common.run(play)
