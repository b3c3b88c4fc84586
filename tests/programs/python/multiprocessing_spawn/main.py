# SPDX-License-Identifier: Apache-2.0
import multiprocessing as mp
import sys

print("imported as", __name__, flush=True)


class Job:
    def __init__(self, n):
        self.n = n

    def __call__(self):
        return f"job {self.n} in {__name__}, argv {sys.argv[1:]}"


def work(job, q):
    q.put(job())


if __name__ == "__main__":
    ctx = mp.get_context("spawn")
    q = ctx.SimpleQueue()
    p = ctx.Process(target=work, args=(Job(5), q))
    p.start()
    print(q.get())
    p.join()
    print("exit", p.exitcode)
