#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Removes a template, and what builds have replaced and nothing runs in any more. Called by
# `csb template rm`, which has checked the name.
#
#   image/template_remove.sh [--force] [--json] TEMPLATES [NAME]
#
# Without a NAME only what was replaced goes. A template that something runs in stays, unless
# forced: then its name goes, and its files with the next build or removal that finds them unused.
set -eu

IMAGE_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=image/lib.sh
. "$IMAGE_DIR/lib.sh"
# shellcheck source=image/privilege.sh
. "$IMAGE_DIR/privilege.sh"
# shellcheck source=image/template_lib.sh
. "$IMAGE_DIR/template_lib.sh"

fail() {
    printf 'csb template: %s\n' "$*" >&2
    exit 1
}

force=false
json=false
while :; do
    case ${1:-} in
        --force) force=true ;;
        --json) json=true ;;
        *) break ;;
    esac
    shift
done
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    die "usage: image/template_remove.sh [--force] [--json] TEMPLATES [NAME]"
fi
name=${2:-}
out=$(CDPATH='' cd -- "$1" 2>/dev/null && pwd) ||
    fail "there are no templates: no directory $1 (TEMPLATES_DIR says where)"
[ -w "$out" ] || fail "$out cannot be written: run it as who builds templates"
need flock util-linux
need unshare util-linux
lock_templates
if [ -n "$name" ]; then
    [ -L "$out/$name" ] || fail "there is no template '$name' in $out"
    version=$out/$(readlink "$out/$name")
    if ! $force && [ -d "$version" ] && is_used "$version"; then
        fail "template '$name' is in use: end the sandboxes that run in it, or take its name away" \
            "with --force; its files go once nothing runs in them"
    fi
    rm -f "$out/$name"
fi
before=$(list_stale | wc -l)
remove_stale
used=$(list_stale | wc -l)
if $json; then
    printf '{"name": %s, "removed": %d, "in_use": %d}\n' "$([ -z "$name" ] && echo null ||
        printf '"%s"' "$name")" $((before - used)) "$used"
    exit 0
fi
[ -z "$name" ] || echo "template $name removed"
[ -n "$name" ] || echo "replaced versions removed: $((before - used))"
[ "$used" = 0 ] || echo "versions still in use, which go with a later build or removal: $used"
