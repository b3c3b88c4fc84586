# SPDX-License-Identifier: Apache-2.0
"""Pool, Process, Queue, Pipe, Value, Lock, Manager-free shared state; classes of __main__ pickled."""
import multiprocessing as mp
import os
from dataclasses import dataclass


@dataclass
class Point:
    x: int
    y: int

    def scaled(self, k):
        return Point(self.x * k, self.y * k)


class Custom(Exception):
    def __init__(self, code, why):
        super().__init__(code, why)
        self.code = code


def square(n):
    return n, n * n


def move(p):
    return p.scaled(3)


def refuse(n):
    raise Custom(n, "refused")


def count(value, lock, times):
    for _ in range(times):
        with lock:
            value.value += 1


def talk(conn):
    while (m := conn.recv()) != "stop":
        conn.send((mp.current_process().name, type(m).__name__, m))
    conn.close()


if __name__ == "__main__":
    with mp.Pool(2) as pool:
        print(pool.map(square, range(8)))
        print(pool.map(move, [Point(1, 2), Point(-3, 4)]))
        print(sorted(pool.imap_unordered(square, range(5), chunksize=2)))
        try:
            pool.apply(refuse, (7,))
        except Custom as e:
            print("raised across:", e.args, e.code, type(e.__cause__).__name__)
    value, lock = mp.Value("i", 0), mp.Lock()
    counters = [mp.Process(target=count, args=(value, lock, 200)) for _ in range(3)]
    [c.start() for c in counters]
    [c.join() for c in counters]
    print("counted", value.value, [c.exitcode for c in counters])
    ours, theirs = mp.Pipe()
    p = mp.Process(target=talk, args=(theirs,), name="talker")
    p.start()
    for message in (1, [2, 3], {"k": Point(5, 6)}, "x" * 100_000):
        ours.send(message)
        name, kind, back = ours.recv()
        print(name, kind, back == message)
    ours.send("stop")
    p.join()
    q = mp.Queue()
    e = mp.Process(target=q.put, args=({"from": "child"},))
    e.start()
    print(q.get())
    e.join()
    quitter = mp.Process(target=os._exit, args=(9,))
    quitter.start()
    quitter.join()
    print("exit code of a quitter:", quitter.exitcode)
    print(mp.get_start_method(), mp.active_children())
