#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the tree, runs every test and prints one closing line (tools/tally).
#   MAKE=make BUILD=build MUST_RUN=unit,... tools/test.sh [SUITE]
# With SUITE, just that suite of the release build.
#
# The sanitizers' builds and the test machine's disk are made beside the image: that one mostly waits
# for the package archive. CSB_TEST_LANES=2 runs the microVMs and E2B's SDKs beside the attacks: most of
# these keep one processor busy, and none looks at more of the host than what is its own.
set -u

build=${BUILD:-build}
suite=${1:-}
mkdir -p "$build"
CSB_IMAGE_DIR=$(cd "$build" && pwd)/image
CSB_MACHINE_DIR=$(cd "$build" && pwd)/machine
CSB_MUST_RUN=${MUST_RUN:-}
CSB_PROMTOOL=$(tools/promtool.sh "$build/tools") || echo "no promtool from the package archive"
# Deadlines are there for what hangs: none is to fail what is slow. Threefold, each is about six times what
# the test takes on a quiet machine; all that there is to test takes up to three times as long.
full=${CSB_TEST_FULL:-0}
[ "$full" = 0 ] && CSB_TIMEOUT_MULTIPLIER=${CSB_TIMEOUT_MULTIPLIER:-3}
CSB_TIMEOUT_MULTIPLIER=${CSB_TIMEOUT_MULTIPLIER:-9}
export CSB_IMAGE_DIR CSB_MACHINE_DIR CSB_MUST_RUN CSB_PROMTOOL CSB_TIMEOUT_MULTIPLIER

logs=
jobs=
trap 'kill $jobs 2>/dev/null; exit 130' INT TERM HUP

# Less optimised than the release: most of a sanitizer's minutes go into compiling.
build_sanitizer() {
    [ -f "$build/$1/build.ninja" ] ||
        meson setup "$build/$1" "-Db_sanitize=$2" -Db_lundef=false -Doptimization=1 >/dev/null ||
        return 1
    ninja --quiet -C "$build/$1"
}

# BUILD OPTIONS...
tests_of() {
    dir=$build/$1
    shift
    meson test -C "$dir" --no-rebuild --quiet --print-errorlogs \
        --timeout-multiplier "$CSB_TIMEOUT_MULTIPLIER" "$@"
}

# A sanitizer build covers what is not a namespace helper: the pure parts and the daemon.
sanitized() {
    build_sanitizer "$1" "$2" || return 1
    of=$1
    shift 2
    tests_of "$of" "$@"
}

# BUILD LOG COMMAND...
run() {
    name="$1 $2" json=$build/$1/meson-logs/$2.json
    shift 2
    echo "== tests: $name"
    start=$(date +%s)
    "$@" || echo "== tests: $name: some failed"
    echo "== tests: $name: $(($(date +%s) - start)) s"
    logs="$logs $json"
}

release() {
    tests_of release "$@"
}

# LOG OPTIONS...: tests of the release beside others. Their status and what they said: await.
begin() {
    log=$1
    shift
    { release "$@" --logbase "$log" && echo ok >"$build/$log-tests.ok"; } >"$build/$log-tests.log" 2>&1 &
    jobs=$!
}

await() {
    wait "$jobs"
    cat "$build/$1-tests.log"
    [ -f "$build/$1-tests.ok" ]
}

# What fails here is done again, and reported, by what needs it.
prepare() {
    (build_sanitizer asan address,undefined; build_sanitizer tsan thread) \
        >"$build/prepare-sanitizers.log" 2>&1 &
    jobs=$!
    tests/machine/build.sh "$CSB_MACHINE_DIR" >"$build/prepare-machine.log" 2>&1 &
    jobs="$jobs $!"
}

started=$(date +%s)
[ -n "$suite" ] || prepare
"${MAKE:-make}" --no-print-directory BUILD="$build" all check || {
    # shellcheck disable=SC2086 # a list of processes
    kill $jobs 2>/dev/null
    exit 1
}
wait
echo "== tests: everything is built after $(($(date +%s) - started)) s"

rm -f "$build"/*/meson-logs/*.json "$build"/*-tests.ok
if [ -n "$suite" ]; then
    run release testlog release --suite "$suite"
else
    # The test machine does not mind company, and neither do the sanitizers.
    begin machine --suite machine
    run asan testlog sanitized asan address,undefined --suite unit --suite fuzz --suite integration
    run tsan testlog sanitized tsan thread --suite unit --suite integration
    # What measures nothing and shares nothing of the host need not wait for the machine.
    run release early release --suite unit --suite fuzz --suite integration --logbase early
    run release machine await machine
    run release testlog release --no-suite machine --no-suite unit --no-suite fuzz \
        --no-suite integration --no-suite vm --no-suite e2b --no-suite security
    begin vm --suite vm --suite e2b
    [ "${CSB_TEST_LANES:-1}" -gt 1 ] || wait "$jobs"
    run release security release --suite security --logbase security
    run release vm await vm
fi

# shellcheck disable=SC2086 # a list of files
exec tools/tally $logs
