#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random moments over jobs and long-lived sandboxes of a real service, and what must hold after each:
no job that was acknowledged is lost, none runs more often than it may; a sandbox is there and works, or it was told
to be lost, never both and never neither; and nothing is left behind.

What dies is random: the server, the supervisor, the launcher, an agent, all at once, or a service that is just
starting. 100 deaths, or 200 with CSB_TEST_FULL=1. CSB_TEST_SEED repeats a run as far as the kernel's scheduling lets it.
"""
import http.client
import json
import os
import pathlib
import random
import signal
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "service"))
from census import Census, Notes, after_the_end  # noqa: E402
from service import STATE, Service, processes, small_table, survivors, wait_until  # noqa: E402
from full import FULL  # noqa: E402
from jobs import all_jobs  # noqa: E402
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

DEATHS = int(os.environ.get("CSB_TEST_DEATHS", 200 if FULL else 100))
JOBS_PER_DEATH, SANDBOXES_MAX = 4, 3
SETTLE_S = 200
UIDS = 1 << 23  # more than all that a few sandboxes have
# Whoever else has them would be taken for what was left behind.
UID_BASE = int(os.environ.get("CSB_TEST_UID_BASE", 1000000000 + os.getpid() % 100 * UIDS))
OVER = ("succeeded", "failed", "cancelled", "may_have_run")
KINDS = {"server": 25, "supervisor": 15, "all": 10, "starting": 10, "launcher": 15, "agent": 25}


class World:
    """The service, and what its clients know."""

    def __init__(self, state, notes, dice):
        self.notes, self.dice, self.state = notes, dice, state
        table = small_table()
        for path in table.glob("*.runtime"):
            if path.stem != "bash":
                path.unlink()
        self.service = Service(RUNTIMES_DIR=table, STATE_DIR=state, UID_BASE=UID_BASE, POOL_SIZE=1, POOL_MAX=16,
                               SANDBOX_READY=0, JOB_WORKERS=4)
        self.next_job = 0
        self.unsure = []     # bodies that were sent and not acknowledged
        self.taken = {}      # id: (number, most attempts)
        self.over = set()    # ids that were seen to be over
        self.sandboxes = {}  # id: its answer, of all that are not known to have ended
        self.alive = {}      # of these, the ones that were there when last looked at
        self.most = 0        # that there were at once
        self.lasting = True  # this host can have sandboxes

    def ask(self, method, path, body=None, headers=None):
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        status, _, text = self.service.request(method, path, data, {
            "X-API-KEY": "any", "Content-Type": "application/json", **(headers or {})}, timeout=120)
        return status, json.loads(text) if text else None

    def start(self):
        """Begins the service, as soon as the last one has let its directory go."""
        for _ in range(400):
            self.service.start(ready=False)
            try:
                self.service.wait_ready(120)
                return
            except RuntimeError as error:
                if "another codesandboxd" not in str(error):
                    raise
                self.service.stop()
                time.sleep(0.05)
        raise RuntimeError("the last service does not go away")

    def body(self):
        n = self.next_job
        self.next_job += 1
        return {"language": "bash", "code": self.notes.program(n, self.dice.randrange(30) / 1000),
                "idempotency_key": f"job-{n}", "max_attempts": 3 if n % 5 == 0 else 1, "priority": n % 10}


class Work(threading.Thread):
    """What clients do while something dies: jobs are put, sandboxes made, used and ended. Whatever has no answer
    is not known to be done."""

    def __init__(self, world):
        super().__init__(daemon=True)
        self.world = world
        self.jobs = world.unsure + [world.body() for _ in range(JOBS_PER_DEATH)]
        world.unsure = list(self.jobs)
        self.ends = [name for name in world.sandboxes if world.dice.random() < 0.15]
        self.makes = world.lasting and len(world.sandboxes) - len(self.ends) < SANDBOXES_MAX
        self.error = None

    def put(self, bodies):
        w = self.world
        if not bodies:
            return
        if len(bodies) == 1:
            status, answer = w.ask("POST", "/jobs", bodies[0])
            records = [answer]
        else:
            status, answer = w.ask("POST", "/jobs/batch", {"jobs": bodies})
            records = answer.get("jobs")
        if status not in (200, 202):
            if status != 503:  # it ends, or its disk is slow
                self.error = (status, answer)
            return
        for body, record in zip(bodies, records):
            number = int(body["idempotency_key"].split("-")[1])
            if w.taken.setdefault(record["id"], (number, body["max_attempts"]))[0] != number:
                self.error = f"two jobs are {record['id']}"
        w.unsure = [b for b in w.unsure if b not in bodies]

    def make(self):
        w = self.world
        status, answer = w.ask("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3600})
        if status == 201:
            w.sandboxes[answer["sandboxID"]] = answer
            w.most = max(w.most, len(w.sandboxes))
        elif status == 501:
            w.lasting = False
        elif status < 500 and status != 429:
            self.error = (status, answer)

    def end(self, name):
        status, answer = self.world.ask("DELETE", f"/sandboxes/{name}")
        if status in (204, 404):
            if status == 204:
                del self.world.sandboxes[name]  # a 404: whether it was told to be lost is looked at later
        elif status < 500:
            self.error = (status, answer)

    def run(self):
        try:
            self.put(self.jobs[:1])
            if self.makes:
                self.make()
            for name in self.ends:
                self.end(name)
            self.put(self.jobs[1:])
        except (OSError, http.client.HTTPException, ValueError):
            pass  # the service died


# Deaths.

def agents(service):
    """Every agent, and the init of each one's jail."""
    launchers, table = set(service.pids("csb-launch")), processes()
    inits = {pid for pid, (parent, _, _) in table.items() if parent in launchers}
    return sorted(inits | {pid for pid, (parent, _, _) in table.items() if parent in inits})


