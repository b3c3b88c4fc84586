#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The calls of E2B's published SDK against a service of an ordinary user, without virtual machines: the part of
test_sdk.py that has to do with who somebody is. All of it with CSB_TEST_FULL=1. Root becomes CSB_TEST_UID for
it, with Debian's Python; where a home directory hides the build from that user, it is skipped."""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from full import FULL  # noqa: E402
from npm import Unusable  # noqa: E402
from scratch import Scratch  # noqa: E402
from sdk_rig import SDK, install, skip  # noqa: E402
from service import DAEMON, IMAGE  # noqa: E402

PARTS = "life,commands,files,watch,pty"


def become(uid):
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def main():
    try:
        install()
    except Unusable as why:
        skip(str(why))
    if os.geteuid() == 0:
        become(int(os.environ["CSB_TEST_UID"]))
    for path in (DAEMON, IMAGE / "rootfs/etc/passwd", SDK / "package.json", HERE / "sdk.mjs"):
        if not os.access(path, os.R_OK):
            print(f"1..0 # SKIP uid {os.geteuid()} cannot read {path}")
            return 0
    with Scratch("user") as home:
        env = {**os.environ, "CSB_TEST_ISOLATION": "process", "CSB_TEST_STATE": f"{home}/state", "HOME": str(home),
               "CSB_E2B_SDK": str(SDK)}
        if not FULL:
            env["CSB_E2B_ONLY"] = PARTS
        return subprocess.run(["/usr/bin/python3", str(HERE / "test_sdk.py")], env=env, cwd="/", check=False).returncode


sys.exit(main())
