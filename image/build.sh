#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds what a guest boots from, except the initramfs (initrd.sh): the root file system, the
# kernel and its modules; and the same root file system as a directory, OUT/rootfs, for programs
# that run on this host's own kernel.
#
#   image/build.sh [--force | --check] [OUT]
#
# OUT is a directory, default build/image. Nothing happens when OUT already holds an image of the
# same key, unless forced; --check only says by its exit status whether it does. Works as root, and
# as an ordinary user who has subordinate ids (mmdebstrap's unshare mode). Needs room for about 4 GB
# in OUT and TMPDIR while it runs, 2 GB afterwards.
set -eu
umask 022

IMAGE_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=image/lib.sh
. "$IMAGE_DIR/lib.sh"
# shellcheck source=image/privilege.sh
. "$IMAGE_DIR/privilege.sh"

usage() {
    die "usage: image/build.sh [--force | --check] [OUT]"
}

check_tools() {
    need apt-get apt
    need mmdebstrap mmdebstrap
    need mkfs.erofs erofs-utils
    need npm npm
    need modinfo kmod
    need dpkg-deb dpkg
    need unshare util-linux
    need flock util-linux
    [ "$(dpkg --print-architecture)" = amd64 ] || die "only amd64 hosts are supported"
}

# The scripts, the configuration and the sources are all that goes in.
image_key() {
    {
        cat "$IMAGE_DIR/image.conf" "$IMAGE_DIR/lib.sh" "$IMAGE_DIR/build.sh" "$IMAGE_DIR/tree.sh"
        printf '%s\n' "$sources" "$SOURCE_DATE_EPOCH"
    } | sha256sum | cut -d ' ' -f 1
}

up_to_date() {
    [ "$(cat "$out/image.key" 2>/dev/null)" = "$key" ] || return 1
    for file in rootfs.erofs vmlinuz modules/order rootfs/.csb-tree-key; do
        [ -s "$out/$file" ] || return 1
    done
}

# npm checks what it downloads against the registry; the registry's word is checked here.
fetch_deno() {
    (cd "$tmp" && npm pack --silent --json "$DENO_PACKAGE@$DENO_VERSION" >deno.json)
    grep -q -F "\"integrity\": \"$DENO_INTEGRITY\"" "$tmp/deno.json" || {
        echo "$DENO_PACKAGE $DENO_VERSION is not what image.conf pins:"
        grep integrity "$tmp/deno.json"
        return 1
    }
    tar -x -z -f "$tmp"/deno-linux-*.tgz -C "$tmp" package/deno
}

# The kernel is downloaded with the tree's own apt, so both come from the same archive state.
# $1 is for mmdebstrap's hook shell.
# shellcheck disable=SC2016
kernel_hook='cd "$1/boot" && export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" && apt-get download \
    "$(apt-cache depends KERNEL | sed -n "s/^ *Depends: \(linux-image-.*\)/\1/p" | head -n 1)"'

install_packages() {
    privilege=unshare
    [ "$(id -u)" = 0 ] && privilege=root
    "$IMAGE_DIR/options.sh" >"$tmp/apt.conf"
    set -- --mode=$privilege --variant=minbase --format=tar --architectures=amd64
    while IFS= read -r option; do
        set -- "$@" --aptopt="$option"
    done <"$tmp/apt.conf"
    for path in doc man info locale lintian bug unicode; do
        set -- "$@" --dpkgopt="path-exclude=/usr/share/$path/*"
    done
    # shellcheck disable=SC2086
    set -- "$@" --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --include="$(echo $PACKAGES $INTERPRETER_PACKAGES | tr ' ' ,)" \
        --customize-hook="$(printf '%s' "$kernel_hook" | sed "s/KERNEL/$KERNEL_PACKAGE/")"
    printf '%s\n' "$sources" | mmdebstrap "$@" "$SUITE" "$tmp/packages.tar" -
}

# Prints the file names of a module's dependencies and then its own, deepest first.
module_order() {
    file=$(find "$modules_dir" -name "$1.ko*" -o -name "$(echo "$1" | tr _ -).ko*" | head -n 1)
    [ -n "$file" ] || { echo "no module $1 in the kernel package" >&2; return 1; }
    deps=$(modinfo -F depends "$file" | tr , ' ')
    for dep in $deps; do
        (module_order "$dep") || return 1
    done
    printf '%s\n' "$file"
}

take_modules() {
    mkdir "$tmp/new/modules"
    for module in $MODULES; do
        module_order "$module" || return 1
    done | awk '!seen[$0]++' >"$tmp/module-files"
    while read -r file; do
        name=$(basename "$file")
        case $name in
            *.xz) xz -dc "$file" >"$tmp/new/modules/${name%.xz}" ;;
            *.zst) zstd -q -dc "$file" >"$tmp/new/modules/${name%.zst}" ;;
            *) cp "$file" "$tmp/new/modules/" ;;
        esac
        name=${name%.xz}
        printf '%s\n' "${name%.zst}" >>"$tmp/new/modules/order"
    done <"$tmp/module-files"
}

