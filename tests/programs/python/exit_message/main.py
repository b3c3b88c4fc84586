# SPDX-License-Identifier: Apache-2.0
import sys

print("stdout first")
sys.exit("fatal: the message goes to stderr, the code is 1")
