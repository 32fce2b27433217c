-- Checks of arguments. What a check finds wrong is raised as a string at the line of the user's
-- code that called into Moonfleet, in Lua's own words, with the remedy where one can be guessed.

local core = require "moonfleet.core"

local check = {}

-- Blame ------------------------------------------------------------------------------------------

-- The sources of our own modules are this file's with another name in its place.
local own = debug.getinfo(1, "S").source
local before, behind = own:match("^(.*)check(.-)$")
local root = before:match("^(.*)%.$") -- "=moonfleet" is what init.lua is called when it is embedded

local function is_own(source)
  if source == own or root and source == root .. behind then return true end
  return source:sub(1, #before) == before and source:sub(#source - #behind + 1) == behind
end

--- The place "file.lua:12" of the nearest Lua function on the stack that is not ours, or nil.
---@return string|nil
function check.where()
  for level = 2, math.huge do
    local info = debug.getinfo(level, "Sl")
    if not info then return nil end
    if info.currentline > 0 and not is_own(info.source) then
      return ("%s:%d"):format(info.short_src, info.currentline)
    end
  end
end

--- Raises `text` at the user's line.
---@param text string
function check.fail(text)
  local place = check.where()
  error(place and place .. ": " .. text or text, 0)
end

--- Raises "bad argument #n to 'name' (text)"; without `n`: "bad argument to 'name' (text)".
---@param n integer|nil   0 is what stands before the colon
---@param name string   the function that was called
---@param text string
function check.bad(n, name, text)
  local number = n and (" #%d"):format(n) or ""
  check.fail(("bad argument%s to '%s' (%s)"):format(number, name, text))
end

-- Words ------------------------------------------------------------------------------------------

--- The kind of a Moonfleet object, "Queue" or "Iterator", or nil. Those that are tables say it
--- themselves: `moonfleet` in their metatable.
---@param value any
---@return string|nil
---@usage print(mf.type(mf.Queue()))
function check.kind(value)
  local kind = core.type(value)
  if not kind then
    local meta = type(value) == "table" and debug.getmetatable(value)
    kind = type(meta) == "table" and rawget(meta, "moonfleet") or nil
  end
  if kind == "Process" and value.backend == "thread" then return "Thread" end
  return kind
end

--- What a message calls a value: "Queue", "number", "nil".
function check.what(value)
  return check.kind(value) or type(value)
end

-- Number of edits (insert, delete, replace, swap of neighbours) that make b of a.
local function distance(a, b)
  local last, row = {}, {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local new = { [0] = i }
    for j = 1, #b do
      local same = a:byte(i) == b:byte(j)
      local best = math.min(row[j] + 1, new[j - 1] + 1, row[j - 1] + (same and 0 or 1))
      if i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j) then
        best = math.min(best, last[j - 2] + 1)
      end
      new[j] = best
    end
    last, row = row, new
  end
  return row[#b]
end

--- "; did you mean 'workers'?" for the name in the set `known` that is nearest, or "".
---@param name any
---@param known table<string, any>
function check.guess(name, known)
  if type(name) ~= "string" then return "" end
  local best, least
  for other in pairs(known) do
    local edits = distance(name:lower(), other)
    if not least or edits < least or edits == least and other < best then
      best, least = other, edits
    end
  end
  if not best or least > math.max(1, #name // 3) then return "" end
  return ("; did you mean '%s'?"):format(best)
end

-- Arguments --------------------------------------------------------------------------------------

local function callable(value)
  if type(value) == "function" then return true end
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "__call") ~= nil
end

--- Can the value be called?
check.is_callable = callable

--- Is it something that a worker can be told to call: a function, a callable object, or a text
--- "module:name"?
function check.is_target(value)
  if type(value) == "string" then return value:find("^[^:]+:[^:]+$") ~= nil end
  return callable(value)
end

--- A function for a worker; raises "function expected, got ...".
---@param value any
---@param n integer|nil
---@param name string   the function that was called
---@param count integer|nil   how many arguments there were: tells "no value" from nil
function check.func(value, n, name, count)
  if check.is_target(value) then return value end
  local got = value == nil and count and count < n and "no value" or check.what(value)
  local text = "function expected, got " .. got
  if type(value) == "string" then
    text = ("function or 'module:name' expected, got %q"):format(value)
  elseif value ~= nil then
    text = text .. "; pass the function itself, not its result"
  end
  check.bad(n, name, text)
end

--- The object before the colon; raises "Pool expected, got function; call it with a colon: ...".
---@param value any
---@param kind string   "Pool", "Future" ...
---@param name string   the method
function check.self(value, kind, name)
  if core.type(value) == kind then return value end
  check.bad_self(value, kind, name)
end

function check.bad_self(value, kind, name)
  check.bad(0, name, ("%s expected, got %s; call it with a colon: %s:%s(...)")
    :format(kind, value == nil and "no value" or check.what(value), kind:lower(), name))
end

-- A number or short text that is none that was asked for is shown itself.
local function shown(value)
  if value ~= value then return "nan" end
  if type(value) == "number" then return ("%.14g"):format(value) end
  return type(value) == "string" and #value <= 40 and ("%q"):format(value) or check.what(value)
end

--- Seconds that a method waits: nil for ever (math.huge too), 0 not at all.
---@param value number|nil
---@param name string   the function that was called
---@param option? string   the option's name, where it is none of the method's first argument
---@return number|nil
function check.timeout(value, name, option)
  if value == nil or value == math.huge then return nil end
  if type(value) == "number" and value >= 0 then return value end
  if option then check.bad_option(name, option, "timeout in seconds", value) end
  check.bad(2, name, "timeout in seconds expected, got " .. shown(value))
end

--- An integer of at least `least`; floats with an integer value are taken.
---@return integer
function check.integer(value, n, name, least)
  local integer = type(value) == "number" and math.tointeger(value)
  if integer and integer >= least then return integer end
  check.bad(n, name, ("integer of at least %d expected, got %s"):format(least, shown(value)))
end

-- A number of workers: what it must be; as an integer where it is that.
local function workers(value)
  local integer = type(value) == "number" and math.tointeger(value)
  local fits = integer and integer >= 1 and integer <= core.max_workers
  return fits, ("number of workers from 1 to %d"):format(core.max_workers), integer
end

--- How many workers a pool is to have.
---@return integer
function check.workers(value, n, name)
  local fits, expected, integer = workers(value)
  if fits then return integer end
  check.bad(n, name, ("%s expected, got %s"):format(expected, shown(value)))
end

--- A value of this type; nil passes when `optional`.
function check.type(value, n, name, expected, optional)
  if type(value) == expected or optional and value == nil then return value end
  check.bad(n, name, ("%s expected, got %s"):format(expected, check.what(value)))
end

-- Options ----------------------------------------------------------------------------------------

--- Is the value an options table: a table that cannot be called and is no iterator?
function check.is_options(value)
  return type(value) == "table" and not callable(value)
end

--- Raises "bad argument to 'name' (option 'key': expected, got ...)".
function check.bad_option(name, key, expected, value)
  check.bad(nil, name, ("option '%s': %s expected, got %s"):format(key, expected, shown(value)))
end

local kinds = {}

function kinds.target(value) return check.is_target(value), "function" end
function kinds.callable(value) return callable(value), "function" end
function kinds.string(value) return type(value) == "string", "string" end
function kinds.table(value) return type(value) == "table", "table" end
function kinds.boolean(value) return type(value) == "boolean", "boolean" end
function kinds.any() return true end
kinds.number_of_workers = workers

function kinds.count(value)
  local integer = type(value) == "number" and math.tointeger(value)
  return integer and integer >= 1, "positive integer", integer
end

function kinds.size(value)
  local integer = type(value) == "number" and math.tointeger(value)
  return integer and integer >= 0, "non-negative integer", integer
end

function kinds.seconds(value)
  local fits = type(value) == "number" and value >= 0
  if fits and value == math.huge then return true, nil, false end
  return fits, "timeout in seconds"
end

-- Checks one option; gives its real name and value.
local function check_option(key, value, known, name)
  local kind, real = known[key], key
  if kind ~= true and not kinds[kind] then kind, real = known[kind], kind end
  if kind == true then return real, value end
  local fits, expected, better = kinds[kind](value)
  if not fits then check.bad_option(name, key, expected, value) end
  if better ~= nil then value = better or nil end
  return real, value
end

--- Checks an options table and gives a copy of it with the options' real names.
---
--- `known` says for each option what it has to be: "target" "callable" "string" "table" "boolean"
--- "count" (integer from 1) "number_of_workers" "size" (integer from 0) "seconds" (number from 0;
--- math.huge is taken as left out), true (anything), or the name of the option that it is another
--- name of.
---@param options table
---@param known table<string, string|true>
---@param name string   the function that was called
---@return table
---@usage local o = check.options(opts, { workers = "count", processes = "workers" }, "Pool")
function check.options(options, known, name)
  local plain = {}
  for key, value in next, options do
    if known[key] == nil then
      check.bad(nil, name, ("unknown option '%s'%s"):format(tostring(key), check.guess(key, known)))
    end
    local real, checked = check_option(key, value, known, name)
    if real ~= key and options[real] ~= nil then
      check.bad(nil, name, ("options '%s' and '%s' are the same"):format(real, key))
    end
    plain[real] = checked
  end
  return plain
end

return check
