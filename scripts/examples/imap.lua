-- imap gives results in input order, each as soon as it is there; imap_unordered gives whichever
-- is done first.

local mf = require "moonfleet"

local UNIT <const> = tonumber(arg[1]) or 1 -- seconds

local function wait(n)
  mf.sleep(n * UNIT)
  return n * n
end

local pool <close> = mf.Pool(3)

for _, method in ipairs { "imap", "imap_unordered" } do
  print(method)
  local started = mf.time()
  for i, square in pool[method](pool, wait, { 1, 5, 3 }) do
    print(("  item %d: %2d after %.0f"):format(i, square, (mf.time() - started) / UNIT))
  end
end
