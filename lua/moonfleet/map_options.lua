-- The arguments that map, imap and their kin share: checked, and the source opened.

local check = require "moonfleet.check"
local inputs = require "moonfleet.inputs"

local map_options = {}

---@class moonfleet.MapOptions
---@field chunksize? integer   items sent at once; default: chosen from measured task time
---@field window? integer   items in flight, results not yet taken included; default: 4 chunks for
--- each worker
---@field timeout? number   seconds for the call, of imap for each step; then what runs is stopped
---@field task_timeout? number   seconds for each item; default: the pool's
---@field progress? boolean|string   a line on standard error, with this label
---@field on_error? "raise"|"collect"   collect: failed places hold a mf.Error
---@field seed? number   each item gets its own random numbers, whoever runs it
local known = {
  chunksize = "count", window = "count", timeout = "seconds", task_timeout = "seconds",
  progress = true, on_error = true, seed = true,
}

-- What a reduction can use: its tasks are no items of the caller's.
local known_of_reduce = {
  chunksize = "count", window = "count", timeout = "seconds", task_timeout = "seconds",
  progress = true, seed = true,
}

-- An integer that is not 0, which stands for no seed at all; different for different seeds.
local function seed_of(value, name)
  if type(value) ~= "number" then check.bad_option(name, "seed", "number", value) end
  local whole = math.tointeger(value) or ("<i8"):unpack(("<n"):pack(value))
  local mixed = whole ~ 0x4d6f6f6e666c6565
  return mixed ~= 0 and mixed or 0x4d6f6f6e666c6565
end

-- A limit of 0 is one that is over at once, which the runtime would take for none.
local LEAST_S <const> = 1e-6

--- Checks options that limit a task: seconds, nil for none.
function map_options.limit(seconds)
  return seconds and math.max(seconds, LEAST_S)
end

local function check_values(options, name)
  local on_error, progress = options.on_error, options.progress
  if on_error ~= nil and on_error ~= "raise" and on_error ~= "collect" then
    check.bad_option(name, "on_error", "'raise' or 'collect'", on_error)
  end
  if progress ~= nil and type(progress) ~= "boolean" and type(progress) ~= "string" then
    check.bad_option(name, "progress", "boolean or label", progress)
  end
  options.collect = on_error == "collect"
  options.task_timeout = map_options.limit(options.task_timeout)
  if options.seed ~= nil then options.seed = seed_of(options.seed, name) end
end

--- Checks (f, xs, ..., opts, more) of a call; gives the options and the source.
---@param name string   the function that was called
---@param star boolean   items are lists of arguments
---@param n integer   number of the argument opts
---@param count integer   how many arguments stand behind f
---@return table options, table source
function map_options.check(name, star, f, xs, n, opts, count)
  check.func(f, 1, name, count + 1)
  inputs.check_rest(name, n, opts, count - n + 1)
  check.type(opts, n, name, "table", true)
  local all = n > 3 and known_of_reduce or known
  local options = check.options(opts or {}, all, name)
  check_values(options, name)
  return options, inputs.open(xs, name, star, options.collect, count > 0)
end

return map_options
