# SPDX-License-Identifier: Apache-2.0
"""Killing the service's parts in the middle of a run."""
import http.client
import os
import signal
import threading
import time

from model import Row, want
from service import survivors, wait_until

SLEEPER = "print('started',flush=True)\nimport time\ntime.sleep(200)"


class Pending(threading.Thread):
    """A long run whose answer, or the lack of one, is looked at later."""

    def __init__(self, rig):
        super().__init__(daemon=True)
        self.rig = rig
        self.status = self.answer = None

    def run(self):
        try:
            self.status, self.answer = self.rig.service.post(language="python", code=SLEEPER, timeout=250)
        except (OSError, http.client.HTTPException) as error:
            self.answer = error

    def begin(self):
        # So that what is seen to run is this.
        going = self.rig.neighbour.go.is_set()
        self.rig.neighbour.go.clear()
        self.rig.neighbour.idle.wait(100)
        self.start()
        wait_until(lambda: self.rig.health()["pool"]["running"] > 0, 60)
        time.sleep(1.5)
        if going:
            self.rig.neighbour.go.set()
        return self


def kill_all(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    want(pids, "there was something to kill")


def killed_part(rig, name):
    """The client is told that its code may have run; the next request is served."""
    pending = Pending(rig).begin()
    kill_all(rig.service.pids(name))
    pending.join(150)
    want(pending.status in (502, 503) and pending.answer["error"] and pending.answer["may_have_run"] is True,
         f"{name} killed: a typed error", (pending.status, pending.answer))
    run = rig.run("python", "print(6*7)")
    want(run.out == "42\n", f"{name} killed: the next run works", run.answer)
    wait_until(rig.at_rest, 60, 0.2)


def killed_service(rig, pid_of, what):
    """Nothing is left, and the next start is clean."""
    pending = Pending(rig).begin()
    family = rig.service.family()
    os.kill(pid_of(), signal.SIGKILL)
    pending.join(150)
    want(isinstance(pending.answer, Exception), f"{what} killed: the connection closes", pending.answer)
    wait_until(lambda: rig.service.process.poll() is not None, 100)
    left = wait_until(lambda: not survivors(family), 100)
    want(left, f"{what} killed: no process is left", survivors(family))
    rig.service.start()
    want(rig.run("python", "print(6*7)").out == "42\n", f"{what} killed: the next start works")
    wait_until(rig.at_rest, 60, 0.2)


def faults(rig):
    rig.neighbour.idle.wait(150)
    killed_part(rig, "qemu" if rig.world.isolation == "microvm" else "csb-agent")
    killed_part(rig, "csb-launch")
    # Kill and start again: no neighbour meanwhile, for there is nobody to ask.
    rig.neighbour.go.clear()
    rig.neighbour.idle.wait(150)
    killed_service(rig, rig.service.daemon_pid, "daemon")
    killed_service(rig, lambda: rig.service.process.pid, "supervisor")
    rig.neighbour.go.set()


def told(status, answer):
    """While a part is dead, a neighbour may be told so, in a typed error."""
    if status == 200:
        return answer["output"] == "42\n"
    return status == 503 and answer["error"] in ("sandbox_lost", "sandbox_failed", "sandbox_timeout") \
        and "may_have_run" in answer


def rows(_):
    return [Row(90, "parts of the service killed in the middle of a run", action=faults, neighbour=told)]