def victims(service, kind, dice):
    try:
        if kind == "supervisor":
            return [service.process.pid]
        if kind == "server":
            return [service.daemon_pid()]
        if kind == "launcher":
            return service.pids("csb-launch")
        if kind == "agent":
            return [dice.choice(agents(service))]
    except (StopIteration, IndexError):
        pass  # there is none at the moment
    return list(service.family())


def kill(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def die(world, kind):
    """Kills, and brings the service back where that is not its own affair. Returns what outlived its time."""
    service, dice = world.service, world.dice
    family = service.family()
    if kind == "starting":
        service.stop(signal.SIGKILL)
        wait_until(lambda: not survivors(family), SETTLE_S)
        service.start(ready=False)
        time.sleep(dice.random() * 0.3)  # anywhere on its way
        family = service.family()
    kill(victims(service, dice.choice(("server", "supervisor", "launcher")) if kind == "starting" else kind, dice))
    if kind in ("launcher", "agent"):
        return {}
    if kind == "starting" and service.process.poll() is None:
        family.update(service.family())
        service.process.kill()
    wait_until(lambda: service.process.poll() is not None, SETTLE_S)
    wait_until(lambda: not survivors(family), SETTLE_S)
    left = survivors(family)
    service.stop(signal.SIGKILL)
    world.start()
    return left


# What must hold.

def job_problems(world):
    before = world.notes.ran()
    jobs = all_jobs(lambda path: world.ask("GET", path))
    after = world.notes.ran()
    for name, (n, most) in list(world.taken.items()):
        record = jobs.get(name)
        if record is None:
            yield f"job {n} is lost"
            continue
        if before[n] > record["attempts"]:
            yield f"job {n} ran {before[n]} times in {record['attempts']} attempts"
        if record["attempts"] > most:
            yield f"job {n} was begun {record['attempts']} times, not {most}"
        if most == 1 and record["state"] == "queued" and before[n]:
            yield f"job {n} ran and is queued again"
        if record["state"] == "succeeded" and not after[n]:
            yield f"job {n} succeeded and did not run"
        if name in world.over and record["state"] not in OVER:
            yield f"job {n} was over and is {record['state']} again"
        if record["state"] in OVER:
            world.over.add(name)
    known = {n for n, _ in world.taken.values()} | {int(b["idempotency_key"].split("-")[1]) for b in world.unsure}
    for name in set(jobs) - set(world.taken):
        if int(jobs[name]["idempotency_key"].split("-")[1]) not in known:
            yield f"job {name} was put by nobody"


def told_lost(world):
    """{id: how often the log says that it is lost}."""
    text = pathlib.Path(world.service.log.name).read_text(errors="replace")
    found = {}
    for line in text.splitlines():
        if "is lost: it ended with the service" in line or "its machine died" in line:
            name = line.split("sandbox ", 1)[1].split(" ", 1)[0].rstrip(":")
            found[name] = found.get(name, 0) + 1
    return found


def look_at_sandbox(world, made, told):
    """Whether it lives, and what is wrong with it."""
    name = made["sandboxID"]
    status, info = world.ask("GET", f"/sandboxes/{name}")
    if status == 404:
        return False, None if told == 1 else f"sandbox {name} is gone and was told to be lost {told} times"
    works = world.ask("GET", "/health", None, {"E2b-Sandbox-Id": name, "E2b-Sandbox-Port": "49983",
                                              "X-Access-Token": made["envdAccessToken"]})[0]
    if status != 200 or works != 204 or told:
        return True, f"sandbox {name}: {status}, its agent answers {works}, told to be lost {told} times"
    return True, None


def sandbox_problems(world):
    told, alive = told_lost(world), {}
    for name, made in world.sandboxes.items():
        lives, problem = look_at_sandbox(world, made, told.get(name, 0))
        if problem is not None:
            yield problem
        if lives:
            alive[name] = made
    listed = {entry["sandboxID"] for entry in world.ask("GET", "/v2/sandboxes")[1]}
    if listed != set(alive):
        yield f"listed are {sorted(listed)}, known are {sorted(alive)}"
    world.alive = alive


def runs(world):
    """A program that somebody waits for. Right after a death it may be told that its sandbox was lost."""
    status, answer = world.ask("POST", "/execute", {"language": "bash", "code": "echo $((6 * 7))"})
    return status == 200 and answer["output"] == "42\n"


def is_idle(world):
    return not any(world.ask("GET", f"/jobs?limit=1&state={state}")[1]["jobs"] for state in ("queued", "running"))


def check_all(world, census):
    """What jobs did is wrong at once if it ever is; all else may take a moment: a death is noticed by and by."""
    found = list(job_problems(world))
    if not wait_until(lambda: runs(world), SETTLE_S):
        found.append("no program runs any more")
    if not wait_until(lambda: is_idle(world), SETTLE_S):
        found.append("jobs do not end")
    found += job_problems(world)

    def unsettled():
        return list(sandbox_problems(world)) or census.problems(len(world.alive), max(world.most, 1))
    wait_until(lambda: not unsettled(), SETTLE_S)
    found += unsettled()
    world.sandboxes = world.alive
    return found


def deaths(t, world, seed):
    dice = world.dice
    world.start()
    census = Census(world.service, world.state, UID_BASE, UID_BASE + UIDS)
    died = {}
    for number in range(DEATHS):
        kind = dice.choices(list(KINDS), KINDS.values())[0]
        died[kind] = died.get(kind, 0) + 1
        work = Work(world)
        work.start()
        time.sleep(dice.random() * 0.12)  # anywhere in what goes on
        left = die(world, kind)
        work.join(SETTLE_S)
        found = [f"still there: {left}"] if left else []
        found += [f"a client was told {work.error}"] if work.error else []
        found += ["a client waits for ever"] if work.is_alive() else []
        found += check_all(world, census)
        if not t.check(not found, f"death {number + 1}, {kind}: nothing is lost, done twice or left", "\n".join(
                found[:20] + [f"CSB_TEST_SEED={seed}", world.service.log_tail(30)])):
            break
    return died


def end(t, world, died):
    work = Work(world)  # what was not acknowledged is put again
    work.makes = False
    work.start()
    work.join(SETTLE_S)
    t.check(work.error is None and not world.unsure, "every job is taken in the end", (work.error, world.unsure))
    wait_until(lambda: is_idle(world), SETTLE_S)
    jobs, ran = all_jobs(lambda path: world.ask("GET", path)), world.notes.ran()
    states = {}
    for record in jobs.values():
        states[record["state"]] = states.get(record["state"], 0) + 1
    print(f"# {sum(died.values())} deaths {died}; {len(jobs)} jobs {states}, {sum(ran.values())} runs; "
          f"{len(told_lost(world))} sandboxes told to be lost", flush=True)
    t.check(set(jobs) == set(world.taken) and len({n for n, _ in world.taken.values()}) == len(jobs) == world.next_job,
            "all jobs are there, each once", (len(jobs), len(world.taken), world.next_job))
    t.check(set(states) <= {"succeeded", "may_have_run"}, "all came to an end", states)
    wrong = [n for name, (n, most) in world.taken.items() if jobs[name]["state"] == "succeeded"
             and (ran[n] != 1 if most == 1 else not 1 <= ran[n] <= most)]
    t.check(not wrong, "what succeeded ran, and once where once was asked for", wrong[:20])


def main():
    seed = int(os.environ.get("CSB_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"# CSB_TEST_SEED={seed}", flush=True)
    t = Tap()
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with Scratch("kills", STATE.parent) as state:
        world = World(state / "state", Notes(), random.Random(seed))
        with_service = world.service
        try:
            died = {}
            t.group(lambda tap: died.update(deaths(tap, world, seed)))
            if not t.failed:
                t.group(end, world, died)
            family = with_service.family()
            t.check(with_service.stop() == 0, "the service ends well", with_service.log_tail() if with_service.log else "")
            t.check(not survivors(family), "with all its processes", survivors(family))
        finally:
            if with_service.process is not None:
                with_service.stop(signal.SIGKILL)
        left = list(after_the_end(state, (UID_BASE, UID_BASE + UIDS)))
        t.check(not left, "and leaves nothing", "\n".join(left))
    t.finish()


if __name__ == "__main__":
    main()
