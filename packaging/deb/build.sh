#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Packs what a build directory holds as a Debian package for the release this host runs.
#
#   packaging/deb/build.sh BUILD OUT      writes OUT/codesandbox_VERSION_ARCH.deb and prints its name
#
# BUILD is a meson build directory in which all is built. Needs dpkg-dev, binutils and meson, no root.
set -eu
umask 022

# shellcheck source=packaging/begin.sh
. "$(dirname -- "$0")/../begin.sh"
for tool in dpkg-deb dpkg-shlibdeps strip meson; do
    command -v $tool >/dev/null 2>&1 || die "$tool is missing: install dpkg-dev, binutils and meson"
done

make_tmp "${TMPDIR:-/tmp}/codesandbox-deb.XXXXXX"
tree=$tmp/debian/codesandbox

"$ROOT/packaging/install.sh" "$build" "$tree" /usr
# Only the ones linked dynamically have anything to depend on.
for program in "$tree/usr/sbin/codesandboxd" "$tree/usr/bin/csb" "$tree/usr/libexec/codesandbox/"csb-*; do
    strip --strip-unneeded "$program"
done
strip --strip-unneeded "$tree/usr/libexec/codesandbox/"*.so
gzip -9n "$tree"/usr/share/man/man?/*

mkdir -p "$tree/etc/codesandbox" "$tree/DEBIAN"
# Installed programs find their prefix; that of the package is not where this one runs.
"$tree/usr/sbin/codesandboxd" --print-config | sed "s,$tree,,g" \
    >"$tree/etc/codesandbox/codesandboxd.conf"
printf '/etc/codesandbox/codesandboxd.conf\n' >"$tree/DEBIAN/conffiles"
cp "$HERE/postinst" "$HERE/prerm" "$HERE/postrm" "$tree/DEBIAN/"
chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm" "$tree/DEBIAN/postrm"
doc=$tree/usr/share/doc/codesandbox
cp "$HERE/copyright" "$doc/copyright"
install -D -m 644 "$HERE/lintian-overrides" "$tree/usr/share/lintian/overrides/codesandbox"

version=$("$build/src/daemon/codesandboxd" --version | cut -d ' ' -f 2)
maintainer=$(sed -n 's/^Maintainer: //p' "$HERE/control.in")
date=$(date -R -u -d "@${SOURCE_DATE_EPOCH:-$(stat -c %Y "$ROOT/meson.build")}")
printf 'codesandbox (%s) stable; urgency=medium\n\n  * Version %s.\n\n -- %s  %s\n' \
    "$version" "$version" "$maintainer" "$date" | gzip -9n >"$doc/changelog.gz"
printf 'Source: codesandbox\n\nPackage: codesandbox\nArchitecture: any\n' >"$tmp/debian/control"
libraries=$(cd "$tmp" && dpkg-shlibdeps -O "$tree/usr/sbin/codesandboxd" "$tree/usr/bin/csb" \
    "$tree/usr/libexec/codesandbox/csb-launch" 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
[ -n "$libraries" ] || die "dpkg-shlibdeps found no libraries"
sed -e "s/@VERSION@/$version/" -e "s/@ARCH@/$(dpkg --print-architecture)/" \
    -e "s/@LIBRARIES@/$libraries/" -e "s/@SIZE@/$(du -sk "$tree/usr" | cut -f 1)/" \
    "$HERE/control.in" >"$tree/DEBIAN/control"
deb=$out/codesandbox_${version}_$(dpkg --print-architecture).deb
dpkg-deb --root-owner-group -Zgzip --build "$tree" "$deb" >"$tmp/log" 2>&1 || {
    cat "$tmp/log" >&2
    die "dpkg-deb failed"
}
printf '%s\n' "$deb"
