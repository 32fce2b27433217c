-- What every benchmark here shares: the other side (Python's multiprocessing, small C programs),
-- repetitions by turns, medians, and one line of the table that all.sh prints.
--
-- A benchmark is a script for the program: moonfleet scripts/bench/NAME.lua. It measures both
-- sides in one run, by turns, so that a slow moment of the machine hits both. BENCH_SCALE=0.1 in
-- the environment makes each run ten times shorter, and its figures worse.

local mf = require "moonfleet"

local bench = {}

bench.folder = arg[0]:match("^(.*)/") or "."
bench.scale = tonumber(os.getenv("BENCH_SCALE")) or 1
bench.rounds = 5

function bench.count(n) return math.max(1, math.floor(n * bench.scale)) end

function bench.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  local middle = (#sorted + 1) // 2
  return #sorted % 2 == 1 and sorted[middle] or (sorted[middle] + sorted[middle + 1]) / 2
end

--- Calls each of the functions once per round, by turns; the medians of what they gave, in order.
function bench.by_turns(functions, rounds)
  local figures = {}
  for k in ipairs(functions) do figures[k] = {} end
  for round = 1, rounds or bench.rounds do
    for k, measure in ipairs(functions) do figures[k][round] = measure() end
  end
  local medians = {}
  for k, list in ipairs(figures) do medians[k] = bench.median(list) end
  return table.unpack(medians)
end

local function number_of(command)
  local pipe <close> = assert(io.popen(command))
  local text = pipe:read("a")
  return tonumber(text:match("%S+")) or error(command .. " gave no number: " .. text)
end

--- A figure of the Python side: peers.py WORK COUNT.
function bench.python(work, count)
  return number_of(("python3 '%s/peers.py' %s %d"):format(bench.folder, work, count))
end

--- A figure of plain Lua: a script of this folder.
function bench.lua(script, count)
  return number_of(("lua5.4 '%s/%s' %d"):format(bench.folder, script, count))
end

--- A function that runs this same benchmark with an argument, in a process of its own, and gives
--- the figure that it prints.
function bench.itself(argument)
  local command = ("'%s' '%s' %s"):format(arg[-1], arg[0], argument)
  return function() return number_of(command) end
end

local lua_flags = "$(pkg-config --cflags --libs lua5.4 2>/dev/null || "
  .. "echo -I/usr/include/lua5.4 -llua5.4)"

--- Compiles a C program of this folder; a function that runs it and gives its figure.
function bench.c_program(name)
  local built = os.tmpname()
  local source = ("%s/%s.c"):format(bench.folder, name)
  local command = ("cc -O2 -D_GNU_SOURCE -o %s '%s' %s -lpthread -lm")
    :format(built, source, lua_flags)
  assert(os.execute(command), "cannot compile " .. source)
  bench.built = setmetatable({}, { __gc = function() os.remove(built) end })
  return function(arguments) return number_of(("%s %s"):format(built, arguments)) end
end

--- Messages per second through a queue, from a worker of this kind to the main state.
--- produce(q, count) runs in the worker, consume(q, count) here, from the second message on.
function bench.stream(kind, options, count, produce, consume)
  local queue = mf.Queue(options)
  local worker = kind(produce, queue, count)
  worker:start()
  consume(queue, 1)
  local started = mf.time()
  consume(queue, count - 1)
  local seconds = mf.time() - started
  worker:join()
  worker:close()
  queue:close()
  return (count - 1) / seconds
end

--- Seconds from the start of a worker of this kind, which does nothing, to its end; the median.
function bench.start_and_join(kind, count)
  local times = {}
  for i = 1, count do
    local started = mf.time()
    local worker = kind(function() end)
    worker:start()
    worker:join()
    times[i] = mf.time() - started
    worker:close()
  end
  return bench.median(times)
end

local prefixes = { { 1e9, "G" }, { 1e6, "M" }, { 1e3, "k" } }

--- 8300000, "/s" -> "8.30 M/s"
function bench.show(value, unit)
  for _, prefix in ipairs(prefixes) do
    if value >= prefix[1] then return ("%.2f %s%s"):format(value / prefix[1], prefix[2], unit) end
  end
  return ("%.3g %s"):format(value, unit)
end

function bench.show_seconds(s)
  if s >= 1 then return ("%.2f s"):format(s) end
  if s >= 1e-3 then return ("%.2f ms"):format(s * 1e3) end
  if s >= 1e-6 then return ("%.2f us"):format(s * 1e6) end
  return ("%.0f ns"):format(s * 1e9)
end

function bench.line(work, ours, peer, ratio, floor, verdict)
  print(("%-44s %12s %12s %9s %9s  %s"):format(work, ours, peer, ratio, floor, verdict))
  io.stdout:flush()
end

local function verdict(reached) return reached and "reached" or "BELOW" end

--- A rate: the more, the better. It must be `floor` times the peer's.
function bench.rate_row(work, ours, peer, floor, unit)
  local ratio = ours / peer
  bench.line(work, bench.show(ours, unit or "/s"), bench.show(peer, unit or "/s"),
    ("%.2f x"):format(ratio), (">= %g x"):format(floor), verdict(ratio >= floor))
end

--- A time that must be `floor` times shorter than the peer's.
function bench.faster_row(work, ours, peer, floor)
  local ratio = peer / ours
  bench.line(work, bench.show_seconds(ours), bench.show_seconds(peer), ("%.2f x"):format(ratio),
    (">= %g x"):format(floor), verdict(ratio >= floor))
end

--- A time that may be at most `limit` times the peer's.
function bench.cost_row(work, ours, peer, limit)
  local ratio = ours / peer
  bench.line(work, bench.show_seconds(ours), bench.show_seconds(peer), ("%.3f x"):format(ratio),
    ("<= %g x"):format(limit), verdict(ratio <= limit))
end

--- A rate that must be at least `least` by itself, whatever the peer's.
function bench.least_row(work, ours, peer, least, unit)
  bench.line(work, bench.show(ours, unit or "/s"), bench.show(peer, unit or "/s"),
    ("%.2f x"):format(ours / peer), ">= " .. bench.show(least, unit or "/s"),
    verdict(ours >= least))
end

--- A time that may be at most `most` by itself, whatever the peer's.
function bench.time_row(work, ours, peer, most)
  bench.line(work, bench.show_seconds(ours), bench.show_seconds(peer),
    ("%.2f x"):format(ours / peer), "<= " .. bench.show_seconds(most), verdict(ours <= most))
end

--- Work done twice at once: `one` is the time of one worker, `two` that of two side by side.
function bench.speed_up_row(work, two, one, floor)
  local ratio = 2 * one / two
  bench.line(work, bench.show_seconds(two), bench.show_seconds(one), ("%.2f x"):format(ratio),
    (">= %g x"):format(floor), verdict(ratio >= floor))
end

--- The kinds of workers that a row is measured with, and their names in the table.
bench.kinds = { { "processes", mf.Process }, { "threads", mf.Thread } }

return bench
