# SPDX-License-Identifier: Apache-2.0
set -eu
echo "before"
f() { echo "in f"; cat /no/such/file; echo "never"; }
trap 'echo "ERR trap at line $LINENO: status $?"' ERR
set -E
f
echo "never"
