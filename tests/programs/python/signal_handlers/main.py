# SPDX-License-Identifier: Apache-2.0
"""Handlers, timers, masks, EINTR and a KeyboardInterrupt raised by ourselves."""
import os
import signal
import time

seen = []


def handler(number, frame):
    seen.append((signal.Signals(number).name, frame.f_code.co_name))


for s in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGCHLD):
    signal.signal(s, handler)


def poke():
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.raise_signal(signal.SIGUSR2)


poke()
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.sigwait([]) if False else time.sleep(0.05)
pid = os.fork()
if pid == 0:
    os._exit(6)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
poke()
print(signal.sigpending(), len(seen))
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
for s in seen:
    print(s)
print(signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGPIPE))
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
signal.raise_signal(signal.SIGINT)
