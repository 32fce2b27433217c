-- The loop of cpu_loop.lua: cpu_work.lua STEPS, run by plain Lua, prints the CPU seconds it took.

local function work(steps)
  local list, x = {}, 0.5
  for i = 1, steps do
    x = 3.9 * x * (1 - x)
    list[i & 1023] = x
    if list[(i * 7) & 1023] then x = x * 0.5 + 0.25 end
  end
  return x
end

if arg and arg[0] and arg[0]:find("cpu_work.lua", 1, true) then
  local started = os.clock()
  work(tonumber(arg[1]))
  print(("%.9f"):format(os.clock() - started))
end

return work
