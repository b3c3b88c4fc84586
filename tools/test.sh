#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the tree, runs every test and prints one closing line (tools/tally).
#   MAKE=make BUILD=build MUST_RUN=unit,... tools/test.sh [SUITE]
# With SUITE, just that suite of the release build.
#
# The sanitizers' builds and the test machine's disk are made beside the image: that one mostly waits
# for the package archive. Then there are lanes: each takes the next unit of what is left to test. Two, where
# there are as many processors, or CSB_TEST_LANES: much of a unit waits, and none looks at more of the host
# than what is its own, or changes what another's results hang on.
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

lanes=${CSB_TEST_LANES:-$(($(nproc) > 1 ? 2 : 1))}
# The longest first, and what computes beside what waits.
units="machine asan tsan early others vm e2b security_microvm security_process"
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

release() {
    tests_of release "$@"
}

# The tests of one unit. Those of the first three start no program of a user's and mostly wait, so more of
# them than there are processors run at once. UID_BASE: no two services have the same uids.
unit() {
    case $1 in
    asan) sanitized asan address,undefined --num-processes 4 --suite unit --suite fuzz --suite integration ;;
    tsan) sanitized tsan thread --num-processes 4 --suite unit --suite integration ;;
    early) release --num-processes 4 --suite unit --suite fuzz --suite integration --logbase "$1" ;;
    others)
        export UID_BASE=1200000000
        release --no-suite machine --no-suite unit --no-suite fuzz --no-suite integration --no-suite vm \
            --no-suite e2b --no-suite security --logbase "$1"
        ;;
    e2b)
        export UID_BASE=1300000000
        release --suite e2b --logbase "$1"
        ;;
    *) release --suite "$1" --logbase "$1" ;;
    esac
}

# Where meson logs a unit's tests.
log_of() {
    case $1 in
    asan | tsan) echo "$build/$1/meson-logs/testlog.json" ;;
    *) echo "$build/release/meson-logs/$1.json" ;;
    esac
}

# A unit to its end, in a state directory of its own, which the next run finds again.
run() {
    start=$(date +%s) said=
    echo "== tests: $1"
    (export CSB_TEST_STATE="$places/$1/state" && unit "$1") >"$build/$1-tests.log" 2>&1 || said=": some failed"
    cat "$build/$1-tests.log"
    echo "== tests: $1: $(($(date +%s) - start)) s$said"
}

# Takes the next unit from the list, when there is one.
take() {
    (
        flock 9
        sed -n 1p "$build/units"
        sed -i 1d "$build/units"
    ) 9>"$build/units.lock"
}

lane() {
    while next=$(take) && [ -n "$next" ]; do
        run "$next"
    done
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

places=$(cd "$build" && pwd)/tests
[ -z "$suite" ] || units=$suite
rm -f "$build"/*/meson-logs/*.json
for unit in $units; do
    echo "$unit"
done >"$build/units"
jobs=
for _ in $(seq "$lanes"); do
    lane &
    jobs="$jobs $!"
done
wait
logs=
for unit in $units; do
    logs="$logs $(log_of "$unit")"
done

# shellcheck disable=SC2086 # a list of files
exec tools/tally $logs
