# SPDX-License-Identifier: Apache-2.0
import ctypes
import sys

print("reading address zero", flush=True)
print("stderr survives", file=sys.stderr, flush=True)
ctypes.string_at(0)
