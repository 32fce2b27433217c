-- Runs the programs of seed_rows.lua at full size and prints the time of each.
--
--   moonfleet scripts/examples/seeds.lua [--backend ...] [ROW ...]
--
-- Ends with exit code 1 when a row failed.

local mf = require "moonfleet"

package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local rows = require "seed_rows"

local SLACK <const> = 0.2 -- seconds that a program which only sleeps may take longer
local SHARE <const> = 0.6 -- of the ideal speed-up: the machine has other things to do

local size = { unit = 1 }

function size.n(full) return full end

function size.within(seconds, limit)
  if seconds <= limit + SLACK then return end
  error(("took %.2f s, where %.2f s are enough"):format(seconds, limit), 2)
end

function size.faster(serial, parallel, workers)
  local wanted = SHARE * math.min(workers, mf.cpu_count())
  if serial / parallel >= wanted then return end
  error(("%.2f s serially, %.2f s in parallel: less than %.1f times as fast")
    :format(serial, parallel, wanted), 2)
end

local asked, failed = {}, 0
for _, number in ipairs(arg) do asked[tonumber(number)] = true end

for _, row in ipairs(rows) do
  if #arg == 0 or asked[row.number] then
    local started = mf.time()
    local ok, problem = pcall(row.run, mf, size)
    print(("row %2d  %-46s %7.2f s  %s"):format(row.number, row.title, mf.time() - started,
      ok and "ok" or "FAILED: " .. tostring(problem)))
    if not ok then failed = failed + 1 end
  end
end
os.exit(failed == 0)
