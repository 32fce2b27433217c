-- mf.range and mf.iter: inputs that are no lists.

local check = require "moonfleet.check"
local iterator = require "moonfleet.iterator"

local range = {}

-- a // b of integers taken as unsigned, for b ~= 0.
local function divide_unsigned(a, b)
  if b < 0 then return math.ult(a, b) and 0 or 1 end
  if a >= 0 then return a // b end
  local quotient = ((a >> 1) // b) << 1
  return math.ult(a - quotient * b, b) and quotient or quotient + 1
end

local function count_integers(first, last, step)
  if step > 0 and first > last or step < 0 and first < last then return 0 end
  local width = step > 0 and last - first or first - last
  local steps = divide_unsigned(width, step > 0 and step or -step)
  if steps < 0 or steps == math.maxinteger then return math.maxinteger end
  return steps + 1
end

local function count_floats(first, last, step)
  local steps = (last - first) / step
  if not (steps >= 0) then return 0 end
  if steps >= 2.0 ^ 62 then return math.maxinteger end
  local count = math.floor(steps) + 1
  local beyond = first + count * step
  if step > 0 and beyond <= last or step < 0 and beyond >= last then return count + 1 end
  return count
end

-- The end of a range of integers, as an integer; nil: there is nothing before it.
local function integer_end(last, step)
  if math.type(last) == "integer" then return last end
  if last ~= last then return nil end
  local whole = step > 0 and math.floor(last) or math.ceil(last)
  if math.type(whole) == "integer" then return whole end
  if step > 0 then return last > 0 and math.maxinteger or nil end
  return last < 0 and math.mininteger or nil
end

local function count_values(first, last, step)
  if math.type(first) == "float" then return count_floats(first, last, step) end
  local whole = integer_end(last, step)
  return whole and count_integers(first, whole, step) or 0
end

local function next_value(self)
  local values = self.range
  if values.taken >= values.count then return nil end
  values.taken = values.taken + 1
  return values.taken, values.first + (values.taken - 1) * values.step
end

--- An iterator over the numbers from `a` (default 1) to `b`, which is included; integers if `a`
--- and `step` are. As an input of map and its kin it is not used up.
---@param a number
---@param b? number
---@param step? number   default 1; not 0
---@usage for i, x in mf.range(5, 9, 2) do print(i, x) end   -- 1 5, 2 7, 3 9
function range.range(...)
  local a, b, step = ...
  for n = 1, math.max(1, math.min(3, select("#", ...))) do
    local value = select(n, ...)
    if n == 1 or value ~= nil then check.type(value, n, "range", "number") end
  end
  if b == nil then a, b = 1, a end
  step = step or 1
  if step == 0 or step ~= step then check.bad(3, "range", "a step that is not 0 expected") end
  if math.type(a) == "float" or math.type(step) == "float" then a, step = a + 0.0, step + 0.0 end
  local it = iterator.new("range", next_value)
  it.range = { first = a, step = step, count = count_values(a, b, step), taken = 0 }
  return iterator.results(it)
end

-- Closes the fourth value of the triple that we were given, as a `for` would.
local function close_value(self)
  local value = self.closing
  self.closing = nil
  local meta = value ~= nil and debug.getmetatable(value)
  local close = type(meta) == "table" and rawget(meta, "__close")
  if close then close(value, nil) end
end

--- An iterator (i, values...) over what a generic `for` would run over; as input of map and its
--- kin the first value of each step is the item, starmap and istarmap take all of them.
---@param f function
---@param s any
---@param var any
---@param closing any   a to-be-closed value
---@usage pool:starmap(f, mf.iter(pairs(t)))   -- calls f(k, v)
function range.iter(f, s, var, closing)
  if not check.is_callable(f) then
    check.bad(1, "iter", ("function expected, got %s; call it as mf.iter(pairs(t))")
      :format(check.what(f)))
  end
  local i = 0
  local function count(first, ...)
    if first == nil then return nil end
    i, var = i + 1, first
    return i, first, ...
  end
  local it = iterator.new("iter", function() return count(f(s, var)) end, close_value)
  it.closing, it.has_steps = closing, true
  return iterator.results(it)
end

return range
