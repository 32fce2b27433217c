-- What workers do and have done: mf.stats(), and the table that `moonfleet --stats` prints.

local core = require "moonfleet.core"

local stats = {}

--- What all workers of this program do and have done: threads, processes, those of pools, nested
--- ones. The main state is none of them. Each row is true of some moment, without anybody being
--- stopped for it.
---@return mf.Stats
---@usage for _, w in ipairs(mf.stats().workers) do print(w.name, w.state, w.task) end
function stats.stats() return core.stats() end

local units = { "bytes", "KiB", "MiB", "GiB", "TiB" }

local function size(bytes)
  local unit, value = 1, bytes
  while value >= 1024 and unit < #units do
    unit, value = unit + 1, value / 1024
  end
  return (unit == 1 and "%d %s" or "%.1f %s"):format(value, units[unit])
end

local function count(n, what)
  return ("%d %s%s"):format(n, what, n == 1 and "" or "s")
end

local titles <const> = { "name", "backend", "pid", "state", "tasks", "busy s", "task" }

local function row_of(w)
  return { w.name, w.backend, tostring(w.pid or "-"), w.state or "ended", ("%d"):format(w.tasks),
    ("%.3f"):format(w.busy), w.task or "" }
end

local function columns_of(rows)
  local widths = {}
  for _, row in ipairs(rows) do
    for i, text in ipairs(row) do widths[i] = math.max(widths[i] or 0, utf8.len(text) or #text) end
  end
  return widths
end

local function line_of(row, widths)
  local parts = {}
  for i, text in ipairs(row) do
    parts[i] = text .. (" "):rep(widths[i] - (utf8.len(text) or #text))
  end
  return (table.concat(parts, "  "):gsub(" +$", ""))
end

--- The same as a table for people.
---@return string
function stats.text()
  local all = stats.stats()
  local lines = { ("%s, %s, %.3f s busy; %s, %s; %s of shared memory"):format(
    count(#all.workers, "worker"), count(all.tasks, "task"), all.busy,
    count(all.messages, "message"), size(all.bytes), size(all.shared_bytes)) }
  if #all.workers + #all.ended > 0 then
    local rows = { titles }
    for _, list in ipairs { all.ended, all.workers } do
      for _, w in ipairs(list) do rows[#rows + 1] = row_of(w) end
    end
    local widths = columns_of(rows)
    for _, row in ipairs(rows) do lines[#lines + 1] = line_of(row, widths) end
  end
  return table.concat(lines, "\n") .. "\n"
end

-- The program's --stats ---------------------------------------------------------------------------

local told = false

local function tell()
  if told then return end
  told = true
  io.stderr:write(stats.text())
end

--- The script calls os.exit: the table says what is there at that moment.
function stats.arm() core.on_exit(tell) end

--- The script has ended: its workers that are no daemons are waited for first.
function stats.finish()
  local ok, err = pcall(require("moonfleet.exit").at_exit)
  tell()
  if not ok then error(err, 0) end
end

return stats
