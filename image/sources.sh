#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the apt source lines the image is built from: the host's own sources for the image's
# suite, so that a local mirror or a dated archive is honoured, else Debian's public mirrors.
# CSB_APT_SOURCES names a file with one-line entries to use instead.
set -eu

IMAGE_DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=image/lib.sh
. "$IMAGE_DIR/lib.sh"

# "URI RELEASE" of each configured source. The first form knows whose archive it is, but only after
# an `apt-get update`; the second reads the configuration alone.
host_sources() {
    # The $() are field names of apt's own format language.
    # shellcheck disable=SC2016
    found=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)' \
        'Created-By: Packages' 2>/dev/null | sed -n 's/ main Debian$//p') || found=
    if [ -z "$found" ]; then
        found=$(apt-get update --print-uris 2>/dev/null |
            sed -n "s,^'\([^']*\)/dists/\([^/']*\)/main/binary-amd64/.*,\1 \2,p") || found=
    fi
    printf '%s\n' "$found" | sed 's,/* \([^ ]*\)$, \1,' | LC_ALL=C sort -u
}

print_lines() {
    while read -r uri release; do
        case $release in
            "$SUITE" | "$SUITE-updates" | "$SUITE-security")
                printf 'deb %s %s main\n' "$uri" "$release" ;;
        esac
    done
}

if [ -n "${CSB_APT_SOURCES:-}" ]; then
    cat "$CSB_APT_SOURCES"
    exit 0
fi
lines=$(host_sources | print_lines)
case $lines in
    *" $SUITE main"*) printf '%s\n' "$lines" ;;
    *)
        printf 'deb %s %s main\n' "$DEFAULT_MIRROR" "$SUITE" "$DEFAULT_MIRROR" "$SUITE-updates" \
            "$DEFAULT_SECURITY_MIRROR" "$SUITE-security"
        ;;
esac
