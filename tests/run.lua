-- Runs one spec file: lua5.4 tests/run.lua tests/queue_spec.lua [busted options]
-- With MOONFLEET_TEST_RESULTS=FILE each result is a line of that file, written at once, so that
-- what passed before a crash counts: `ok NAME`, `skip NAME`, `not ok NAME` with its message
-- indented below.

local results = os.getenv "MOONFLEET_TEST_RESULTS"

local function text_of(message)
  if type(message) == "string" then
    return message
  end
  return require("pl.pretty").write(message)
end

local function reporter(options)
  local busted = require "busted"
  local handler = require "busted.outputHandlers.base"()
  local file = assert(io.open(results, "a"))
  file:setvbuf("line")

  local function write(outcome, element, message)
    local name = handler.getFullName(element):gsub("\n", " ")
    file:write(outcome, " ", name, "\n")
    if message ~= nil then
      file:write("    ", (text_of(message):gsub("\n", "\n    ")), "\n")
    end
  end

  local function failed(element, _, message, trace)
    local text = text_of(message)
    if type(message) ~= "string" and trace.short_src then
      text = ("%s:%d: %s"):format(trace.short_src, trace.currentline, text)
    end
    write("not ok", element, text)
    return nil, true
  end

  busted.subscribe({ "test", "end" }, function(element, _, status)
    if status == "success" then
      write("ok", element)
    elseif status == "pending" then
      write("skip", element)
    end
    return nil, true
  end)
  busted.subscribe({ "failure" }, failed)
  busted.subscribe({ "error" }, failed)
  return handler, options
end

package.preload["tests.reporter"] = function()
  package.preload["tests.reporter"] = nil -- workers get what is in there
  return reporter
end
if results then
  table.insert(arg, "--output=tests.reporter")
end
require "busted.runner" { standalone = false }
