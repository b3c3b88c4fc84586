#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The container of docs/CONTAINER.md on a Debian machine with systemd and cgroup v2, by the very commands of that
document: built, started, a key made, the three languages run, limits met, stopped, started again with what it kept,
killed. As root and as an ordinary user.

usage: test_container.py BUILD_DIR
BUILD_DIR is a meson build directory; the image comes from $CSB_IMAGE_DIR.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

from image import quick_runtimes, tree_disk
from machine import Machine, artefacts
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from documented import documented  # noqa: E402
from limited import FORKS  # noqa: E402
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve()
DOCUMENT = "CONTAINER.md"
HOMES = {"root": "/root", "tester": "/home/tester"}
OWNERS = {"root": 1000, "tester": 100999}  # the container's uid 1000, as the machine's kernel sees it
NOBODY = "0000000000000000"

# Twelve processes of 16 MiB each: none of them is too large, all of them are.
TOGETHER = """import os, time
for _ in range(12):
    if os.fork() == 0:
        held = b"x" * (16 << 20)
        time.sleep(5)
        os._exit(0)
time.sleep(5)
print("all of them")
"""
PROGRAMS = {
    "python": ({"language": "python", "code": "import os; print(6 * 7, os.getuid())"}, {"stdout": "42 1000\n"}),
    "typescript": ({"language": "typescript", "code": "const n: number = 6; console.log(n * 7);"}, {"stdout": "42\n"}),
    "rust": ({"language": "rust", "code": 'fn main() { println!("from Rust"); }'}, {"stdout": "from Rust\n"}),
    "memory": ({"language": "python", "code": TOGETHER, "limits": {"memory_bytes": 64 << 20}}, {"reason": "memory"}),
    "processes": ({"language": "python", "code": FORKS, "limits": {"processes": 20}}, {"stdout": "19\n"}),
    "cpu": ({"language": "python", "code": "while True: pass", "limits": {"cpu_ms": 500}}, {"reason": "cpu_timeout"}),
}

# Settings that only make it quick here come as podman's own, so that the commands stay the document's.
CONTAINERS_CONF = """[containers]
env = ["POOL_SIZE=1", "QUEUE_WAIT_MS=200000", "MAX_TIMEOUT=200", "DEFAULT_TIMEOUT=200"]
volumes = ["/opt/csb/runtimes:/usr/share/codesandbox/runtimes:ro"]
"""

SCRIPT = """
as_tester() {
    systemd-run --quiet --pipe --wait --collect -p User=tester -p PAMName=login /opt/csb/container.py "$1"
}
as_tester build &
/opt/csb/container.py build && wait $! && /opt/csb/container.py run && as_tester run
"""
SETUP = """
modprobe erofs && mkdir -p /var/lib/codesandbox/image/rootfs &&
    mount -t erofs -o ro /dev/machine/image /var/lib/codesandbox/image/rootfs
"""


def commands():
    beginnings = {"build": "podman build", "run": "podman --runtime runc run", "key": "podman exec",
                  "stop": "podman stop"}
    return {name: documented(DOCUMENT, beginning) for name, beginning in beginnings.items()}


def make_root_tree(directory):
    """What the document's build.sh makes, but for what podman makes of it: that is the machine's part."""
    script, build, out = documented(DOCUMENT, "packaging/container/build.sh").split()
    if (build, out) != ("build/release", "build/container"):
        raise RuntimeError(f"docs/CONTAINER.md builds from {build} in {out}")
    subprocess.run([ROOT / script, BUILD, directory / "container"], check=True, env={**os.environ, "PODMAN": "true"})


