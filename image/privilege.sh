# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh
# Shared by the scripts that make root trees: who they run as, and room. Sourced after lib.sh.

# Root of its own mount namespace: as root directly, else through a user namespace in which root is
# the caller and the other ids are the caller's subordinate ones.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        unshare --mount "$@"
    else
        unshare --map-root-user --map-auto --mount "$@"
    fi
}

check_privilege() {
    if [ "$(id -u)" = 0 ]; then
        as_root true 2>/dev/null || die "root may not create a mount namespace here" \
            "(a container without CAP_SYS_ADMIN?)"
        return
    fi
    own_name=$(id -un)
    need newuidmap uidmap
    for file in /etc/subuid /etc/subgid; do
        grep -q -E "^($own_name|$(id -u)):" "$file" 2>/dev/null ||
            die "$own_name has no range in $file: as root, run" \
                "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $own_name"
    done
    as_root true 2>/dev/null || die "this user may not create user namespaces: see" \
        "sysctl kernel.unprivileged_userns_clone and user.max_user_namespaces, or run as root"
}

# check_space DIR GIB
check_space() {
    free=$(df -P -k "$1" | awk 'NR == 2 { print $4 }')
    [ "$free" -ge $(($2 << 20)) ] ||
        die "$1 has $((free >> 10)) MiB free, $2 GiB are needed while the image is built"
}
