#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the tree, runs every test and prints one closing line (tools/tally).
#   MAKE=make BUILD=build MUST_RUN=unit,... tools/test.sh [SUITE]
# With SUITE, just that suite of the release build.
#
# The sanitizers' builds and the test machine's disk are made beside the image: that one mostly waits
# for the package archive.
set -u

build=${BUILD:-build}
suite=${1:-}
mkdir -p "$build"
CSB_IMAGE_DIR=$(cd "$build" && pwd)/image
CSB_MACHINE_DIR=$(cd "$build" && pwd)/machine
CSB_MUST_RUN=${MUST_RUN:-}
CSB_PROMTOOL=$(tools/promtool.sh "$build/tools") || echo "no promtool from the package archive"
# Deadlines are there for what hangs: none is to fail what is slow.
CSB_TIMEOUT_MULTIPLIER=${CSB_TIMEOUT_MULTIPLIER:-3}
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
    name=$1
    shift
    meson test -C "$build/$name" --no-rebuild --quiet --print-errorlogs \
        --timeout-multiplier "$CSB_TIMEOUT_MULTIPLIER" "$@"
}

# A sanitizer build covers what is not a namespace helper: the pure parts and the daemon.
sanitized() {
    name=$1 flags=$2
    shift 2
    build_sanitizer "$name" "$flags" || return 1
    tests_of "$name" "$@"
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

await_machine() {
    wait "$machine"
    status=$?
    cat "$build/machine-tests.log"
    return "$status"
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

rm -f "$build"/*/meson-logs/*.json
if [ -n "$suite" ]; then
    run release testlog release --suite "$suite"
else
    # The test machine does not mind company, and neither do the sanitizers.
    release --suite machine --logbase machine >"$build/machine-tests.log" 2>&1 &
    machine=$!
    jobs=$machine
    run asan testlog sanitized asan address,undefined --suite unit --suite fuzz --suite integration
    run tsan testlog sanitized tsan thread --suite unit --suite integration
    # What measures nothing and shares nothing of the host need not wait for the machine.
    run release early release --suite unit --suite fuzz --suite integration --logbase early
    run release machine await_machine
    run release testlog release --no-suite machine --no-suite unit --no-suite fuzz \
        --no-suite integration
fi

# shellcheck disable=SC2086 # a list of files
exec tools/tally $logs
