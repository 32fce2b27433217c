-- The end of a state: of the script, or of a worker. Called by the C half before it closes one in
-- which a part of Moonfleet is loaded that has workers to look after.

local core = require "moonfleet.core"

local exit = {}

local function stop(children, signal)
  for _, p in ipairs(children) do core.worker_stop(p, signal) end
  for _, p in ipairs(children) do core.worker_join(p) end
end

local function split(children)
  local lasting, daemons = {}, {}
  for _, p in ipairs(children) do
    local list = core.worker_get(p, "daemon") and daemons or lasting
    list[#list + 1] = p
  end
  return lasting, daemons
end

local done = false

--- Flushes standard output, joins the workers that are no daemons, has the pools say what they
--- leave unfinished, terminates daemons. May raise what a wait raises (interrupted). Only the first
--- call does anything.
function exit.at_exit()
  if done then return end
  done = true
  core.flush()
  local lasting, daemons = split(core.children())
  while #lasting > 0 do
    for _, p in ipairs(lasting) do core.worker_join(p) end
    lasting, daemons = split(core.children())
  end
  local pool = package.loaded["moonfleet.pool"]
  if pool and pool.at_exit then pool.at_exit() end
  stop(daemons, 15)
end

-- Stock Lua closes a state without a word to us but by finalizers, the latest object first. So each
-- new pool is followed by a guard, which then comes before it and still finds it whole. In workers
-- the C half calls at_exit itself, where they end in order.
local guard

local meta = {
  __gc = function(self)
    if self == guard then exit.at_exit() end
  end,
}

--- To be called when a pool has been made.
function exit.arm()
  if not core.is_worker then guard = setmetatable({}, meta) end
end

return exit
