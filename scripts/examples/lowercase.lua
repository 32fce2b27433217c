-- Lower-cases a text of any length with flat memory: imap reads its input only as fast as its
-- results are taken.
--
--   moonfleet scripts/examples/lowercase.lua [FILE]      without FILE: a text made here
--
-- The result goes to /dev/null here; a real program would write it to a file as it comes.

local mf = require "moonfleet"

local BLOCK <const> = 1 << 20

local function blocks_of(path)
  local file = assert(io.open(path, "rb"))
  return function() return file:read(BLOCK) end
end

local function made_text(count)
  local block = ("The Quick Brown Fox Jumps Over The Lazy Dog.\n"):rep(BLOCK // 45)
  return function()
    count = count - 1
    if count >= 0 then return block end
  end
end

local function memory_mb()
  for line in io.lines("/proc/self/status") do
    local kb = line:match("^VmRSS:%s*(%d+)")
    if kb then return tonumber(kb) // 1024 end
  end
end

local source = arg[1] and blocks_of(arg[1]) or made_text(2000)
local out <close> = assert(io.open("/dev/null", "wb"))
local pool <close> = mf.Pool()

local bytes, peak = 0, 0
for i, text in pool:imap(string.lower, source) do
  out:write(text)
  bytes = bytes + #text
  if i % 50 == 1 then peak = math.max(peak, memory_mb()) end
end
print(("%.0f MB in lower case; this program never had more than %d MB of memory")
  :format(bytes / 1e6, peak))
