#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in the test machine, as root or as an ordinary user: the commands of docs/CONTAINER.md, and the service in the
container they start. Writes what it saw to report.json of its user's home. It judges nothing; test_container.py does.

usage: container.py build|run
container.json has the commands and the programs: {"commands": {build, run, key, stop}, "programs": {name: request}}.
"""
import json
import pathlib
import re
import subprocess
import sys
import time

from service import HERE, call, cgroups, processes, wait_ready

TASK = json.loads((HERE / "container.json").read_text())
COMMANDS = TASK["commands"]
GROUP_FILES = ("memory.max", "pids.max", "cgroup.procs", "cgroup.subtree_control")


def shell(command):
    """A line of the document, from where it is to be typed."""
    began = time.monotonic()
    done = subprocess.run(command, shell=True, cwd=HERE, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=300)
    print(f"{time.monotonic() - began:.1f} s, exit {done.returncode}: {command}", flush=True)
    return {"code": done.returncode, "output": done.stdout}


def start(log):
    """The container, and what the service in it says of itself as soon as it is healthy."""
    with open(log, "ab") as out:
        container = subprocess.Popen(COMMANDS["run"], shell=True, cwd=HERE, stdin=subprocess.DEVNULL, stdout=out,
                                     stderr=out)
    return container, wait_ready(container)


def end(container, command):
    found = shell(command)
    try:
        found["run"] = container.wait(60)
    except subprocess.TimeoutExpired:
        container.kill()
        found["run"] = "did not end"
    time.sleep(1)
    found["left"] = {"processes": {name: processes(name) for name in
                                   ("codesandboxd", "csb-launch", "csb-agent", "conmon", "python3", "deno")},
                     "groups": [path for path in cgroups() if "libpod" in path or "codesandbox" in path],
                     "podman": shell("podman ps -a -q; podman volume ls -q")["output"].split()}
    return found


def group_of(pid):
    path = pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip().split("::")[1]
    return pathlib.Path("/sys/fs/cgroup" + path.removesuffix("/csb-main"))


def confinement():
    """Of the container's first process, as the machine's kernel sees it, and of the container's group."""
    pid = int(shell("podman inspect -f '{{.State.Pid}}' codesandbox")["output"])
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    group = group_of(pid)
    return {"status": dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line),
            "mounts": pathlib.Path(f"/proc/{pid}/mountinfo").read_text(),
            "owners": {name: (group / name).stat().st_uid for name in GROUP_FILES},
            "limits": [(group / name).read_text().strip() for name in GROUP_FILES[:2]],
            "group": str(group)}


def use(report, log):
    container, report["fresh"] = start(log)
    if report["fresh"]["http"] == 200:
        python = TASK["programs"]["python"]
        report["key"] = shell(COMMANDS["key"])
        # With what csb says of it on standard error: podman forwards the two in any order.
        key = re.search(r"^e2b_\w+$", report["key"]["output"], re.M).group()
        report["denied"] = call("/execute", python)["http"]
        report["runs"] = {name: call("/execute", request, key) for name, request in TASK["programs"].items()}
        report["health"] = call("/health", key=key)
        report["confinement"] = confinement()
    report["stop"] = end(container, COMMANDS["stop"])
    if report["fresh"]["http"] == 200:
        container, report["again"] = start(log)
        report["kept"] = call("/execute", python, key)
        report["kill"] = end(container, "podman kill codesandbox")


def main():
    report = {}
    if sys.argv[1] == "build":
        sys.exit(shell(COMMANDS["build"])["code"])
    log = pathlib.Path.home() / "container.log"
    try:
        use(report, log)
    finally:
        report["log"] = log.read_text(errors="replace")[-20000:]
        (pathlib.Path.home() / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
