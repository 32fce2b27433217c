-- pool:everywhere: one task for each worker.

local core = require "moonfleet.core"
local broken = require "moonfleet.broken"
local errors = require "moonfleet.errors"
local label = require "moonfleet.label"

local function error_of(pool, text, failure)
  if failure.status == "initializer" then return broken.error(pool, text) end
  local value = failure.value
  if value == nil and failure.status ~= "failed" then value = failure.death end
  return errors.outcome(failure.status, text, value, failure.traceback)
end

-- Takes all jobs of the batch: results by worker, and the first failure. The job of a worker that
-- left before it came to it is cancelled; there is nothing to tell.
local function take_all(batch)
  local results, first_failure = { n = 0 }, nil
  while true do
    local n, _, failures, status = core.batch_next(batch, results, results.n + 1, "first", nil)
    if not n then return results, first_failure end
    if status ~= "ok" and status ~= "cancelled" then
      failures, n = failures or { { status = status } }, math.max(n, 1)
    end
    first_failure = first_failure or failures and failures[1]
    results.n = results.n + n
  end
end

local function submit(pool, batch, args)
  if core.pool_get(pool, "backend") == "serial" then -- its one state
    return core.batch_list(batch, { args }, 1, 1, 1, true, 1)
  end
  return core.batch_everywhere(batch, args)
end

-- Workers that are about to be replaced would leave without running it.
local function wait_until_whole(pool)
  while core.pool_get(pool, "state") == "open"
    and core.pool_get(pool, "fresh") < core.pool_get(pool, "size") do
    core.sleep(0.001)
  end
end

-- Those that are started from now on run it before their first task.
local function remember(pool, f, args)
  if core.pool_get(pool, "backend") == "serial" then return end
  wait_until_whole(pool)
  core.pool_remember(pool, f, args)
end

--- Runs f(...) on every worker of the pool; see pool.lua.
return function(pool, f, ...)
  local text = label.here "everywhere"
  local batch = broken.guard(pool, text, core.batch, pool, f, { label = text, each = true })
  local args = table.pack(...)
  remember(pool, f, args)
  broken.guard(pool, text, submit, pool, batch, args)
  local results, failure = take_all(batch)
  core.batch_close(batch)
  if failure then error(error_of(pool, text, failure), 0) end
  return results
end
