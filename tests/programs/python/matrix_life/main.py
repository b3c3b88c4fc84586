# SPDX-License-Identifier: Apache-2.0
"""The game of life on a torus, matrix powers and a text plot."""
import math
from collections import Counter

W, H = 24, 12
glider = {(1, 0), (2, 1), (0, 2), (1, 2), (2, 2)}
cells = glider | {(x + 12, y + 5) for x, y in {(0, 0), (1, 0), (2, 0)}}


def step(cells):
    near = Counter(((x + dx) % W, (y + dy) % H) for x, y in cells
                   for dx in (-1, 0, 1) for dy in (-1, 0, 1) if dx or dy)
    return {c for c, n in near.items() if n == 3 or n == 2 and c in cells}


for generation in range(25):
    if generation % 8 == 0:
        print(f"generation {generation}, {len(cells)} alive")
        for y in range(H):
            print("".join("█" if (x, y) in cells else "·" for x in range(W)))
    cells = step(cells)


def mul(a, b):
    return [[sum(x * y for x, y in zip(r, c)) for c in zip(*b)] for r in a]


def power(m, n):
    result = [[int(i == j) for j in range(len(m))] for i in range(len(m))]
    while n:
        if n & 1:
            result = mul(result, m)
        m, n = mul(m, m), n >> 1
    return result


print(power([[1, 1], [1, 0]], 300)[0][1])
for y in range(10, -11, -4):
    print("".join("*" if abs(math.sin(x / 6) * 10 - y) < 2 else " " for x in range(60)).rstrip())
det = lambda m: m[0][0] if len(m) == 1 else sum(
    (-1) ** i * v * det([r[:i] + r[i + 1:] for r in m[1:]]) for i, v in enumerate(m[0]))
print(det([[2, -1, 0, 3], [1, 0, 4, 2], [5, 2, 1, 0], [3, 3, -2, 1]]))
