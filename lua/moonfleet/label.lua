-- What messages call a task: "map (resize.lua:12)", the function called and the user's line.

local check = require "moonfleet.check"

local LONGEST <const> = 95 -- bytes that a job has room for

local label = {}

--- The label of a call made by the user's code that is running now.
---@param name string
function label.here(name)
  local place = check.where()
  if not place then return name end
  local text = ("%s (%s)"):format(name, place)
  if #text <= LONGEST then return text end
  return ("%s (...%s)"):format(name, place:sub(-math.max(1, LONGEST - #name - 6)))
end

return label
