# SPDX-License-Identifier: Apache-2.0
"""Dijkstra, topological order, strongly connected components, max flow, spanning tree."""
import heapq
from collections import defaultdict, deque
from itertools import count


def read():
    graph = defaultdict(dict)
    for line in DATA.strip().splitlines():
        a, b, w = line.split()
        graph[a][b] = int(w)
        graph[b]
    return dict(graph)


DATA = """
a b 7
a c 9
a f 14
b c 10
b d 15
c d 11
c f 2
d e 6
f e 9
e g 1
g d 3
"""


def dijkstra(graph, source):
    dist, before, heap = {source: 0}, {}, [(0, source)]
    while heap:
        d, u = heapq.heappop(heap)
        if d > dist[u]:
            continue
        for v, w in graph[u].items():
            if d + w < dist.get(v, float("inf")):
                dist[v], before[v] = d + w, u
                heapq.heappush(heap, (d + w, v))
    return dist, before


def components(graph):
    order, low, stack, on, result, number = {}, {}, [], set(), [], count()

    def visit(u):
        order[u] = low[u] = next(number)
        stack.append(u)
        on.add(u)
        for v in graph[u]:
            if v not in order:
                visit(v)
                low[u] = min(low[u], low[v])
            elif v in on:
                low[u] = min(low[u], order[v])
        if low[u] == order[u]:
            part = []
            while not part or part[-1] != u:
                part.append(stack.pop())
                on.discard(part[-1])
            result.append(sorted(part))
    for u in graph:
        if u not in order:
            visit(u)
    return result


def flow(graph, s, t):
    left = {u: dict(vs) for u, vs in graph.items()}
    for u, vs in graph.items():
        for v in vs:
            left[v].setdefault(u, 0)
    total = 0
    while True:
        before, todo = {s: None}, deque([s])
        while todo and t not in before:
            u = todo.popleft()
            for v, c in left[u].items():
                if c and v not in before:
                    before[v] = u
                    todo.append(v)
        if t not in before:
            return total
        path, v = [], t
        while before[v] is not None:
            path.append((before[v], v))
            v = before[v]
        push = min(left[u][v] for u, v in path)
        for u, v in path:
            left[u][v] -= push
            left[v][u] += push
        total += push


g = read()
dist, before = dijkstra(g, "a")
for node in sorted(dist):
    way = [node]
    while way[0] in before:
        way.insert(0, before[way[0]])
    print(f"{node} {dist[node]:>3}  {' -> '.join(way)}")
print(components(g))
print("max flow a to g:", flow(g, "a", "g"))
parent = {u: u for u in g}


def root(u):
    while parent[u] != u:
        u = parent[u]
    return u


tree = []
for w, u, v in sorted((w, u, v) for u, vs in g.items() for v, w in vs.items()):
    if root(u) != root(v):
        parent[root(u)] = root(v)
        tree.append((u, v, w))
print(tree, sum(w for *_, w in tree))
