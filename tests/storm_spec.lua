-- A few seconds of the storms of kills; scripts/stress/storm.lua, gates.lua, numbers.lua
-- and selects.lua say what they check.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore

local function pwd()
  local pipe <close> = assert(io.popen("pwd"))
  return pipe:read("l")
end

-- Runs scripts/stress/NAME.lua for some seconds; it must find nothing.
local function weathers(name, seconds, backend)
  local result = helper.run_script("", {
    program = assert(helper.program, "MOONFLEET_PROGRAM is not set"),
    arguments = ("%s/scripts/stress/%s.lua %d %s"):format(pwd(), name, seconds, backend),
    timeout = 100,
  })
  assert.are.equal("", result.err)
  assert.are.equal(0, result.code, result.out)
  assert.is_truthy(result.out:find("fine: 0 promises broken", 1, true), result.out)
end

describe("a storm of kills", function()
  for _, backend in ipairs(helper.backends) do
    it("breaks no promise over " .. backend, function() weathers("storm", 5, backend) end)
  end

  it("loses no addition and no memory of arrays", function()
    weathers("numbers", 4, helper.mixes and "both" or "thread")
  end)

  it("loses no message beside those who select, and no end of a pipe", function()
    weathers("selects", 4, helper.mixes and "both" or "thread")
  end)

  for _, backend in ipairs { "process", "thread", helper.mixes and "both" or nil } do
    it("leaves nobody waiting at events, conditions and barriers over " .. backend, function()
      weathers("gates", 3, backend)
    end)
  end
end)
