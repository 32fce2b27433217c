-- luacheck . must be silent (scripts/check.sh)
std = "lua54"
max_line_length = 100
max_cyclomatic_complexity = 12
exclude_files = { "build" }
files["tests/*_spec.lua"] = { std = "+busted", max_cyclomatic_complexity = false }
