#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Builds a template: the image's root tree with packages, npm packages and files on top of it.
# Called by `csb template build`, which has checked the recipe.
#
#   image/template.sh [--force] [--only process|microvm] [--lock FILE | --save-lock FILE]
#                     IMAGE TEMPLATES NAME BASE [PART...]
#
# IMAGE is a directory that image/build.sh has filled; TEMPLATES holds the templates, as
# src/sandbox/templates.h says. BASE is the service's template that the new one begins as. A PART is
# deb:PACKAGE, npm:PACKAGE[@VERSION] or file:MODE:PATH:SOURCE. Nothing happens when there is one of
# the same parts already, unless forced. npm packages are those of the package-lock.json FILE, or
# resolved anew and written to it. Works as root, and as an ordinary user who has subordinate
# ids.
set -eu
umask 022

IMAGE_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=image/lib.sh
. "$IMAGE_DIR/lib.sh"
# shellcheck source=image/privilege.sh
. "$IMAGE_DIR/privilege.sh"
# shellcheck source=image/template_lib.sh
. "$IMAGE_DIR/template_lib.sh"

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
        [ -z "$lock" ] || sha256sum <"$lock"
        parts file "$@" | while IFS= read -r file; do
            sha256sum <"${file#*:*:}"
        done
    } | sha256sum | cut -d ' ' -f 1
}

up_to_date() {
    [ "$(sed -n 's/^key = //p' "$out/$name/template.conf" 2>/dev/null)" = "$key" ]
}

# NAME and VERSION of the recipe's npm packages; "*" is the newest.
npm_wanted() {
    parts npm "$@" | sed -E 's/^(.[^@]*)$/\1 */; s/^(.[^@]*)@/\1 /'
}

# As a package.json of npm, so that its lock is one of npm's, too.
npm_manifest() {
    printf '{"name": "%s", "private": true, "dependencies": {' "$name"
    npm_wanted "$@" | awk '{ printf "%s\"%s\": \"%s\"", (NR > 1 ? ", " : ""), $1, $2 }'
    printf '}}\n'
}

# No program of a package runs on this host: neither here, nor when it is put in place. The lock has
# no addresses: another host may have another registry.
fetch_npm() {
    mkdir "$tmp/npm"
    npm_manifest "$@" >"$tmp/npm/package.json"
    command=install
    if [ -n "$lock" ]; then
        cp "$lock" "$tmp/npm/package-lock.json"
        command=ci
    fi
    HOME=$tmp npm "$command" --prefix "$tmp/npm" --ignore-scripts --omit=dev --no-audit --no-fund \
        --omit-lockfile-registry-resolved --loglevel=error 2>"$tmp/npm.log" || {
        # What follows "Clean install a project" is how npm is used.
        sed '/Clean install a project/,$d' "$tmp/npm.log"
        [ -z "$lock" ] || echo "$lock may not fit the recipe: --update-lock makes it anew"
        return 1
    }
}

# What was made of each package that the recipe names.
list_parts() {
    parts deb "$@" | sed 's/=.*//' | while IFS= read -r part; do
        awk -v part="$part" '
            { sub(/:.*/, "", $1) }
            $1 == part { print "part = deb", part, $2; exit }
        ' "$tmp/packages.txt"
    done
    npm_wanted "$@" | cut -d ' ' -f 1 | while IFS= read -r part; do
        awk -F '"' -v part="$part" '
            /^    "/ { at = $2 }
            /^      "version": / && at == "node_modules/" part { print "part = npm", part, $4; exit }
        ' "$tmp/npm/node_modules/.package-lock.json"
    done
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
    list_parts "$@" >>"$tmp/new/template.conf"
    cp "$tmp/packages.txt" "$tmp/new/packages.txt"
    [ ! -d "$tmp/npm" ] || cp "$tmp/npm/package-lock.json" "$tmp/new/package-lock.json"
    if [ -n "$save_lock" ]; then
        cp "$tmp/npm/package-lock.json" "$save_lock.new"
        mv -f "$save_lock.new" "$save_lock"
    fi
    mv "$tmp/new" "$out/$id"
    ln -s "$id" "$tmp/link"
    mv -f -T "$tmp/link" "$out/$name"
}

cleanup() {
    if [ -n "${tmp:-}" ] && [ -d "$tmp" ]; then
        in_tree remove "$tmp"
    fi
}

only=both
force=false
lock=
save_lock=
while :; do
    case ${1:-} in
        --force) force=true ;;
        --only)
            only=${2:?}
            shift
            ;;
        --lock)
            lock=${2:?}
            shift
            ;;
        --save-lock)
            save_lock=${2:?}
            force=true
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
lock_templates
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
if [ -n "$(parts npm "$@")" ]; then
    run_stage "npm packages" fetch_npm "$@"
    if [ -n "$save_lock" ]; then
        lock=$tmp/npm/package-lock.json
        key=$(template_key "$@")
    fi
fi
run_stage "files" copy_files "$@"
run_stage "the base's tree" in_tree copy "$tmp/tree" "$image" "$only"
# shellcheck disable=SC2046
[ -z "$(parts deb "$@")" ] || run_stage "Debian packages" in_tree packages "$tmp/tree" "$tmp" \
    $(parts deb "$@")
dpkg-query --admindir="$tmp/tree/var/lib/dpkg" -W >"$tmp/packages.txt"
run_stage "put in place" in_tree place "$tmp/tree" "$tmp"
[ "$only" = process ] || run_stage "erofs" as_root "$IMAGE_DIR/tree.sh" pack "$tmp/tree" \
    "$tmp/rootfs.erofs"
run_stage "directory" as_root "$IMAGE_DIR/tree.sh" keep "$tmp/tree" "$id"
publish "$@"
echo "image: template $name done in $((($(now_ms) - start) / 1000)) s"
