-- Deaths at the instants that are hardest to hit: fault points of the test build (preset tiny) kill
-- the process worker that reaches them and count that; a test whose point was not reached fails.

local mf = require "moonfleet"
local core = require "moonfleet.core"
local helper = require "tests.helper"

local describe, it, long = helper.describe, helper.it, helper.long

-- Arms a point for the nth worker that gets there; false in builds without fault points.
local has_faults = core.fault("put_ready", 0)

describe("race", function()
  if not has_faults then
    helper.pending "is killed at fault points only in the tiny build"
    return
  end

  -- Kills the nth worker at the point while work() runs; it must have been reached. Where it hangs
  -- on who is faster whether work() gets there, it may be done `most` times. How often it was.
  local function kill_at(point, nth, work, most)
    local before, rounds = core.fault_hits(point), 0
    core.fault(point, nth)
    repeat
      work()
      rounds = rounds + 1
    until core.fault_hits(point) > before or rounds == (most or 1)
    core.fault(point, 0)
    assert.are.equal(before + 1, core.fault_hits(point), "hits of " .. point)
    return rounds
  end

  local function square_all(pool, count)
    return pool:map(function(x) return x * x end, mf.range(count),
      { chunksize = 5, on_error = "collect" })
  end

  -- All results but at most `lost` ones, which tell of the death.
  local function check_squares(results, count, lost)
    local died = 0
    assert.are.equal(count, results.n)
    for i = 1, count do
      if mf.is_error(results[i], "worker_died") then died = died + 1
      else assert.are.equal(i * i, results[i]) end
    end
    assert.are.equal(lost, died)
  end

  it("of a worker killed when the job has ended tells the callbacks within q:get", function()
    for _, call in ipairs {
      function(pool, queue)
        pool:map_async(function(x) return x end, { 1, 2 }, { chunksize = 2 },
          function(list) queue:put(list.n) end)
      end,
      function(pool, queue)
        pool:apply_async(function() return 2 end, nil, nil, function(x) queue:put(x) end)
      end,
    } do
      local pool <close> = mf.Pool { workers = 1, backend = "process" }
      local queue = mf.Queue()
      kill_at("job_ended", 1, function()
        call(pool, queue)
        assert.are.equal(2, queue:get(long))
      end)
    end
  end)

  for _, case in ipairs {
    { "before_pickup", 2, 0, "before it takes a job loses nothing" },
    { "picked_up", 2, 0, "between taking a job and beginning an item loses nothing" },
    { "item_begun", 7, 1, "under an item that has begun fails that item alone" },
    { "result_stored", 7, 1, "when the result was written but not seen fails that item alone" },
    { "item_ended", 7, 0, "when an item has ended, but not its job, loses nothing" },
    { "job_ended", 2, 0, "when the job has ended and nobody was woken hangs nobody" },
  } do
    local point, nth, lost, behaviour = table.unpack(case)
    it("of a worker killed " .. behaviour, function()
      local pool <close> = mf.Pool { workers = 2, backend = "process" }
      kill_at(point, nth, function() check_squares(square_all(pool, 100), 100, lost) end,
        lost == 0 and 100)
      check_squares(square_all(pool, 20), 20, 0)
    end)

    it("of a worker killed " .. behaviour .. ", with many tasks in a job", function()
      local pool <close> = mf.Pool { workers = 2, backend = "process" }
      local queue <close> = mf.Queue()
      local ok, results
      local rounds = kill_at(point, nth, function()
        ok, results = pcall(pool.map, pool, function(x)
          queue:put(x)
          return x * x
        end, mf.range(100), { chunksize = 1 })
        assert.are.equal(lost == 0, ok, tostring(results))
        if ok then check_squares(results, 100, 0) end
      end, lost == 0 and 100)
      pool:close()
      pool:join(long)
      local stats = pool:stats()
      assert.are.equal(lost, stats.failed)
      assert.are.equal(1, stats.died)
      assert.are.equal(100 * rounds, stats.done + stats.failed + stats.cancelled)
      local begun = point == "item_begun" and stats.done or stats.done + stats.failed
      assert.are.equal(begun, queue:size())
    end)
  end

  it("of a worker killed in its initializer breaks the pool, with no end of new workers", function()
    local pool
    kill_at("initializer", 1, function()
      pool = mf.Pool { workers = 1, backend = "process", initializer = function() end }
      local ok, err = pcall(pool.apply, pool, function() return 1 end)
      assert.is_false(ok)
      assert.is_true(mf.is_error(err, "initializer"), tostring(err))
    end)
    pool:terminate()
    pool:join(long)
  end)

  it("of a submitter killed before it woke a worker leaves the job to a spare one", function()
    local gate, queue = mf.Event(), mf.Queue()
    local other <close> = mf.Pool { workers = 1, backend = "process" }
    local pool <close> = mf.Pool { workers = 1, backend = "process" }
    local waits = other:submit(function() gate:wait() end)
    while not waits:running() do mf.sleep(0.001) end -- else whoever awaits it runs it himself
    local sleeper = pool:submit(function()
      queue:put "begun"
      waits:get()
    end)
    assert.are.equal("begun", (queue:get(long)))
    mf.sleep(0.05) -- the pool's worker sleeps inside its task
    kill_at("submitted", 1, function()
      local submitter = mf.spawn(function() pool:submit(function() queue:put "ran" end) end)
      submitter:join(long)
      assert.are.equal(-9, submitter.exitcode)
    end)
    assert.are.equal("ran", (queue:get(long)))
    gate:set()
    sleeper:get(long)
  end)

  it("of a consumer killed when it has taken a message takes that one along, no other", function()
    local queue = mf.Queue()
    for i = 1, 10 do queue:put(i) end
    kill_at("get_taken", 3, function()
      local worker = mf.spawn(function() while true do queue:get(0) end end)
      worker:join(long)
      assert.are.equal(-9, worker.exitcode)
    end)
    for i = 4, 10 do assert.are.equal(i, (queue:get(0))) end
    assert.are.equal(0, queue:size())
  end)

  it("of a producer killed with a message ready leaves the queue whole", function()
    local queue = mf.Queue()
    kill_at("put_ready", 3, function()
      local worker = mf.spawn(function() for i = 1, 10 do queue:put(("x"):rep(1000) .. i) end end)
      worker:join(long)
      assert.are.equal(-9, worker.exitcode)
    end)
    queue:put("after")
    assert.are.equal(("x"):rep(1000) .. 1, (queue:get(0)))
    assert.are.equal(("x"):rep(1000) .. 2, (queue:get(0)))
    assert.are.equal("after", (queue:get(0)))
  end)
end)
