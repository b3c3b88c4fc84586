#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes a container image from nothing: a root tree of Debian's libraries with what a build directory
# holds, and the Containerfile beside this script.
#
#   packaging/container/build.sh BUILD OUT      writes OUT/root.tar and builds localhost/codesandbox
#
# BUILD is a meson build directory in which all is built. Needs mmdebstrap and, for the last step,
# podman; PODMAN holds its command with options ("true" leaves it out). An ordinary user needs
# subordinate ids and uidmap, too.
set -eu
umask 022

# shellcheck source=packaging/begin.sh
. "$(dirname -- "$0")/../begin.sh"
command -v mmdebstrap >/dev/null 2>&1 || die "mmdebstrap is missing"

build_image() {
    cp "$HERE/Containerfile" "$out/Containerfile"
    # shellcheck disable=SC2086
    ${PODMAN:-podman} build --quiet -t localhost/codesandbox "$out"
}

# Root of a user namespace can make the tree as well; podman has namespaces of its own.
if [ "$(id -u)" != 0 ]; then
    PODMAN=true unshare --map-root-user --map-auto --mount "$HERE/build.sh" "$build" "$out"
    build_image
    exit
fi

make_tmp "$out/.container.XXXXXX"
sources=$("$ROOT/image/sources.sh")
set -- --mode=root --variant=extract --architectures=amd64
"$ROOT/image/options.sh" >"$tmp/apt.conf"
while IFS= read -r option; do
    set -- "$@" --aptopt="$option"
done <"$tmp/apt.conf"
for path in doc man info locale lintian bug; do
    set -- "$@" --dpkgopt="path-exclude=/usr/share/$path/*"
done
printf '%s\n' "$sources" | mmdebstrap "$@" --quiet --include="libcurl4,libjansson4,libmicrohttpd12,\
libnettle8,libnghttp2-14,libseccomp2,libsqlite3-0,libzstd1,ca-certificates" bookworm "$tmp/tree" -

"$ROOT/packaging/install.sh" "$build" "$tmp/tree" /usr
mkdir -p "$tmp/tree/dev" "$tmp/tree/var/lib/codesandbox/image" "$tmp/tree/var/lib/codesandbox/state"
chown 1000:1000 "$tmp/tree/var/lib/codesandbox/state"
printf 'root:x:0:0::/root:/usr/sbin/nologin\ncsb:x:1000:1000::/:/usr/sbin/nologin\n' \
    >"$tmp/tree/etc/passwd"
# Of devices a container gets its own.
tar -C "$tmp/tree" --exclude='./dev/*' -c . >"$tmp/root.tar"
mv -f "$tmp/root.tar" "$out/root.tar"
build_image
