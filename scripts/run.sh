#!/bin/sh
# sh scripts/run.sh ARGS is `moonfleet ARGS`; without any it counts words, the main example.
# Sets up and builds before, as far as that is needed.
set -eu
scripts=$(dirname "$0")
sh "$scripts/setup.sh" run
sh "$scripts/build.sh" release
[ $# -gt 0 ] || set -- "$scripts/examples/wordcount.lua"
exec "$scripts/../build/bin/moonfleet" "$@"
