# SPDX-License-Identifier: Apache-2.0
echo "the first command runs"
if true; then
    echo "this block is never closed"
