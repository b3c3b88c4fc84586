#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packs the initramfs: the agent as /init, the kernel modules with their insertion order, and under
# /csb the runtimes' shim directories and wait.so. Quick, because the agent changes more often than
# the rest.
#
#   image/initrd.sh AGENT [OUT]
#
# AGENT is a static executable with wait.so, of the same build, beside it; OUT is a directory that image/build.sh has filled (default
# build/image). RUNTIMES_DIR names another table of runtimes. Writes OUT/initrd.img, atomically.
set -eu
umask 022

IMAGE_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=image/lib.sh
. "$IMAGE_DIR/lib.sh"

case $# in
    1 | 2) ;;
    *) die "usage: image/initrd.sh AGENT [OUT]" ;;
esac
agent=$1
out=${2:-$IMAGE_DIR/../build/image}
runtimes=${RUNTIMES_DIR:-$IMAGE_DIR/../runtimes}

need cpio cpio
[ -f "$agent" ] || die "no agent at $agent"
wait=$(dirname -- "$agent")/wait.so
[ -f "$wait" ] || die "no wait.so beside $agent"
[ -f "$out/modules/order" ] || die "no kernel modules in $out: run image/build.sh first"
if LC_ALL=C grep -q -a -F /lib64/ld-linux "$agent"; then
    die "$agent is not static: nothing could load it as init"
fi

tmp=$(mktemp -d "$out/.initrd.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT TERM

root=$tmp/root
mkdir -p "$root/modules" "$root/csb" "$root/dev" "$root/proc" "$root/sys" "$root/newroot"
cp -L "$agent" "$root/init"
cp -L "$wait" "$root/csb/wait.so"
cp "$out/modules/"* "$root/modules/"
for dir in "$runtimes"/*/; do
    [ -d "$dir" ] || continue
    cp -R -L "${dir%/}" "$root/csb/"
done
find "$root/csb" -depth -name __pycache__ -type d -exec rm -rf {} +
chmod -R u=rwX,go=rX "$root"
chmod 755 "$root/init"
find "$root" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

# Not compressed: the guest's processor, perhaps an emulated one, would have to unpack it.
(cd "$root" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet) \
    >"$tmp/initrd.img"
mv -f "$tmp/initrd.img" "$out/initrd.img"
