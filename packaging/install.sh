#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Lays out what a build directory holds: what `make install` does.
#
#   packaging/install.sh BUILD DESTDIR PREFIX      DESTDIR may be ""
#
# The prefix of the build directory is not changed: it is laid out beneath its own and moved, which
# it allows, since programs look for what is theirs from where they are. Nothing is built.
set -eu
umask 022

die() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

[ $# = 3 ] || die "usage: packaging/install.sh BUILD DESTDIR PREFIX"
build=$1
dest=$2
prefix=$3
case $prefix in
    /*) ;;
    *) die "PREFIX must be an absolute path" ;;
esac

stage=$(mktemp -d "${TMPDIR:-/tmp}/codesandbox-install.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM
own=$(meson introspect --buildoptions "$build" |
    sed -n 's/.*"name": "prefix", "value": "\([^"]*\)".*/\1/p')
[ -n "$own" ] || die "$build is not a meson build directory"
meson install -C "$build" --no-rebuild --quiet --destdir "$stage" >&2
find "$stage" -name __pycache__ -type d -prune -exec rm -rf {} +
sed -i "s,$own/,$prefix/,g" "$stage$own/lib/systemd/system/codesandbox.service"
mkdir -p "$dest$prefix"
cp -a "$stage$own/." "$dest$prefix/"
if [ "$(id -u)" = 0 ] && [ -z "$dest" ]; then
    chown -R root:root "$prefix/libexec/codesandbox" "$prefix/share/codesandbox"
fi
