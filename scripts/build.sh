#!/bin/sh
# Builds one preset: sh scripts/build.sh [release|dev|tiny|asan|tsan]. Silent unless it fails.
# Into build/ (release) and build/PRESET; MOONFLEET_BUILD=DIR names another place for build/.
set -eu
preset=${1:-release}
root=$(cd "$(dirname "$0")/.." && pwd)
build=${MOONFLEET_BUILD:-$root/build}
[ "$preset" = release ] || build=$build/$preset

mkdir -p "$build"
log=$build/build.log
if [ ! -e "$build/build.ninja" ]; then
  echo "build: $preset, in ${build#"$root"/}" >&2
  if ! (cd "$root" && cmake --preset "$preset" -B "$build") >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
  fi
fi
if ! ninja -C "$build" >"$log" 2>&1; then
  cat "$log" >&2
  exit 1
fi
