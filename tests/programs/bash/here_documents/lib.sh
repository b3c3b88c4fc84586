# SPDX-License-Identifier: Apache-2.0
echo "sourced with $1, line $LINENO"
lib_greet() { echo "library greets $1"; }
