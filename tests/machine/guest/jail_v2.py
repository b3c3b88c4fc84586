#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in the test machine, as root: the libraries' tests and the service, as different users, and
writes what it saw to /root/report.json. It judges nothing; test_jail_v2.py does.

usage: jail_v2.py [units] [service]
The programs are in programs.json: {user: {name: request}}.
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path("/opt/csb")
GROUPS = pathlib.Path("/sys/fs/cgroup")
TESTER = 1000
URL = "http://127.0.0.1:8000"
READY_S = 200
PROGRAMS = json.loads((HERE / "programs.json").read_text())
DELEGATED_FILES = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")


def groups():
    return sorted(str(path.relative_to(GROUPS)) for path in GROUPS.rglob("*") if path.is_dir())


class Delegated:
    """A group handed to the ordinary user as systemd does it for a unit with Delegate=yes."""

    def __init__(self, name):
        self.path = GROUPS / name

    def __enter__(self):
        self.path.mkdir()
        for path in (self.path, *(self.path / name for name in DELEGATED_FILES)):
            os.chown(path, TESTER, TESTER)
        return self

    def __exit__(self, *_):
        """As systemd removes a unit's groups. The leaf that our processes moved to stays until
        here; any other group shows in left_over."""
        below = sorted(self.path.rglob("*"), key=lambda path: -len(path.parts))
        self.left_over = [str(path.relative_to(self.path)) for path in below
                          if path.is_dir() and path.name != "csb-main"]
        for path in below:
            if path.is_dir():
                path.rmdir()
        self.path.rmdir()


def as_user(group=None):
    """Called in the child before it executes."""
    def become():
        if group is not None:
            (group.path / "cgroup.procs").write_text("0")
        os.setgroups([])
        os.setresgid(TESTER, TESTER, TESTER)
        os.setresuid(TESTER, TESTER, TESTER)
        os.environ.update(HOME="/home/tester", USER="tester", LOGNAME="tester")
    return become


def run_unit(name, become):
    began = time.monotonic()
    done = subprocess.run([HERE / name], preexec_fn=become, stdin=subprocess.DEVNULL, timeout=200,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          cwd="/home/tester" if become else "/root", errors="replace")
    print(name, done.returncode, flush=True)
    return {"code": done.returncode, "output": done.stdout[-20000:],
            "seconds": time.monotonic() - began}


def units():
    found = {"root": {}, "delegated": {}, "plain": {}}
    for name in ("test_cgroup", "test_jail"):
        found["root"][name] = run_unit(name, None)
        found["plain"][name] = run_unit(name, as_user())
        with Delegated(name) as group:
            found["delegated"][name] = run_unit(name, as_user(group))
        found["delegated"][name]["left_over"] = group.left_over
    return found


def call(path, body=None):
    """The parsed answer, with its HTTP status and the seconds it took."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json"})
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return {"http": status, "seconds": time.monotonic() - began, **json.loads(text)}


def wait_ready(daemon):
    """Ready is when a sandbox is."""
    end = time.monotonic() + READY_S
    health = {"http": 0}
    while time.monotonic() < end and daemon.poll() is None:
        try:
            health = call("/health")
            if health["http"] == 200 and health["pool"]["ready"] >= health["pool"]["target"]:
                break
        except OSError:
            pass
        time.sleep(0.2)
    return health


def ours():
    """Of each process that the service is made of, what the kernel tells: {pid: facts}."""
    found = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            status = (entry / "status").read_text()
            facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
            group = (entry / "cgroup").read_text().strip()
            user_ns = os.readlink(entry / "ns/user")
        except OSError:
            continue
        if facts["Name"] in ("codesandboxd", "csb-launch", "csb-agent", "python3", "init", "deno"):
            if int(entry.name) != os.getpid():
                found[entry.name] = {"name": facts["Name"], "uid": facts["Uid"].split()[0],
                                     "cap_eff": facts["CapEff"].strip(), "group": group,
                                     "no_new_privs": facts["NoNewPrivs"].strip(),
                                     "seccomp": facts["Seccomp"].strip(), "user_ns": user_ns}
    return found


def stop(daemon):
    daemon.send_signal(signal.SIGTERM)
    try:
        return daemon.wait(60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        return "did not end"


def run_service(who, home, become):
    environment = {
        **os.environ, "HOME": home, "ISOLATION": "process", "ROOTFS_TREE": "/mnt/tree",
        "STATE_DIR": home + "/state", "RUNTIMES_DIR": str(HERE / "runtimes"), "POOL_SIZE": "1",
        "LAUNCH_PATH": str(HERE / "csb-launch"), "AGENT_PATH": str(HERE / "csb-agent"),
        "DEFAULT_TIMEOUT": "60", "QUEUE_WAIT_MS": "60000"}
    report = {"before": ours(), "runs": {}, "user_ns": os.readlink("/proc/self/ns/user")}
    log_path = pathlib.Path(home) / "daemon.log"
    began = time.monotonic()
    with open(log_path, "wb") as log:
        daemon = subprocess.Popen([HERE / "codesandboxd"], env=environment, stderr=log, stdout=log,
                                  preexec_fn=become, cwd=home)
    try:
        report["health"] = wait_ready(daemon)
        report["ready_s"] = time.monotonic() - began
        if report["health"]["http"] == 200:
            report["processes"] = ours()
            for name, request in PROGRAMS[who].items():
                report["runs"][name] = call("/execute", request)
                print(name, round(report["runs"][name]["seconds"], 2), flush=True)
    finally:
        report["stop"] = stop(daemon)
        end = time.monotonic() + 100
        while ours() != report["before"] and time.monotonic() < end:
            time.sleep(0.1)
        report["after"] = ours()
        report["log"] = log_path.read_text(errors="replace")[-8000:]
    return report


def service():
    found = {"root": run_service("root", "/root", None)}
    with Delegated("service") as group:
        found["delegated"] = run_service("delegated", "/home/tester", as_user(group))
    found["delegated"]["left_over"] = group.left_over
    found["plain"] = run_service("plain", "/home/tester", as_user())
    return found


def main():
    report = {"groups_before": groups()}
    if "units" in sys.argv:
        report["units"] = units()
    if "service" in sys.argv:
        report["service"] = service()
    report["groups_after"] = groups()
    pathlib.Path("/root/report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
