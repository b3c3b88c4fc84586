#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds what the test machine boots from: an ext4 disk with Debian 12, its kernel, and an
# initramfs with guest/init.
#
#   tests/machine/build.sh [OUT]
#
# OUT is a directory, default $CSB_MACHINE_DIR, else build/machine. Nothing is done when OUT already
# holds the machine of the same key. Works as root, and as an ordinary user with subordinate ids.
# Needs room for about 3 GB while it runs, 1.5 GB afterwards.
set -eu
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
ROOT=$(CDPATH='' cd -- "$HERE/../.." && pwd)
# shellcheck source=image/image.conf
. "$ROOT/image/image.conf"
# shellcheck source=tests/machine/machine.conf
. "$HERE/machine.conf"

die() {
    printf 'machine: %s\n' "$*" >&2
    exit 1
}

need() {
    command -v "$1" >/dev/null 2>&1 || die "$1 is missing: install the package $2"
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# stage NAME COMMAND...: one progress line with the seconds; the command's output goes to the log.
# The command runs in a subshell outside any condition, because `set -e` is ignored inside one.
stage() {
    stage_name=$1
    shift
    printf 'machine: %-24s' "$stage_name"
    start=$(now_ms)
    set +e
    (
        set -e
        "$@"
    ) >>"$log" 2>&1
    status=$?
    set -e
    if [ $status -ne 0 ]; then
        echo failed
        tail -n 25 "$log" >&2
        die "the stage '$stage_name' failed; the whole log is $log"
    fi
    ms=$(($(now_ms) - start))
    printf '%5d.%d s\n' $((ms / 1000)) $((ms % 1000 / 100))
}

# Root of its own mount namespace: directly, else through a user namespace of the caller.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        unshare --mount "$@"
    else
        unshare --map-root-user --map-auto --mount "$@"
    fi
}

disk_key() {
    {
        cat "$HERE/machine.conf" "$HERE/build.sh" "$HERE/disk.sh"
        printf '%s\n' "$sources" "$SUITE" "$KERNEL_PACKAGE"
    } | sha256sum | cut -d ' ' -f 1
}

# The kernel comes from the same archive state as the packages. $1 is for mmdebstrap's hook shell.
# shellcheck disable=SC2016
kernel_hook='cd "$1/boot" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && apt-get download \
    "$(apt-cache depends KERNEL | sed -n "s/^ *Depends: \(linux-image-.*\)/\1/p" | head -n 1)"'

packages() {
    mode=unshare
    [ "$(id -u)" = 0 ] && mode=root
    "$ROOT/image/options.sh" >"$tmp/apt.conf"
    set -- --mode=$mode --variant=minbase --format=tar --architectures=amd64
    while IFS= read -r option; do
        set -- "$@" --aptopt="$option"
    done <"$tmp/apt.conf"
    for path in doc man info locale lintian bug; do
        set -- "$@" --dpkgopt="path-exclude=/usr/share/$path/*"
    done
    # shellcheck disable=SC2086
    set -- "$@" --include="$(echo $PACKAGES | tr ' ' ,)" \
        --customize-hook="$(printf '%s' "$kernel_hook" | sed "s/KERNEL/$KERNEL_PACKAGE/")"
    printf '%s\n' "$sources" | mmdebstrap "$@" "$SUITE" "$tmp/packages.tar" -
}

disk() {
    as_root "$HERE/disk.sh" build "$tmp/tree" "$tmp/packages.tar" "$tmp/new"
}

# busybox and the modules come out of the disk's own tree, so nothing of the host is in it.
initrd() {
    rm -rf "$tmp/initrd"
    mkdir -p "$tmp/initrd/bin" "$tmp/initrd/modules"
    for dir in dev proc sys newroot; do
        mkdir "$tmp/initrd/$dir"
    done
    cp "$out/busybox" "$tmp/initrd/bin/busybox"
    cp "$out/modules/"*.ko "$tmp/initrd/modules/"
    # shellcheck disable=SC2086
    printf '%s\n' $INITRD_MODULES >"$tmp/initrd/modules/order"
    cp "$HERE/guest/runner" "$tmp/initrd/runner"
    cp "$HERE/guest/init" "$tmp/initrd/init"
    chmod 755 "$tmp/initrd/init" "$tmp/initrd/runner"
    (cd "$tmp/initrd" && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --quiet) >"$tmp/initrd.img"
    mv -f "$tmp/initrd.img" "$out/initrd.img"
    printf '%s\n' "$initrd_key" >"$out/initrd.key"
}

# The key goes first and comes last: an interrupted publication is built again.
publish() {
    rm -f "$out/disk.key"
    rm -rf "$out/modules"
    for file in root.img vmlinuz busybox modules packages.txt; do
        mv -f "$tmp/new/$file" "$out/$file"
    done
    printf '%s\n' "$key" >"$out/disk.key"
}

remove_tmp() {
    if [ -n "${1:-}" ] && [ -d "$1" ]; then
        [ -d "$1/tree" ] && as_root "$HERE/disk.sh" remove "$1/tree"
        rm -rf "$1"
    fi
}

[ $# -le 1 ] || die "usage: tests/machine/build.sh [OUT]"
case ${1:-} in -*) die "usage: tests/machine/build.sh [OUT]" ;; esac
out=${1:-${CSB_MACHINE_DIR:-$ROOT/build/machine}}
mkdir -p "$out"
out=$(CDPATH='' cd -- "$out" && pwd)
log=$out/build.log

exec 9>"$out/.lock"
flock 9
sources=$("$ROOT/image/sources.sh")
key=$(disk_key)
initrd_key=$({ echo "$key"; cat "$HERE/guest/init" "$HERE/guest/runner"; } | sha256sum | cut -c 1-64)
have_disk=false
[ "$(cat "$out/disk.key" 2>/dev/null)" = "$key" ] && [ -s "$out/root.img" ] && have_disk=true
if $have_disk && [ "$(cat "$out/initrd.key" 2>/dev/null)" = "$initrd_key" ]; then
    echo "machine: up to date ($out)"
    exit 0
fi

need cpio cpio
for stale in "$out"/.build.*; do
    remove_tmp "$stale"
done
tmp=
trap 'remove_tmp "$tmp"' EXIT
trap 'exit 1' HUP INT TERM
tmp=$(mktemp -d "$out/.build.XXXXXX")
: >"$log"
if ! $have_disk; then
    need mmdebstrap mmdebstrap
    need mke2fs e2fsprogs
    need depmod kmod
    need unshare util-linux
    [ "$(id -u)" = 0 ] || need newuidmap uidmap
    mkdir "$tmp/new"
    stage "Debian packages" packages
    stage "disk" disk
    publish
fi
stage "initramfs" initrd
echo "machine: done ($out, $(du -BM "$out/root.img" | cut -f 1) disk)"
