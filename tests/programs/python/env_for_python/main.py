# SPDX-License-Identifier: Apache-2.0
# Variables the interpreter itself reads at its start.
import sys

print(hash("a"), hash("sandbox"), list({"b", "c", "a", "d"}))
print(sys.flags.optimize, sys.flags.hash_randomization, sys.path[1], sys.dont_write_bytecode)
assert False, "left out under PYTHONOPTIMIZE"
print(f"{__debug__=}")
