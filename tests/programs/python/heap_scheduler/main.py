# SPDX-License-Identifier: Apache-2.0
"""A discrete event simulation of a small bank with a seeded generator."""
import bisect
import heapq
import random
from collections import deque

rng = random.Random(20240229)
events, waiting, served = [], deque(), []
tick = iter(range(10**9))


def at(when, kind, who):
    heapq.heappush(events, (round(when, 6), next(tick), kind, who))


now = 0.0
for who in range(60):
    now += rng.expovariate(1 / 2.5)
    at(now, "arrive", who)
free, arrived, log = 2, {}, []
while events:
    now, _, kind, who = heapq.heappop(events)
    if kind == "arrive":
        arrived[who] = now
        waiting.append(who)
    else:
        free += 1
        served.append((who, round(now - arrived[who], 3)))
    while free and waiting:
        free -= 1
        at(now + rng.gauss(5, 1.2), "leave", waiting.popleft())
    log.append((kind, who, free, len(waiting)))
print(len(log), served[:5], max(served, key=lambda s: s[1]))
times = sorted(t for _, t in served)
print([sum(1 for _ in times[:bisect.bisect(times, lim)]) for lim in (4, 6, 8, 12, 20)])
print(heapq.nlargest(3, times), heapq.nsmallest(3, times), list(heapq.merge([1, 4], [2, 3], [0])))
print(rng.sample(range(1000), 5), rng.choices("abc", (5, 3, 1), k=10), rng.getrandbits(70))
deck = list(range(10))
rng.shuffle(deck)
print(deck, random.Random("seed text").random())
