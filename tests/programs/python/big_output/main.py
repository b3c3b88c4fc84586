# SPDX-License-Identifier: Apache-2.0
import sys
import zlib

lines = [f"{i:06d} {(i * 2654435761) % 2**32:08x} {'#' * (i % 40)}" for i in range(5500)]
text = "\n".join(lines) + "\n"
sys.stdout.write(text)
sys.stdout.flush()
for i in range(0, 40_000, 40):
    sys.stderr.write(text[i:i + 39].replace("\n", "/") + "\n")
print(len(text), zlib.crc32(text.encode()))
