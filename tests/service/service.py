# SPDX-License-Identifier: Apache-2.0
"""Runs a real codesandboxd on a free loopback port for the tests of this directory.

Paths come from the environment: CSB_BUILD (the meson build directory), CSB_IMAGE_DIR, and
CSB_TEST_STATE (state directory, kept between programs so that the template is built once).
CSB_TEST_ISOLATION is the boundary to test: microvm (the default) or process.
A service ends when its test does, however that ends.
"""
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from ports import free_port  # noqa: E402
from scratch import cgroup_name  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("CSB_BUILD", SOURCE / "build/release"))
IMAGE = pathlib.Path(os.environ.get("CSB_IMAGE_DIR", SOURCE / "build/image"))
STATE = pathlib.Path(os.environ.get("CSB_TEST_STATE", SOURCE / "build/test-state"))
DAEMON = BUILD / "src/daemon/codesandboxd"
CSB = BUILD / "src/cli/csb"
CGROUP = cgroup_name()
ISOLATION = os.environ.get("CSB_TEST_ISOLATION", "microvm")


def processes():
    """{pid: (ppid, start time, name)} of the whole host."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
        except OSError:
            continue
        name = stat[stat.index("(") + 1:stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2:].split()
        found[int(entry)] = (int(fields[1]), int(fields[19]), name)
    return found


def wait_until(condition, seconds, step=0.05):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(step)
    return condition()


def cgroup_dirs():
    """Groups of ours that exist, below the parent group."""
    found = []
    for base, dirs, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(base) == CGROUP:
            found += [os.path.join(base, d) for d in dirs]
            dirs.clear()
    return sorted(found)


def all_cgroups():
    """Every group below the parent group, also those that agents made in theirs."""
    found = []
    for top in cgroup_dirs():
        found += [base for base, _, _ in os.walk(top)]
    return sorted(found)


def mounts():
    return len(pathlib.Path("/proc/self/mountinfo").read_text().splitlines())


def own_table():
    """A copy of the runtimes that is this test's: others run beside it."""
    table = STATE.parent / "test-runtimes" / f"{pathlib.Path(sys.argv[0]).stem}-{ISOLATION}"
    shutil.rmtree(table, ignore_errors=True)
    shutil.copytree(SOURCE / "runtimes", table)
    return table


def quick_table():
    """A RUNTIMES_DIR without the warm-up of each clone, which takes an emulated one a second or more and a
    processor all the while. For tests whose runs are not about how fast the first one is."""
    table = own_table()
    for path in table.glob("*.runtime"):
        lines = [line for line in path.read_text().splitlines() if not line.startswith("warm_clone")]
        path.write_text("\n".join(lines) + "\n")
    return table


def small_table():
    """A RUNTIMES_DIR of Python, Bash and AWK, which is there by a file alone. For tests that fill the
    pool again and again: without the compiler and Deno that takes a fourth of the time."""
    table = own_table()
    for path in table.glob("*.runtime"):
        if path.stem not in ("python", "bash"):
            path.unlink()
    (table / "awk.runtime").write_text(
        "name = AWK\nversion = 1.3.4\nextension = awk\nrun = /usr/bin/awk -f main.awk\n")
    return table


class Service:
    started = False  # one of this test: its log is continued

    def __init__(self, **settings):
        self.port = free_port()
        self.settings = {
            "API_PORT": str(self.port), "STATE_DIR": str(STATE), "CGROUP_NAME": CGROUP,
            "ROOTFS_PATH": str(IMAGE / "rootfs.erofs"), "KERNEL_PATH": str(IMAGE / "vmlinuz"),
            "INITRD_PATH": str(IMAGE / "initrd.img"), "RUNTIMES_DIR": str(SOURCE / "runtimes"),
            "ISOLATION": ISOLATION,
            "QUEUE_WAIT_MS": "200000",  # on a busy machine, too
            "SANDBOX_KEEP_MS": "0",  # what one test leaves is not for the next
        }
        self.settings.update({k: str(v) for k, v in settings.items()})
        self.process = None
        self.log = None

    def command(self):
        return [str(DAEMON)]

    def start(self, ready=True, seconds=600):
        STATE.mkdir(parents=True, exist_ok=True)
        self.log = open(STATE.parent / f"service-{pathlib.Path(sys.argv[0]).stem}.log",
                        "ab" if Service.started else "wb")
        Service.started = True
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "TERM", *self.command()],
                                        env={**os.environ, **self.settings},
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        if ready:
            self.wait_ready(seconds)
        return self

    def wait_ready(self, seconds=600):
        def healthy():
            if self.process.poll() is not None:
                raise RuntimeError(f"codesandboxd exited with {self.process.returncode}:\n"
                                   + self.log_tail())
            try:
                status, health = self.get("/health")
            except OSError:
                return False
            return status == 200 and health["pool"]["ready"] >= health["pool"]["target"]
        if not wait_until(healthy, seconds, 0.2):
            raise RuntimeError("not ready in time:\n" + self.log_tail())

    def log_tail(self, lines=25):
        return "\n".join(pathlib.Path(self.log.name).read_text(errors="replace").splitlines()[-lines:])

    def stop(self, sig=signal.SIGTERM, seconds=150):
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(seconds)
        self.log.close()
        self.process = None
        return code

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.stop(signal.SIGKILL)

    def request(self, method, path, body=None, headers=None, timeout=400):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            conn.request(method, path, body, headers or {})
            answer = conn.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            conn.close()

    def get(self, path):
        status, _, data = self.request("GET", path)
        return status, json.loads(data)

    def post(self, **body):
        status, _, data = self.request("POST", "/execute", json.dumps(body),
                                       {"Content-Type": "application/json"})
        return status, json.loads(data)

    def run(self, language, code, **more):
        """The result of a program that must have been taken."""
        status, answer = self.post(language=language, code=code, **more)
        if status != 200:
            raise RuntimeError(f"HTTP {status}: {answer}")
        return answer

    def events(self, language, code, **more):
        """[(event, data)] of a streamed run."""
        _, _, data = self.request("POST", "/execute",
                                  json.dumps({"language": language, "code": code, **more}),
                                  {"Accept": "text/event-stream"})
        found = []
        for block in data.decode().split("\n\n"):
            lines = [line for line in block.split("\n") if line and not line.startswith(":")]
            fields = dict(line.split(": ", 1) for line in lines)
            if fields:
                found.append((fields["event"], json.loads(fields["data"])))
        return found

    # What the service is made of on the host.

    def family(self):
        """{pid: (start time, name)} of the supervisor and all below it."""
        table = processes()
        members = {self.process.pid}
        grown = True
        while grown:
            more = {pid for pid, (ppid, _, _) in table.items() if ppid in members} - members
            members |= more
            grown = bool(more)
        return {pid: table[pid][1:] for pid in members if pid in table}

    def pids(self, name):
        return sorted(pid for pid, (_, comm) in self.family().items() if comm.startswith(name))

    def daemon_pid(self):
        return next(pid for pid in self.pids("codesandboxd") if pid != self.process.pid)

    def open_fds(self, pid):
        return len(os.listdir(f"/proc/{pid}/fd"))


def survivors(family):
    """Members of an earlier family() that are still the same processes."""
    table = processes()
    return {pid: name for pid, (start, name) in family.items()
            if pid in table and table[pid][1] == start}
