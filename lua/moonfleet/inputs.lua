-- What map, imap and their kin take for input, made one thing: a source.
--
--   source.count                 how many items it has in all; nil: nobody knows
--   source:left()                how many are left, nil: nobody knows; 0 once it has ended
--   source:submit(batch, n, chunksize, index)   makes jobs of its next items, at most n
--                                → how many; 0: it has ended, or (source.starved) has none now
--   source:gather(n, wait)       its next items, at most n, as one list with `n`; nil: see submit
--   source:skip()                drops the next item, which could not be sent
--   source:sample()              the next item or the last one, if one is at hand
--   source:item(index)           an item submitted, by its index in the whole call
--   source:forget(index)         nobody will ask for this one any more
--   source:close()
--   source.failure               { what the input raised }, found when it had ended
--
-- A submit that raises not_sendable has taken nothing when n is at most chunksize.

local core = require "moonfleet.core"
local check = require "moonfleet.check"
local iterator = require "moonfleet.iterator"

local inputs = {}

-- Lists ------------------------------------------------------------------------------------------

local List = {}
List.__index = List

function List:left() return self.count - self.at + 1 end

function List:submit(batch, n, chunksize, index)
  local count = math.min(n, self.count - self.at + 1)
  if count <= 0 then return 0 end
  core.batch_list(batch, self.list, self.at, self.at + count - 1, chunksize, self.star, index)
  self.at = self.at + count
  return count
end

function List:gather(n)
  local count = math.min(n, self.count - self.at + 1)
  if count <= 0 then return nil end
  local list = table.move(self.list, self.at, self.at + count - 1, 1, { n = count })
  self.at = self.at + count
  return list
end

function List:skip() self.at = self.at + 1 end
function List:item(index) return self.list[index] end
function List:sample() return self.list[self.at] end
function List.forget() end
function List:close() self.at = self.count + 1 end

local function open_list(list, count, star)
  return setmetatable({ list = list, at = 1, count = count, star = star }, List)
end

-- Ranges -----------------------------------------------------------------------------------------

local Range = {}
Range.__index = Range

function Range:left() return self.range.count - self.range.taken end

function Range:submit(batch, n, chunksize, index)
  local range = self.range
  local count = math.min(n, self:left())
  if count <= 0 then return 0 end
  local first = range.first + range.taken * range.step
  core.batch_range(batch, first, range.step, count, chunksize, index)
  range.taken = range.taken + count
  return count
end

function Range:gather(n)
  local range, list = self.range, {}
  local count = math.min(n, self:left())
  if count <= 0 then return nil end
  for i = 1, count do list[i] = range.first + (range.taken + i - 1) * range.step end
  range.taken, list.n = range.taken + count, count
  return list
end

function Range:skip() self.range.taken = self.range.taken + 1 end
function Range:item(index) return self.base + (index - 1) * self.range.step end
function Range.sample() end
function Range.forget() end
function Range.close() end

-- It is not used up, so that it may be an input again and again: what was yielded by itself is left
-- out, unless that run is over.
local function open_range(it)
  local from, taken = it.range, it.step and it.range.taken or 0
  local range = { first = from.first, step = from.step, count = from.count, taken = taken }
  return setmetatable({
    range = range, count = range.count - taken, base = range.first + taken * range.step,
  }, Range)
end

-- What is read step by step ----------------------------------------------------------------------

local Stream = {}
Stream.__index = Stream

-- Reads on until `n` items wait in the buffer. `wait`: seconds for an input that may wait.
local function read_on(self, n, wait)
  local read, buffer = self.read, self.buffer
  for at = self.first + self.waiting, self.first + n - 1 do
    local goes_on, item = read(self, wait)
    if not goes_on then return end
    buffer[at] = item
    self.waiting = self.waiting + 1
    wait = 0 -- what is there is taken along, no more
  end
end

local function fill(self, n, wait)
  if self.ended or self.waiting >= n then return end
  self.starved = false
  if self.waiting > 0 then wait = 0 end
  local ok, err = pcall(read_on, self, n, wait)
  if ok then return end
  if core.is_error(err, "interrupted") then error(err, 0) end
  self.ended, self.failure = true, { err }
end

function Stream:left()
  if self.ended then return self.waiting end
end

function Stream:submit(batch, n, chunksize, index, wait)
  fill(self, n, wait)
  local count = math.min(n, self.waiting)
  if count == 0 then return 0 end
  local first = self.first
  core.batch_list(batch, self.buffer, first, first + count - 1, chunksize, self.star, index)
  self:pass(count, index)
  return count
