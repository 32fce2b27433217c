-- Strings as a person reads them: in quotes, what cannot be printed as escapes of Lua's, never more
-- than some bytes.

local quote = {}

local SHOWN <const> = 10000 -- bytes of one string

local named = {
  ["\a"] = "\\a", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
  ["\v"] = "\\v", ['"'] = '\\"', ["\\"] = "\\\\",
}

local function hex(bytes)
  return (bytes:gsub(".", function(c) return ("\\x%02X"):format(c:byte()) end))
end

-- A digit behind "\0" would be read as part of it.
local function escape(c, digit)
  return (named[c] or (digit == "" and "\\%d" or "\\%03d"):format(c:byte())) .. digit
end

-- Bytes that are no UTF-8 as \xNN.
local function readable(text)
  local parts, from = {}, 1
  while true do
    local length, bad = utf8.len(text, from)
    if length then
      parts[#parts + 1] = text:sub(from)
      return table.concat(parts)
    end
    parts[#parts + 1] = text:sub(from, bad - 1)
    parts[#parts + 1] = hex(text:sub(bad, bad))
    from = bad + 1
  end
end

--- The first bytes of a long text, whole characters of UTF-8, and how many bytes were left out.
function quote.cut(text)
  if #text <= SHOWN then return text, 0 end
  local last = SHOWN
  while last > SHOWN - 3 and text:find("^[\x80-\xBF]", last + 1) do last = last - 1 end
  return text:sub(1, last), #text - last
end

--- `"text"`, or `"te"… (n more bytes)` of a very long one.
---@param text string
---@return string
function quote.text(text)
  local shown, more = quote.cut(text)
  shown = readable(shown:gsub('([\0-\31"\\\127])(%d?)', escape))
  shown = '"' .. shown:gsub("\xC2[\x80-\x9F]", hex) .. '"' -- control characters, too
  return more == 0 and shown or ("%s… (%d more bytes)"):format(shown, more)
end

return quote
