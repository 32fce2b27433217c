-- How far a call has come, as lines on standard error: for now in the plain form, one line each
-- ten seconds and one at the end.

local core = require "moonfleet.core"

local progress = {}

local bar = { __name = "Progress", moonfleet = "Progress" }
bar.__index = bar

local interval = 10 -- seconds between lines where nobody looks at a terminal

local function clock(seconds)
  local s = math.floor(seconds + 0.5)
  if s < 3600 then return ("%02d:%02d"):format(s // 60, s % 60) end
  return ("%d:%02d:%02d"):format(s // 3600, s // 60 % 60, s % 60)
end

local function number(x)
  return (x >= 100 and "%.0f" or x >= 1 and "%.1f" or "%.3f"):format(x)
end

local function line(self, now)
  local elapsed = now - self.began
  local rate = elapsed > 0 and self.count / elapsed or 0
  local text = ("%s: %d"):format(self.desc, self.count)
  if self.total then
    local percent = self.total > 0 and 100 * self.count // self.total or 100
    text = ("%s/%d (%d%%)"):format(text, self.total, percent)
  end
  text = ("%s in %s, %s %s/s"):format(text, clock(elapsed), number(rate), self.unit)
  if self.total and self.count < self.total and rate > 0 then
    text = ("%s, %s left"):format(text, clock((self.total - self.count) / rate))
  end
  self.file:write(text, "\n")
  self.file:flush()
  self.shown = now
end

--- Counts `n` more as done.
---@param n? integer   default 1
function bar:update(n)
  self.count = self.count + (n or 1)
  local now = core.time()
  if now - self.shown >= self.interval then line(self, now) end
end

--- Another label.
---@param desc string
function bar:set_description(desc) self.desc = desc end

--- The last line. Twice is harmless.
function bar:close()
  if self.closed then return end
  self.closed = true
  line(self, core.time())
end

bar.__close = bar.close

--- A new one.
---@param options { desc?: string, total?: integer, unit?: string, mininterval?: number }
function progress.new(options)
  local now = core.time()
  return setmetatable({
    desc = options.desc or "progress",
    total = options.total,
    unit = options.unit or "items",
    file = options.file or io.stderr,
    interval = math.max(options.mininterval or 0.1, interval),
    count = 0,
    began = now,
    shown = now,
  }, bar)
end

--- That of a pool's call.
---@param total integer|nil
---@param label string|nil
function progress.bar(total, label)
  return progress.new { total = total, desc = label }
end

return progress
