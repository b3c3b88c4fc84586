# SPDX-License-Identifier: Apache-2.0
"""The running service that the rows attack, its neighbour, and what is checked around each row."""
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import threading
import time
import traceback

import service as base
from host import Host, differences
from model import PATIENT_S, Run, World, Wrong, check_result, want
from full import FULL
from private_mounts import private_mounts
from service import Service, quick_table, wait_until

CANARY = "print(6*7)"
SECRET = "csb-canary-secret-5f1d8e"  # in the service's environment; no run may ever show it
UIDS = 1 << 22                       # at most as many from UID_BASE are the service's
UID_BASE = 300000000 + (UIDS if base.ISOLATION == "process" else 0)     # nobody else's
SMALL = {"POOL_MAX": 8, "QUEUE_MAX": 24, "UID_BASE": UID_BASE, "CGROUP_NAME": f"csb-security-{base.ISOLATION}"}


class UserService(Service):
    """The service started by an ordinary user, from files that this user can read."""

    def __init__(self, uid, **settings):
        super().__init__(**settings)
        self.uid = uid
        self.copy = None

    def start(self, ready=True, seconds=600):
        state = pathlib.Path(self.settings["STATE_DIR"])
        state.mkdir(parents=True, exist_ok=True)
        for path in [state, *state.rglob("*")]:
            os.chown(path, self.uid, self.uid, follow_symlinks=False)
        command = [*self.become(), str(self.readable())]
        self.log = open(state.parent / f"service-{self.port}.log", "ab")
        self.process = subprocess.Popen(
            command, env={**os.environ, "HOME": str(state), **self.settings}, cwd="/",
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        if ready:
            self.wait_ready(seconds)
        return self

    def become(self):
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups",
                "--inh-caps=-all", "--"]

    def can_read(self, path):
        return subprocess.run([*self.become(), "test", "-r", str(path)], check=False).returncode == 0

    def readable(self):
        """The daemon's path; where a home directory hides the build, copies of all that it needs."""
        images = [k for k in ("ROOTFS_PATH", "KERNEL_PATH", "INITRD_PATH") if k in self.settings]
        needed = [base.DAEMON, *(self.settings[k] for k in images), self.settings["RUNTIMES_DIR"]]
        if all(self.can_read(path) for path in needed):
            return base.DAEMON
        self.copy = pathlib.Path(tempfile.mkdtemp(prefix="csb-security-", dir="/var/tmp"))
        self.copy.chmod(0o755)
        for key in images:
            shutil.copy(self.settings[key], self.copy)
            self.settings[key] = str(self.copy / pathlib.Path(self.settings[key]).name)
        for part in ("daemon/codesandboxd", "launch/csb-launch", "agent/csb-agent"):
            (self.copy / part).parent.mkdir(exist_ok=True)
            shutil.copy(base.BUILD / "src" / part, self.copy / part)
        shutil.copytree(self.settings["RUNTIMES_DIR"], self.copy / "runtimes")
        self.settings["RUNTIMES_DIR"] = str(self.copy / "runtimes")
        return self.copy / "daemon/codesandboxd"

    def stop(self, *arguments, **more):
        code = super().stop(*arguments, **more)
        if self.copy is not None:
            shutil.rmtree(self.copy, ignore_errors=True)
        return code


