#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the corpus of tests/programs through the service and compares with the same interpreters outside."""
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from scratch import Scratch  # noqa: E402
from service import BUILD, IMAGE, SOURCE, Service  # noqa: E402


def main():
    with Scratch("tree", BUILD) as tree:
        subprocess.run(["fsck.erofs", f"--extract={tree}/root", str(IMAGE / "rootfs.erofs")], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with Service() as service:
            done = subprocess.run([sys.executable, str(SOURCE / "tests/programs/run_programs.py"),
                                   "--url", f"http://127.0.0.1:{service.port}",
                                   "--chroot", f"{tree}/root"], check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
