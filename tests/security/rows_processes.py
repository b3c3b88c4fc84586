# SPDX-License-Identifier: Apache-2.0
"""Processes and time."""
from model import (OK, TIMEOUT, Row, any_of, bounded, complains, ended, every, hit, never_says, others, py, says,
                   want)

FORK_BOMB = """
import os
while True:
    try: os.fork()
    except OSError: pass
"""
FORK_AWAY = """
import os
while True:
    if os.fork()==0:
        os.setsid()
        if os.fork(): os._exit(0)
"""
THREAD_BOMB = """
import threading,time
while True:
    threading.Thread(target=time.sleep,args=(99,)).start()
"""
IGNORE_SIGNALS = """
import signal,time
for s in range(1,65):
    try: signal.signal(s,signal.SIG_IGN)
    except (OSError,ValueError): pass
time.sleep(3600)
"""
DAEMON = """
import os,time
if os.fork()==0:
    os.setsid()
    os.close(0);os.close(1);os.close(2)
    time.sleep(600)
print('parent done')
"""
DAEMON_WITH_OUTPUT = """
import os,time
if os.fork()==0:
    os.setsid()
    time.sleep(600)
print('parent done')
"""
ZOMBIES = """
import os,time
for _ in range(5000):
    if os.fork()==0: os._exit(0)
time.sleep(2)
"""
# Far more orphans than there may be processes: somebody must reap them.
ORPHANS = """
import os
for _ in range(200):
    pid=os.fork()
    if pid==0:
        if os.fork()==0: os._exit(0)
        os._exit(0)
    os.waitpid(pid,0)
print('done')
"""
KILL_ALL = """
import os,signal
os.kill(-1,signal.SIGKILL)
print('alive')
"""


def quick(run):
    """The answer does not wait for a child that goes on."""
    limit = 30
    waited = run.answer["timing"]["queue_ms"] / 1000
    want(run.elapsed - waited < limit, f"answered within {limit} s", run.elapsed)


def rows(isolation):
    open_ = "the number of processes of a run"
    # An emulated processor may not get to the limit in the time a bomb has.
    full = every(TIMEOUT, lambda run: run.world.emulated or hit("processes")(run))
    bomb = bounded(full, TIMEOUT, open_)
    no_more = bounded(ended("error", ("exit", "processes"), 1), any_of(TIMEOUT, ended("error", "exit", 1)),
                      open_)
    return [
        Row(1, "fork bomb", [py(FORK_BOMB, bomb, timeout=3), others("fork", TIMEOUT, timeout=3)[0],
                                others("fork", bomb, timeout=3)[1]]),
        Row(2, "fork bomb that leaves its process group and its parents",
            [py(FORK_AWAY, any_of(bomb, no_more), timeout=3)]),
        Row(3, "thread bomb", [py(THREAD_BOMB, bounded(
            every(TIMEOUT, complains("can't start new thread")), TIMEOUT, open_),
            timeout=20 if isolation == "microvm" else 5)]),  # so long that it gets there
        Row(4, "every signal ignored, sleeping past the limit",
            [py(IGNORE_SIGNALS, TIMEOUT, timeout=1)]),
        Row(6, "sleep past the limit without using the processor",
            [py("import time\ntime.sleep(10**6)", TIMEOUT, timeout=1), *others("sleep", TIMEOUT, timeout=1)]),
        Row(7, "a loop in C that holds the interpreter",
            [py("import re\nre.match(r'(a+)+$','a'*64+'b')", TIMEOUT, timeout=1)]),
        Row(8, "a child that outlives its parent",
            [py(DAEMON, every(OK, says("parent done\n"), quick)),
             py(DAEMON_WITH_OUTPUT, every(OK, says("parent done\n"), quick))]),
        Row(10, "zombies and orphans",
            [py(ZOMBIES, every(no_more, bounded(complains("BlockingIOError"), lambda run: None, open_)), timeout=20),
             py(ORPHANS, every(OK, says("done\n")), limits={"processes": 48})]),
        Row(11, "a program that stops itself",
            [py("import os,signal\nos.kill(os.getpid(),signal.SIGSTOP)", TIMEOUT, timeout=1)]),
        Row(12, "kill everything in reach",
            [py(KILL_ALL, every(any_of(ended("killed", "signal", signal="SIGKILL"),
                                       every(ended("error", "exit", 1), complains("ProcessLookupError"))),
                                never_says("alive")))]),
    ]
