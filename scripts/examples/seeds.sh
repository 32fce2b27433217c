#!/bin/sh
# Runs every seed program at full size and prints its time.
#   sh scripts/examples/seeds.sh [ROW ...]          MOONFLEET: the program; build/bin/moonfleet
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec "${MOONFLEET:-$here/../../build/bin/moonfleet}" "$here/seeds.lua" "$@"
