-- What the storms here share: their arguments, broken promises, what may not be left over, the end.
--
-- Arguments of each: [SECONDS] [BACKEND] [SEED]. Found by package.path, which a storm sets first.

local mf = require "moonfleet"
local core = require "moonfleet.core"

local common = { violations = 0 }

common.SECONDS = tonumber(arg[1]) or 60
common.BACKEND = arg[2] or "both"
common.SEED = tonumber(arg[3]) or os.time()
common.PATIENCE = 60 -- seconds after which a wait counts as hung

function common.violation(text, ...)
  common.violations = common.violations + 1
  if common.violations <= 20 then io.stderr:write("BROKEN: ", text:format(...), "\n") end
end

--- What is in use now; a worker that has just ended may still be counted.
function common.holdings()
  collectgarbage()
  collectgarbage()
  return core.audit()
end

--- A worker that was killed, or ends, may need a moment until it is buried.
function common.check_leaks(before)
  local deadline = mf.time() + 5
  repeat
    local found = {}
    for what, n in pairs(common.holdings()) do
      local was = before[what] + (what == "blocks" and before.slots or 0) -- a table of handles each
      if n > was then found[#found + 1] = ("%d %s, were %d"):format(n, what, was) end
    end
    if #found == 0 then return end
    if mf.time() >= deadline then
      return common.violation("left over: %s", table.concat(found, "; "))
    end
    mf.sleep(0.02)
  until false
end

--- Plays, looks for what is left over, says how it was, and exits: 1 when a promise was broken.
function common.run(play)
  for _, backend in ipairs { "process", "thread" } do -- what comes with the first ones stays
    mf.with(backend).spawn(function() end):join()
  end
  local before = common.holdings()
  play()
  common.check_leaks(before)
  common.finish()
end

function common.finish()
  local n = common.violations
  print(("%s: %d promises broken in %g s of storm over %s (seed %d)"):format(
    n == 0 and "fine" or "BROKEN", n, common.SECONDS, common.BACKEND, common.SEED))
  os.exit(n == 0)
end

return common
