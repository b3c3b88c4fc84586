# SPDX-License-Identifier: Apache-2.0
def fine():
    return 1


print("never printed")
def broken(:
    return 2
