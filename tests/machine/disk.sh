#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# The steps of build.sh that need root, or root of a user namespace:
#
#   disk.sh build TREE TAR NEW      unpacks the packages, sets the machine up, writes NEW/root.img,
#                                   vmlinuz, busybox, modules and packages.txt
#   disk.sh remove TREE
set -eu
umask 022
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=tests/machine/machine.conf
. "$HERE/machine.conf"

step=$1
tree=${2:?}

in_tree() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 chroot "$tree" "$@"
}

# An ordinary user as a desktop or server has one: may use KVM, has subordinate ids, is no sudoer.
users() {
    in_tree useradd -u 1000 -m -s /bin/bash -G kvm tester
    grep -q '^tester:' "$tree/etc/subuid" || printf 'tester:100000:65536\n' >>"$tree/etc/subuid"
    grep -q '^tester:' "$tree/etc/subgid" || printf 'tester:100000:65536\n' >>"$tree/etc/subgid"
    in_tree passwd -q -d root
}

config() {
    printf 'machine\n' >"$tree/etc/hostname"
    printf '127.0.0.1\tlocalhost machine\n::1\tlocalhost\n' >"$tree/etc/hosts"
    printf '/dev/vda / ext4 noatime 0 1\n' >"$tree/etc/fstab"
    printf '6373622d6d6143688500000000000001\n' >"$tree/etc/machine-id"
    # Nothing of what a quiet machine does by itself: timers, logins on consoles, a journal on disk.
    for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
        e2scrub_reap.service fstrim.timer systemd-timesyncd.service getty@tty1.service \
        serial-getty@ttyS0.service systemd-update-utmp.service systemd-pstore.service; do
        ln -sf /dev/null "$tree/etc/systemd/system/$unit"
    done
    mkdir -p "$tree/etc/systemd/journald.conf.d"
    printf '[Journal]\nStorage=volatile\n' >"$tree/etc/systemd/journald.conf.d/machine.conf"
    rm -rf "$tree/var/lib/apt/lists" "$tree/var/cache/apt"
    mkdir -p "$tree/var/lib/apt/lists/partial" "$tree/var/cache/apt/archives/partial"
}

kernel() {
    package=$(echo "$tree"/boot/linux-image-*.deb)
    dpkg-deb -x "$package" "$tree/boot/kernel"
    version=$(basename "$tree"/boot/kernel/boot/vmlinuz-*)
    version=${version#vmlinuz-}
    cp "$tree/boot/kernel/boot/vmlinuz-$version" "$new/vmlinuz"
    mkdir -p "$tree/usr/lib/modules"
    mv "$tree/boot/kernel/lib/modules/$version" "$tree/usr/lib/modules/"
    depmod -b "$tree/usr" "$version" 2>/dev/null || depmod -b "$tree" "$version"
    rm -rf "$tree/boot/kernel" "$package"
    mkdir "$new/modules"
    for module in $INITRD_MODULES; do
        file=$(find "$tree/usr/lib/modules/$version" -name "$module.ko*")
        [ -n "$file" ] || { echo "no module $module in $version"; return 1; }
        case $file in
            *.xz) xz -dc "$file" >"$new/modules/$module.ko" ;;
            *) cp "$file" "$new/modules/$module.ko" ;;
        esac
    done
}

# The inode tables are left to be cleared later, by a kernel that is told not to bother.
image() {
    truncate -s "$DISK_SIZE" "$new/root.img"
    mke2fs -q -F -t ext4 -m 0 -L machine -U "$DISK_UUID" -O ^resize_inode \
        -E lazy_itable_init=1,lazy_journal_init=1,nodiscard -J size=32 -d "$tree" "$new/root.img"
}

build() {
    new=$2
    mkdir "$tree"
    tar -x -p --numeric-owner --exclude='./dev/*' -C "$tree" -f "$1"
    rm -f "$1"
    mkdir -p "$tree/dev" "$tree/proc" "$tree/sys" "$tree/run" "$tree/tmp"
    mount --rbind /dev "$tree/dev"
    users
    umount -l "$tree/dev"
    config
    kernel
    cp "$tree/bin/busybox" "$new/busybox"
    dpkg-query --admindir="$tree/var/lib/dpkg" -W >"$new/packages.txt"
    image
}

shift 2
case $step in
    build) build "$@" ;;
    remove) rm -rf "$tree" ;;
    *) echo "machine: unknown step $step" >&2; exit 1 ;;
esac
