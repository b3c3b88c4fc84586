#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in the test machine, as root: the libraries' tests and the service, as different users, and
writes what it saw to /root/report.json. It judges nothing; test_jail_v2.py does.

usage: jail_v2.py [units] [service]
"""
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path("/opt/csb")
GROUPS = pathlib.Path("/sys/fs/cgroup")
TESTER = 1000
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


def main():
    report = {}
    report["groups_before"] = groups()
    if "units" in sys.argv:
        report["units"] = units()
    report["groups_after"] = groups()
    pathlib.Path("/root/report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