take_kernel() {
    dpkg-deb -x "$tmp"/tree/boot/linux-image-*.deb "$tmp/kernel"
    image=$(echo "$tmp"/kernel/boot/vmlinuz-*)
    version=${image##*/vmlinuz-}
    modules_dir=$(find "$tmp/kernel" -type d -path "*/modules/$version/kernel")
    cp "$image" "$tmp/new/vmlinuz"
    cp "$tmp/kernel/boot/config-$version" "$tmp/new/kernel.config"
    printf '%s\n' "$version" >"$tmp/new/kernel.version"
    take_modules
    for module in $MODULES; do
        grep -q -x "$(echo "$module" | tr - _).ko" "$tmp/new/modules/order" || return 1
    done
    dpkg-query --admindir="$tmp/tree/var/lib/dpkg" -W >"$tmp/new/packages.txt"
    printf 'deno\t%s\n' "$DENO_VERSION" >>"$tmp/new/packages.txt"
}

# Each file is replaced by a rename, so a running guest keeps the one it opened; programs that run
# in the directory lose it. The key goes first and comes last: an interrupted publication is built
# again.
publish() {
    rm -f "$out/image.key"
    rm -rf "$out/modules"
    if [ -d "$out/rootfs" ]; then
        mkdir -p "$tmp/old"
        mv "$out/rootfs" "$tmp/old/rootfs"
    fi
    mv "$tree" "$out/rootfs"
    for file in rootfs.erofs vmlinuz kernel.config kernel.version packages.txt modules; do
        mv -f "$tmp/new/$file" "$out/$file"
    done
    printf '%s\n' "$key" >"$out/image.key"
}

cleanup() {
    if [ -n "${tmp:-}" ] && [ -d "$tmp" ]; then
        for dir in "$tmp/tree" "$tmp/old"; do
            [ ! -d "$dir" ] || as_root "$IMAGE_DIR/tree.sh" remove "$dir"
        done
        # An interrupted mmdebstrap may still be writing here for a moment.
        rm -rf "$tmp" 2>/dev/null || { sleep 1; rm -rf "$tmp"; }
    fi
}

mode=cached
case ${1:-} in
    --force | --check)
        mode=${1#--}
        shift
        ;;
esac
[ $# -le 1 ] || usage
case ${1:-} in -*) usage ;; esac
out=${1:-$IMAGE_DIR/../build/image}
mkdir -p "$out"
out=$(CDPATH='' cd -- "$out" && pwd)

need apt-get apt
sources=$("$IMAGE_DIR/sources.sh")
key=$(image_key)
if [ "$mode" != force ] && up_to_date; then
    echo "image: up to date ($out)"
    exit 0
fi
[ "$mode" != check ] || die "not up to date ($out)"

check_tools
check_privilege
check_space "$out" 4
check_space "${TMPDIR:-/tmp}" 2
exec 9>"$out/.lock"
if ! flock -n 9; then
    echo "image: waiting for another build in $out"
    flock 9
    if up_to_date; then
        echo "image: up to date ($out)"
        exit 0
    fi
fi
for stale in "$out"/.build.*; do
    [ -d "$stale" ] && as_root "$IMAGE_DIR/tree.sh" remove "$stale"
done
tmp=
trap cleanup EXIT
# mmdebstrap sends its whole group a HUP when it fails: the stage tells of that.
trap : HUP
trap 'exit 1' INT TERM
tmp=$(mktemp -d "$out/.build.XXXXXX")
mkdir "$tmp/new"
LOG=$out/build.log
: >"$LOG"

total_start=$(now_ms)
echo "image: building $out"
tree=$tmp/tree
run_stage "deno $DENO_VERSION from npm" fetch_deno
run_stage "Debian packages" install_packages
run_stage "unpack" as_root "$IMAGE_DIR/tree.sh" unpack "$tree" "$tmp/packages.tar"
rm -f "$tmp/packages.tar"
run_stage "kernel and modules" take_kernel
run_stage "users, Python, Rust, trim" as_root "$IMAGE_DIR/tree.sh" finish "$tree" \
    "$tmp/package/deno"
run_stage "check: rust, python, deno" as_root "$IMAGE_DIR/tree.sh" check "$tree"
run_stage "erofs" as_root "$IMAGE_DIR/tree.sh" pack "$tree" "$tmp/new/rootfs.erofs"
run_stage "directory" as_root "$IMAGE_DIR/tree.sh" keep "$tree" "$key"
publish
echo "image: done in $((($(now_ms) - total_start) / 1000)) s," \
    "$(($(stat -c %s "$out/rootfs.erofs") / 1000000)) MB, kernel $(cat "$out/kernel.version")"
