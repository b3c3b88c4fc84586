# SPDX-License-Identifier: Apache-2.0
echo "dying by TERM"
kill -TERM $$
echo "never"
