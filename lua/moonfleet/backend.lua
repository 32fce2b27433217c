-- Which kind of worker is made when nobody says so at the spot. The nearer word wins:
-- an option > mf.with > mf.set_backend > the program's --backend > MOONFLEET_BACKEND > "process".
-- A worker inherits what was set where it was started.

local core = require "moonfleet.core"
local check = require "moonfleet.check"

local backend = {}

local names = { process = true, thread = true, serial = true }
local list = "'process', 'thread' or 'serial'"

-- set: by set_backend; program, jobs: by the program's options.
local own = { set = nil, program = nil, jobs = nil }

local function inherited(key)
  local context = core.context and core.context()
  return context and context[key]
end

--- A backend's name; raises "bad argument #n to 'name' (backend 'process' ... expected, got ...)".
---@param value any
---@param n integer|nil
---@param name string
---@return "process"|"thread"|"serial"
function backend.check(value, n, name)
  if names[value] then return value end
  local got = type(value) == "string" and ("'%s'"):format(value) or check.what(value)
  check.bad(n, name, ("backend %s expected, got %s"):format(list, got))
end

--- mf.set_backend: the default of this state and of the workers that it starts from now on.
---@param value "process"|"thread"|"serial"   serial: pools only, workers stay processes
---@usage mf.set_backend("thread")
function backend.set_backend(value)
  own.set = backend.check(value, 1, "set_backend")
end

--- The program's options.
---@param options { backend?: string, jobs?: integer }   jobs: size of the default pool
function backend.set_program(options)
  own.program = options.backend and backend.check(options.backend, nil, "--backend")
  own.jobs = options.jobs
end

--- The size of pools that nobody has said: -j, or the number of usable CPUs.
---@return integer
function backend.pool_size()
  return own.jobs or inherited("jobs") or core.cpu_count()
end

local function of_environment()
  local value = os.getenv("MOONFLEET_BACKEND")
  if not value or value == "" then return "process" end
  if names[value] then return value end
  check.fail(("the variable MOONFLEET_BACKEND is '%s' (%s expected)"):format(value, list))
end

local function chosen()
  return own.set or inherited("backend") or own.program or of_environment()
end

--- The backend of a pool.
---@param option string|nil   from the options table, checked
---@param default string|nil   of mf.with's module
---@return "process"|"thread"|"serial"
function backend.of_pool(option, default)
  return option or default or chosen()
end

--- The backend of a worker: where pools are serial, a process.
---@param option string|nil
---@param default string|nil
---@return "process"|"thread"
function backend.of_worker(option, default)
  local value = option or default or chosen()
  return value == "serial" and "process" or value
end

--- What workers inherit: fields of their context.
---@return string|nil backend
---@return integer|nil jobs
function backend.inheritance()
  return own.set or inherited("backend") or own.program, own.jobs or inherited("jobs")
end

return backend
