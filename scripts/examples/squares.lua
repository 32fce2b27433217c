-- Five slow calls side by side: in processes, then in threads.

local mf = require "moonfleet"

local SECONDS <const> = tonumber(arg[1]) or 2

local function square(x)
  mf.sleep(SECONDS)
  return x * x
end

for _, make_pool in ipairs { mf.Pool, mf.ThreadPool } do
  local pool <close> = make_pool(5)
  local started = mf.time()
  local squares = pool:map(square, { 1, 2, 3, 4, 5 })
  print(table.concat(squares, " "), ("after %.0f s"):format(mf.time() - started))
end
