-- A storm of kills, to see that every promise holds under it.
--
--   moonfleet scripts/stress/storm.lua [SECONDS] [process|thread] [SEED]
--
-- For SECONDS it runs rounds of pool work in the foreground while actors work in the background:
-- producers and consumers of a queue, holders of locks and of semaphores. Meanwhile workers are
-- killed at random instants (processes by kill -9 from outside, all kinds by kill() and
-- terminate()) and replaced. What is checked:
--
--   pool        each item gives its result, or is worker_died and then a kill paid for it; no item
--               runs twice; the pool is whole again after each round
--   queue       nothing that was put is lost, but what a killed consumer had in its hand; nothing
--               comes twice; what one producer sent arrives in order
--   locks       one holder at a time; after a killed holder the next one is told "abandoned"
--   semaphores  never more holders than permits; a bounded one has all permits in the end
--   all         nothing hangs; no worker, object or block of shared memory is left over
--
-- Prints a summary; exit code 1 when a promise was broken.

local mf = require "moonfleet"
package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local common = require "common"

local SECONDS <const>, SEED <const>, PATIENCE <const> = common.SECONDS, common.SEED, common.PATIENCE
common.BACKEND = arg[2] or "process"
local BACKEND <const> = common.BACKEND
local WORKERS <const>, PERMITS <const> = 3, 2

local make = mf.with(BACKEND)
math.randomseed(SEED)

local counts, violation = {}, common.violation

local function count(what, n) counts[what] = (counts[what] or 0) + (n or 1) end

local function chance(percent) return math.random(100) <= percent end

-- The killer: a shell that kills whom it is told, after a while, and nobody outside our group -----

local function process_group()
  local stat <close> = assert(io.open("/proc/self/stat"))
  return stat:read("a"):match("^.*%) %a %d+ (%d+)")
end

local killer = BACKEND == "process" and io.popen(([[
  while read -r wait pid; do
    sleep $wait
    read -r stat 2>/dev/null </proc/$pid/stat || continue
    set -- $stat
    test "$5" = %s && kill -9 $pid 2>/dev/null
  done]]):format(process_group()), "w")

-- Pool rounds ---------------------------------------------------------------------------------

local ran, pids -- queues: which item runs, and who runs it
local known_pids, round = {}, 0

-- Runs in a worker, once for each item.
local function work(item)
  if not _G.storm_announced then
    _G.storm_announced = true
    pids:put(mf.getpid())
  end
  ran:put { item.round, item.index }
  local x = 0
  for _ = 1, item.spin do x = x + 1 end
  if item.endless then while true do x = x + 1 end end
  if item.nap then mf.sleep(item.nap) end
  return item.index * item.round, ("x"):rep(item.size)
end

local function make_items(amount)
  round = round + 1
  local items = {}
  for index = 1, amount do
    items[index] = {
      round = round,
      index = index,
      spin = math.random(0, 20000),
      nap = chance(2) and math.random() / 500 or nil,
      size = chance(5) and math.random(0, 300000) or math.random(0, 40),
    }
  end
  return items
end

-- One item's outcome: its value, or the error that stands for it.
local function check_outcome(item, value, size)
  if mf.is_error(value, "worker_died") then
    count("items whose worker died")
    item.failed = true
  elseif value ~= item.index * item.round or (size and size ~= item.size) then
    violation("round %d item %d gave %s", item.round, item.index, tostring(value))
  else
    count("items done")
  end
end

-- Each item of a round ran once; one whose worker died perhaps not at all.
local function check_runs(items)
  local times = {}
  while true do
    local run = ran:get_nowait()
    if run == nil then break end
    if run[1] ~= round then violation("an item of round %d ran in round %d", run[1], round) end
    times[run[2]] = (times[run[2]] or 0) + 1
  end
  for index, item in ipairs(items) do
    local n = times[index] or 0
    if n > 1 or (n == 0 and not item.failed) then
      violation("round %d item %d ran %d times", round, index, n)
    end
  end
end

local styles = {}

function styles.map(pool, items)
  local results = pool:map(work, items, { on_error = "collect", timeout = PATIENCE })
  if results.n ~= #items then violation("map gave %s results", tostring(results.n)) end
  for index, item in ipairs(items) do check_outcome(item, results[index]) end
