-- Sizes that keep it readable: no function above 80 lines, no file above 800; annotations, which
-- are a list of all that is public, may be longer.
-- Run from the repository: lua5.4 scripts/sizes.lua. Exit 1 when something is too long.

local FUNCTION_LIMIT <const> = 80
local FILE_LIMIT <const> = 800
-- Functions that are one big switch and would not be clearer in pieces, as "file:name".
local EXEMPT <const> = {}

local too_long = 0

local function complain(format, ...)
  print(format:format(...))
  too_long = too_long + 1
end

local function lines_of(command)
  local pipe <close> = assert(io.popen(command))
  local list = {}
  for line in pipe:lines() do
    list[#list + 1] = line
  end
  return list
end

local function check_function(path, first, last, name, sizes)
  local size = last - first + 1
  sizes[#sizes + 1] = size
  if size > FUNCTION_LIMIT and not EXEMPT[path .. ":" .. name] then
    complain("%s:%d: %s has %d lines", path, first, name, size)
  end
end

-- The text above a function's body that this line goes on with; "" when it is something else.
local function go_on(header, line)
  if line:match "^[#/}]" or line:match "^%s*$" or line:match "[;}]%s*$" then
    return ""
  end
  return header .. " " .. line
end

-- clang-format puts a function's closing brace alone at the line's beginning, and there nothing
-- else but what closes a type or an initializer, which end with a semicolon.
local function check_c(path, sizes)
  local number, first, header, open = 0, nil, "", false
  for line in io.lines(path) do
    number = number + 1
    if open then
      if line:match "^}%s*$" then
        check_function(path, first, number, header:match "([%w_]+)%s*%(" or "?", sizes)
      end
      open = not line:match "^}"
    else
      first = header == "" and number or first
      header = go_on(header, line)
      open = header:match "{%s*$" ~= nil and not header:match "^extern"
    end
  end
  return number
end

local function check_lua(path, sizes)
  for _, line in ipairs(lines_of("luac5.4 -l -p " .. path)) do
    local first, last = line:match "^function <[^>]*:(%d+),(%d+)>"
    if first then
      check_function(path, tonumber(first), tonumber(last), "function", sizes)
    end
  end
  local number, is_reference = 0, false
  for line in io.lines(path) do
    number = number + 1
    is_reference = is_reference or number == 1 and line:find "^%-%-%-@meta" ~= nil
  end
  return number, is_reference
end

local function check(what, command, check_file)
  local sizes, files, total = {}, 0, 0
  for _, path in ipairs(lines_of(command .. " | LC_ALL=C sort")) do
    local size, is_reference = check_file(path, sizes)
    files, total = files + 1, total + size
    if size > FILE_LIMIT and not is_reference then
      complain("%s: %d lines", path, size)
    end
  end
  table.sort(sizes)
  print(("%s: %d files, %d lines, %d functions, median %d, longest %d"):format(what, files, total,
    #sizes, sizes[(#sizes + 1) // 2] or 0, sizes[#sizes] or 0))
end

check("C", "find runtime tests -name '*.[ch]'", check_c)
check("Lua", "find lua scripts -name '*.lua'", check_lua)
os.exit(too_long == 0)
