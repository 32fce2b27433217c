#!/bin/sh
# Runs every benchmark and prints one table: our figure, the peer's, the ratio, and the floor that
# it must reach. Takes some minutes; BENCH_SCALE=0.1 gives a first look.
#   sh scripts/bench/all.sh [NAME ...]          MOONFLEET: the program; build/bin/moonfleet
set -u
here=$(cd "$(dirname "$0")" && pwd)
moonfleet=${MOONFLEET:-$here/../../build/bin/moonfleet}
test $# -gt 0 || set -- queue_small queue_batch queue_table queue_array queue_large select pingpong \
  event pool_tasks value array thread_start process_start cpu_loop idle_memory stop

"$moonfleet" "$here/head.lua"
for name in "$@"; do
  "$moonfleet" "$here/$name.lua" || echo "$name failed"
done
exit 0
