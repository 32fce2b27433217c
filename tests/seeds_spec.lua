-- The programs that the project was asked for, small, on both backends. What each row must give
-- stands beside its program in scripts/examples/seed_rows.lua.

local helper = require "tests.helper"
local describe, it = helper.describe, helper.it
local _ENV = _G -- luacheck: ignore

package.path = "scripts/examples/?.lua;" .. package.path
local rows = require "seed_rows"

-- No times are checked: whoever shares the cores of a test run may be slow.
local size = {
  unit = 0.2,
  n = function(_, small) return small end,
  within = function() end,
  faster = function() end,
}

helper.for_each_backend(function(backend, mf)
  describe("the seed program over " .. backend, function()
    for _, row in ipairs(rows) do
      it(("%d: %s"):format(row.number, row.title), function() row.run(mf, size) end)
    end
  end)
end)
