-- What messages call a task: "map (resize.lua:12)", the function called and the user's line.
--
-- A submit is made in a few microseconds, so places are found once and kept by function and line.

local check = require "moonfleet.check"

local label = {}

local LONGEST <const> = 95 -- bytes that a job has room for

-- Function of the user's code → line → name → label. What is no such function is not in it.
local known = setmetatable({}, { __mode = "k" })

local function make(name)
  local place = check.where()
  if not place then return name end
  local text = ("%s (%s)"):format(name, place)
  if #text <= LONGEST then return text end
  return ("%s (...%s)"):format(name, place:sub(-math.max(1, LONGEST - #name - 6)))
end

local function keep(func, line, name)
  local lines = known[func]
  local names = lines[line] or {}
  lines[line] = names
  names[name] = make(name)
  return names[name]
end

-- Is it the function that a place would name? Not one of ours, nor a C function.
local function is_users(func, level)
  if known[func] then return true end
  local info = debug.getinfo(level + 1, "Sl")
  if info.currentline <= 0 then return false end
  local place = ("%s:%d"):format(info.short_src, info.currentline)
  if place ~= check.where() then return false end
  known[func] = {}
  return true
end

--- The label of a call made by the user's code that is running now.
---@param name string
function label.here(name)
  for level = 3, math.huge do -- 1 is this function, 2 one of ours
    local info = debug.getinfo(level, "fl")
    if not info then return name end
    if is_users(info.func, level) then
      local names = known[info.func][info.currentline]
      return names and names[name] or keep(info.func, info.currentline, name)
    end
  end
end

return label
