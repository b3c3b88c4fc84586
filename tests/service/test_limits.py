#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Programs that want too much: each ends with the right status in time, and its neighbours never notice."""
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from service import ISOLATION, Service, quick_table  # noqa: E402
from tap import Tap  # noqa: E402

MIB = 1 << 20
# name, language, code, request fields, expected status, expected reason (None: any)
GREEDY = [
    ("infinite loop", "python", "while True: pass", {"timeout": 2}, "timeout", "timeout"),
    ("infinite loop in Deno", "typescript", "while (true) {}", {"timeout": 2}, "timeout", "timeout"),
    ("sleep", "bash", "sleep 1000", {"timeout": 1}, "timeout", "timeout"),
    ("ignored SIGTERM", "python",
     "import signal, time\nfor s in range(1, 65):\n  try: signal.signal(s, signal.SIG_IGN)\n"
     "  except (OSError, ValueError): pass\ntime.sleep(3600)", {"timeout": 2}, "timeout", "timeout"),
    ("stopped itself", "python", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
     {"timeout": 2}, "timeout", "timeout"),
    ("CPU limit", "python", "while True: pass", {"timeout": 60, "limits": {"cpu_ms": 1000}},
     "timeout", "cpu_timeout"),
    ("memory bomb", "python", "b = []\nwhile True: b.append(bytearray(16 << 20))",
     {"timeout": 60, "limits": {"memory_bytes": 128 * MIB}}, "memory", "memory"),
    ("fork bomb", "python", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
     {"timeout": 3}, "timeout", "timeout"),
    ("fork bomb that daemonises", "python",
     "import os\nwhile True:\n  try:\n    if os.fork() == 0:\n      os.setsid()\n"
     "      if os.fork(): os._exit(0)\n  except OSError: pass", {"timeout": 3}, "timeout", "timeout"),
    ("thread bomb", "python",
     "import threading, time\ntry:\n  while True: threading.Thread(target=time.sleep, args=(9,)).start()\n"
     "except RuntimeError as e: print(e, flush=True); import os; os._exit(0)", {"timeout": 100}, "ok", "exit"),
    ("1 GiB of output", "python",
     "import sys\nfor _ in range(16384): sys.stdout.write('y' * 65536)", {"timeout": 60},
     "output_limit", "output_limit"),
    ("full disk", "python",
     "try:\n  f = open('fill', 'wb')\n  while True: f.write(bytes(1 << 20))\n"
     "except OSError as e: print(e.errno)", {"timeout": 60, "limits": {"disk_bytes": 16 * MIB}},
     "ok", "exit"),
    ("full /dev/shm", "python",
     "try:\n  f = open('/dev/shm/fill', 'wb')\n  while True: f.write(bytes(1 << 20))\n"
     "except OSError as e: print(e.errno)", {"timeout": 60, "limits": {"disk_bytes": 16 * MIB}},
     "ok", "exit"),
    ("child that stays", "python",
     "import os, time\nif os.fork() == 0:\n  os.setsid()\n  time.sleep(600)\nprint('parent done')",
     {"timeout": 60}, "ok", "exit"),
    ("kill everything", "python", "import os, signal\nos.kill(-1, signal.SIGKILL)\nprint('alive')",
     {"timeout": 30}, None, None),
]
# How much later than its limit a run's answer may come, on a busy machine that may stand still for a while.
RUN_GRACE_S = 10.0
# Between two runs of the neighbour, each of which may be an emulated machine's start.
PACE_S = 0.3 if ISOLATION == "process" else 1.5


class Neighbour(threading.Thread):
    """Asks for 42 all the time; remembers every answer that was not."""

    def __init__(self, service):
        super().__init__()
        self.service = service
        self.stop = threading.Event()
        self.wrong = []
        self.count = 0

    def run(self):
        while not self.stop.is_set():
            try:
                status, answer = self.service.post(language="python", code="print(6 * 7)")
                if status != 200 or answer["output"] != "42\n":
                    self.wrong.append((status, answer))
            except OSError as error:
                self.wrong.append(error)
            self.count += 1
            self.stop.wait(PACE_S)


def check_one(tap, service, row):
    name, language, code, fields, status, reason = row
    start = time.monotonic()
    code_status, answer = service.post(language=language, code=code, **fields)
    took = time.monotonic() - start
    ok = code_status == 200 and (status is None or answer["status"] == status)
    ok = ok and (reason is None or answer["reason"] == reason)
    tap.check(ok, f"{name}: status {status}", (code_status, str(answer)[:1500]))
    if status == "timeout" and reason == "timeout":
        tap.check(answer["usage"]["wall_ms"] <= (fields["timeout"] + RUN_GRACE_S) * 1000,
                  f"{name}: ended within its limit and {RUN_GRACE_S} s", (took, answer.get("usage")))
    if name.startswith("full"):
        tap.check(answer["stdout"] in ("28\n", "122\n"), f"{name}: ENOSPC", answer)
    if name == "1 GiB of output":
        tap.check(answer["truncated"] is True and len(answer["stdout"]) <= 16 * MIB,
                  f"{name}: cut and said so", {k: v for k, v in answer.items() if k not in ("stdout", "output")})
    if name == "memory bomb":
        tap.check(answer["usage"]["memory_peak_bytes"] <= 129 * MIB, f"{name}: peak within the limit",
                  answer["usage"])
    if name == "child that stays":
        tap.check(answer["stdout"] == "parent done\n" and took < 50, f"{name}: not waited for", answer)


def main():
    tap = Tap()
    with Service(RUNTIMES_DIR=quick_table()) as service:
        neighbour = Neighbour(service)
        neighbour.start()
        for row in GREEDY:
            tap.group(lambda t, row=row: check_one(t, service, row))
        neighbour.stop.set()
        neighbour.join()
        tap.check(neighbour.count > 5 and not neighbour.wrong,
                  f"{neighbour.count} runs beside them were undisturbed", neighbour.wrong[:3])
    tap.finish()


if __name__ == "__main__":
    main()
