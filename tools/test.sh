#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs every test of the built tree and prints one closing line (tools/tally).
#   BUILD=build MUST_RUN=unit,... tools/test.sh [SUITE]
# With SUITE, just that suite of the release build.
set -u

build=${BUILD:-build}
suite=${1:-}
CSB_IMAGE_DIR=$(cd "$build/image" && pwd)
CSB_MACHINE_DIR=$(cd "$build" && pwd)/machine
CSB_MUST_RUN=${MUST_RUN:-}
export CSB_IMAGE_DIR CSB_MACHINE_DIR CSB_MUST_RUN

logs=

# A sanitizer build covers what is not a namespace helper: the pure parts and the daemon.
sanitized() {
    name=$1 flags=$2
    shift 2
    [ -f "$build/$name/build.ninja" ] ||
        meson setup "$build/$name" "-Db_sanitize=$flags" -Db_lundef=false >/dev/null || return 1
    ninja --quiet -C "$build/$name" || return 1
    meson test -C "$build/$name" --no-rebuild --quiet --print-errorlogs "$@"
}

run() {
    name=$1
    shift
    echo "== tests: $name"
    rm -f "$build/$name/meson-logs/testlog.json"
    "$@" || echo "== tests: $name: some failed"
    logs="$logs $build/$name/meson-logs/testlog.json"
}

if [ -n "$suite" ]; then
    run release meson test -C "$build/release" --no-rebuild --quiet --print-errorlogs --suite "$suite"
else
    run asan sanitized asan address,undefined --suite unit --suite fuzz --suite integration
    run tsan sanitized tsan thread --suite unit --suite integration
    run release meson test -C "$build/release" --no-rebuild --quiet --print-errorlogs
fi

# shellcheck disable=SC2086 # a list of files
exec tools/tally $logs
