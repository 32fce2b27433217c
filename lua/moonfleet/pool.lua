-- Pools: making one, its methods, what happens at its end. The work itself: map.lua, imap.lua,
-- reduce.lua, future.lua.

local core = require "moonfleet.core"
local backend = require "moonfleet.backend"
local broken = require "moonfleet.broken"
local callbacks = require "moonfleet.callbacks"
local check = require "moonfleet.check"
local context = require "moonfleet.context"
local exit = require "moonfleet.exit"
local future = require "moonfleet.future"
local imap = require "moonfleet.imap"
local label = require "moonfleet.label"
local map = require "moonfleet.map"
local map_options = require "moonfleet.map_options"

local pool = {}

local methods = {}

-- Those of this state, for what is to be said at its end.
local all = setmetatable({}, { __mode = "k" })

-- Making -----------------------------------------------------------------------------------------

local known = {
  workers = "number_of_workers", processes = "workers", max_workers = "workers", backend = true,
  initializer = "target", initargs = "table", max_tasks_per_worker = "count",
  maxtasksperchild = "max_tasks_per_worker", task_timeout = "seconds", memory_limit = "count",
  name = "string",
}

-- Longer names would not fit where the runtime keeps them, with the worker's number behind.
local LONGEST_NAME <const> = 40

local MOST_ARGUMENTS <const> = 900000 -- of the million places that a Lua stack has

local function list_of(args)
  args = args or {}
  local n = args.n
  local count = n == nil and #args or math.tointeger(n)
  if not count or count < 0 or count > MOST_ARGUMENTS then
    check.fail(("bad list of arguments (its n is %s; 0 to %d expected)")
      :format(tostring(n or count), MOST_ARGUMENTS))
  end
  return table.pack(table.unpack(args, 1, count))
end

local function check_name(name, option)
  if option and #option > LONGEST_NAME then
    check.bad_option(name, "name", ("text of at most %d bytes"):format(LONGEST_NAME), option)
  end
end

local function options_of(name, count, first)
  if count == 0 or first == nil then return {} end
  if check.is_options(first) then return check.options(first, known, name) end
  if type(first) ~= "number" then
    check.bad(1, name, "number of workers or options expected, got " .. check.what(first))
  end
  return { workers = check.workers(first, 1, name) }
end

--- mf.Pool and mf.ThreadPool: mf.Pool(workers) or a table of options.
---@param name "Pool"|"ThreadPool"   the function that was called
---@param default string|nil   backend of the module that it was called in
---@usage local pool <close> = mf.Pool{ workers = 4, initializer = prepare, initargs = { 5 } }
function pool.new(name, default, ...)
  local options = options_of(name, select("#", ...), (...))
  local kind = options.backend
  if kind ~= nil then backend.check(kind, nil, name) end
  check_name(name, options.name)
  local self = core.pool {
    backend = backend.of_pool(kind, default), name = options.name,
    workers = options.workers or backend.pool_size(),
    max_tasks = options.max_tasks_per_worker, memory_limit = options.memory_limit,
    limit = map_options.limit(options.task_timeout), context = context(),
    initializer = options.initializer, initargs = list_of(options.initargs),
  }
  all[self] = true
  exit.arm()
  return self
end

-- Single tasks -----------------------------------------------------------------------------------

local function submit(self, text, limit, f, args, kwargs)
  return broken.guard(self, text, core.pool_submit, self, text, limit, f, args, kwargs)
end

local function check_self(self, name)
  if core.type(self) ~= "Pool" then check.bad_self(self, "Pool", name) end
  return self
end

local function check_call(name, f, args, kwargs, count)
  check.func(f, 1, name, count)
  check.type(args, 2, name, "table", true)
  check.type(kwargs, 3, name, "table", true)
end

