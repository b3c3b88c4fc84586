# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2034
# How deb/build.sh and container/build.sh begin, which source it: BUILD and OUT are their arguments.
# Sets HERE (the script's directory), ROOT (the source tree's), build and out.

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
ROOT=$(CDPATH='' cd -- "$HERE/../.." && pwd)

die() {
    printf '%s: %s\n' "$(basename -- "$HERE")" "$*" >&2
    exit 1
}

# make_tmp TEMPLATE: sets tmp to a new directory that goes when the script ends.
make_tmp() {
    tmp=$(mktemp -d "$1")
    trap 'rm -rf "$tmp"' EXIT
    trap 'exit 1' HUP INT TERM
}

[ $# = 2 ] || die "usage: packaging/$(basename -- "$HERE")/build.sh BUILD OUT"
build=$(CDPATH='' cd -- "$1" && pwd)
mkdir -p "$2"
out=$(CDPATH='' cd -- "$2" && pwd)
