# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Shared by the scripts of templates: what is in the directory of templates, and who uses it.
# Sourced after lib.sh and privilege.sh; the caller sets `out`, that directory.

in_tree() {
    as_root "$IMAGE_DIR/template_tree.sh" "$@"
}

# Only one builds or removes at a time.
lock_templates() {
    # shellcheck disable=SC2154
    exec 9>"$out/.lock"
    flock -n 9 || {
        echo "image: waiting for another build in $out" >&2
        flock 9
    }
}

# As long as anything runs in a version, the service holds a lock on its directory.
is_used() {
    ! flock -n "$1" true
}

# Locked meanwhile, so that nothing begins to run in it.
remove_unused() {
    # shellcheck disable=SC2094
    (
        flock -n 8 || exit 0
        in_tree remove "$1"
    ) 8<"$1"
}

# Versions that no name has any more.
list_stale() {
    for stale in "$out"/????????????????; do
        if [ -L "$stale" ] || [ ! -d "$stale" ]; then continue; fi
        named=$(find "$out" -maxdepth 1 -type l -lname "$(basename "$stale")" | head -n 1)
        [ -n "$named" ] || printf '%s\n' "$stale"
    done
}

# What former builds left: unfinished ones, and versions without a name that nothing runs in.
remove_stale() {
    for stale in "$out"/.build.*; do
        [ ! -d "$stale" ] || in_tree remove "$stale"
    done
    list_stale | while IFS= read -r stale; do
        remove_unused "$stale"
    done
}
