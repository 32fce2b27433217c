-- How many items make a chunk, and how many may be on their way.
--
-- A fixed size is what the caller said. An automatic one begins with single items and grows until
-- a chunk takes some milliseconds: every round (as many chunks as there are workers) tells the
-- time of an item, as all workers were at work. Near a known end chunks shrink again, so that all
-- workers end together. Chunks of large strings stay small: beyond some size a chunk gains nothing
-- and only takes memory.

local core = require "moonfleet.core"

local chunks = {}

local AIM_S <const> = 0.005 -- a chunk is to take about this long
local GROWTH <const> = 16 -- at most so much larger or smaller than those of the last round
local LARGEST <const> = 1 << 16
local DEPTH <const> = 4 -- chunks on their way for each worker
local AIM_BYTES <const> = 256 << 10 -- nor is a chunk to be larger than about this

local Chunks = {}
Chunks.__index = Chunks

--- Items for the next chunk.
---@param left integer|nil   items left; nil: nobody knows
function Chunks:next(left)
  local size = self.size
  if self.fixed then return size end
  size = math.min(size, self.in_bound, self.out_bound)
  if not left then return size end
  local share = left // (2 * self.workers)
  return math.max(1, size // GROWTH, math.min(size, share))
end

--- How many items may be on their way.
function Chunks:room()
  return self.window or DEPTH * self.workers * self:next()
end

local function bound_of(value)
  return type(value) == "string" and math.max(1, AIM_BYTES // (#value + 1)) or math.huge
end

--- An item of a chunk that was submitted; others are taken to be like it.
function Chunks:saw_item(value) self.in_bound = bound_of(value) end

--- A result of a chunk that came back.
function Chunks:saw_result(value) self.out_bound = bound_of(value) end

local function begin_round(self, now)
  self.round_items, self.round_chunks, self.round_start = 0, 0, now
end

--- A chunk of so many items has come back.
function Chunks:took(items)
  if self.fixed then return end
  self.round_items, self.round_chunks = self.round_items + items, self.round_chunks + 1
  if self.round_chunks < self.workers then return end
  local now = core.time()
  local per_item = (now - self.round_start) * self.workers / self.round_items
  local size = self.size
  local wish = per_item > 0 and AIM_S / per_item or LARGEST
  wish = math.max(size / GROWTH, math.min(wish, size * GROWTH, self.largest))
  self.size = math.max(1, math.floor(wish))
  begin_round(self, now)
end

--- Plans the chunks of one call.
---@param fixed integer|nil   the caller's chunksize
---@param window integer|nil   the caller's window
---@param workers integer
function chunks.new(fixed, window, workers)
  local largest = window and math.max(1, window // (2 * workers)) or LARGEST
  local self = setmetatable({
    fixed = fixed ~= nil, window = window, workers = workers, largest = largest,
    size = fixed and math.min(fixed, largest) or 1, in_bound = math.huge, out_bound = math.huge,
  }, Chunks)
  begin_round(self, core.time())
  return self
end

return chunks
