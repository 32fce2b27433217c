#!/bin/sh
# Runs the tests: sh scripts/test.sh [PRESET ...] [NAME ...]
#   PRESET  dev, tiny, asan, tsan, release; default: dev and tiny
#   NAME    only these: queue (tests/queue_spec.lua), heap_test (tests/c/heap_test.c)
# MOONFLEET_TEST_SECONDS=N: what has not begun by then fails; of asan and tsan what has not begun 3
# minutes before is skipped.
# MOONFLEET_BUILD=DIR: builds there.
# Each file runs as a program of its own, in a process group of its own: one that hangs is killed, one
# that leaves processes behind fails. The last line is `N passed, M failed[, K skipped]`.
set -eu
cd "$(dirname "$0")/.."
presets=
names=
for argument; do
  case $argument in
  dev | tiny | asan | tsan | release) presets="$presets $argument" ;;
  *) names="$names $argument" ;;
  esac
done
: "${presets:= dev tiny}"

sh scripts/setup.sh test
work=$(mktemp -d)
group=
trap 'rm -rf "$work"; [ -z "$group" ] || kill -s KILL -- "-$group" 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM
passed=0 failed=0 skipped=0

chosen() { # is the file of this name asked for?
  case "$names " in " " | *" $1 "*) ;; *) return 1 ;; esac
}
count() { grep -c "^$1 " "$work/results" || true; }

# The processes of the test's group that still live, as `pid name`.
members() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v group="$group" '{
    pid = $1; name = $0
    sub(/^[^(]*\(/, "", name); sub(/\)[^)]*$/, "", name); sub(/^.*\) /, "")
    if ($3 == group && $1 != "Z") printf " %s %s", pid, name
  }'
}
# Waits for the group to empty: workers go within 2 s of their parent.
group_is_gone() {
  for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
    [ -n "$(members)" ] || return 0
    sleep 0.1
  done
  return 1
}
complain() { # a failure that no single test of the file has reported
  echo "not ok $name: $1" >>"$work/results"
}

# What a program said, in $work/results: lines `ok NAME`, `skip NAME`, `not ok NAME`, each with indented
# lines behind it. A program that says nothing is one test.
judge() {
  if [ "$status" = 137 ]; then
    complain "killed; it may have taken longer than $limit s"
  elif [ "$status" -gt 128 ]; then
    complain "died by signal $((status - 128))"
  elif [ "$status" != 0 ] && [ "$(count 'not ok')" = 0 ]; then
    complain "ended with status $status"
  elif ! grep -q -E '^(ok|not ok|skip) ' "$work/results"; then
    if [ "$kind" = c ]; then echo "ok $name" >>"$work/results"; else complain "has no test"; fi
  fi
  reports=$(find "$work" -name 'sanitizer.*')
  if [ -n "$reports" ]; then
    complain "the sanitizer has complained, in $(echo "$reports" | wc -l) process(es); first:"
    cat "$work"/sanitizer.* | sed -n '1,40s/^/    /p' >>"$work/results"
    rm "$work"/sanitizer.*
  fi
  group_is_gone || {
    complain "left processes behind:$(members)"
    kill -s KILL -- "-$group" 2>/dev/null || true
  }
  group=
}
report() {
  ok=$(count ok) bad=$(count 'not ok') skip=$(count skip)
  passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
  printf '%-5s %-24s %4d passed' "$preset" "$name" "$ok"
  [ "$bad" = 0 ] || printf ', %d FAILED' "$bad"
  [ "$skip" = 0 ] || printf ', %d skipped' "$skip"
  printf '  (%d s)\n' "$(($(date +%s) - began))"
  [ "$bad" != 0 ] || return 0
  awk '/^not ok / { shown = 1; sub(/^not ok /, "  FAILED "); print; next }
       /^(ok|skip) / { shown = 0 } shown { print "  " $0 }' "$work/results"
  tail -n 40 "$work/output" | sed 's/^/  | /'
}

