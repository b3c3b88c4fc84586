#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds the root tree that the honest programs run from: the image's tree, and on top of it what an
# image has no use for: Python's own test suite and stress-ng, from the same archive.
#
#   tests/honest/tree.sh IMAGE_DIR OUT
#
# OUT/root is the tree, OUT/key says what is in it. Nothing is done when that is current. Needs root.
set -eu
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
ROOT=$(CDPATH='' cd -- "$HERE/../.." && pwd)
# shellcheck source=image/image.conf
. "$ROOT/image/image.conf"

image=$(CDPATH='' cd -- "${1:?}" && pwd)
mkdir -p "${2:?}"
out=$(CDPATH='' cd -- "$2" && pwd)
log=$out/build.log

exec 9>"$out/.lock"
flock 9
key=$({ cat "$HERE/tree.sh"; cat "$image/image.key"; } | sha256sum | cut -c 1-64)
if [ "$(cat "$out/key" 2>/dev/null)" = "$key" ] && [ -x "$out/root/usr/bin/stress-ng" ]; then
    exit 0
fi
rm -rf "$out/key" "$out/root" "$out/packages"
: >"$log"

on_exit() {
    if [ $? -ne 0 ]; then
        tail -n 20 "$log" >&2
        echo "tests/honest/tree.sh failed" >&2
    fi
}
trap on_exit EXIT

# The image's files are shared with it, as long as nobody writes into them in place.
if [ -d "$image/rootfs/usr" ]; then
    cp -al "$image/rootfs" "$out/root" 2>>"$log" || {
        rm -rf "$out/root"
        cp -a "$image/rootfs" "$out/root"
    }
else
    fsck.erofs --extract="$out/root" "$image/rootfs.erofs" >>"$log" 2>&1
fi

for dir in $MOUNT_POINTS; do
    mkdir -p "$out/root/$dir"
done

# $1: how the test suite is named, with a version or without.
extract() {
    rm -rf "$out/packages"
    "$ROOT/image/sources.sh" | mmdebstrap --mode=root --variant=extract --format=directory \
        --architectures=amd64 --aptopt="$out/apt.conf" \
        --include="$1,stress-ng" "$SUITE" "$out/packages" - >>"$log" 2>&1
}

"$ROOT/image/options.sh" >"$out/apt.conf"
version=$(sed -n 's/^python3\.11[[:space:]]*//p' "$image/packages.txt" 2>/dev/null || true)
extract "libpython3.11-testsuite${version:+=$version}" || extract libpython3.11-testsuite

tar -C "$out/packages" --exclude=./dev --exclude=./tmp --exclude=./var -c . |
    tar -C "$out/root" -x --skip-old-files --keep-directory-symlink
rm -rf "$out/packages"
# Some of the suite's files are wrong on purpose.
chroot "$out/root" /usr/bin/python3 -m compileall -q -j2 /usr/lib/python3.11 >>"$log" 2>&1 || true
rm -f "$out/root/.csb-tree-key"
echo "$key" >"$out/root/.csb-tree-key"
echo "$key" >"$out/key"
