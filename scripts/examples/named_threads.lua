-- A class of threads: `run` is what the thread does, other fields travel with it.

local mf = require "moonfleet"

local Sleeper = mf.Thread:extend {
  run = function(self)
    print(tostring(self) .. " starts")
    mf.sleep(math.random() * self.longest)
    print(tostring(self) .. " ends")
    return self.name
  end,
  __tostring = function(self) return "<" .. self.name .. ">" end,
}

local threads = {}
for i = 1, 4 do
  threads[i] = Sleeper { name = "sleeper-" .. i, longest = tonumber(arg[1]) or 1 }
  threads[i]:start()
end
for _, thread in ipairs(threads) do thread:join() end
print("all done")
