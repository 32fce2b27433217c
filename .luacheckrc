-- luacheck . must be silent (scripts/check.sh)
std = "lua54"
max_line_length = 100
max_cyclomatic_complexity = 12
exclude_files = { "build" }
ignore = { "581" } -- not (a < b) is not a >= b where NaN may come

-- Tests set globals on purpose: what a function names is found and sent along.
local globals = { "111", "113", "121", "122", "131", "142", "143" }
files["tests/*_spec.lua"] = { std = "+busted", max_cyclomatic_complexity = false, ignore = globals }
files["tests/c/*.lua"] = {
  max_cyclomatic_complexity = false,
  ignore = { "1", "211/_ENV", "212", "4", "532" },
}

-- Annotations for editors: functions without bodies, aliases that must be one line.
files["lua/moonfleet/types.lua"] = { ignore = { "212", "241", "631" } }