--- Calls f(table.unpack(args)) in a worker, `kwargs` as one table behind the arguments, and gives
--- all results, or raises its error.
---@param f function
---@param args? table   `n` honoured
---@param kwargs? table
---@usage local sum = pool:apply(function(a, b) return a + b end, { 1, 2 })
function methods.apply(self, ...)
  check_self(self, "apply")
  local f, args, kwargs = ...
  check_call("apply", f, args, kwargs, select("#", ...))
  return future.results(submit(self, label.here "apply", nil, f, list_of(args), kwargs))
end

local function check_callback(fn, n)
  if fn ~= nil and not check.is_callable(fn) then check.func(fn, n, "apply_async") end
end

--- The same as a Future. The callbacks run in this state, inside its next waiting call or
--- mf.poll().
---@param f function
---@param args? table
---@param kwargs? table
---@param callback? fun(...)   gets the results
---@param error_callback? fun(err: any)
---@return userdata   Future
function methods.apply_async(self, ...)
  check_self(self, "apply_async")
  local f, args, kwargs, callback, error_callback = ...
  check_call("apply_async", f, args, kwargs, select("#", ...))
  check_callback(callback, 4)
  check_callback(error_callback, 5)
  local task = submit(self, label.here "apply_async", nil, f, list_of(args), kwargs)
  if callback or error_callback then future.call_back(task, callback, error_callback) end
  return task
end

local known_of_submit = {
  target = "target", args = "table", kwargs = "table", task_timeout = "seconds", name = "string",
}

local function submit_options(self, given)
  local o = check.options(given, known_of_submit, "submit")
  if o.target == nil then
    check.bad(nil, "submit", "option 'target': function expected, got nil")
  end
  local limit = map_options.limit(o.task_timeout)
  return submit(self, label.here(o.name or "submit"), limit, o.target, list_of(o.args), o.kwargs)
end

--- Has f(...) run in a worker: a Future. Long form: submit{target=, args=, kwargs=, task_timeout=,
--- name=}. An argument that cannot be sent raises not_sendable here.
---@param f function|table
---@return userdata   Future
---@usage local future = pool:submit(math.max, 3, 5)
function methods.submit(self, f, ...)
  check_self(self, "submit")
  if check.is_options(f) then return submit_options(self, f) end
  check.func(f, 1, "submit", f == nil and 0 or 1)
  return submit(self, label.here "submit", nil, f, table.pack(...))
end

-- Many tasks -------------------------------------------------------------------------------------

--- Applies `f` to every item of `xs` and lists the first result of each call, in input order (`n`
--- set). Raises the first failed item's error, once it is known.
---@param self userdata
---@param f fun(item: any): any
---@param xs any   list, range, queue, iterator or function: see inputs.lua
---@param opts? moonfleet.MapOptions
---@return table
---@usage local squares = pool:map(function(x) return x * x end, { 1, 2, 3 })
function methods.map(self, ...) return map.run(check_self(self, "map"), "map", false, ...) end

--- The same with items that are lists of arguments.
---@usage local sums = pool:starmap(function(a, b) return a + b end, { { 1, 2 }, { 3, 4 } })
function methods.starmap(self, ...)
  return map.run(check_self(self, "starmap"), "starmap", true, ...)
end

--- map as a Future of the list: it begins at once.
function methods.map_async(self, ...)
  return map.run_later(check_self(self, "map_async"), "map_async", false, ...)
end

--- starmap as a Future of the list.
function methods.starmap_async(self, ...)
  return map.run_later(check_self(self, "starmap_async"), "starmap_async", true, ...)
end

--- An iterator of (i, results...) in input order; input is pulled only as fast as results are
--- taken. opts.timeout is that of each step.
---@usage for i, text in pool:imap(string.lower, io.lines(path)) do print(i, text) end
function methods.imap(self, ...)
  return imap.run(check_self(self, "imap"), "imap", false, false, ...)
end

--- The same in the order in which the results come.
function methods.imap_unordered(self, ...)
  return imap.run(check_self(self, "imap_unordered"), "imap_unordered", false, true, ...)
end

