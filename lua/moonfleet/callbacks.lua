-- Callbacks: they run in the state that registered them, inside its waiting calls or mf.poll().
--
-- The runtime tells of watched futures (core.on_due), and when it is time to look at those that
-- another state watches, and at the futures of several jobs (later.lua): see poll().

local core = require "moonfleet.core"

local callbacks = {}

-- Future → list of functions. It keeps the future alive until these have run.
local pending = {}
-- Things to look at → function(thing), true when it is to be looked at no more.
local watched = {}

--- Says unasked what must not be lost: to the host if it listens, else on standard error.
---@param level "error"|"warning"
---@param text string
function callbacks.say(level, text)
  if not core.log(level, text) then io.stderr:write(text, "\n") end
end

--- Tells of an error of code that nobody waits for, once.
---@param what string   "error in a callback of submit (a.lua:3)"
---@param err any
---@param traceback? string
function callbacks.report(what, err, traceback)
  local text = ("%s: %s"):format(what, core.error_text(err))
  if traceback then text = ("%s\n%s"):format(text, traceback) end
  callbacks.say("error", text)
end

local function with_traceback(err)
  return { err, debug.traceback(nil, 2) }
end

--- Calls fn(...); an error is reported, and the rest goes on. Ctrl-C is not an error of fn.
---@return boolean   did it return?
function callbacks.run(what, fn, ...)
  local ok, err = xpcall(fn, with_traceback, ...)
  if ok then return true end
  if core.is_error(err[1], "interrupted") then error(err[1], 0) end
  callbacks.report("error in a callback of " .. what, err[1], (err[2]:gsub("^\n", "")))
  return false
end

-- nil: a batch has news, or a future that another state watches has ended: it is time to look.
local function dispatch(future)
  if not future then return callbacks.poll() end
  local list = pending[future]
  pending[future] = nil
  local what = list and list.label or core.future_label(future)
  for _, fn in ipairs(list or {}) do callbacks.run(what, fn, future) end
end

core.on_due(dispatch)

--- Runs the callbacks of a future that is known to have ended, before the runtime tells of it.
function callbacks.ended(future)
  if pending[future] then dispatch(future) end
end

local function has_ended(future)
  if not core.future_status(future) then return false end
  dispatch(future)
  return true
end

--- Calls fn(future) once the future has ended: now, if it has.
---@param future userdata
---@param fn fun(future: userdata)
function callbacks.watch(future, fn)
  local list = pending[future]
  if list then
    list[#list + 1] = fn
    return
  end
  pending[future] = { fn }
  local how = core.future_watch(future)
  if how == "ended" then dispatch(future)
  elseif how == "full" then callbacks.look_at(future, has_ended) end
end

--- Has poll() called when a batch has news; calls fn() now if it has ended.
---@param label string
function callbacks.watch_batch(batch, label, fn)
  if core.batch_watch(batch) == "ended" then callbacks.run(label, fn) end
end

--- Has poll() call look(thing) until that gives true.
function callbacks.look_at(thing, look)
  watched[thing] = look
end

--- Nobody needs to look at this any more.
function callbacks.forget(thing) watched[thing] = nil end

--- Looks at what the runtime does not watch for us. Cheap when there is nothing.
---@return integer   how many have ended
function callbacks.poll()
  if next(watched) == nil then return 0 end
  local all, count = {}, 0
  for thing, look in pairs(watched) do all[thing] = look end
  for thing, look in pairs(all) do
    if look(thing) then
      watched[thing] = nil
      count = count + 1
    end
  end
  return count
end

return callbacks
