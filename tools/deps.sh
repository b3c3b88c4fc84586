#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the Debian packages that building, running or testing needs and that are not there yet.
#   tools/deps.sh run|test
# Needs root or sudo only when something is missing; otherwise it says what to install and stops.
set -eu

run_packages="gcc libc6-dev meson ninja-build pkg-config
    libmicrohttpd-dev libjansson-dev libnghttp2-dev libseccomp-dev libzstd-dev nettle-dev zlib1g-dev
    libsqlite3-dev libcurl4-openssl-dev
    qemu-system-x86 mmdebstrap erofs-utils kmod cpio zstd util-linux uidmap ca-certificates curl
    python3 dpkg-dev"
test_packages="libasan8 libubsan1 libtsan2 clang-format-19 shellcheck e2fsprogs procps wrk bubblewrap
    python3-yaml mandoc"

case "${1:-run}" in
run) packages="$run_packages" ;;
test) packages="$run_packages $test_packages" ;;
*) echo "usage: tools/deps.sh run|test" >&2 && exit 2 ;;
esac

# A host that has npm from elsewhere keeps it.
command -v npm >/dev/null || packages="$packages npm"

missing=
for package in $packages; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "installing:$missing"
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null && { sudo -n true 2>/dev/null || { [ -t 0 ] && sudo -v; }; }; then
    sudo=sudo
else
    echo "missing packages, and neither root nor sudo to install them. As root, run:" >&2
    echo "  apt-get install --no-install-recommends$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086 # a list of words
$sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null 2>&1 || {
    $sudo apt-get update -qq
    $sudo apt-get install -y -qq --no-install-recommends $missing
}
