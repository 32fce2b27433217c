-- A few seconds of the storm of kills; scripts/stress/storm.lua says what it checks.

local helper = require "tests.helper"
local describe, it, assert = helper.describe, helper.it, helper.assert
local _ENV = _G -- luacheck: ignore

local function pwd()
  local pipe <close> = assert(io.popen("pwd"))
  return pipe:read("l")
end

describe("a storm of kills", function()
  for _, backend in ipairs(helper.backends) do
    it("breaks no promise over " .. backend, function()
      local result = helper.run_script("", {
        program = assert(helper.program, "MOONFLEET_PROGRAM is not set"),
        arguments = ("%s/scripts/stress/storm.lua 5 %s"):format(pwd(), backend),
        timeout = 100,
      })
      assert.are.equal("", result.err)
      assert.are.equal(0, result.code, result.out)
      assert.is_truthy(result.out:find("fine: 0 promises broken", 1, true), result.out)
    end)
  end
end)