end

function Stream:gather(n, wait)
  fill(self, n, wait)
  local count = math.min(n, self.waiting)
  if count == 0 then return nil end
  local list = table.move(self.buffer, self.first, self.first + count - 1, 1, { n = count })
  self:pass(count)
  return list
end

-- The next `count` items of the buffer are submitted: the first has this index.
function Stream:pass(count, index)
  local first = self.first
  if self.kept then table.move(self.buffer, first, first + count - 1, index, self.kept) end
  self.last = self.buffer[first + count - 1]
  self.first, self.waiting = first + count, self.waiting - count
  if self.waiting == 0 then self.buffer, self.first = {}, 1 end
end

--- Reads all of an input that ends.
function Stream:read_all()
  fill(self, math.maxinteger // 2)
end

function Stream:skip(index) self:pass(1, index) end
function Stream:sample() return self.last end
function Stream:item(index) return self.kept and self.kept[index] end

function Stream:forget(index)
  if self.kept then self.kept[index] = nil end
end

function Stream:close()
  self.ended, self.buffer, self.waiting = true, {}, 0
  if self.chained then self.chained:close() end
end

local function end_of(self)
  self.ended = true
  return false
end

-- Readers give true and an item; false at the end or (starved) when there is none now.
local function read_callable(self)
  local item = self.input()
  if item == nil then return end_of(self) end
  return true, item
end

local function read_iterator(self)
  local i, value = self.input()
  if i == nil then return end_of(self) end
  return true, value
end

local function pack_step(self, i, ...)
  if i == nil then return end_of(self) end
  return true, table.pack(...)
end

local function read_steps(self) return pack_step(self, self.input()) end

local function read_queue(self, wait)
  local value, reason
  if wait == 0 then value, reason = self.input:get_nowait()
  else value, reason = self.input:get(wait) end
  if reason == nil then return true, value end
  if reason == "closed" then return end_of(self) end
  self.starved = true
  return false
end

local function open_stream(input, read, star, keep)
  return setmetatable({
    input = input, read = read, star = star, kept = keep and {} or nil,
    buffer = {}, first = 1, waiting = 0,
  }, Stream)
end

-- Telling inputs apart ---------------------------------------------------------------------------

local REMEDY <const> = "; to run over what a generic 'for' takes, use mf.iter(pairs(t))"

local function open_iterator(it, star, keep)
  if it.range and not star then return open_range(it) end
  local source = open_stream(it, it.has_steps and star and read_steps or read_iterator, star, keep)
  source.chained = it
  return source
end

local function open_table(list, name, star)
  local n = math.tointeger(rawget(list, "n"))
  local count = n and n >= 0 and n or #list
  if count == 0 and not n and next(list) ~= nil then
    check.bad(2, name, "list expected, got a table with keys only" .. REMEDY)
  end
  return open_list(list, count, star)
end

-- Shared objects that can be an input, by kind.
local openers = {}

function openers.Queue(queue, _, star, keep)
  local source = open_stream(queue, read_queue, star, keep)
  source.waits = true
  return source
end

function openers.Array(array, _, star) return open_list(array, #array, star) end

local function refuse(xs, name, given)
  check.bad(2, name, ("list, iterator or function expected, got %s")
    :format(given and check.what(xs) or "no value"))
end

--- Makes a source of an input, or raises what is wrong with it at the user's line.
---@param xs any
---@param name string   the function that was called
---@param star boolean   items are lists of arguments
---@param keep boolean   items will be asked for: item(index)
---@param given boolean   was there an argument?
function inputs.open(xs, name, star, keep, given)
  local opener = openers[core.type(xs)]
  if opener then return opener(xs, name, star, keep) end
  if iterator.is(xs) then return open_iterator(xs, star, keep) end
  if xs == next then check.bad(2, name, "list or iterator expected, got 'next'" .. REMEDY) end
  if check.is_callable(xs) then return open_stream(xs, read_callable, star, keep) end
  if type(xs) == "table" then return open_table(xs, name, star) end
  refuse(xs, name, given)
end

--- Raises where something stands behind a table of options: then it is a generic for's triple.
function inputs.check_rest(name, n, opts, behind)
  if opts ~= nil and behind > 0 then
    check.bad(n, name, ("options expected, got what follows an iterator function%s"):format(REMEDY))
  end
end

return inputs
