# SPDX-License-Identifier: Apache-2.0
from functools import cache, lru_cache, reduce


@cache
def edit(a, b):
    if not a or not b:
        return len(a) + len(b)
    return min(edit(a[1:], b) + 1, edit(a, b[1:]) + 1, edit(a[1:], b[1:]) + (a[0] != b[0]))


@lru_cache(maxsize=None)
def coins(n, kinds=(200, 100, 50, 20, 10, 5, 2, 1)):
    if n == 0:
        return 1
    if n < 0 or not kinds:
        return 0
    return coins(n - kinds[0], kinds) + coins(n, kinds[1:])


def knapsack(items, room):
    best = [(0, ())] * (room + 1)
    for name, weight, value in items:
        for r in range(room, weight - 1, -1):
            v, names = best[r - weight]
            if v + value > best[r][0]:
                best[r] = (v + value, names + (name,))
    return best[room]


def longest_common(a, b):
    table = [[""] * (len(b) + 1)]
    for x in a:
        row = [""]
        for j, y in enumerate(b):
            row.append(table[-1][j] + x if x == y else max(table[-1][j + 1], row[-1], key=len))
        table.append(row)
    return table[-1][-1]


def queens(n, row=0, cols=0, d1=0, d2=0):
    if row == n:
        return 1
    free, found = ~(cols | d1 | d2) & ((1 << n) - 1), 0
    while free:
        bit = free & -free
        free ^= bit
        found += queens(n, row + 1, cols | bit, (d1 | bit) << 1, (d2 | bit) >> 1)
    return found


print(edit("kitten", "sitting"), edit("sandboxes", "soapboxes"))
print(coins(200), coins.cache_info())
print(knapsack([("map", 9, 150), ("compass", 13, 35), ("water", 153, 200), ("sandwich", 50, 160),
                ("glucose", 15, 60), ("tin", 68, 45), ("banana", 27, 60)], 200))
print(longest_common("the quick brown fox", "a thick crown of oxen"))
print([queens(n) for n in range(1, 8)])
print(reduce(lambda fib, _: fib + [fib[-1] + fib[-2]], range(20), [0, 1]))
