-- Iterators: one callable object that yields (i, values...), with close() and <close>.
--
-- A finished or closed iterator yields nil for ever. An iterator has no finalizer: what it holds
-- (a batch, another iterator) gives itself back when it is collected.

local iterator = {}

local Iterator = { __name = "Iterator", moonfleet = "Iterator" }
Iterator.__index = Iterator

-- The end closes it, so that what it holds goes at once.
local function pass(self, i, ...)
  if i == nil then self:close() end
  return i, ...
end

function Iterator:__call()
  local step = self.step
  if not step then return nil end
  return pass(self, step(self))
end

--- Lets go of what is behind the iterator; it yields nothing any more. Twice is harmless.
function Iterator:close()
  local release = self.release
  self.step, self.release = nil, nil
  if release then release(self) end
end

Iterator.__close = Iterator.close

function Iterator:__tostring()
  return ("Iterator(%s%s)"):format(self.what, self.step and "" or ", closed")
end

--- Makes an iterator.
---@param what string   what its text says
---@param step fun(self): integer?, ...   yields (i, values...), nil at the end
---@param release? fun(self)   called once, at its end or close
function iterator.new(what, step, release)
  return setmetatable({ what = what, step = step, release = release }, Iterator)
end

--- What a function that makes an iterator returns, for a generic `for` that closes it.
function iterator.results(it) return it, nil, nil, it end

--- Is the value an iterator of Moonfleet, whoever made it?
function iterator.is(value)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, "moonfleet") == "Iterator"
end

return iterator
