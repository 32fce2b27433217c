-- What a worker or a pool is told of its starter's state: where modules are found, `arg`, defaults.
-- The C half sets package.path, package.cpath, package.preload and arg of the new state from it
-- before it decodes anything else; core.context() gives the table there.

local core = require "moonfleet.core"
local backend = require "moonfleet.backend"

-- Which functions of package.preload can be sent, found out at the first start.
local sendable = setmetatable({}, { __mode = "k" })

local function can_be_sent(fn)
  if sendable[fn] == nil then sendable[fn] = pcall(core.encode, fn) end
  return sendable[fn]
end

local function is_c(fn) return debug.getinfo(fn, "S").what == "C" end

local function preloads()
  local found
  for name, fn in next, package.preload do
    if type(fn) == "function" and not is_c(fn) and can_be_sent(fn) then
      found = found or {}
      found[name] = fn
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
