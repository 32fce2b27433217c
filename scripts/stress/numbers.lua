-- A storm of kills over Values and Arrays.
--
--   moonfleet scripts/stress/numbers.lua [SECONDS] [process|thread|both] [SEED]
--
-- Actors count, make arrays and send parts of them to others. At random instants one is killed or
-- terminated and replaced. What is checked: no addition is lost or done by halves (a killed adder
-- may have made one that it did not note), memory is zero when it is new and holds what was written
-- as long as anybody has a view of it, locks of the dead are handed on, and no worker, object or
-- block of shared memory is left over. Exit code 1 when that was broken.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local common = require "common"

local SECONDS <const>, SEED <const>, PATIENCE <const> = common.SECONDS, common.SEED, common.PATIENCE
local BACKEND <const> = common.BACKEND
local BOTH_HALVES <const> = (1 << 32) + 1

math.randomseed(SEED)

local violation = common.violation

-- Actors: what they do again and again; what they give is a complaint -----------------------------

local roles = {}

function roles.adder(s)
  local sum = s.halves:add(BOTH_HALVES)
  s.noted:add(1)
  if sum >> 32 ~= sum & 0xffffffff then return "an addition was done by halves" end
end

local function is_all(array, wanted)
  for i = 1, #array, #array // 50 + 1 do
    if array[i] ~= wanted then return false end
  end
  return true
end

-- Makes arrays of all sizes and sends a part of one; nobody keeps the whole.
function roles.maker(s)
  local types <const> = { "u8", "i16", "f32", "f64" }
  local array = mf.Array(types[math.random(#types)], math.random(10) ^ math.random(0, 5) // 1 | 0)
  if not is_all(array, 0) then return "new memory is not zero" end
  local mark = math.random(100)
  array:fill(mark)
  local parts = array:split(math.random(4))
  local _ = array:lock()
  if not s.parts:put({ parts[math.random(#parts)], mark }, PATIENCE) and not s.stop:is_set() then
    return "a maker hung"
  end
end

function roles.reader(s)
  local message, reason = s.parts:get(PATIENCE)
  if reason then return reason == "timeout" and "a reader hung" or nil end
  local view, mark = message[1], message[2]
  local copy = view:copy()
  if not is_all(view, mark) or not is_all(copy, mark) then return "a view lost its memory" end
  s.read:add(1)
end

-- A number that needs its lock: a read, then a write.
function roles.holder(s)
  local lock = s.guarded:lock()
  local got, how = lock:acquire(PATIENCE)
  if not got then return "a holder hung" end
  if how == "abandoned" then s.abandoned:add(1) end
  s.guarded.value = s.guarded.value + 1
  s.guarded_noted:add(1)
  lock:release()
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
    stop = mf.Event(),
    log = mf.Queue(),
    parts = mf.Queue(10),
    halves = mf.Value("i64"),
    noted = mf.Value("i64"),
    guarded = mf.Value("f64"),
    guarded_noted = mf.Value("i64"),
    abandoned = mf.Value("i64"),
    read = mf.Value("i64"),
  }
end

local started, killed = 0, { adder = 0, maker = 0, reader = 0, holder = 0 }

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
  local how = math.random(3) == 1 and "terminate" or "kill"
  actor.worker[how](actor.worker)
  if not actor.worker:join(PATIENCE) then
    return violation("%s does not end", actor.worker.name)
  end
  actor.worker:close()
  killed[actor.name] = killed[actor.name] + 1
  actors[index] = start(actor.name, s)
end

local function end_all(actors, s)
  s.stop:set()
  s.parts:close()
  for _, actor in ipairs(actors) do
    if not actor.worker:join(PATIENCE) then violation("%s does not end", actor.worker.name) end
    if actor.worker.exitcode ~= 0 then
      violation("%s ended with %s", actor.worker.name, tostring(actor.worker.exitcode))
    end
    actor.worker:close()
  end
end

-- Who was killed may have done one that it did not note, or the other way round for none.
local function check_sum(what, sum, noted, kills)
  if sum < noted or sum > noted + kills then
    violation("%s: %d, noted %d, with %d killed", what, sum, noted, kills)
  end
end

local function check(s)
  s.log:close()
  for _, complaint in s.log:iter() do violation("%s", complaint) end
  check_sum("additions", s.halves.value & 0xffffffff, s.noted.value, killed.adder)
  check_sum("guarded", s.guarded.value // 1 | 0, s.guarded_noted.value, killed.holder)
  if s.abandoned.value > killed.holder then violation("too many locks were abandoned") end
  if s.read.value == 0 then violation("nobody has read a part") end
end

local function play()
  local s, actors = set_stage(), {}
  for _, name in ipairs { "adder", "adder", "maker", "maker", "reader", "reader", "holder",
    "holder" } do
    actors[#actors + 1] = start(name, s)
  end
  local deadline = mf.time() + SECONDS
  repeat
    kill_some(actors, s)
    mf.sleep(math.random() / 200)
  until mf.time() >= deadline
  end_all(actors, s)
  check(s)
  print(("%d actors; %d additions, %d parts read, %d locks abandoned"):format(started,
    s.noted.value, s.read.value, s.abandoned.value))
end

common.run(play)
