#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the corpus of tests/programs through the service and compares with the same interpreters outside.

All of it in process isolation; where processors are emulated one in three, which still is minutes, and
all of it with CSB_TEST_FULL=1.
"""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from full import FULL  # noqa: E402
from service import IMAGE, ISOLATION, SOURCE, STATE, Service, quick_table  # noqa: E402


def main():
    every = "1" if FULL or ISOLATION == "process" else "3"
    with Service(RUNTIMES_DIR=quick_table()) as service:
        done = subprocess.run([sys.executable, str(SOURCE / "tests/programs/run_programs.py"),
                               "--url", f"http://127.0.0.1:{service.port}",
                               "--chroot", str(IMAGE / "rootfs"), "--every", every,
                               "--cache", str(STATE / "native-results.json")], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