is_too_late() {
  late=$((began - end))
  case $preset in
  asan | tsan)
    [ "$late" -ge -180 ] || return 1
    echo "skip $name: time is up (MOONFLEET_TEST_SECONDS)" >>"$work/results"
    ;;
  *)
    [ "$late" -ge 0 ] || return 1
    complain "not run, time is up (MOONFLEET_TEST_SECONDS)"
    ;;
  esac
}

run() { # kind (c or spec), name, command ...
  kind=$1 name=$2
  shift 2
  chosen "$name" || return 0
  began=$(date +%s)
  : >"$work/results"
  : >"$work/output"
  if is_too_late; then
    report
    return 0
  fi
  env --default-signal timeout -s KILL "$limit" "$@" >"$work/output" 2>&1 </dev/null &
  group=$!
  status=0
  wait "$group" || status=$?
  [ "$kind" = spec ] || grep -E '^(ok|not ok|skip) ' "$work/output" >"$work/results" || true
  judge
  report
}

# A sanitized module can be loaded only by a sanitized lua5.4; the build has one. Reports, those of
# workers too, go to files that judge() looks for. In specs SIGSEGV is a thing that workers die of,
# and the quiet threads of a script end with its process.
sanitizer() {
  in_specs=
  case $preset in asan | tsan) ;; *) return 0 ;; esac
  limit=900
  [ -z "${MOONFLEET_TEST_SECONDS:-}" ] || limit=240
  PATH=$build/stock:$PATH
  options=log_path=$work/sanitizer
  in_specs="ASAN_OPTIONS=$options:handle_segv=0:detect_leaks=0"
  in_specs="$in_specs TSAN_OPTIONS=$options:handle_segv=0:die_after_fork=0:report_thread_leaks=0"
  export ASAN_OPTIONS="$options" TSAN_OPTIONS="$options:die_after_fork=0"
  export UBSAN_OPTIONS="$options:print_stacktrace=1"
}

# Some machines run no sanitized program, not even a plain Lua: without ptrace, or with addresses that
# are more random than the sanitizer bears.
runs_here() {
  case $preset in asan | tsan) ;; *) return 0 ;; esac
  for _ in 1 2 3 4 5; do
    lua5.4 -e "" >/dev/null 2>&1 || return 1
  done
}

test_preset() {
  build=${MOONFLEET_BUILD:-$PWD/build}
  [ "$preset" = release ] || build=$build/$preset
  limit=120
  PATH=$path
  sanitizer
  if ! sh scripts/build.sh "$preset"; then
    echo "$preset does not build"
    failed=$((failed + 1))
    return 0
  fi
  if ! runs_here; then
    rm -f "$work"/sanitizer.*
    echo "$preset  all skipped: this machine runs no program that is sanitized so"
    skipped=$((skipped + 1))
    return 0
  fi
  export MOONFLEET_TEST_BUILD="$preset" MOONFLEET_PROGRAM="$build/bin/moonfleet"
  export LUA_CPATH="$build/lib/lua/5.4/?.so;;" MOONFLEET_TEST_RESULTS="$work/results"
  for test in $(cat "$build/c_tests.list"); do
    run c "$test" "$build/tests/$test"
  done
  for test in $(cat "$build/specs.list"); do
    # shellcheck disable=SC2086
    run spec "$test" env $in_specs lua5.4 tests/run.lua "tests/${test}_spec.lua"
  done
}

unset LUA_PATH LUA_INIT LUA_PATH_5_4 LUA_CPATH_5_4 LUA_INIT_5_4 MOONFLEET_BACKEND MOONFLEET_LUA_DIR
path=$PATH
end=$(($(date +%s) + ${MOONFLEET_TEST_SECONDS:-1000000}))
for preset in $presets; do
  test_preset
done
printf '%d passed, %d failed' "$passed" "$failed"
[ "$skipped" = 0 ] || printf ', %d skipped' "$skipped"
echo
[ "$failed" = 0 ]
