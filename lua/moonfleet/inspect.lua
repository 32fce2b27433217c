-- Values as a person reads them: what the prompt prints.
--
--   value --[build]--> tree of nodes, bounded --[prepare]--> ids and widths --[write]--> text
--
-- A node is a text, a table, or a reference to a table that is shown elsewhere:
--   { text= }    { open=, entries=, list=, more=, close=, shared= }    { of= }
-- Tables are read raw: of a value's own code nothing is called but __tostring.

local core = require "moonfleet.core"
local quote = require "moonfleet.quote"

local inspect = {}

local WIDTH <const> = 80     -- columns; what is longer is broken into lines
local DEPTH <const> = 32     -- levels of tables that are shown
local ENTRIES <const> = 1000 -- of one table
local ROOM <const> = 200000  -- bytes in all, about
local SHORT <const> = 24     -- columns of elements of which several share a line

-- What has no parts ------------------------------------------------------------------------------

-- Objects whose __tostring we are in: when that asks for their text, it gets their parts.
local asked = setmetatable({}, { __mode = "k" })

-- What the value's __tostring gives; else nil, and why not.
local function told(value)
  asked[value] = true
  local ok, text = pcall(tostring, value)
  asked[value] = nil
  if ok then
    local shown, more = quote.cut(text)
    return more == 0 and shown or ("%s… (%d more bytes)"):format(shown, more)
  end
  if core.is_error(text, "interrupted") then error(text, 0) end
  return nil, type(text) == "string" and quote.text(text) or "a " .. type(text)
end

local function is_better(name, old)
  return not old or #name < #old or #name == #old and name < old
end

-- name of each function that is a field of a loaded module; the shortest, then the first
local function name_functions()
  local names = {}
  for module, fields in next, package.loaded do
    local before = module == "_G" and "" or tostring(module) .. "."
    for key, value in next, type(fields) == "table" and fields or {} do
      if type(value) == "function" and type(key) == "string" then
        local name = before .. key
        if is_better(name, names[value]) then names[value] = name end
      end
    end
  end
  return names
end

local texts = { string = quote.text }

-- Not by tostring: any type may have been given a metatable.
texts["nil"] = function() return "nil" end
function texts.boolean(value) return value and "true" or "false" end

function texts.number(value)
  if math.type(value) == "integer" then return ("%d"):format(value) end
  if value ~= value then return "nan" end
  local text = ("%.14g"):format(value)
  return text:find("^-?[0-9]+$") and text .. ".0" or text
end

texts["function"] = function(value, state)
  local info = debug.getinfo(value, "S")
  if info.what ~= "C" then
    return ("function <%s:%d>"):format(info.short_src, info.linedefined)
  end
  state.names = state.names or name_functions()
  return ("function <%s>"):format(state.names[value] or "C")
end

function texts.thread(value) return ("thread (%s)"):format(coroutine.status(value)) end

function texts.userdata(value)
  if asked[value] then return "userdata" end
  local text, problem = told(value)
  return text or ("userdata (__tostring raised %s)"):format(problem)
end

-- Order of keys ----------------------------------------------------------------------------------

local ranks = { number = 1, string = 2, boolean = 3, table = 4, ["function"] = 5 }

local function less(a, b)
  local kind, other = type(a), type(b)
  if kind ~= other then
    local rank, second = ranks[kind] or 6, ranks[other] or 6
    return rank < second or rank == second and kind < other
  end
  if kind == "number" or kind == "string" then return a < b end
  if kind == "boolean" then return b and not a end
  return ("%p"):format(a) < ("%p"):format(b)
end

