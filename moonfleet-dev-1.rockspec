rockspec_format = "3.0"
package = "moonfleet"
version = "dev-1"
source = { url = "git+file://." }
description = {
  summary = "Parallel Lua 5.4: workers, pools, futures, queues",
  detailed = [[
    Runs Lua on all cores, by threads and by forked processes, with one interface for both: pools,
    futures, queues and locks in shared memory that survive the death of any worker.]],
  license = "MIT",
}
supported_platforms = { "linux" }
dependencies = { "lua ~> 5.4" }
build_dependencies = {}
build = {
  type = "command",
  build_command = "cmake -S . -B build -DMFI_TESTS=OFF && cmake --build build",
  install = {
    lib = { moonfleet = "build/lib/lua/5.4/moonfleet.so" },
    bin = { moonfleet = "build/bin/moonfleet" },
  },
}
