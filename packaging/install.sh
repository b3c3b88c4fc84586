#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Lays out what a build directory holds, or takes it away: what `make install` and `make uninstall` do.
#
#   packaging/install.sh [--remove] BUILD DESTDIR PREFIX      DESTDIR may be ""
#
# The prefix of the build directory is not changed: it is laid out beneath its own and moved, which
# it allows, since programs look for what is theirs from where they are. Nothing is built.
set -eu
umask 022

die() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

# Gives the path of each file that is laid out, from the prefix on.
files() {
    (cd "$stage$own" && find . ! -type d)
}

put() {
    sed -i "s,$own/,$prefix/,g" "$stage$own/lib/systemd/system/codesandbox.service"
    mkdir -p "$dest$prefix"
    cp -a "$stage$own/." "$dest$prefix/"
    if [ "$(id -u)" = 0 ] && [ -z "$dest" ]; then
        chown -R root:root "$prefix/libexec/codesandbox" "$prefix/share/codesandbox"
    fi
}

# Directories of our own go when nothing else is in them, a language of the host's, say; others stay.
take() {
    files | while IFS= read -r file; do
        rm -f -- "$dest$prefix/$file"
    done
    for dir in libexec/codesandbox share/codesandbox share/doc/codesandbox; do
        [ ! -d "$dest$prefix/$dir" ] || find "$dest$prefix/$dir" -depth -type d -empty -delete
    done
}

do=put
if [ "${1:-}" = --remove ]; then
    do=take
    shift
fi
[ $# = 3 ] || die "usage: packaging/install.sh [--remove] BUILD DESTDIR PREFIX"
build=$1
dest=$2
prefix=${3%/}
# It is in the service's unit, where other characters would have to be escaped.
case $prefix in
    *[!A-Za-z0-9/._+-]*) die "PREFIX may have letters, digits and / . _ + - only: $prefix" ;;
    /*) ;;
    *) die "PREFIX must be an absolute path other than /" ;;
esac

stage=$(mktemp -d "${TMPDIR:-/tmp}/codesandbox-install.XXXXXX")
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM
own=$(meson introspect --buildoptions "$build" |
    sed -n 's/.*"name": "prefix", "value": "\([^"]*\)".*/\1/p')
[ -n "$own" ] || die "$build is not a meson build directory"
meson install -C "$build" --no-rebuild --quiet --destdir "$stage" >&2
find "$stage" -name __pycache__ -type d -prune -exec rm -rf {} +
$do
