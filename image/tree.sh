#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Steps on the image's root tree. They run as root, or as root of a user namespace, in a mount
# namespace of their own, so what they mount is gone when they end. Called by build.sh:
#
#   tree.sh unpack TREE TAR          the package tree from mmdebstrap
#   tree.sh finish TREE DENO         users, mount points, trimming, compiled Python modules
#   tree.sh check TREE               compiles and runs a program in each language
#   tree.sh pack TREE IMAGE          the erofs image
#   tree.sh keep TREE KEY            makes the tree itself fit to be a root
#   tree.sh remove TREE
set -eu
umask 022

IMAGE_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=image/lib.sh
. "$IMAGE_DIR/lib.sh"

step=$1
tree=${2:?}

in_tree() {
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/tmp PYTHONHASHSEED=0 \
        SOURCE_DATE_EPOCH="$SOURCE_DATE_EPOCH" chroot "$tree" "$@"
}

# The programs in the tree need /dev/null and its like, and Deno reads /proc.
mount_host_dirs() {
    mount --rbind /dev "$tree/dev"
    mount --rbind /proc "$tree/proc"
}

unpack() {
    mkdir "$tree"
    tar -x -p --numeric-owner --exclude='./dev/*' -C "$tree" -f "$1"
    mkdir -p "$tree/dev"
}

# Who the programs run as. Inside a guest the virtual machine is the wall, so sudo asks nothing;
# a one-shot run cannot use it, since its jail forbids gaining privilege.
add_user() {
    in_tree groupadd -g 1000 user
    in_tree useradd -u 1000 -g user -m -s /bin/bash user
    printf 'user ALL=(ALL:ALL) NOPASSWD: ALL\n' >"$tree/etc/sudoers.d/user"
    chmod 440 "$tree/etc/sudoers.d/user"
}

# What the build host put in for its own use is replaced by what a stock Debian has.
write_config() {
    printf 'sandbox\n' >"$tree/etc/hostname"
    printf '127.0.0.1\tlocalhost sandbox\n::1\tlocalhost ip6-localhost\n' >"$tree/etc/hosts"
    : >"$tree/etc/resolv.conf"
    : >"$tree/etc/machine-id"
    printf 'LANG=C.UTF-8\n' >"$tree/etc/default/locale"
    rm -rf "$tree/etc/apt/sources.list.d" "$tree/etc/apt/apt.conf.d/99mmdebstrap" \
        "$tree/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
    mkdir "$tree/etc/apt/sources.list.d"
    printf 'deb %s %s main\n' "$DEFAULT_MIRROR" "$SUITE" "$DEFAULT_MIRROR" "$SUITE-updates" \
        "$DEFAULT_SECURITY_MIRROR" "$SUITE-security" >"$tree/etc/apt/sources.list"
}

trim() {
    rm -rf "${tree:?}/boot" "$tree/var/lib/apt/lists" "$tree/usr/share/zoneinfo/right" \
        "$tree/usr/share/zoneinfo/posix" "$tree/tmp" "$tree/run"
    mkdir -p "$tree/boot" "$tree/var/lib/apt/lists/partial"
    find "$tree/var/cache" "$tree/var/log" -type f -exec rm -f {} +
    find "$tree/etc" "$tree/var/lib/dpkg" -maxdepth 1 -name '*-old' -exec rm -f {} +
    rm -f "$tree/etc/passwd-" "$tree/etc/group-" "$tree/etc/shadow-" "$tree/etc/gshadow-" \
        "$tree/etc/subuid-" "$tree/etc/subgid-"
}

