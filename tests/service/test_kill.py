#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Kills every part of the service in the middle of a run: typed answers, recovery, no leaks."""
import http.client
import os
import pathlib
import signal
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from service import (ISOLATION, Service, all_cgroups, cgroup_dirs, mounts,  # noqa: E402
                     processes, small_table, survivors, wait_until)
from private_mounts import private_mounts  # noqa: E402
from tap import Tap  # noqa: E402

SLEEPER = "print('started', flush=True)\nimport time\ntime.sleep(200)"


class Pending(threading.Thread):
    """One long run whose answer, or lack of one, is looked at later."""

    def __init__(self, service):
        super().__init__()
        self.service = service
        self.status = None
        self.answer = None

    def run(self):
        try:
            self.status, self.answer = self.service.post(language="python", code=SLEEPER, timeout=250)
        except (OSError, http.client.HTTPException) as error:
            self.answer = error

    def begin(self):
        self.start()
        wait_until(lambda: self.service.get("/health")[1]["pool"]["running"] > 0, 60)
        time.sleep(1.5)
        return self


def settled(service):
    return wait_until(lambda: service.get("/health")[1]["pool"]["ready"]
                      >= service.get("/health")[1]["pool"]["target"], 300, 0.3)


def figures(service):
    """What must be the same before and after: counts, as the pool is full both times."""
    settled(service)
    time.sleep(1.5)
    family = service.family()
    names = sorted(name for _, name in family.values())
    return {"processes": names, "cgroups": len(cgroup_dirs()), "mounts": mounts(),
            "fds": service.open_fds(service.daemon_pid())}


def check_recovers(tap, service, what, kill):
    before = figures(service)
    pending = Pending(service).begin()
    kill(service)
    pending.join(150)
    tap.check(pending.status in (500, 502, 503) and pending.answer["error"]
              and pending.answer["may_have_run"] is True,
              f"{what} killed: the client is told, and that its code may have run",
              (pending.status, pending.answer))
    answer = service.run("python", "print(6 * 7)")
    tap.check(answer["output"] == "42\n", f"{what} killed: the pool recovers by itself", answer)
    after = figures(service)
    same = ("processes", "cgroups")  # what was killed goes in its own time
    until = time.monotonic() + 100
    while (any(after[x] != before[x] for x in same) or after["mounts"] > before["mounts"]) and time.monotonic() < until:
        after = figures(service)
    tap.check(after["processes"] == before["processes"], f"{what} killed: the same processes as before",
              (before, after))
    tap.check(after["cgroups"] == before["cgroups"] and after["mounts"] <= before["mounts"],
              f"{what} killed: the same groups as before, and no more mounts", (before, after))
    tap.check(abs(after["fds"] - before["fds"]) <= 2, f"{what} killed: no descriptor leaked",
              (before["fds"], after["fds"]))


def agent_pids(service):
    """Those of agents that are in no jail of their own making: as the launcher's grandchildren."""
    table = processes()
    inits = {pid for pid, (ppid, _, _) in table.items() if ppid in service.pids("csb-launch")}
    return [pid for pid, (ppid, _, _) in table.items() if ppid in inits]


def kill_agent(service):
    for pid in agent_pids(service):
        os.kill(pid, signal.SIGKILL)


def kill_agent_jail(service):
    launcher = service.pids("csb-launch")
    for pid, (ppid, _, _) in processes().items():
        if ppid in launcher:
            os.kill(pid, signal.SIGKILL)


def kill_vms(service):
    for pid in service.pids("qemu"):
        os.kill(pid, signal.SIGKILL)


def kill_launcher(service):
    os.kill(service.pids("csb-launch")[0], signal.SIGKILL)


def check_stuck_launcher(tap, service):
    """One that is stopped answers nothing: runs go on, and it is replaced when it is next needed."""
    launcher = service.pids("csb-launch")[0]
    os.kill(launcher, signal.SIGSTOP)
    try:
        answer = service.run("python", "print(6 * 7)")
        tap.check(answer["output"] == "42\n", "launcher stopped: runs go on", answer)
        start = time.monotonic()
        status, health = service.get("/health")
        tap.check(time.monotonic() - start < 15 and health["confinement"] is not None,
                  "launcher stopped: /health answers", (status, health))
        kill_agent(service)
        tap.check(wait_until(lambda: launcher not in service.pids("csb-launch"), 60),
                  "launcher stopped: it is killed when it does not answer")
    finally:
        try:
            os.kill(launcher, signal.SIGCONT)
        except ProcessLookupError:
            pass
    settled(service)
    answer = service.run("python", "print(6 * 7)")
    tap.check(answer["output"] == "42\n", "launcher stopped: the pool recovers by itself", answer)


def crash_agent(tap, service):
    """A guest whose agent dies has a dead kernel: a run that makes it so is answered like a dead VM."""
    answer = service.run("bash", "kill -9 1; echo c > /proc/sysrq-trigger; echo still here")
    tap.check("still here" in answer["stdout"], "a run cannot kill the agent", answer)


def check_daemon(tap, service):
    family = None
    pending = Pending(service).begin()
    family = service.family()
    os.kill(service.daemon_pid(), signal.SIGKILL)
    pending.join(150)
    tap.check(isinstance(pending.answer, Exception), "daemon killed: the connection closes",
              (pending.status, pending.answer))
    tap.check(wait_until(lambda: service.process.poll() is not None, 100) is not None,
              "daemon killed: the supervisor ends")
    tap.check(not wait_until(lambda: not survivors(family), 100) is False and not survivors(family),
              "daemon killed: no process is left", survivors(family))
    restart(tap, service, "daemon")


def check_supervisor(tap, service):
    family = service.family()
    service.process.kill()
    service.process.wait()
    wait_until(lambda: not survivors(family), 100)
    tap.check(not survivors(family), "supervisor killed: no process is left", survivors(family))
    restart(tap, service, "supervisor")


def restart(tap, service, what):
    service.start()
    answer = service.run("python", "print(6 * 7)")
    tap.check(answer["output"] == "42\n", f"{what} killed: the next start is clean", answer)


def main():
    tap = Tap()
    private_mounts()
    mounts_before = mounts()
    groups_before = cgroup_dirs()
    service = Service(POOL_SIZE=3, RUNTIMES_DIR=small_table())
    with service:
        if ISOLATION == "process":
            tap.group(lambda t: check_recovers(t, service, "agent", kill_agent))
            tap.group(lambda t: check_recovers(t, service, "agent's jail", kill_agent_jail))
            tap.group(lambda t: check_stuck_launcher(t, service))
        else:
            tap.group(lambda t: check_recovers(t, service, "VM", kill_vms))
        tap.group(lambda t: check_recovers(t, service, "launcher", kill_launcher))
        tap.group(lambda t: crash_agent(t, service))
        tap.group(lambda t: check_daemon(t, service))
        tap.group(lambda t: check_supervisor(t, service))
        family = service.family()
        code = service.stop()
    tap.check(code == 0, "SIGTERM ends it with exit code 0", code)
    tap.check(not survivors(family), "nothing runs after the end", survivors(family))
    tap.check(mounts() <= mounts_before, "no mount is left", (mounts_before, mounts()))
    tap.check(cgroup_dirs() == groups_before and not all_cgroups(), "no group is left", all_cgroups())
    tap.finish()


if __name__ == "__main__":
    main()
