#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds a template: the image's root tree with packages, npm packages and files on top of it.
# Called by `csb template build`, which has checked the recipe.
#
#   image/template.sh [--force] [--only process|microvm] IMAGE TEMPLATES NAME BASE [PART...]
#
# IMAGE is a directory that image/build.sh has filled; TEMPLATES holds the templates, as
# src/sandbox/templates.h says. BASE is the service's template that the new one begins as. A PART is
# deb:PACKAGE, npm:PACKAGE[@VERSION] or file:MODE:PATH:SOURCE. Nothing happens when there is one of
# the same parts already, unless forced. Works as root, and as an ordinary user who has subordinate
# ids.
set -eu
umask 022

IMAGE_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=image/lib.sh
. "$IMAGE_DIR/lib.sh"
# shellcheck source=image/privilege.sh
. "$IMAGE_DIR/privilege.sh"

in_tree() {
    as_root "$IMAGE_DIR/template_tree.sh" "$@"
}

# What the parts are, of their kind.
parts() {
    kind=$1
    shift
    for part; do
        case $part in "$kind":*) printf '%s\n' "${part#*:}" ;; esac
    done
}

template_key() {
    {
        cat "$image/image.key" "$IMAGE_DIR/template.sh" "$IMAGE_DIR/template_tree.sh"
        printf '%s\n' "$sources" "$base" "$only" "$@"
        parts file "$@" | while IFS= read -r file; do
            sha256sum <"${file#*:*:}"
        done
    } | sha256sum | cut -d ' ' -f 1
}

up_to_date() {
    [ "$(sed -n 's/^key = //p' "$out/$name/template.conf" 2>/dev/null)" = "$key" ]
}

# No program of a package runs on this host: neither here, nor when it is put in place.
fetch_npm() {
    mkdir "$tmp/npm"
    printf '{"private": true}\n' >"$tmp/npm/package.json"
    # shellcheck disable=SC2046
    HOME=$tmp npm install --prefix "$tmp/npm" --ignore-scripts --omit=dev --no-audit --no-fund \
        --no-package-lock --loglevel=error $(parts npm "$@")
}

copy_files() {
    mkdir "$tmp/files"
    number=0
    parts file "$@" >"$tmp/files.list"
    while IFS= read -r file; do
        number=$((number + 1))
        cp -- "${file#*:*:}" "$tmp/files/$number"
        printf '%s %s\n' "${file%%:*}" "$(printf '%s' "$file" | cut -d : -f 2)" >>"$tmp/files/list"
    done <"$tmp/files.list"
}

# The link is what makes it a template. What it named before is kept for those who run in it.
publish() {
    mkdir "$tmp/new"
    [ "$only" = microvm ] || mv "$tmp/tree" "$tmp/new/rootfs"
    [ "$only" = process ] || mv "$tmp/rootfs.erofs" "$tmp/new/rootfs.erofs"
    # What is shared with the image counts as the image's.
    bytes=$(du -s -B 1 "$image/rootfs" "$tmp/new" | tail -n 1 | cut -f 1)
    printf '%s = %s\n' id "$id" base "$base" bytes "$bytes" built_s "$(date +%s)" key "$key" \
        >"$tmp/new/template.conf"
    mv "$tmp/new" "$out/$id"
    ln -s "$id" "$tmp/link"
    mv -f -T "$tmp/link" "$out/$name"
}

# What former builds left: unfinished ones, and those that no name has any more.
remove_stale() {
    for stale in "$out"/.build.* "$out"/????????????????; do
        if [ -L "$stale" ] || [ ! -d "$stale" ]; then continue; fi
        used=$(find "$out" -maxdepth 1 -type l -lname "$(basename "$stale")" | head -n 1)
        [ -n "$used" ] || in_tree remove "$stale"
    done
}

cleanup() {
    if [ -n "${tmp:-}" ] && [ -d "$tmp" ]; then
        in_tree remove "$tmp"
    fi
}

only=both
force=false
while :; do
    case ${1:-} in
        --force) force=true ;;
        --only)
            only=${2:?}
            shift
            ;;
        *) break ;;
    esac
    shift
done
[ $# -ge 4 ] ||
    die "usage: image/template.sh [--force] [--only KIND] IMAGE TEMPLATES NAME BASE [PART...]"
image=$(CDPATH='' cd -- "$1" && pwd) || die "there is no image in $1"
out=$2
name=$3
base=$4
shift 4

for file in image.key rootfs/.csb-tree-key; do
    [ -s "$image/$file" ] || die "there is no image in $image: build it first"
done
mkdir -p "$out" 2>/dev/null || die "$out cannot be made"
out=$(CDPATH='' cd -- "$out" && pwd)
[ -w "$out" ] || die "$out cannot be written"
need apt-get apt
need unshare util-linux
need flock util-linux
sources=$("$IMAGE_DIR/sources.sh")
key=$(template_key "$@")
exec 9>"$out/.lock"
flock 9
if ! $force && up_to_date; then
    echo "image: template $name is up to date"
    exit 0
fi
[ -z "$(parts npm "$@")" ] || need npm npm
[ "$only" = process ] || need mkfs.erofs erofs-utils
check_privilege
if [ "$only" = process ]; then check_space "$out" 1; else check_space "$out" 4; fi
remove_stale
tmp=
trap cleanup EXIT
trap 'exit 1' HUP INT TERM
tmp=$(mktemp -d "$out/.build.XXXXXX")
chmod 755 "$tmp"
# Never used again, so whoever has a root file system by its id has that very one.
id=$(printf '%s %s' "$key" "$(date +%s%N)" | sha256sum | cut -c 1-16)
LOG=$out/build.log
: >"$LOG"
{
    echo 'Acquire::Retries "5";' # unless the host has its own number
    "$IMAGE_DIR/options.sh"
} >"$tmp/apt.conf"
printf '%s\n' "$sources" >"$tmp/sources.list"

start=$(now_ms)
echo "image: building template $name"
[ -z "$(parts npm "$@")" ] || run_stage "npm packages" fetch_npm "$@"
run_stage "files" copy_files "$@"
run_stage "the base's tree" in_tree copy "$tmp/tree" "$image" "$only"
# shellcheck disable=SC2046
[ -z "$(parts deb "$@")" ] || run_stage "Debian packages" in_tree packages "$tmp/tree" "$tmp" \
    $(parts deb "$@")
run_stage "put in place" in_tree place "$tmp/tree" "$tmp"
[ "$only" = process ] || run_stage "erofs" as_root "$IMAGE_DIR/tree.sh" pack "$tmp/tree" \
    "$tmp/rootfs.erofs"
run_stage "directory" as_root "$IMAGE_DIR/tree.sh" keep "$tmp/tree" "$id"
publish
echo "image: template $name done in $((($(now_ms) - start) / 1000)) s"
