# SPDX-License-Identifier: Apache-2.0
import sys

print(repr(input("name? ")))
print(repr(sys.stdin.readline()))
print(repr(sys.stdin.read(5)), [line for line in sys.stdin])
print(sys.stdin.buffer.read(), sys.stdin.closed)
try:
    input()
except EOFError as e:
    print("EOF:", e)
sys.stdout.buffer.write("bytes straight ✓\n".encode())
sys.stdout.write("no newline at the end")