--- imap with items that are lists of arguments.
function methods.istarmap(self, ...)
  return imap.run(check_self(self, "istarmap"), "istarmap", true, false, ...)
end

--- Folds the items with an associative `f`; `init` enters once, first.
---@usage local sum = pool:reduce(function(a, b) return a + b end, mf.range(100), 0)
function methods.reduce(self, f, ...)
  check_self(self, "reduce")
  return require "moonfleet.reduce".run(self, select("#", ...), f, ...)
end

--- Runs f(...) once on every worker, those that come later included: the list of first results, or
--- the first error raised.
---@usage pool:everywhere(function(level) log_level = level end, 3)
function methods.everywhere(self, f, ...)
  check_self(self, "everywhere")
  check.func(f, 1, "everywhere", f == nil and 0 or 1)
  return require "moonfleet.everywhere"(self, f, ...)
end

-- Its life ---------------------------------------------------------------------------------------

--- No more tasks; what it has is finished, then its workers leave. Twice is harmless.
function methods.close(self) core.pool_close(check_self(self, "close")) end

--- Ends all tasks as `terminated` and stops the workers. Twice is harmless.
function methods.terminate(self) core.pool_terminate(check_self(self, "terminate")) end

--- Waits until the workers of a closed or terminated pool are gone.
---@param timeout? number   seconds
---@return boolean   true | false, "timeout"
function methods.join(self, timeout)
  check_self(self, "join")
  timeout = check.timeout(timeout, "join")
  if core.pool_get(self, "state") == "open" then
    check.fail("'join' of a pool that is open (call pool:close() or pool:terminate() first)")
  end
  if core.pool_wait(self, true, timeout) then return true end
  return false, "timeout"
end

--- Changes the number of workers; surplus ones leave when they are idle.
---@param n integer   at least 1
function methods.resize(self, n)
  check_self(self, "resize")
  core.pool_resize(self, check.workers(n, 1, "resize"))
end

--- Replaces each worker when it is idle.
function methods.restart(self) core.pool_restart(check_self(self, "restart")) end

--- Counts of workers and tasks.
---@return table   workers, submitted (the sum of the next five), queued, running, done, failed,
--- cancelled, died
function methods.stats(self) return core.pool_stats(check_self(self, "stats")) end

-- The metatable ----------------------------------------------------------------------------------

local metatable = core.metatable "Pool"

local fields = { size = true, name = true, backend = true }

--- Fields: `size` (workers wished for), `name`, `backend`.
function metatable:__index(key)
  local method = methods[key]
  if method then return method end
  if fields[key] then return core.pool_get(self, key) end
  return nil
end

function metatable:__tostring()
  local state, kind = core.pool_get(self, "state"), core.pool_get(self, "backend")
  if kind ~= "serial" then
    local size, plural = core.pool_get(self, "size"), { process = "processes", thread = "threads" }
    kind = ("%d %s"):format(size, size == 1 and kind or plural[kind])
  end
  return ("Pool(%s, %s%s)"):format(core.pool_get(self, "name"), kind,
    state == "open" and "" or ", " .. state)
end

-- The end of a scope: its work is finished; it is terminated when an error is passing.
function metatable:__close(err)
  if err ~= nil then core.pool_terminate(self) else core.pool_close(self) end
  core.pool_wait(self, true)
end

-- The script's end -------------------------------------------------------------------------------

--- Says in one line for each pool what it leaves unfinished. Called when the state ends.
function pool.at_exit()
  callbacks.poll() -- futures of many jobs learn of their ends, and of errors that nobody asks for
  for self in pairs(all) do
    local ok, stats = pcall(core.pool_stats, self) -- one that is being collected has none
    local left = ok and stats.queued + stats.running or 0
    if left > 0 then
      callbacks.say("warning", ("%s left with %d unfinished task%s"):format(
        core.pool_get(self, "name"), left, left == 1 and "" or "s"))
    end
  end
end

pool.methods = methods

return pool
