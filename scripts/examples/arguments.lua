-- Positional and named arguments for a process. Named ones arrive as one table behind the others;
-- a default is an `or`.

local mf = require "moonfleet"

local function print_args(a, b, options)
  local kwarg1 = options.kwarg1 or 3
  local kwarg2 = options.kwarg2 or 4
  print(a, b)
  print(kwarg1, kwarg2)
  for name, value in pairs(options) do
    if name ~= "kwarg1" and name ~= "kwarg2" then print("also", name, value) end
  end
end

local p = mf.Process {
  target = print_args,
  args = { 1, 2 },
  kwargs = { kwarg1 = 5, kwarg100 = 10 },
}
p:start()
p:join()
print("exit code", p.exitcode)
