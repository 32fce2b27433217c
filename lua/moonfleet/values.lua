-- Encoding, decoding, and what the module tells of time and machine.

local core = require "moonfleet.core"
local check = require "moonfleet.check"

local values = {}

--- The values as a string of bytes. Raises not_sendable.
---@return string
---@usage local text = mf.encode({ 1, 2 }, "x")
function values.encode(...) return core.encode(...) end

local decode_options = { functions = "boolean" }

--- What mf.encode was given. Of any bytes whatever it returns, or raises `decode`.
---@param bytes string
---@param options? { functions?: boolean }   functions: loads bytecode too, which must come from
--- one's own family
---@return any ...
---@usage local list, x = mf.decode(text)
function values.decode(bytes, options)
  if type(bytes) ~= "string" then
    check.bad(1, "decode", "string expected, got " .. check.what(bytes))
  end
  if options == nil then return core.decode(bytes, false) end
  check.type(options, 2, "decode", "table")
  return core.decode(bytes, check.options(options, decode_options, "decode").functions or false)
end

--- What would travel with a function: upvalues, globals, modules, sizes in bytes, `problem`. Its
--- tostring is a readable list.
---@param fn function
---@return table
---@usage print(mf.captures(function() return helper(x) end))
function values.captures(fn)
  if type(fn) ~= "function" then
    check.bad(1, "captures", "function expected, got " .. check.what(fn))
  end
  return core.captures(fn)
end

local function registers(value)
  local kind = type(value)
  return kind == "table" or kind == "function" or kind == "userdata"
end

--- Gives a class (a metatable, a table, a function) a name by which it travels: the receiver's own
--- is what arrives there.
---@param name string
---@param value table|function
---@usage mf.register("Point", Point)
function values.register(name, value)
  check.type(name, 1, "register", "string")
  if not registers(value) then
    check.bad(2, "register", "table or function expected, got " .. check.what(value))
  end
  core.register(name, value)
end

--- Sleeps; callbacks that are due are run.
---@param seconds number
---@usage mf.sleep(0.5)
function values.sleep(seconds)
  if type(seconds) == "number" and seconds >= 0 then return core.sleep(seconds) end
  check.bad(1, "sleep", "seconds expected, got " ..
    (type(seconds) == "number" and ("%.14g"):format(seconds) or check.what(seconds)))
end

--- Runs the callbacks that are due, without waiting.
---@return integer   how many
---@usage mf.poll()
function values.poll()
  local count = core.poll()
  local callbacks = package.loaded["moonfleet.callbacks"]
  return (count or 0) + (callbacks and callbacks.poll() or 0)
end

--- A descriptor that is readable when callbacks are due (see mf.poll).
---@return integer
function values.fd() return core.fd() end

return values
