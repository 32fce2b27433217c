-- Subclasses of Process and Thread.
--
-- A class is a table of what `extend` was given, so that it travels by value like any table; its
-- metatable, and all functions in it, are fields of this module and travel by name. Private fields:
--   __parent   the class that it extends; nil of Process and Thread themselves
--   __kind     "Process" or "Thread"    __backend  the default, of mf.with's modules
--   __instance the metatable of its instances, made with the first one
-- An instance is a table of what its constructor was given; `_process` is the handle of its worker.
-- Its worker gets a copy whose `_process` is that of the worker itself.

local core = require "moonfleet.core"
local check = require "moonfleet.check"
local context = require "moonfleet.context"
local process = require "moonfleet.process"

local class = {}

-- Instances --------------------------------------------------------------------------------------

function class.read(self, key)
  if process.fields[key] then
    local p = rawget(self, "_process")
    return p and class.field(p, key)
  end
  local own = debug.getmetatable(self).class
  local value = own[key]
  if value ~= nil then return value end
  local fallback = own.__index
  if type(fallback) == "function" then return fallback(self, key) end
  return fallback and fallback[key]
end

--- A field of a handle, or of what core.current() tells where there is none.
function class.field(p, key)
  if type(p) == "table" then return p[key] end
  return process.read(p, key)
end

function class.write(self, key, value)
  local p = rawget(self, "_process")
  if process.fields[key] and core.type(p) then return process.write(p, key, value) end
  local set = debug.getmetatable(self).class.__newindex
  if type(set) == "function" then
    set(self, key, value)
  elseif set then
    set[key] = value
  else
    rawset(self, key, value)
  end
end

function class.text(self)
  local p = rawget(self, "_process")
  return core.type(p) and process.text(p) or "Process"
end

local private = {
  __index = true, __newindex = true, __parent = true, __kind = true, __backend = true,
  __instance = true,
}

-- The metatable of a class's instances, with the metamethods that it and its parents were given.
local function instance_metatable(own)
  local meta = rawget(own, "__instance")
  if meta then return meta end
  meta = {
    __name = "Process", __index = class.read, __newindex = class.write, __tostring = class.text,
    __close = process.leave, moonfleet = "Process", class = own,
  }
  local line, level = {}, own
  while level do
    table.insert(line, 1, level)
    level = rawget(level, "__parent")
  end
  for _, one in ipairs(line) do
    for key, value in next, one do
      local is_meta = type(key) == "string" and key:find("^__") and not private[key]
      if is_meta then meta[key] = value end
    end
  end
  rawset(own, "__instance", meta)
  return meta
end

local worker_options = { name = "string", daemon = "boolean", memory_limit = "count" }

local function instantiate(own, options)
  local name = own.__kind
  if options ~= nil and type(options) ~= "table" then
    check.bad(1, name, "table of fields expected, got " .. check.what(options))
  end
  local o, instance = {}, {}
  for key, value in next, options or {} do
    if worker_options[key] then o[key] = value else instance[key] = value end
  end
  for key in next, worker_options do
    if o[key] == nil then o[key] = own[key] end
  end
  o = check.options(o, worker_options, name)
  o.backend = process.choose(instance.backend or own.backend, name, own.__backend)
  instance.backend = nil
  local p = process.make(o, instance.run or own.run)
  local extra = core.extra(p)
  extra.launch, extra.object = nil, instance
  instance._process = p
  return setmetatable(instance, instance_metatable(own))
end

-- Running ----------------------------------------------------------------------------------------

-- A copy of the instance for its worker, without the fields that `leave` names.
local function copy(instance, leave)
  local sent = {}
  for key, value in next, instance do
    if key ~= "_process" and not (leave and leave[key]) then sent[key] = value end
  end
  return setmetatable(sent, debug.getmetatable(instance))
end

local function unsendable_fields(instance)
  local found = {}
  for key, value in next, instance do
    if key ~= "_process" and not (pcall(core.encode, key, value)) then found[key] = true end
  end
  return next(found) and found
end

local runner = "moonfleet.class:run"

--- Starts the worker of an instance: its `run` is called with a copy of it.
function class.start(p, instance)
  local name = core.worker_get(p, "name")
  if type(instance.run) ~= "function" then
    check.fail(("cannot start %s: its class has no method 'run'"):format(name))
  end
  local ok, err = pcall(core.worker_start, p, context(), runner, { n = 1, copy(instance) })
  if ok then return end
  local leave = core.is_error(err, "not_sendable") and unsendable_fields(instance)
  if not leave then error(err, 0) end
  core.worker_start(p, context(), runner, { n = 1, copy(instance, leave) })
end

--- In the worker: calls `run`.
function class.run(instance)
  local current = core.current()
  rawset(instance, "_process", current.process or current)
  if current.process then core.extra(current.process).object = instance end
  return instance:run()
end

-- Classes ----------------------------------------------------------------------------------------

--- The metatable of all classes.
class.meta = { __name = "class" }

function class.meta.__index(own, key)
  local parent = rawget(own, "__parent")
  if parent then return parent[key] end
  if key == "extend" then return class.extend end
  return process.methods[key]
end

function class.meta.__call(own, ...)
  if rawget(own, "__parent") then return instantiate(own, (...)) end
  return process.construct(own.__kind, own.__backend, ...)
end

function class.meta.__tostring(own)
  return ("class(%s)"):format(own.__kind)
end

--- A subclass. Its instances, made by calling it with a table of fields, run their method `run`
--- with a copy of themselves; what that returns is the result.
---@param definition table   `run`, further methods, metamethods of the instances, defaults
---@usage local Worker = mf.Process:extend { run = function(self) return self.a + self.b end }
---@usage local worker = Worker { name = "adder", a = 1, b = 2 }
function class.extend(own, definition)
  if type(own) ~= "table" or debug.getmetatable(own) ~= class.meta then
    check.bad(0, "extend", ("class expected, got %s; call it with a colon: mf.Process:extend{...}")
      :format(own == nil and "no value" or check.what(own)))
  end
  check.type(definition, 1, "extend", "table", true)
  local new = { __parent = own }
  for key, value in next, definition or {} do
    if key == "__parent" or key == "__kind" or key == "__backend" or key == "__instance" then
      check.bad(1, "extend", ("the name '%s' is taken"):format(key))
    end
    new[key] = value
  end
  return setmetatable(new, class.meta)
end

--- Process or Thread itself.
---@param kind "Process"|"Thread"
---@param backend string|nil   the default of its workers
function class.base(kind, backend)
  return setmetatable({ __kind = kind, __backend = backend }, class.meta)
end

return class
