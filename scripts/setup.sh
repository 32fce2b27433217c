#!/bin/sh
# Installs what is missing: sh scripts/setup.sh [run|test|check]. Where all is there it does nothing.
# Only Debian and its children have an installer here; elsewhere it says what is needed and stops.
set -eu
goal=${1:-run}
packages=

need() { # package, then the command that succeeds when it is there
  package=$1
  shift
  "$@" >/dev/null 2>&1 || packages="$packages $package"
}
compiles() { # a header, with flags behind it
  header=$1
  shift
  echo "#include <$header>" | cc "$@" -E -xc -
}
has_lua() { # under one of the names that systems give it
  pkg-config --exists lua5.4 || pkg-config --exists lua-5.4 || pkg-config --exists lua54
}
has_module() { lua5.4 -e "require '$1'"; }

need gcc command -v cc
need libc6-dev compiles stdio.h
need cmake command -v cmake
need ninja-build command -v ninja
need pkg-config command -v pkg-config
need liblua5.4-dev has_lua
if [ "$goal" != run ]; then
  need lua5.4 command -v lua5.4
  need lua-busted has_module busted
  need lua-cjson has_module cjson
fi
if [ "$goal" = check ]; then
  need clang command -v clang
  need clang-format command -v clang-format
  need lua-check command -v luacheck
fi
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "setup: please install, by your system's names, what Debian calls:$packages" >&2
  exit 1
fi
as_root=
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: please run as root: apt-get install$packages" >&2
    exit 1
  fi
  as_root=sudo
fi
echo "setup: installing$packages" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
export DEBIAN_FRONTEND=noninteractive
install() {
  # shellcheck disable=SC2086
  $as_root apt-get update && $as_root apt-get install -y --no-install-recommends $packages
}
if ! install >"$log" 2>&1 </dev/null; then
  tail -n 20 "$log" >&2
  echo "setup: could not install$packages" >&2
  exit 1
fi
