-- Counts the words of every text file below some folders: once serially, then on all cores.
--
--   moonfleet scripts/examples/wordcount.lua [FOLDER ...]
--
-- Without folders it takes an even sample of /usr/include and /usr/share. The counting itself,
-- count_batch, is an ordinary function: the serial run calls it, the parallel run hands it to a
-- pool. Both must find the same words.

local mf = require "moonfleet"

local SAMPLE_BYTES <const> = 128 << 20 -- without folders: no more than about this much
local BATCH_BYTES <const> = 4 << 20 -- one task: files of about this size together
local BLOCK_BYTES <const> = 1 << 20 -- read at once, so that a huge file needs little memory
local LOOK_BYTES <const> = 8192 -- a file with a zero byte in its beginning is no text
local WORD <const> = "[%a\128-\255]+" -- letters, and whatever UTF-8 spells with other bytes

-- Adds the words of one open file to `counts`; false when the file is not text.
local function count_file(file, counts)
  local text = file:read(LOOK_BYTES)
  if text and text:find("\0", 1, true) then return false end
  while text do
    text = text .. (file:read("L") or "") -- up to the end of a line: no word is cut in two
    for word in text:lower():gmatch(WORD) do counts[word] = (counts[word] or 0) + 1 end
    text = file:read(BLOCK_BYTES)
  end
  return true
end

-- One task: the counts of a batch's files, and how many of these were not text or not readable.
local function count_batch(batch)
  local counts, skipped = {}, 0
  for _, path in ipairs(batch) do
    local file <close> = io.open(path, "rb")
    if not (file and count_file(file, counts)) then skipped = skipped + 1 end
  end
  return counts, skipped
end

-- All regular files below the folders, as {path=, size=}, sorted so that each run sees the same.
local function list_files(folders)
  local quoted = {}
  for i, folder in ipairs(folders) do quoted[i] = "'" .. folder:gsub("'", [['\'']]) .. "'" end
  local find = assert(io.popen("find -H " .. table.concat(quoted, " ")
    .. " -type f -readable -printf '%s %p\\0'"))
  local files = {}
  for size, path in find:read("a"):gmatch("(%d+) (%Z+)") do
    files[#files + 1] = { path = path, size = tonumber(size) }
  end
  if not find:close() then io.stderr:write("(find could not look into every folder)\n") end
  table.sort(files, function(a, b) return a.path < b.path end)
  return files
end

local function total_size(files)
  local total = 0
  for _, file in ipairs(files) do total = total + file.size end
  return total
end

-- Every k-th file, with k such that about `limit` bytes remain.
local function sample(files, limit)
  local step = math.max(1, math.ceil(total_size(files) / limit))
  local taken = {}
  for i = 1, #files, step do taken[#taken + 1] = files[i] end
  return taken
end

-- Lists of paths, each list with about BATCH_BYTES to read; the biggest first, so that no core
-- waits at the end for a big one that was begun last.
local function make_batches(files)
  local batches, batch = {}, nil
  for _, file in ipairs(files) do
    if not batch or batch.size + file.size > BATCH_BYTES then
      batch = { size = 0 }
      batches[#batches + 1] = batch
    end
    batch[#batch + 1] = file.path
    batch.size = batch.size + file.size
  end
  table.sort(batches, function(a, b)
    if a.size ~= b.size then return a.size > b.size end
    return a[1] < b[1]
  end)
  return batches
end

-- Reads all once, so that both runs find the files in the page cache and their times compare.
local function warm_up(files)
  for _, entry in ipairs(files) do
    local file <close> = io.open(entry.path, "rb")
    while file and file:read(BLOCK_BYTES) do end
  end
end

local function merge(into, counts)
  for word, n in pairs(counts) do into[word] = (into[word] or 0) + n end
end

-- Says how far it is: on a terminal in a line that is written over, elsewhere in a line of its own
-- every few seconds and at the end.
local function progress_line(label, total)
  local terminal = os.execute "test -t 2"
  local pause, before, behind = 5, "", "\n"
  if terminal then pause, before, behind = 0.2, "\r", "" end
  local done, started = 0, mf.time()
  local due = started + pause
  return function(bytes)
    done = done + bytes
    local now, ended = mf.time(), done >= total
    if now < due and not ended then return end
    due = now + pause
    io.stderr:write(before, ("%s %3.0f %% of %.1f MB, %.1f s"):format(label,
      total > 0 and done / total * 100 or 100, total / 1e6, now - started), behind)
    if terminal and ended then io.stderr:write("\n") end
  end
end

local function run_serial(batches, total)
  local all, skipped, progress = {}, 0, progress_line("one core: ", total)
  for _, batch in ipairs(batches) do
    local counts, n = count_batch(batch)
    merge(all, counts)
    skipped = skipped + n
    progress(batch.size)
  end
  return all, skipped
end

local function run_parallel(batches, total)
  local all, skipped, progress = {}, 0, progress_line("all cores:", total)
  local pool <close> = mf.Pool()
  for i, counts, n in pool:imap_unordered(count_batch, batches, { chunksize = 1 }) do
    merge(all, counts)
    skipped = skipped + n
    progress(batches[i].size)
  end
  return all, skipped
end

local function same(a, b)
  for word, n in pairs(a) do if b[word] ~= n then return false, word end end
  for word in pairs(b) do if not a[word] then return false, word end end
  return true
end

local function print_top(counts, n)
  local words = {}
  for word in pairs(counts) do words[#words + 1] = word end
  table.sort(words, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return a < b
  end)
  for i = 1, math.min(n, #words) do print(("%10d  %s"):format(counts[words[i]], words[i])) end
  return #words
end

local function timed(fn, ...)
  local started = mf.time()
  local all, skipped = fn(...)
  return mf.time() - started, all, skipped
end

local function main(folders)
  local files
  if #folders > 0 then
    files = list_files(folders)
  else
    files = sample(list_files { "/usr/include", "/usr/share" }, SAMPLE_BYTES)
  end
  local batches, total = make_batches(files), total_size(files)
  warm_up(files)
  local serial_s, serial, skipped = timed(run_serial, batches, total)
  local parallel_s, parallel, skipped_too = timed(run_parallel, batches, total)
  local agree, word = same(serial, parallel)
  assert(agree and skipped == skipped_too, "the two runs differ, at the word " .. tostring(word))

  local distinct = print_top(parallel, 20)
  print(("%d files, %.1f MB, %d of them not text; %d different words; both runs agree")
    :format(#files, total / 1e6, skipped, distinct))
  print(("one core %.2f s, all %d cores %.2f s: %.2f times as fast")
    :format(serial_s, mf.cpu_count(), parallel_s, serial_s / parallel_s))
end

main(arg)
