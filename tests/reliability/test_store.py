#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The database of keys and sandboxes is locked by another program, or its disk is full: what needs it is refused and
leaves nothing behind, what does not goes on, and all is well once it can be written again. The queue's own database:
tests/integration/test_jobs.py. With the fake driver."""
import json
import os
import pathlib
import signal
import sqlite3
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "integration"), str(HERE.parent / "lib")]
from daemon import Daemon  # noqa: E402
from small_disk import small_disk  # noqa: E402
from tap import Tap  # noqa: E402


def ask(d, method, path, body=None):
    return d.request(method, path, None if body is None else json.dumps(body),
                     {"X-API-KEY": "any", "Content-Type": "application/json"}, 60)


def make(d):
    return ask(d, "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3600})


def listed(d):
    return {entry["sandboxID"] for entry in ask(d, "GET", "/v2/sandboxes")[2]}


def goes_on(t, d, kept, what):
    """What no database is needed for."""
    t.check(d.execute()[0] == 200, f"{what}: programs run")
    t.check(ask(d, "GET", f"/sandboxes/{kept}")[0] == 200, f"{what}: a sandbox is there")
    t.check(ask(d, "POST", f"/sandboxes/{kept}/timeout", {"timeout": 1800})[0] == 204, f"{what}: its time can be set")
    status, _, answer = make(d)
    t.check(status in (500, 503) and "database" in answer["message"], f"{what}: none is made, and it says why",
            (status, answer))
    t.check(listed(d) == {kept}, f"{what}: and none is left", listed(d))


def held(t):
    with Daemon() as d:
        kept = make(d)[2]["sandboxID"]
        other = sqlite3.connect(d.state + "/state/store/codesandbox.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        goes_on(t, d, kept, "held by another")
        t.check(ask(d, "DELETE", f"/sandboxes/{kept}")[0] == 204 and not listed(d), "held by another: it can be ended")
        other.execute("ROLLBACK")
        other.close()
        status, _, made = make(d)
        t.check(status == 201 and listed(d) == {made["sandboxID"]}, "let go: one can be made", made)


def full(t):
    if os.geteuid() != 0:
        print("# not root: no small disk can be mounted", flush=True)
        return
    with small_disk() as top:
        with Daemon(state=top) as d:
            kept = make(d)[2]["sandboxID"]
            room = pathlib.Path(top, "room")
            with open(room, "wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass
            for _ in range(200):  # until what was allotted ahead is used up, too
                status, _, made = make(d)
                if status != 201:
                    break
                ask(d, "DELETE", f"/sandboxes/{made['sandboxID']}")
            d.wait(lambda: listed(d) == {kept}, "ended")
            goes_on(t, d, kept, "a full disk")
            room.unlink()
            status, _, made = make(d)
            t.check(status == 201, "with room again: one can be made", made)
            d.stop(signal.SIGKILL)
        with Daemon(state=top) as d:
            lost = [line for line in d.log if "is lost" in line]
            t.check(sum(kept in line for line in lost) == 1 and sum(made["sandboxID"] in line for line in lost) == 1
                    and len(lost) == 2, "and after a death each is told to be lost", lost)


def main():
    t = Tap()
    for group in (held, full):
        t.group(group)
    t.finish()


if __name__ == "__main__":
    main()
