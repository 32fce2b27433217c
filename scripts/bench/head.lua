-- The head of the table that all.sh prints.

package.path = (arg[0]:match("^(.*)/") or ".") .. "/?.lua;" .. package.path
local bench = require "bench"

bench.line("work", "moonfleet", "peer", "ratio", "floor", "")
