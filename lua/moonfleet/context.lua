-- What a worker or a pool is told of its starter's state: where modules are found, `arg`, defaults.
-- The C half sets package.path, package.cpath, package.preload and arg of the new state from it
-- before it decodes anything else; core.context() gives the table there.

local core = require "moonfleet.core"
local backend = require "moonfleet.backend"

-- C functions of package.preload are not sent: the worker looks for their library itself, and our
-- own modules are there already.
local is_c = setmetatable({}, { __mode = "k" })

local function look(fn)
  is_c[fn] = type(fn) ~= "function" or debug.getinfo(fn, "S").what == "C"
  return is_c[fn]
end

-- What stands for a Lua function in the worker's package.preload. It is decoded when it is first
-- asked for: it may name modules that only the other preloads can give.
local held = "module '%s' cannot be loaded in a worker: its package.preload function holds it"

local function loader(name, bytes)
  local busy
  return function(...)
    if busy then error(held:format(name), 0) end
    busy = true
    local fn = require("moonfleet.core").decode(bytes, true)
    busy = false
    return fn(...)
  end
end

local function preloads()
  local found
  for name, fn in next, package.preload do
    local skip = is_c[fn]
    if skip == nil then skip = look(fn) end
    local can, bytes = not skip, nil
    if can then can, bytes = pcall(core.encode, fn) end
    if can then
      found = found or {}
      found[name] = loader(name, bytes)
    end
  end
  return found
end

--- The context of a worker started now.
---@return { path: string, cpath: string, preload?: table, arg?: table, backend?: string }
return function()
  local context = { path = package.path, cpath = package.cpath, preload = preloads() }
  local arg = rawget(_G, "arg")
  if type(arg) == "table" then context.arg = arg end
  context.backend, context.jobs = backend.inheritance()
  return context
end
