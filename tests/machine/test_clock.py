#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The machine's clock is set more than a day forwards and days backwards while sandboxes, jobs and a callback wait:
nothing ends, begins or is forgotten because of it, and nothing spins.

usage: test_clock.py BUILD_DIR
"""
import pathlib
import sys

from machine import Machine, artefacts
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(sys.argv[1]).resolve()
BUSY_MAX = 500  # of the thousand hundredths of a second that one processor has meanwhile

AFTER_EACH = (
    ("kept", "200", "a sandbox with an hour to go is there"),
    ("connect", "200", "its owner connects to it"),
    ("timeout", "204", "and sets its time"),
    ("still", "200", "which does not end it"),
    ("run", "fine", "programs run"),
    ("waiting", "queued", "a job waits for its turn"),
    ("first", "succeeded", "the result of another is kept"),
    ("tries", "1", "a callback is not tried before its hour is over"),
    ("short", "404", "a sandbox of three seconds ends"),
    ("told", "now", "new times are of the new clock"),
)


def main():
    t = Tap()
    artefacts()
    result = Machine(kvm=False, memory_mib=512, cpus=1).run(
        "exec /opt/test/clock.sh", files_out=["/root/report"], timeout=900, files_in={
            "/opt/test/codesandboxd": BUILD / "src/daemon/codesandboxd", "/opt/test/clock.sh": HERE / "guest/clock.sh",
            "/opt/test/runtimes": HERE.parent / "integration/runtimes"})
    for line in result.output.splitlines():
        print(f"#   {line[:160]}")
    lines = result.files.get("/root/report", b"").decode().splitlines()
    found = dict(line.split("\t", 1) for line in lines)
    for name, want in (("ready", "200"), ("first", "succeeded"), ("blocker", "running")):
        t.check(found.get(name) == want, f"before: {name} is {want}", found.get(name))
    for when in ("forwards", "backwards"):
        for name, want, what in AFTER_EACH:
            t.check(found.get(f"{when} {name}") == want, f"clock set {when}: {what}", found.get(f"{when} {name}"))
    t.check(int(found.get("busy", BUSY_MAX)) < BUSY_MAX, "nothing spins", found.get("busy"))
    t.check(found.get("blocked") == "running", "the job that ran still does", found.get("blocked"))
    t.check(found.get("cancel") in ("200", "202"), "it is cancelled", found.get("cancel"))
    t.check(found.get("waited") == "succeeded", "and the one that waited runs", found.get("waited"))
    t.check(found.get("stop") == "0", "the service ends well", found.get("stop"))
    t.finish()


if __name__ == "__main__":
    main()
