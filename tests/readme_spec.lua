-- Every Lua program of README.md runs, and prints what the block `output` behind it says.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore

-- The programs of the text, each { text=, line=, output= }.
local function programs_of(text)
  local programs, language, block, number = {}, nil, nil, 0
  for line in text:gmatch("([^\n]*)\n") do
    number = number + 1
    local fence = line:match("^```(.*)$")
    if not fence then
      if language then block[#block + 1] = line .. "\n" end
    elseif not language then
      language, block = fence, {}
    else
      if language == "lua" then
        programs[#programs + 1] = { text = table.concat(block), line = number - #block }
      elseif language == "output" then
        programs[#programs].output = table.concat(block)
      end
      language = nil
    end
  end
  return programs
end

local programs = programs_of(helper.read_file("README.md"))

helper.for_each_program(function(name, run)
  describe("README with " .. name, function()
    for _, program in ipairs(programs) do
      it("shows the output of its program at line " .. program.line, function()
        local result = run(program.text)
        assert.are.equal("", result.err)
        assert.are.equal(program.output, result.out)
        assert.are.equal(0, result.code)
      end)
    end
  end)
end)

describe("README", function()
  it("has an output for each of its programs", function()
    assert.is_true(#programs >= 8)
    for _, program in ipairs(programs) do
      assert.is_truthy(program.output, "no output behind line " .. program.line)
    end
  end)
end)
