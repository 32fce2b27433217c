#!/bin/sh
# Everything that must be green before a release: sh scripts/check.sh [quick]
# quick: without the tests. Goes on after a failure and names at the end what failed.
set -eu
cd "$(dirname "$0")/.."
sh scripts/setup.sh check
build=${MOONFLEET_BUILD:-$PWD/build}
failures=

step() { # name, command ...
  name=$1
  shift
  echo "== $name"
  "$@" || failures="$failures, $name"
}
check_format() {
  bad=
  for file in $(find runtime tests -name '*.[ch]' | LC_ALL=C sort); do
    clang-format --dry-run -Werror "$file" 2>/dev/null || bad="$bad $file"
  done
  [ -z "$bad" ] || { echo "please run: clang-format -i$bad"; return 1; }
}
check_lua() { luacheck --quiet --no-color scripts tests lua; }
by_clang() { # builds apart from gcc's
  env CC=clang MOONFLEET_BUILD="$build/clang" "$@"
}

step "floors" lua5.4 scripts/floors.lua
step "sizes" lua5.4 scripts/sizes.lua
step "clang-format" check_format
step "luacheck" check_lua
step "gcc" sh scripts/build.sh dev
step "clang" by_clang sh scripts/build.sh dev
if [ "${1:-}" != quick ]; then
  step "tests" sh scripts/test.sh
  step "tests of what clang builds" by_clang sh scripts/test.sh
  step "ASan and UBSan" sh scripts/test.sh asan
  step "TSan" sh scripts/test.sh tsan
fi
if [ -n "$failures" ]; then
  echo "failed: ${failures#, }"
  exit 1
fi
echo "all is well"