def reports(directory):
    make_root_tree(directory)
    task = {"commands": commands(), "programs": {name: request for name, (request, _) in PROGRAMS.items()}}
    result = Machine(systemd=True, kvm=False, disks=[tree_disk("image")]).run(
        SCRIPT, setup=SETUP, timeout=600, files_out=[f"{home}/report.json" for home in HOMES.values()], files_in={
            "/opt/csb/container.py": HERE / "guest/container.py", "/opt/csb/service.py": HERE / "guest/service.py",
            "/opt/csb/container.json": json.dumps(task).encode(), "/opt/csb/runtimes": quick_runtimes(directory),
            "/opt/csb/build/container": directory / "container",
            "/opt/csb/packaging/container/seccomp.json": ROOT / "packaging/container/seccomp.json",
            "/etc/containers/containers.conf": CONTAINERS_CONF.encode()})
    print(f"# boot {result.boot_s:.1f} s, run {result.run_s:.1f} s")
    for line in result.output.splitlines():
        print(f"#   {line[:160]}")
    return {who: json.loads(result.files.get(f"{home}/report.json", b"{}")) for who, home in HOMES.items()}


def check_start(tap, who, report):
    if not tap.check(report.get("fresh", {}).get("http") == 200, f"{who}: it starts and gets healthy", report):
        return False
    tap.check(report["key"]["code"] == 0 and report["denied"] == 401,
              f"{who}: once there is a key, nobody runs without", [report["key"], report["denied"]])
    return True


def check_runs(tap, who, report):
    for name, (_, wanted) in PROGRAMS.items():
        run = report["runs"][name]
        tap.check(wanted.items() <= run.items() and run.get("isolation") == "process", f"{who}: {name}",
                  json.dumps(run))
    said = report["health"]["confinement"]
    tap.check(said["missing"] == ["uid"] and said["cgroup_version"] == 2,
              f"{who}: each run has a control group, and only its uid is missing", json.dumps(said))


def check_container(tap, who, report):
    found = report["confinement"]
    status, owner = found["status"], OWNERS[who]
    tap.check(status["Uid"].split() == [str(owner)] * 4 and status["CapEff"] == status["CapBnd"] == NOBODY and
              status["NoNewPrivs"] == "1" and status["Seccomp"] == "2",
              f"{who}: the service has no privilege in it and none to gain", json.dumps(status))
    told = re.search(r"--memory (\d+)g --pids-limit (\d+)", commands()["run"])
    tap.check(found["limits"] == [str(int(told.group(1)) << 30), told.group(2)], f"{who}: the container has its limits",
              found["limits"])
    owners = found["owners"]
    tap.check(owners["cgroup.procs"] == owners["cgroup.subtree_control"] == owner and
              owner not in (owners["memory.max"], owners["pids.max"]),
              f"{who}: which the service, though it divides the container's group, cannot change", owners)
    mounts = [line.split() for line in found["mounts"].splitlines()]
    groups = [(fields[3], fields[4]) for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    tap.check(groups and groups[-1] == (found["group"].removeprefix("/sys/fs/cgroup"), "/sys/fs/cgroup"),
              f"{who}: and sees no group above it", groups)


def check_end(tap, who, report):
    for how in ("stop", "kill"):
        end = report[how]
        tap.check(end["code"] == 0 and end["run"] == (0 if how == "stop" else 137), f"{who}: ends by podman {how}",
                  json.dumps(end) + "\n" + report["log"])
        left = end["left"]
        tap.check(not any(left["processes"].values()) and not left["groups"] and left["podman"] == ["codesandbox"],
                  f"{who}: and leaves no process, no group, nothing but its volume", json.dumps(left))
    tap.check(report["kept"].get("stdout") == PROGRAMS["python"][1]["stdout"],
              f"{who}: started again it knows the key", json.dumps([report["again"], report["kept"]]))


def main():
    tap = Tap()
    artefacts()
    with Scratch("container") as directory:
        found = reports(directory)
    for who, report in found.items():
        if check_start(tap, who, report):
            for check in (check_runs, check_container, check_end):
                tap.group(check, who, report)
    tap.finish()


if __name__ == "__main__":
    main()
