# SPDX-License-Identifier: Apache-2.0
"""Producer, workers and collector with queues, locks, conditions, events and thread locals."""
import queue
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed

jobs, results = queue.Queue(maxsize=4), queue.Queue()
local = threading.local()
started = threading.Barrier(4)
lock = threading.Lock()
counter = 0


def worker():
    global counter
    local.seen = 0
    started.wait()
    while (job := jobs.get()) is not None:
        local.seen += 1
        with lock:
            counter += 1
        results.put((job, sum(d * d for d in map(int, str(job)))))
    results.put(None)


threads = [threading.Thread(target=worker, name=f"worker-{i}") for i in range(3)]
for t in threads:
    t.start()
started.wait()
for n in range(100, 160):
    jobs.put(n)
for _ in threads:
    jobs.put(None)
done, table = 0, {}
while done < len(threads):
    item = results.get()
    if item is None:
        done += 1
    else:
        table[item[0]] = item[1]
for t in threads:
    t.join()
print(counter, len(table), sum(table.values()), table[123], hasattr(local, "seen"))
print(threading.current_thread().name, threading.main_thread() is threading.current_thread())

turn = threading.Condition()
whose, out = 0, []


def player(me):
    global whose
    for round_ in range(5):
        with turn:
            turn.wait_for(lambda: whose == me)
            out.append(f"{me}{round_}")
            whose = (whose + 1) % 3
            turn.notify_all()


players = [threading.Thread(target=player, args=(i,)) for i in range(3)]
[p.start() for p in players]
[p.join() for p in players]
print(" ".join(out))

with ThreadPoolExecutor(4) as pool:
    futures = {pool.submit(pow, 7, n, 1_000_007): n for n in range(20)}
    print(sorted((futures[f], f.result()) for f in as_completed(futures))[-3:])
    try:
        pool.submit(lambda: [][1]).result()
    except IndexError as e:
        print("future raised:", e)


def dies():
    raise RuntimeError("in a thread")


threading.excepthook = lambda a: print("hook:", a.exc_type.__name__, a.exc_value, a.thread.name)
t = threading.Thread(target=dies, name="dier")
t.start()
t.join()
tick = threading.Timer(0.01, lambda: print("timer fired"))
tick.start()
tick.join()
