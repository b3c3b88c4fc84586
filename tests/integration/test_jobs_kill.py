#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jobs are put while the service is killed again and again: none that was acknowledged is lost, none
runs twice that may run once, and what may have run is told.

Every program leaves a note of its own in a file outside, as the first thing it does. 300 jobs and six
deaths; with CSB_TEST_FULL=1, 10,000 and twenty.
"""
import json
import os
import pathlib
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import Daemon, children  # noqa: E402
from full import FULL  # noqa: E402
from jobs import all_jobs  # noqa: E402
from tap import Tap  # noqa: E402

JOBS, DEATHS, BATCH = (10000, 20, 50) if FULL else (300, 6, 10)
END_S = 900 if FULL else 150
OVER = ("succeeded", "failed", "cancelled", "may_have_run")


class Putter(threading.Thread):
    """Puts all jobs, by turns alone and in batches, each until it is acknowledged."""

    def __init__(self, where, dice):
        super().__init__(daemon=True)
        self.where = where  # where()  is the daemon there is
        self.taken = {}     # id: (number, most attempts)
        self.bodies = []
        for n in range(JOBS):
            attempts = 3 if n % 5 == 0 else 1
            self.bodies.append({"language": "python", "code": f"note {n}\nsleep {dice.randrange(15)}\nout {n}\n",
                                "idempotency_key": f"job-{n}", "max_attempts": attempts, "priority": n % 10})
        self.lock = threading.Lock()
        self.pace = threading.Event()

    def send(self, path, body):
        while True:
            try:
                d = self.where()
                status, _, answer = d.request("POST", path, json.dumps(body), {"Content-Type": "application/json"}, 10)
                if status in (200, 202):
                    return answer
            except OSError:
                pass
            except Exception as error:  # an answer cut short by a death
                if "HTTP" not in type(error).__name__ and "Incomplete" not in type(error).__name__ \
                        and "BadStatus" not in type(error).__name__ and "RemoteDisconnected" not in type(error).__name__:
                    raise
            self.pace.wait(0.02)

    def run(self):
        n = 0
        while n < JOBS:
            count = BATCH if n % 3 == 0 else 1
            part = list(range(n, min(n + count, JOBS)))
            if len(part) == 1:
                names = [self.send("/jobs", self.bodies[n])["id"]]
            else:
                names = [j["id"] for j in self.send("/jobs/batch", {"jobs": [self.bodies[i] for i in part]})["jobs"]]
            with self.lock:
                for name, i in zip(names, part):
                    self.taken[name] = (i, self.bodies[i]["max_attempts"])
            n += len(part)
            self.pace.wait(0 if FULL else 0.005)

    def acknowledged(self):
        with self.lock:
            return dict(self.taken)


def start(settings):
    """A daemon, as soon as the one before has let its directory go."""
    for _ in range(1200):
        try:
            return Daemon(**settings)
        except RuntimeError as error:
            if "another codesandboxd" not in str(error):
                raise
            time.sleep(0.05)
    raise RuntimeError("the last service does not go away")


def everything(d):
    """{id: record} of all jobs."""
    return all_jobs(lambda path: d.get(path)[::2])


def problems(d, putter, notes):
    """What must not be, while the service runs."""
    taken = putter.acknowledged()
    before = Counter(map(int, notes.read_text().split()))
    jobs = everything(d)
    after = Counter(map(int, notes.read_text().split()))
    for name, (n, most) in taken.items():
        record = jobs.get(name)
        if record is None:
            yield f"job {n} is lost"
            continue
        if before[n] > record["attempts"]:
            yield f"job {n} ran {before[n]} times in {record['attempts']} attempts"
        if most == 1 and before[n] > 1:
            yield f"job {n} ran {before[n]} times and may run once"
        if most == 1 and record["state"] == "queued" and before[n]:
            yield f"job {n} ran and is queued again"
        if record["state"] == "succeeded" and not after[n]:
            yield f"job {n} succeeded and did not run"
        if record["attempts"] > most:
            yield f"job {n} was begun {record['attempts']} times, not {most}"


def kill(d, dice):
    """The whole service or the half that serves, at any moment."""
    victims = children(d.process.pid)
    victim = dice.choice(victims) if victims and dice.random() < 0.5 else d.process.pid
    os.kill(victim, signal.SIGKILL)
    d.process.wait(60)
    d.stop(signal.SIGKILL)


def deaths(t, seed):
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="csb-jobs-") as state:
        notes = pathlib.Path(state, "notes")
        notes.touch()
        notes.chmod(0o666)
        settings = {"state": state, "JOB_WORKERS": 8, "POOL_SIZE": 4, "CSB_FAKE_NOTES": notes}
        now = [start(settings)]
        putter = Putter(lambda: now[0], dice)
        putter.start()
        try:
            for death in range(DEATHS):
                want = JOBS * (death + 1) // (DEATHS + 1)
                now[0].wait(lambda: len(putter.acknowledged()) >= want, f"{want} jobs put", END_S)
                time.sleep(dice.random() * 0.2)  # anywhere in what goes on
                kill(now[0], dice)
                now[0] = start(settings)
                found = list(problems(now[0], putter, notes))
                t.check(not found, f"death {death + 1}: nothing is lost or ran twice", "\n".join(found[:20]))
            now[0].wait(lambda: not putter.is_alive(), "all put", END_S)
            now[0].wait(lambda: not any(now[0].get(f"/jobs?limit=1&state={s}")[2]["jobs"] for s in ("queued", "running")),
                        "all over", END_S)
            end(t, now[0], putter, notes)
        finally:
            code = now[0].stop()
        t.check(code == 0, "the service ends well", code)


def end(t, d, putter, notes):
    jobs = everything(d)
    ran = Counter(map(int, notes.read_text().split()))
    states = Counter(j["state"] for j in jobs.values())
    print(f"# {JOBS} jobs, {DEATHS} deaths: {dict(states)}, "
          f"{sum(1 for j in jobs.values() if j['attempts'] > 1)} run again as allowed", flush=True)
    t.check(len(jobs) == JOBS == len(putter.acknowledged()), "all jobs are there, each once", (len(jobs), JOBS))
    found = list(problems(d, putter, notes))
    t.check(not found, "none is lost, none ran more often than it may", "\n".join(found[:20]))
    t.check(set(states) <= {"succeeded", "may_have_run"}, "all came to an end", states)
    t.check(states["may_have_run"] <= 8 * DEATHS, "only what was under way may have run", states)
    wrong = [n for name, (n, most) in putter.acknowledged().items()
             if jobs[name]["state"] == "succeeded" and (ran[n] != 1 if most == 1 else not 1 <= ran[n] <= most)]
    t.check(not wrong, "what succeeded ran, and once where once was asked for", wrong[:20])


def main():
    seed = int(os.environ.get("CSB_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"# CSB_TEST_SEED={seed}", flush=True)
    t = Tap()
    t.group(deaths, seed)
    t.finish()


main()