class Neighbour(threading.Thread):
    """Somebody else's program, again and again while a row goes on."""

    def __init__(self, rig):
        super().__init__(daemon=True)
        self.rig = rig
        self.go = threading.Event()
        self.ended = threading.Event()
        self.idle = threading.Event()
        self.idle.set()
        self.allowed = None
        self.wrong = []
        self.slowest = 0.0
        self.count = 0

    def run(self):
        while not self.ended.is_set():
            if not self.go.wait(0.2):
                continue
            self.idle.clear()
            if self.go.is_set():
                self.one()
            self.idle.set()
            self.ended.wait(self.rig.pace)

    def one(self):
        start = time.monotonic()
        try:
            status, answer = self.rig.service.post(language="python", code=CANARY)
        except (OSError, http.client.HTTPException, ValueError) as error:
            status, answer = 0, repr(error)
        took = time.monotonic() - start
        self.count += 1
        self.slowest = max(self.slowest, took)
        if status == 200 and answer["output"] == "42\n" and took <= self.rig.patience:
            return
        if not (self.allowed and self.allowed(status, answer)):
            self.wrong.append(f"after {took:.1f} s: {status} {str(answer)[:400]}")

    def begin(self, allowed):
        self.allowed = allowed
        self.go.set()

    def end(self):
        """What went wrong since begin(). At least one answer was waited for."""
        wait_until(lambda: self.count > 0, 60)
        self.go.clear()
        self.idle.wait(200)
        wrong, self.wrong = self.wrong, []
        if self.count == 0:
            wrong.append("no answer at all")
        self.count = 0
        return wrong


