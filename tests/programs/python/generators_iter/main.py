# SPDX-License-Identifier: Apache-2.0
"""Generators, send and throw, itertools, closures, decorators, comprehension scopes."""
import contextlib
import functools
import itertools as it
import operator


def average():
    total, n, value = 0, 0, None
    while True:
        try:
            value = yield value
        except ValueError as e:
            print("reset:", e)
            total = n = 0
            value = None
            continue
        total, n = total + value, n + 1
        value = total / n


a = average()
next(a)
print(a.send(10), a.send(20), a.throw(ValueError("again")), a.send(5))
a.close()


def walk(tree):
    match tree:
        case (left, right):
            count = yield from walk(left)
            count += yield from walk(right)
            return count
        case leaf:
            yield leaf
            return 1


def total(tree):
    n = yield from walk(tree)
    yield f"total {n}"


print(list(total(((1, 2), (3, (4, 5))))))


def primes():
    found = {}
    for n in it.count(2):
        if n in found:
            for p in found.pop(n):
                found.setdefault(n + p, []).append(p)
        else:
            yield n
            found[n * n] = [n]


print(list(it.islice(primes(), 25)), sum(it.takewhile(lambda p: p < 1000, primes())))
print([(k, len(list(g))) for k, g in it.groupby("aaabccdddd")], list(it.pairwise("abcd")))
print(list(it.accumulate([3, 1, 4, 1, 5], operator.mul)), list(it.zip_longest("ab", "xyz", fillvalue="-")))
print(len(list(it.permutations(range(5)))), list(it.combinations("wxyz", 2)), [*it.product("ab", repeat=2)][-1])
print(list(it.chain.from_iterable(it.batched("abcdefg", 3))) if hasattr(it, "batched") else
      ["".join(c) for c in it.zip_longest(*[iter("abcdefg")] * 3, fillvalue="")])


def traced(log):
    def wrap(f):
        @functools.wraps(f)
        def inner(*args, **kw):
            log.append((f.__name__, args, kw))
            return f(*args, **kw)
        return inner
    return wrap


log = []


@traced(log)
def hanoi(n, a="A", b="B", c="C"):
    """Moves a tower."""
    if n:
        yield from hanoi(n - 1, a, c, b)
        yield a + c
        yield from hanoi(n - 1, b, a, c)


print(" ".join(hanoi(4)), len(log), hanoi.__doc__)


@contextlib.contextmanager
def step(name):
    print("enter", name)
    try:
        yield name
    except ZeroDivisionError as e:
        print("swallowed", e)
    finally:
        print("leave", name)


with contextlib.ExitStack() as stack:
    for n in "xy":
        stack.enter_context(step(n))
    stack.callback(print, "callback")
    1 // 0
print([f(1) for f in [lambda x, i=i: x + i for i in range(3)]], {**{"a": 1}, "b": 2} | {"a": 3})
try:
    next(g for g in ())
except StopIteration:
    print("empty")
