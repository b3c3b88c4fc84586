#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Prints the host's apt settings that decide how an archive is reached, as lines of a configuration
# file; the rest of them is its own affair. For whoever installs packages from sources.sh.
set -eu

apt-config dump | grep -E '^Acquire::((http|https|ftp)::[^ ]*|Check-[^ ]*|Retries|Force[^ ]*) ' |
    grep -v '""' || true
