# SPDX-License-Identifier: Apache-2.0
set -u
echo "start"
check() { echo "value: ${1:?no argument was given}"; }
(check) 2>&1 | sed 's/^/sub: /'
no_such_command --flag
echo "status $?"
echo "$undefined_variable"
echo "never"
