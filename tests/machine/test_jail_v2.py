#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jails and control groups where cgroup v2 is real, in one start of the test machine: the tests of
the two libraries as root, as an ordinary user with a delegated group, and as one without; then the
service with ISOLATION=process as root and as an ordinary user.

usage: test_jail_v2.py BUILD_DIR [units|service]...
BUILD_DIR is a meson build directory; the image comes from $CSB_IMAGE_DIR.
"""
import json
import os
import pathlib
import re
import sys

from machine import Disk, Machine, artefacts
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve()
IMAGE = pathlib.Path(os.environ.get("CSB_IMAGE_DIR") or ROOT / "build" / "image")
UNITS = ("test_cgroup", "test_jail")

SCRIPT = """
modprobe erofs && mkdir -p /mnt/tree && mount -t erofs -o ro /dev/machine/tree /mnt/tree || exit 90
exec /opt/csb/jail_v2.py {parts}
"""


def units(tap, report, who):
    for name in UNITS:
        run = report["units"][who].get(name, {"code": -1, "output": "did not run"})
        points = re.findall(r"^(not ok|ok) \d+(?: - )?(.*)$", run["output"], re.M)
        for state, point in points:
            if state != "ok":
                tap.check(False, f"{name} {who}: {point}", run["output"])
        tap.check(points and run["code"] == 0, f"{name} {who}: all its {len(points)} points hold",
                  run["output"])
        print(f"# {name} {who}: {len(points)} points, {run['seconds']:.1f} s")


def delegation(tap, report):
    """The libraries' tests skip what a user may not do; here they must not have."""
    said = report["units"]["delegated"]["test_cgroup"]["output"]
    tap.check("# version 2" in said and "# skip" not in said.lower(),
              "an ordinary user's delegated group holds limits", said)
    said = report["units"]["delegated"]["test_jail"]["output"]
    tap.check("# skip" not in said.lower(), "an ordinary user's jail in a delegated group", said)
    said = report["units"]["plain"]["test_cgroup"]["output"]
    tap.check("# skip" in said.lower(), "without delegation there are no groups, and it is said",
              said)
    left = [run["left_over"] for run in report["units"]["delegated"].values()]
    tap.check(report["groups_after"] == report["groups_before"] and not any(left),
              "no group is left behind",
              json.dumps([report["groups_before"], report["groups_after"], left]))


def machine_report(parts):
    files = {"/opt/csb/jail_v2.py": HERE / "guest" / "jail_v2.py",
             "/opt/csb/codesandboxd": BUILD / "src/daemon/codesandboxd",
             "/opt/csb/csb-launch": BUILD / "src/launch/csb-launch",
             "/opt/csb/csb-agent": BUILD / "src/agent/csb-agent",
             "/opt/csb/runtimes": ROOT / "runtimes"}
    for name in UNITS:
        files[f"/opt/csb/{name}"] = BUILD / "tests/unit" / name
    tree = IMAGE / "rootfs.erofs"
    if not tree.exists():
        raise SystemExit(f"Bail out! {tree} is missing: run make image")
    result = Machine(kvm=False, disks=[Disk("tree", str(tree))]).run(
        SCRIPT.format(parts=" ".join(parts)), files_in=files, files_out=["/root/report.json"],
        timeout=420)
    if "/root/report.json" not in result.files:
        raise RuntimeError(f"the run left no report, exit code {result.exit_code}:\n{result.output}")
    print(f"# boot {result.boot_s:.1f} s, run {result.run_s:.1f} s")
    return json.loads(result.files["/root/report.json"])


def main():
    tap = Tap()
    artefacts()
    parts = sys.argv[2:] or ["units", "service"]
    report = machine_report(parts)
    if "units" in parts:
        for who in ("root", "delegated", "plain"):
            tap.group(units, report, who)
        tap.group(delegation, report)
    tap.finish()


if __name__ == "__main__":
    main()
