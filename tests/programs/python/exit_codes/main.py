# SPDX-License-Identifier: Apache-2.0
import atexit
import sys

atexit.register(print, "atexit: registered first, runs last")


@atexit.register
def goodbye():
    print("atexit: sees the exit", flush=True)


class Closer:
    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        print("exit passes through:", kind.__name__, value.code)


try:
    sys.exit("a string means 1")
except SystemExit as e:
    print("caught", repr(e.code))
with Closer():
    try:
        print("no newline at the end", end="")
    finally:
        print(" finally")
    sys.exit(3)
