-- reduce: workers fold bundles of neighbouring items, one more task folds what came of these.

local core = require "moonfleet.core"
local call = require "moonfleet.call"
local inputs = require "moonfleet.inputs"
local label = require "moonfleet.label"
local map = require "moonfleet.map"
local map_options = require "moonfleet.map_options"

local reduce = {}

local BUNDLES <const> = 4 -- on their way for each worker

-- These two travel to workers, and so name no globals.

local function folding(f)
  return function(list)
    local value = list[1]
    for i = 2, list.n do value = f(value, list[i]) end
    return value
  end
end

local function folding_by_name(name, resolve)
  return function(list)
    local f = resolve(name)
    local value = list[1]
    for i = 2, list.n do value = f(value, list[i]) end
    return value
  end
end

local function folder_of(f)
  if type(f) == "string" then return folding_by_name(f, core.resolve) end
  return folding(f)
end

-- A source of bundles in front of a source of items; both it and its plan count in bundles.
local Bundles = {}
Bundles.__index = Bundles

function Bundles:left()
  if not self.bundle and self.inner:left() == 0 then return 0 end
end

function Bundles:submit(batch, _, _, index, wait)
  local inner = self.inner
  self.bundle = self.bundle or inner:gather(self.plan:next(inner:left()), wait)
  self.starved, self.failure = inner.starved, inner.failure
  if not self.bundle then return 0 end
  core.batch_list(batch, { self.bundle }, 1, 1, 1, false, index)
  self.bundle = nil
  return 1
end

function Bundles:skip() self.bundle = nil end
function Bundles.sample() end
function Bundles.item() end
function Bundles:close() self.inner:close() end

function Bundles.next() return 1 end

function Bundles:room()
  local window = self.plan.window
  return window and math.max(1, window // self.plan.size) or BUNDLES * self.plan.workers
end

function Bundles.saw_item() end
function Bundles.saw_result() end
function Bundles:took(count) self.plan:took(count * self.plan.size) end

local function begin(pool, fold, source, options, text)
  local work = call.new(pool, fold, source, options, {
    label = text, unordered = true, stop = true, each = true,
  })
  work.results = {}
  return work
end

-- The results of the bundles, in order; and when the call's time is over.
local function fold_bundles(pool, fold, source, options, text)
  local work <close> = begin(pool, fold, source, options, text)
  source.plan, work.chunks = work.chunks, source
  local deadline = work:start_clock()
  return map.finish(work, deadline), deadline
end

local function fold_rest(pool, fold, list, options, text, deadline)
  local source = inputs.open({ list }, "reduce", false, false, true)
  local work <close> = begin(pool, fold, source, {
    chunksize = 1, timeout = options.timeout, task_timeout = options.task_timeout,
  }, text)
  return map.finish(work, work:start_clock(deadline))[1]
end

--- pool:reduce. Folds the items with an associative `f`; `init` enters once, first. What is empty
--- gives `init`. Raises the first error of `f`.
---@param pool userdata
---@param f fun(a: any, b: any): any
---@param xs any   see inputs.lua
---@param init any   nil: the first item begins
---@param opts? table
---@return any
function reduce.run(pool, count, f, xs, init, opts)
  local options, inner = map_options.check("reduce", false, f, xs, 4, opts, count)
  local source = setmetatable({ inner = inner }, Bundles)
  local text, fold = label.here("reduce"), folder_of(f)
  local parts, deadline = fold_bundles(pool, fold, source, options, text)
  local n, list = parts.n, {}
  if n == 0 then return init end
  if init ~= nil then list[1] = init end
  list.n = #list + n
  table.move(parts, 1, n, #list + 1, list)
  if list.n == 1 then return list[1] end
  return fold_rest(pool, fold, list, options, text, deadline)
end

return reduce
