-- Constructors of shared numbers, Value and Array; their methods are the C half's.

local core = require "moonfleet.core"
local check = require "moonfleet.check"
local iterator = require "moonfleet.iterator"

local shared = {}

local MOST_DIMENSIONS <const> = 16

-- Types ------------------------------------------------------------------------------------------

local TYPES <const> = "i8 u8 i16 u16 i32 u32 i64 u64 f32 f64 bool"
local LETTERS <const> = "b B h H i I l L q Q f d ?"

-- What other languages call them.
local OTHER_NAMES <const> = {
  char = "i8", byte = "u8", short = "i16", int = "i32", long = "i64", integer = "i64",
  float = "f32", double = "f64", number = "f64", boolean = "bool",
}

local function guess(name)
  local other = OTHER_NAMES[name]
  if other then return ("; did you mean '%s'?"):format(other) end
  local known = {}
  for word in TYPES:gmatch "%S+" do known[word] = true end
  return check.guess(name, known)
end

-- The number of a type and the size of its elements; `option`: it was not the first argument.
local function type_of(value, name, option)
  local number, size = core.number_type(value)
  if number then return number, size end
  local got = type(value) == "string" and ("%q"):format(value) or check.what(value)
  local text = ("type expected, one of %s or a letter of %s, got %s%s")
    :format(TYPES, LETTERS, got, guess(value))
  if option then check.bad(nil, name, "option 'type': " .. text) end
  check.bad(1, name, text)
end

-- Value ------------------------------------------------------------------------------------------

local value_options = { type = true, init = true }

--- One number (or boolean) that all workers read and change, each access atomic.
---@param type string|{ type: string, init?: number|boolean }
---@param init? number|boolean   default 0, false
---@return Value
---@usage local v = mf.Value("i64", 0) v:add(1) print(v.value)
function shared.Value(type, init)
  local long = check.is_options(type)
  if long then
    local o = check.options(type, value_options, "Value")
    type, init = o.type, o.init
  end
  local value, problem = core.Value(type_of(type, "Value", long), init)
  if value then return value end
  if long then check.bad(nil, "Value", "option 'init': " .. problem) end
  check.bad(2, "Value", problem)
end

shared.RawValue = shared.Value

-- Lists of elements ------------------------------------------------------------------------------

local function length(list)
  local n = math.tointeger(rawget(list, "n"))
  return n and n >= 0 and n or #list
end

local function is_row(value) return type(value) == "table" end

-- The sizes of a list: of one that holds lists, rows and columns, and so on.
local function measure(list, fail)
  local sizes = {}
  repeat
    if #sizes == MOST_DIMENSIONS then fail(("at most %d dimensions"):format(MOST_DIMENSIONS)) end
    sizes[#sizes + 1] = length(list)
    list = rawget(list, 1)
  until not is_row(list)
  return sizes
end

-- The elements of nested rows in one list; every row must be as long as the first of its kind.
local function flatten(list, sizes, depth, fail, into)
  if length(list) ~= sizes[depth] then
    fail(("rows of %d elements expected, got one of %d"):format(sizes[depth], length(list)))
  end
  for i = 1, sizes[depth] do
    local item = rawget(list, i)
    if depth == #sizes then
      into[into.n + 1], into.n = item, into.n + 1
    elseif is_row(item) then
      flatten(item, sizes, depth + 1, fail, into)
    else
      fail(("rows expected, got %s among them"):format(check.what(item)))
    end
  end
  return into
end

-- What an iterator yields.
local function collect(it)
  local list = { n = 0 }
  for _, value in it do
    list.n = list.n + 1
    list[list.n] = value
  end
  return list
end

-- A list or bytes that the C half takes, and the sizes that these have by themselves.
local function open_list(init, element_size, fail)
  if type(init) == "string" then return init, { #init // element_size } end
  if core.type(init) == "Array" then return init:totable(1), table.pack(init:shape()) end
  if iterator.is(init) then init = collect(init) end
  if not check.is_options(init) then fail("list or bytes expected, got " .. check.what(init)) end
  local sizes = measure(init, fail)
  if #sizes == 1 then return init, sizes end
  return flatten(init, sizes, 1, fail, { n = 0 }), sizes
end

-- Array ------------------------------------------------------------------------------------------

local array_options = { type = true, shape = true, init = true }

local function product(sizes)
  local count = 1.0
  for i = 1, #sizes do count = count * sizes[i] end
  return count
end

local function check_shape(shape)
  local sizes = {}
  if not check.is_options(shape) then check.bad_option("Array", "shape", "list of sizes", shape) end
  for i = 1, length(shape) do
    local size = type(shape[i]) == "number" and math.tointeger(shape[i])
    if not size or size < 0 then
      check.bad_option("Array", "shape", "list of non-negative integers", shape[i])
    end
    sizes[i] = size
  end
  if #sizes < 1 or #sizes > MOST_DIMENSIONS then
    check.bad_option("Array", "shape", ("list of 1 to %d sizes"):format(MOST_DIMENSIONS), #sizes)
  end
  return sizes
end

-- Nested rows must be of this very shape; a flat list or bytes need as many elements.
local function check_sizes(sizes, wanted, fail)
  local same = product(sizes) == product(wanted)
  if #sizes > 1 then same = table.concat(sizes, "x") == table.concat(wanted, "x") end
  if same then return end
  fail(("%s elements expected, got %s"):format(table.concat(wanted, "x"), table.concat(sizes, "x")))
end

local function build(number, element_size, shape, init, fail)
  local sizes = shape
  if init ~= nil then
    init, sizes = open_list(init, element_size, fail)
    if shape then check_sizes(sizes, shape, fail) end
  end
  local array, problem = core.Array(number, shape or sizes, init)
  if array then return array end
  fail(problem)
end

local function fail_option(text) check.bad(nil, "Array", "option 'init': " .. text) end
local function fail_argument(text) check.bad(2, "Array", text) end

local function build_long(options)
  local o = check.options(options, array_options, "Array")
  local number, element_size = type_of(o.type, "Array", true)
  local shape = o.shape ~= nil and check_shape(o.shape) or nil
  if not shape and o.init == nil then
    check.bad(nil, "Array", "option 'shape' or 'init' expected")
  end
  return build(number, element_size, shape, o.init, fail_option)
end

--- Numbers of one type in shared memory, in one or more dimensions, which nobody copies.
---@param type string|{ type: string, shape?: integer[], init?: table|string }
---@param n integer|table|string   how many zeros; or the elements: a list, rows, bytes
---@return Array
---@usage local a = mf.Array("f64", { 1, 2, 3 }) a[1] = 10
---@usage local m = mf.Array { type = "f64", shape = { 20, 30 } } m:put(1.5, 2, 3)
function shared.Array(type, n)
  if check.is_options(type) then return build_long(type) end
  local number, element_size = type_of(type, "Array")
  if math.type(n) then
    return build(number, element_size, { check.integer(n, 2, "Array", 0) }, nil, fail_argument)
  end
  if n == nil then fail_argument("number of elements, list or bytes expected, got nil") end
  return build(number, element_size, nil, n, fail_argument)
end

shared.RawArray = shared.Array

return shared
