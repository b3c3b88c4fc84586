#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian package on a fresh Debian machine with systemd: installed, started, a key made, the three
languages run with process isolation, metrics read, settings reloaded, removed, purged.

usage: test_package.py BUILD_DIR
BUILD_DIR is a meson build directory; the image comes from $CSB_IMAGE_DIR.
"""
import json
import os
import pathlib
import subprocess
import sys

from machine import Disk, Machine, artefacts
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve()
IMAGE = pathlib.Path(os.environ.get("CSB_IMAGE_DIR") or ROOT / "build" / "image")

PROGRAMS = {
    "python": ("import math; print(f'Pi is approximately {math.pi:.4f}')",
               "Pi is approximately 3.1416\n"),
    "typescript": ("const greeting: string = 'Hello from TypeScript!'; console.log(greeting);",
                   "Hello from TypeScript!\n"),
    "rust": ('fn main() { println!("Hello from Rust!"); }', "Hello from Rust!\n"),
}


def in_machine(package):
    files = {"/opt/test/codesandbox.deb": package, "/opt/test/package.sh": HERE / "guest/package.sh"}
    for language, (code, _) in PROGRAMS.items():
        request = {"language": language, "code": code, "timeout": 200}
        files[f"/opt/test/{language}.json"] = json.dumps(request).encode()
    result = Machine(systemd=True, disks=[Disk("image", str(IMAGE / "rootfs.erofs"))]).run(
        "exec /opt/test/package.sh", setup="modprobe erofs", files_in=files,
        files_out=["/root/report"], timeout=400)
    print(f"# boot {result.boot_s:.1f} s, run {result.run_s:.1f} s")
    for line in result.output.splitlines():
        print(f"#   {line[:160]}")
    lines = result.files.get("/root/report", b"").decode().splitlines()
    return dict(line.split("\t", 1) for line in lines), result.output


def check_use(tap, found):
    tap.check(found["install"].endswith("exit 0"), "the package installs", found["install"])
    tap.check(found["check"] == "2", "the configuration's file is read", found["check"])
    tap.check(found["key"] == "made", "a key is made before the first start")
    tap.check(found["start"] == "active", "systemctl start waits until it listens", found)
    tap.check(found["ready"] == "200", "and gets ready", found["journal"])
    tap.check(found["denied"] == "401", "without the key nothing runs", found["denied"])
    for language, (_, output) in PROGRAMS.items():
        try:
            answer = json.loads(found[language])
        except ValueError:
            answer = {}
        tap.check(answer.get("success") is True and answer.get("output") == output,
                  f"{language} runs", found[language] + "\n" + found["journal"])
    tap.check(int(found["metrics"]) > 10, "metrics are read", found["metrics"])
    tap.check("timeout" in found["reload"] and "Pi is" not in found["reload"],
              "systemctl reload changes a limit", found["reload"])
    tap.check("Uid: 700000" in found["server"] and "CapEff: 0000000000000000" in found["server"] and
              "NoNewPrivs: 1" in found["server"], "the server has no privilege", found["server"])
    tap.check('"cgroup":true' in found["confinement"], "the unit's control group is used",
              found["confinement"])
    tap.check("MAX_TIMEOUT was changed" in found["journal"] and
              "the configuration was reloaded" in found["journal"], "the journal has the log",
              found["journal"])
    tap.check(found["restarts"] == "0", "it was never started again", found["journal"])


def check_removal(tap, found):
    tap.check(found["remove"].endswith("exit 0"), "the package is removed", found["remove"])
    tap.check(found["stopped"] in ("inactive 0", "unknown 0"), "which stops the service",
              found["stopped"])
    tap.check("cannot access" not in found["kept"], "settings and state are kept", found["kept"])
    tap.check(found["purge"].endswith("exit 0"), "the package is purged", found["purge"])
    tap.check(found["user"] == "none", "its user is gone", found["user"])
    tap.check(found["left"] == "", "no file is left or missing", found["left"])
    tap.check(found["units"] == "", "no unit and no control group is left", found["units"])


def main():
    tap = Tap()
    artefacts()
    with Scratch("package") as directory:
        package = subprocess.run([ROOT / "packaging/deb/build.sh", BUILD, directory], check=True,
                                 capture_output=True, text=True).stdout.strip()
        found, output = in_machine(package)
        if not tap.check("units" in found, "the script ran to its end", output):
            tap.finish()
            return
        tap.group(check_use, found)
        tap.group(check_removal, found)
    tap.finish()


if __name__ == "__main__":
    main()
