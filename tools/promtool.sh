#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Takes promtool out of Debian's prometheus package, without installing that: it would start a server.
#   tools/promtool.sh DIRECTORY      prints the program's path; nothing, and 1, where it cannot be had
set -eu

dir=$1
if [ ! -x "$dir/promtool" ]; then
    mkdir -p "$dir"
    scratch=$(mktemp -d "$dir/scratch.XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    (cd "$scratch" && apt-get download -q prometheus && dpkg -x prometheus_*.deb .) >/dev/null 2>&1 ||
        exit 1
    mv "$scratch/usr/bin/promtool" "$dir/promtool"
fi
echo "$dir/promtool"