class Rig:
    def __init__(self, isolation, uid=None):
        state = pathlib.Path(f"{base.STATE}-security-{isolation}" + ("" if uid is None else "-user"))
        state.mkdir(parents=True, exist_ok=True)
        private_mounts()
        if isolation == "process":  # room for all at once: what is made beyond goes only after a while
            SMALL.update(POOL_SIZE=6, POOL_MAX=16)
        settings = {"ISOLATION": isolation, "STATE_DIR": str(state), **SMALL, "RUNTIMES_DIR": quick_table()}
        os.environ["AWS_SECRET_ACCESS_KEY"] = SECRET
        os.environ["DATABASE_URL"] = f"postgres://u:{SECRET}@db/x"
        if uid is None or os.geteuid() != 0:
            self.service = Service(**settings)
        else:
            self.service = UserService(uid, **settings)
        self.service.start()
        health = self.health()
        rootless = uid is not None or os.geteuid() != 0
        self.world = World(health["isolation"], health.get("accel") == "tcg", not rootless,
                           health["confinement"], self.secrets(isolation))
        # An ordinary user's other processes and files are nobody's business here.
        self.host = Host(self.service, () if rootless else range(UID_BASE, UID_BASE + UIDS))
        self.pace, self.patience = (2.0, 90.0) if self.world.emulated else (0.02, 20.0)
        self.neighbour = Neighbour(self)
        self.neighbour.start()
        self.before = None
        self.full = 0
        self.sandboxes = self.can_make()
        self.probes = {}    # the shared runs, by language

    @staticmethod
    def secrets(isolation):
        """Where the image and the state are is told by mountinfo in process isolation (row 72)."""
        places = (base.STATE, base.IMAGE, base.BUILD) if isolation == "microvm" else ()
        return (SECRET, *map(str, places))

    def can_make(self):
        """Whether there are long-lived sandboxes here. One is made, so that what the first one leaves (files
        of the store) is there from the start."""
        status, _, data = self.service.request("POST", "/v2/sandboxes", json.dumps({"templateID": "base"}),
                                               {"X-API-KEY": "any"})
        answer = json.loads(data)
        if status == 501:
            print(f"# no row is tried in a long-lived sandbox: {answer['message']}", flush=True)
            return False
        want(status == 201, "a sandbox is made", (status, answer))
        self.service.request("DELETE", f"/sandboxes/{answer['sandboxID']}", None, {"X-API-KEY": "any"})
        return True

    def health(self):
        return self.service.get("/health")[1]

    def stop(self):
        self.neighbour.ended.set()
        self.neighbour.join(200)
        family = self.service.family()
        code = self.service.stop()
        return code, base.survivors(family)

    # Running things.

    def post(self, fields):
        """(status, answer, seconds); whatever the answer is, it must be JSON and no fault of ours."""
        start = time.monotonic()
        status, answer = self.service.post(**fields)
        want(status < 500, "never HTTP 5xx", (status, answer))
        return status, answer, time.monotonic() - start

    def run(self, language, code, **fields):
        """A typed, checked result."""
        fields = {"language": language, "code": code, "timeout": PATIENT_S, **fields}
        status, answer, elapsed = self.post(fields)
        want(status == 200, "HTTP 200", (status, answer))
        run = Run(self.world, fields, answer, elapsed)
        check_result(run)
        return run

    def refused(self, status=400, field=None, raw=None, headers=None, **fields):
        """The request must be refused, by the field's name."""
        body = raw if raw is not None else json.dumps({"language": "python", "code": CANARY, **fields})
        got, _, data = self.service.request("POST", "/execute", body, headers or {})
        answer = json.loads(data)
        want(got == status and answer.get("code") == status, f"refused with {status}",
             (str(body)[:200], got, answer))
        want(field is None or answer.get("field") == field, f"names the field {field!r}",
             (str(body)[:200], answer))
        return answer

    def keep(self, p):
        run = self.run(p.language, p.code, **p.fields)
        if p.shared:
            self.probes[p.language] = run
        return run

    # Around a row.

    def at_rest(self):
        """Nothing runs, and the pool is as full as at the start: what a crowd made it keep beyond that
        goes by halves, every ten seconds."""
        pool = self.health()["pool"]
        self.full = self.full or pool["target"]
        return pool["running"] == 0 and pool["queued"] == 0 and pool["ready"] == self.full

    def settle(self, seconds=200):
        """Polls until the host is as before, at rest; what is different is a problem. At first it is to be twice
        the same: what the first sandbox had may still be going."""
        start = time.monotonic()
        end = start + seconds
        before = self.before
        problems = last = []
        while time.monotonic() < end:
            try:
                problems = ["not at rest again", f"pool: {self.health()['pool']}"]
                if self.at_rest():
                    now = self.host.snapshot()
                    problems = differences(before, now) if before else ["not looked at before"]
                    last = problems or last
                    before = self.before or now
                    if not problems:
                        if time.monotonic() - start > 4:
                            print(f"# at rest after {time.monotonic() - start:.1f} s; last: {last}")
                        self.before = self.before or now
                        return []
            except OSError as error:
                problems = [f"no /health: {error}"]
            time.sleep(0.2 if self.before else 1)
        self.before = None  # the next row is not to blame
        return problems

    def canary(self):
        start = time.monotonic()
        try:
            run = self.run("python", CANARY)
        except Wrong as wrong:
            return [f"canary: {wrong}"]
        if run.out != "42\n" or run.answer["exit_code"] != 0:
            return [f"canary: {run.answer}"]
        took = time.monotonic() - start
        return [] if took <= self.patience else [f"canary after {took:.1f} s"]

    def programs_of(self, row):
        """All of a row's programs, but where processors are emulated only one language's of several: a
        guest's walls know none, and the same programs run in process isolation."""
        others = [p for p in row.programs if p.language != "python"]
        if FULL or not self.world.emulated or len(others) == len(row.programs):
            return row.programs
        return [p for p in row.programs if p.language == "python"]

    def attempts(self, row):
        """The problems of the row's own programs and action."""
        for p in self.programs_of(row):
            try:
                p.expect(self.probes.get(p.language) if p.shared and p.language in self.probes
                         else self.keep(p))
            except Wrong as wrong:
                yield f"{p.language}: {wrong}"
            except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
                yield f"{p.language}: {traceback.format_exc(limit=-4)}{error!r}"
        for action in (row.action, row.session if self.sandboxes else None):
            if action is None:
                continue
            try:
                action(self)
            except Wrong as wrong:
                yield str(wrong)
            except (OSError, http.client.HTTPException, ValueError, KeyError, IndexError) as error:
                yield traceback.format_exc(limit=-4) + repr(error)

    def check_row(self, row):
        """All problems of a row: expected outcome, neighbour, canary, host."""
        if self.before is None:
            self.settle()
        self.neighbour.begin(row.neighbour)
        try:
            problems = list(self.attempts(row))
        finally:
            disturbed = self.neighbour.end()
        problems += [f"neighbour: {text}" for text in disturbed]
        problems += self.canary()
        return problems + [f"host: {text}" for text in self.settle()]