-- The least of the keys that are not in the list 1..length, in order, and how many there are in
-- all. A table may be huge: only some are kept at a time.
local function least_keys(value, length, hidden)
  local keys, count, greatest = {}, 0, nil
  for key in next, value do
    local listed = math.type(key) == "integer" and key >= 1 and key <= length
    if not listed and key ~= hidden then
      count = count + 1
      if not greatest or less(key, greatest) then keys[#keys + 1] = key end
      if #keys == 2 * ENTRIES then
        table.sort(keys, less)
        keys = table.move(keys, 1, ENTRIES, 1, {})
        greatest = keys[ENTRIES]
      end
    end
  end
  table.sort(keys, less)
  return keys, count
end

-- Number of the elements from 1 that are there.
local function sequence(value)
  local length = rawlen(value)
  if length > 0 and rawget(value, length + 1) == nil then
    for i = 1, math.min(length, ENTRIES + 1) do
      if rawget(value, i) == nil then return i - 1 end
    end
    return length
  end
  local i = 0
  while rawget(value, i + 1) ~= nil do i = i + 1 end
  return i
end

-- Is it a list that says its own length: elements up to `n`, holes among them, and nothing else?
-- An `n` alone is a field like any other, that of an empty list excepted.
local function packed_length(value)
  local n = rawget(value, "n")
  if math.type(n) ~= "integer" or n < 0 then return nil end
  local found = n == 0
  for key in next, value do
    if key ~= "n" then
      if math.type(key) ~= "integer" or key < 1 or key > n then return nil end
      found = true
    end
  end
  return found and n or nil
end

-- The tree ---------------------------------------------------------------------------------------

local build

local reserved = {}
for word in ([[and break do else elseif end false for function goto if in local nil not or repeat
  return then true until while]]):gmatch("%a+") do reserved[word] = true end

local function spend(state, text)
  state.room = state.room - #text - 2
  return { text = text }
end

local function key_node(state, key, depth)
  if type(key) == "string" and key:find("^[A-Za-z_][A-Za-z0-9_]*$") and #key <= WIDTH
    and not reserved[key] then
    return spend(state, key)
  end
  return { entries = { { value = build(state, key, depth) } }, list = 0, open = "[", close = "]" }
end

-- Reads the entries of a table into its node.
local function read(state, node, value, depth)
  local packed = packed_length(value)
  local length = packed or sequence(value)
  local keys, count = least_keys(value, length, packed and "n")
  local entries = node.entries
  while #entries < math.min(length, ENTRIES) and state.room > 0 do
    entries[#entries + 1] = { value = build(state, rawget(value, #entries + 1), depth) }
  end
  node.list = #entries
  for i = 1, node.list == length and #keys or 0 do
    if #entries == ENTRIES or state.room <= 0 then break end
    local key = key_node(state, keys[i], depth)
    entries[#entries + 1] = { key = key, value = build(state, rawget(value, keys[i]), depth) }
  end
  node.more = length + count - #entries
end

local function count_of(value)
  local count = 0
  for _ in next, value do count = count + 1 end
  return count
end

-- What stands before the brace of a table whose metatable has a name.
local function name_of(meta)
  local name = type(meta) == "table" and rawget(meta, "__name")
  if type(name) ~= "string" or name == "" then return "" end
  return (name:find("^[A-Za-z0-9_.:]+$") and #name <= WIDTH and name or quote.text(name)) .. " "
end

local function build_table(state, value, depth)
  local seen, meta, problem = state.seen[value], debug.getmetatable(value), nil
  if seen then
    seen.shared = true
    return { of = seen }
  end
  if type(meta) == "table" and rawget(meta, "__tostring") ~= nil and not asked[value] then
    local text
    text, problem = told(value)
    if text then return spend(state, text) end
  end
  local name = name_of(meta)
  if depth > DEPTH and next(value) ~= nil then
    return spend(state, ("%s{… (%d more)}"):format(name, count_of(value)))
  end
  local node = { entries = {}, open = name .. "{", close = "}" }
  if problem then node.close = ("} (__tostring raised %s)"):format(problem) end
  state.seen[value] = node
  spend(state, node.open .. node.close)
  read(state, node, value, depth + 1)
  return node
end

function build(state, value, depth)
  local kind = type(value)
  if kind == "table" then return build_table(state, value, depth) end
  return spend(state, texts[kind](value, state))
end

-- Widths -----------------------------------------------------------------------------------------

local function columns(text)
  if text:find("\n", 1, true) then return math.huge end
  return utf8.len(text) or #text
end

-- Gives numbers to shared tables in the order in which they are shown, and each node the columns
-- that it takes on one line.
local function prepare(state, node)
  if node.of then
    node.text = "*" .. node.of.id
  elseif node.entries then
    if node.shared then
      state.ids = state.ids + 1
      node.id = state.ids
      node.open = ("&%d %s"):format(node.id, node.open)
    end
    if (node.more or 0) > 0 then
      table.insert(node.entries, { value = { text = ("… (%d more)"):format(node.more) } })
    end
    node.width = columns(node.open .. node.close) + 2 * math.max(0, #node.entries - 1)
    for _, entry in ipairs(node.entries) do
      if entry.key then node.width = node.width + prepare(state, entry.key) + 3 end
      node.width = node.width + prepare(state, entry.value)
    end
  end
  node.width = node.width or columns(node.text)
  return node.width
end

-- The text ---------------------------------------------------------------------------------------

local function flat(out, node)
  if node.text then
    out[#out + 1] = node.text
    return
  end
  out[#out + 1] = node.open
  for i, entry in ipairs(node.entries) do
    if i > 1 then out[#out + 1] = ", " end
    if entry.key then
      flat(out, entry.key)
      out[#out + 1] = " = "
    end
    flat(out, entry.value)
  end
  out[#out + 1] = node.close
end

-- Do the elements of its list share lines?
local function packs(node)
  for i = 1, node.list do
    local value = node.entries[i].value
    if not value.text or value.width > SHORT then return false end
  end
  return true
end

local write

-- Writes an entry behind `column` columns; gives the column behind it.
local function write_entry(out, entry, indent, column)
  if entry.key then
    flat(out, entry.key)
    out[#out + 1] = " = "
    column = column + entry.key.width + 3
  end
  write(out, entry.value, indent, column + 1)
  return column + entry.value.width
end

local function write_lines(out, node, indent)
  local pad, pack = "\n" .. (" "):rep(indent + 2), packs(node)
  local column = math.huge
  out[#out + 1] = node.open
  for i, entry in ipairs(node.entries) do
    local shares = pack and i > 1 and i <= node.list and column + 2 + entry.value.width < WIDTH
    out[#out + 1] = i > 1 and (shares and ", " or ",") or ""
    if not shares then out[#out + 1] = pad end
    column = write_entry(out, entry, indent + 2, shares and column + 2 or indent + 2)
  end
  out[#out + 1] = "\n" .. (" "):rep(indent) .. node.close
end

function write(out, node, indent, column)
  if node.text then
    out[#out + 1] = node.text:gsub("\n", "\n" .. (" "):rep(indent))
  elseif column + node.width <= WIDTH or #node.entries == 0 then
    flat(out, node)
  else
    write_lines(out, node, indent)
  end
end

--- The text of any value as a person reads it, at most some 200,000 bytes of it. Never raises.
---@param value any
---@return string
---@usage print(mf.inspect({ 1, 2, name = "moon" }))   --> {1, 2, name = "moon"}
function inspect.inspect(value)
  local state = { room = ROOM, seen = {}, ids = 0 }
  local tree = build(state, value, 1)
  prepare(state, tree)
  local out = {}
  write(out, tree, 0, 0)
  return table.concat(out)
end

return inspect