# The image gives every file the same time stamp, and a .pyc holds its source's: they are compiled
# again against that stamp, or the interpreter would find each one stale and compile it anew.
compile_python() {
    # The tests of libraries are half of their size. A .pth is read by every Python that starts:
    # these are shims of setuptools, and of a name space that needs none.
    find "$tree/usr/lib/python3/dist-packages" -name tests -type d -prune -exec rm -rf {} +
    rm -f "$tree"/usr/lib/python3/dist-packages/*.pth
    find "$tree/usr/lib" "$tree/usr/share" -name '__pycache__' -type d -prune -exec rm -rf {} +
    find "$tree/usr/lib" "$tree/usr/share" -name '*.py' -exec \
        touch -h -d "@$SOURCE_DATE_EPOCH" {} +
    # The test data of lib2to3 holds files that are wrong on purpose.
    in_tree sh -c 'exec python3 -m compileall -q -x lib2to3/tests /usr/lib/python3*'
}

# Half the time of a small Rust program's build is linking, and most of that is copying the standard
# library's debug data and starting gcc's driver in front of the linker. So the debug data goes, and
# a response file lets rustc call mold itself (-C link-arg=@SUPPORT_DIR/rust-link.args).
prepare_rust() {
    # shellcheck disable=SC2016
    in_tree sh -euc '
        strip --strip-debug --enable-deterministic-archives \
            "$(rustc --print target-libdir)"/lib*.rlib
        mkdir -p "$1"
        for file in Scrt1.o crti.o crtbeginS.o crtendS.o crtn.o; do
            gcc -print-file-name=$file | xargs realpath
        done >"$1/rust-link.args"
        gcc_dir=$(dirname "$(gcc -print-libgcc-file-name)")
        libc_dir=$(dirname "$(gcc -print-file-name=libc.so | xargs realpath)")
        printf "%s\n" "-L$gcc_dir" "-L$libc_dir" \
            -dynamic-linker=/lib64/ld-linux-x86-64.so.2 >>"$1/rust-link.args"
    ' sh "$SUPPORT_DIR"
}

finish() {
    mount_host_dirs
    install -m 755 "$1" "$tree/usr/bin/deno"
    add_user
    write_config
    compile_python
    prepare_rust
    trim
    for dir in $MOUNT_POINTS; do
        mkdir -p "$tree/$dir"
    done
    chmod 1777 "$tree/tmp"
}

check() {
    mount_host_dirs
    mount -t tmpfs -o mode=1777 csb-check "$tree/tmp"
    # shellcheck disable=SC2016
    in_tree sh -euc '
        cd /tmp
        printf "fn main() { let n: u8 = 1; println!(\"rust {n}\"); }\n" >main.rs
        rustc --edition 2024 -C codegen-units=1 -C debuginfo=0 -C linker=/usr/bin/mold \
            -C linker-flavor=ld -C "link-arg=@$1/rust-link.args" -o main main.rs
        test "$(./main)" = "rust 1"
        rustc --edition 2024 -o main main.rs
        test "$(./main)" = "rust 1"
        test "$(python3 -c "import ssl, sqlite3, locale, sys; print(sys.stdout.encoding)")" = utf-8
        printf "const s: string = \"deno\"; console.log(s);\n" >main.ts
        test "$(NO_COLOR=1 deno run main.ts)" = deno
        test "$(id -u user):$(id -g user)" = 1000:1000
        test "$(locale charmap)" = UTF-8
        for program in bash git curl sudo ps cc; do
            command -v "$program"
        done
        MPLBACKEND=agg python3 -c "import IPython, pandas, matplotlib.pyplot as plt
plt.plot([1]); plt.savefig(\"/tmp/plot.png\")"
        python3 --version
        rustc --version
    ' sh "$SUPPORT_DIR"
}

pack() {
    # shellcheck disable=SC2086
    mkfs.erofs --quiet -x-1 $EROFS_OPTIONS -T "$SOURCE_DATE_EPOCH" -U "$EROFS_UUID" "$1" "$tree"
}

# An ordinary user has subordinate ids only while it builds, so all becomes its own, and could not
# give a program of the tree other ids in any case. The key says what the tree was built from.
keep() {
    if [ "$(awk 'NR == 1 { print $2 }' /proc/self/uid_map)" != 0 ]; then
        chown -h -R 0:0 "$tree"
        chmod -R u+rwX "$tree"
    fi
    chmod 755 "$tree"
    printf '%s\n' "$1" >"$tree/.csb-tree-key"
}

shift 2
case $step in
    unpack | finish | check | pack | keep) "$step" "$@" ;;
    remove) rm -rf "$tree" ;;
    *) die "unknown step $step" ;;
esac
