# SPDX-License-Identifier: Apache-2.0
"""Python programs that run into a limit."""

HOG = """
x = []
while True:
    x.append(bytearray(1 << 20))
"""
# Prints how many children it may have.
FORKS = """import os, time
n = 0
try:
    while n < 100:
        if os.fork() == 0:
            time.sleep(30)
            os._exit(0)
        n += 1
except BlockingIOError:
    print(n)
"""