end

local function take_all(items, iterator, state, control, closing)
  local seen = {}
  for index, value, text in iterator, state, control, closing do
    if seen[index] then violation("item %d came twice", index) end
    seen[index] = true
    check_outcome(items[index], value, text and #text)
  end
  for index = 1, #items do if not seen[index] then violation("item %d never came", index) end end
end

function styles.imap(pool, items)
  take_all(items, pool:imap(work, items,
    { on_error = "collect", chunksize = math.random(1, 9), timeout = PATIENCE }))
end

function styles.imap_unordered(pool, items)
  take_all(items, pool:imap_unordered(work, items,
    { on_error = "collect", window = math.random(1, 50), timeout = PATIENCE }))
end

local function outcome(future)
  local result = table.pack(pcall(future.get, future, PATIENCE))
  if result[1] then return result[2], #result[3] end
  return result[2]
end

function styles.submit(pool, items)
  local futures = {}
  for index, item in ipairs(items) do futures[index] = pool:submit(work, item) end
  for index, item in ipairs(items) do check_outcome(item, outcome(futures[index])) end
end

-- Endless loops among the items: stopped by their limit, or by force.
function styles.limits(pool, items)
  local futures = {}
  for index, item in ipairs(items) do
    item.endless = chance(3)
    local limit = item.endless and chance(50) and 0.02 or nil
    futures[index] = pool:submit { target = work, args = { item }, task_timeout = limit }
    item.by_force = item.endless and not limit
  end
  for index, item in ipairs(items) do
    if item.by_force then
      futures[index]:wait(0.01)
      futures[index]:cancel { force = true }
    end
    local value, size = outcome(futures[index])
    if item.endless and (mf.is_error(value, "timeout") or mf.is_error(value, "cancelled")) then
      count("endless items stopped")
      item.failed = true
    else
      check_outcome(item, value, size)
    end
  end
end

-- Thousands of items that do nothing, each a task of its own: the handing out is what takes time.
function styles.light(pool, items)
  for _, item in ipairs(items) do item.spin, item.nap, item.size = 0, nil, 0 end
  local results = pool:map(work, items,
    { on_error = "collect", chunksize = 1, timeout = PATIENCE })
  for index, item in ipairs(items) do check_outcome(item, results[index]) end
end

local style_names = { "map", "imap", "imap_unordered", "submit", "limits", "light" }

local function learn_pids()
  while true do
    local pid = pids:get_nowait()
    if pid == nil then return end
    known_pids[#known_pids + 1] = pid
  end
end

-- Tells the killer whom to kill during the next round.
local function plan_kills()
  learn_pids()
  if not killer or #known_pids < 2 then return end
  for _ = 1, math.random(0, 3) do
    if #known_pids == 0 then break end
    local pid = table.remove(known_pids, math.random(#known_pids))
    killer:write(("%.4f %d\n"):format(math.random() / 50, pid))
    count("kills of pool workers asked for")
  end
  killer:flush()
end

local function pool_round(pool)
  plan_kills()
  local style = style_names[math.random(#style_names)]
  local items = make_items(math.random(1, style == "light" and 3000 or 200))
  local ok, problem = pcall(styles[style], pool, items)
  if not ok then violation("%s of round %d raised %s", style, round, tostring(problem)) end
  check_runs(items)
  if pool.size ~= WORKERS then violation("the pool has %s workers", tostring(pool.size)) end
  count("rounds of pool work")
end

-- Actors --------------------------------------------------------------------------------------

local stage -- what the actors share

local roles = {}

-- Puts 1, 2, 3, ... and says after each put up to where they are safe.
function roles.producer(id, s)
  local last = 0
  while true do
    local list = {}
    for i = 1, math.random(1, 5) do list[i] = { id, last + i } end
    local done
    if #list == 1 then
      done = s.goods:put(list[1]) and 1 or 0
    else
      done = s.goods:put_many(list)
    end
    last = last + (done or 0)
    s.puts:put { id, last }
    if done ~= #list then return end
    if math.random(20) == 1 then mf.sleep(0.001) end
  end
end

function roles.consumer(id, s)
  while true do
    local item, reason = s.goods:get()
    if reason then return end
    s.delivered:put { id, item[1], item[2] }
  end
end

-- Takes `object` again and again, and logs when it has it and before it gives it back.
local function hold(id, s, name)
  local object = s[name]
  while true do
    local got, how = object:acquire(PATIENCE)
    if not s.log:put { name, got and "in" or "hung", id, how } then
      if got then object:release() end
      return
    end
    if not got then return end
    for _ = 1, math.random(0, 5000) do end
    if math.random(10) == 1 then mf.sleep(0.0005) end
    local goes_on = s.log:put { name, "out", id }
    object:release()
    if not goes_on then return end
    if math.random(3) == 1 then mf.sleep(0.001) end
  end
end

function roles.locker(id, s) hold(id, s, "lock") end
function roles.relocker(id, s) hold(id, s, "rlock") end
function roles.bounded(id, s) hold(id, s, "bounded") end
function roles.counted(id, s) hold(id, s, "semaphore") end

local actors, dead, next_id = {}, {}, 0
local kills_of = { producer = 0, consumer = 0, locker = 0, relocker = 0, bounded = 0, counted = 0 }

local function start_actor(role)
  next_id = next_id + 1
  local actor = make.Process { target = roles[role], args = { next_id, stage }, daemon = true }
  actor:start()
  actors[#actors + 1] = { role = role, id = next_id, worker = actor }
end

-- Semaphores of the unbounded kind do not get permits of the dead back: nobody kills their holders.
local function kill_some_actor()
  local index = math.random(#actors)
  local actor = actors[index]
  if actor.role == "counted" then return end
  table.remove(actors, index)
  kills_of[actor.role] = kills_of[actor.role] + 1
  dead[actor.id] = true
  local wanted = chance(70) and -9 or -15
  if wanted == -9 then actor.worker:kill() else actor.worker:terminate() end
  if not actor.worker:join(PATIENCE) then
    return violation("a killed %s does not end", actor.role)
  end
  if actor.worker.exitcode ~= wanted then
    violation("a killed %s ended with %s", actor.role, tostring(actor.worker.exitcode))
  end
  actor.worker:close()
  count("actors killed")
  start_actor(actor.role)
end

-- The ledger of the queue: for each producer what arrived and how far its puts were safe.
local received, safe, newest = {}, {}, {}

local function drain(queue, take)
  while true do
    local list = queue:get_many(1000, 0)
    if list == nil then return end
    for i = 1, list.n do take(list[i]) end
  end
end

local function take_delivered(entry)
  local consumer, producer, sequence = entry[1], entry[2], entry[3]
  local seen = received[producer] or { n = 0, last = 0 }
  received[producer] = seen
  if seen[sequence] then violation("message %d of %d came twice", sequence, producer) end
  seen[sequence], seen.n, seen.last = true, seen.n + 1, math.max(seen.last, sequence)
  local key = consumer .. ":" .. producer
  if sequence <= (newest[key] or 0) then violation("message %d came too late", sequence) end
  newest[key] = sequence
  count("messages delivered")
end

local function take_put(entry) safe[entry[1]] = entry[2] end

-- The ledger of locks and semaphores: who is inside, as the log tells it.
local inside, abandoned = { lock = {}, rlock = {}, bounded = {}, semaphore = {} }, 0
local room = { lock = 1, rlock = 1, bounded = PERMITS, semaphore = PERMITS }

-- Only a lock that is told to be abandoned may have another holder left inside: a dead one.
local function enter(name, id, how)
  local holders = inside[name]
  if how == "abandoned" then abandoned = abandoned + 1 end
  if room[name] > 1 or how == "abandoned" then
    for holder in pairs(holders) do if dead[holder] then holders[holder] = nil end end
  end
  local n = 0
  for _ in pairs(holders) do n = n + 1 end
  if n >= room[name] and not dead[id] then
    violation("%s: %d is inside, and %s too", name, id, tostring(next(holders)))
  end
  holders[id] = true
  count(name .. " taken")
end

local function take_log(entry)
  local name, what, id, how = entry[1], entry[2], entry[3], entry[4]
  if what == "in" then
    enter(name, id, how)
  elseif what == "out" then
    if not inside[name][id] and not dead[id] then violation("%s: %d was not inside", name, id) end
    inside[name][id] = nil
  else
    violation("%s: %d waited for ever", name, id)
  end
end

local function drain_all()
  drain(stage.delivered, take_delivered)
  drain(stage.puts, take_put)
  drain(stage.log, take_log)
end

-- The end -------------------------------------------------------------------------------------

local function join_actors(of_role)
  for _, actor in ipairs(actors) do
    if of_role[actor.role] then
      if not actor.worker:join(PATIENCE) then
        violation("a %s does not end", actor.role)
        actor.worker:kill()
      elseif actor.worker.exitcode ~= 0 then
        violation("a %s ended with %s", actor.role, tostring(actor.worker.exitcode))
      end
    end
  end
end

local function check_queue()
  local lost = 0
  for producer, seen in pairs(received) do
    lost = lost + math.max(seen.last, safe[producer] or 0) - seen.n
  end
  for producer, last in pairs(safe) do if not received[producer] then lost = lost + last end end
  counts["messages that killed consumers took along"] = lost
  if lost > kills_of.consumer then
    violation("%d messages lost, %d consumers killed", lost, kills_of.consumer)
  end
end

local function check_holders()
  counts["locks told abandoned"] = abandoned
  if abandoned > kills_of.locker + kills_of.relocker then
    violation("%d times abandoned, %d holders killed", abandoned,
      kills_of.locker + kills_of.relocker)
  end
  for _, name in ipairs { "bounded", "semaphore" } do
    local value = stage[name]:value()
    if value ~= PERMITS then violation("%s has %s permits left", name, tostring(value)) end
  end
  for _, name in ipairs { "lock", "rlock" } do
    if not stage[name]:acquire(PATIENCE) then violation("%s is never free again", name) end
  end
end

local function check_pool_deaths()
  local died, asked = counts["items whose worker died"] or 0,
    counts["kills of pool workers asked for"] or 0
  if died > asked then violation("%d items died of %d kills", died, asked) end
end

local function finish(pool)
  stage.goods:close()
  join_actors { producer = true, consumer = true }
  stage.log:close()
  join_actors { locker = true, relocker = true, bounded = true, counted = true }
  drain_all()
  check_queue()
  check_holders()
  if killer then killer:close() end -- when it has killed all that it was told to
  local healed = pool:map(function(x) return x end, { 1, 2, 3 }, { on_error = "collect" })
  if #healed ~= 3 then violation("the pool did not heal") end
  pool:close()
  if not pool:join(PATIENCE) then violation("the pool does not end") end
  check_pool_deaths()
end

local function summary()
  local names = {}
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names)
  for _, name in ipairs(names) do print(("%10d  %s"):format(counts[name], name)) end
end

local function set_stage()
  ran, pids = mf.Queue(), mf.Queue()
  stage = {
    goods = mf.Queue(100),
    delivered = mf.Queue(),
    puts = mf.Queue(),
    log = mf.Queue(),
    lock = mf.Lock(),
    rlock = mf.RLock(),
    bounded = mf.BoundedSemaphore(PERMITS),
    semaphore = mf.Semaphore(PERMITS),
  }
end

local function clear_stage() ran, pids, stage, actors = nil, nil, nil, nil end

local function play()
  set_stage()
  local pool <close> = make.Pool(WORKERS)
  for _, role in ipairs { "producer", "consumer", "locker", "relocker", "bounded", "counted" } do
    for _ = 1, 3 do start_actor(role) end
  end
  local deadline = mf.time() + SECONDS
  repeat
    pool_round(pool)
    kill_some_actor()
    drain_all()
  until mf.time() >= deadline
  finish(pool)
end

-- What comes with the first pool, worker and death stays.
local function warm_up()
  local pool <close> = make.Pool(1)
  pool:map(print, {})
  local worker = make.spawn(function() mf.Queue():get() end)
  worker:kill()
  worker:join(PATIENCE)
  if BACKEND ~= "process" then return end
  pool:map(function() os.execute("kill -9 " .. mf.getpid()) end, { 1 }, { on_error = "collect" })
end

local function storm()
  warm_up()
  local before = common.holdings()
  play()
  clear_stage()
  common.check_leaks(before)
  summary()
  common.finish()
end

storm()
