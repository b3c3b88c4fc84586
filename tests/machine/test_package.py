#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Debian package on a fresh Debian machine with systemd: installed, started, a key made, the three
languages run, limits met, metrics read, settings reloaded, a hung process of it noticed and replaced, upgraded with
jobs and a sandbox alive, removed, purged. With ISOLATION=process; with CSB_TEST_FULL=1 once more, more briefly, with microVMs on the machine's KVM.

usage: test_package.py BUILD_DIR
BUILD_DIR is a meson build directory; the image comes from $CSB_IMAGE_DIR.
"""
import json
import pathlib
import re
import subprocess
import sys

from image import image_disk, tree_disk
from machine import Machine, artefacts
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from full import FULL  # noqa: E402
from limited import FORKS, HOG  # noqa: E402
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve()

PROGRAMS = {
    "python": ("import math; print(f'Pi is approximately {math.pi:.4f}')",
               "Pi is approximately 3.1416\n"),
    "typescript": ("const greeting: string = 'Hello from TypeScript!'; console.log(greeting);",
                   "Hello from TypeScript!\n"),
    "rust": ('fn main() { println!("Hello from Rust!"); }', "Hello from Rust!\n"),
}
LIMITS = {
    "memory": {"code": HOG, "limits": {"memory_bytes": 96 << 20}},
    "processes": {"code": FORKS, "limits": {"processes": 20}},
}
SLEEP = "import subprocess; subprocess.run(['sleep', '4321'])"  # guest/package.sh looks for it
CUT = ("52", "56")  # curl's: the server closed the connection without an answer
NEWER = "99.0"
UNIT_MEMORY, UNIT_TASKS = 3 << 30, 2000  # what guest/package.sh gives the unit


def requests():
    """{name: what is sent to /execute}."""
    python = {**LIMITS, "sleep": {"code": SLEEP}}
    return {**{language: {"language": language, "code": code, "timeout": 200}
               for language, (code, _) in PROGRAMS.items()},
            **{name: {"language": "python", "timeout": 200, **more} for name, more in python.items()}}


def newer(package):
    """The same package with a higher version."""
    package = pathlib.Path(package)
    tree, path = package.parent / "newer", package.parent / "newer.deb"
    if not path.exists():
        subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
        control = tree / "DEBIAN/control"
        control.write_text(re.sub(r"^Version: .*$", f"Version: {NEWER}", control.read_text(), flags=re.M))
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, path], check=True, capture_output=True)
    return path


def in_machine(package, isolation, disk):
    """{name: value} of what the machine found, the text of its metrics, and its output."""
    files = {"/opt/test/codesandbox.deb": package, "/opt/test/newer.deb": newer(package), "/opt/test/package.sh": HERE / "guest/package.sh",
             **{f"/opt/test/{name}.json": json.dumps(request).encode() for name, request in requests().items()}}
    result = Machine(systemd=True, disks=[disk]).run(
        f"exec /opt/test/package.sh {isolation}", setup="modprobe erofs", files_in=files,
        files_out=["/root/report", "/root/metrics"], timeout=700)
    print(f"# {isolation}: boot {result.boot_s:.1f} s, run {result.run_s:.1f} s")
    for line in result.output.splitlines():
        print(f"#   {line[:160]}")
    lines = result.files.get("/root/report", b"").decode().splitlines()
    return (dict(line.split("\t", 1) for line in lines),
            result.files.get("/root/metrics", b"").decode(), result.output)


def answer_of(found, name):
    try:
        return json.loads(found[name])
    except ValueError:
        return {}


def check_start(tap, found):
    tap.check(found["install"].endswith("exit 0"), "the package installs", found["install"])
    tap.check(found["check"] == "2", "the configuration's file is read", found["check"])
    tap.check(found["key"] == "made", "a key is made before the first start")
    tap.check(found["start"] == "active", "systemctl start waits until it listens", found)
    tap.check(found["ready"] == "200 ready", "and gets ready", found)
    tap.check(found["denied"].split() == ["401"] * 3,
              "without a key, or with a wrong one, nothing runs and nothing is told", found["denied"])
    told = re.search(r"exposure ([0-9.]+)", (ROOT / "docs/INSTALL.md").read_text()).group(1)
    tap.check(f": {told} " in found["exposure"], "docs/INSTALL.md has the unit's exposure",
              found["exposure"])


def check_runs(tap, found, isolation):
    for language, (_, output) in PROGRAMS.items():
        answer = answer_of(found, language)
        tap.check(answer.get("success") is True and answer.get("output") == output and
                  answer.get("isolation") == isolation,
                  f"{language} runs", found[language] + "\n" + found["journal"])
    tap.check("Uid: 700000" in found["server"] and "CapEff: 0000000000000000" in found["server"] and
              "NoNewPrivs: 1" in found["server"], "the server has no privilege", found["server"])
    tap.check(found["restarts"] == "0", "it was never started again", found["journal"])
    confinement = answer_of(found, "health").get("confinement", {})
    tap.check(confinement.get("cgroup") is True and confinement.get("cgroup_version") == 2,
              "the unit's control group is used", found["health"])


def check_use(tap, found):
    tap.check(answer_of(found, "memory").get("reason") == "memory", "memory is bounded",
              found["memory"])
    tap.check(answer_of(found, "processes").get("stdout") == "19\n", "processes are counted",
              found["processes"])
    tap.check(found["limits"].split() == [str(UNIT_MEMORY), str(UNIT_TASKS)],
              "a limit of the unit is its group's", found["limits"])
    tap.check("timeout" in found["reload"] and "Pi is" not in found["reload"],
              "systemctl reload changes a limit", found["reload"])
    tap.check("Pi is" in found["reload back"], "and changes it back", found["reload back"])
    tap.check("MAX_TIMEOUT was changed" in found["journal"] and
              "the configuration was reloaded" in found["journal"], "the journal has the log",
              found["journal"])


def check_metrics(tap, metrics):
    samples = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[:1] not in ("#", ""))
    for language in PROGRAMS:
        name = f'codesandbox_runs_total{{language="{language}",status="ok"}}'
        # One of Python's two runs into limits ends well.
        tap.check(samples.get(name) == ("2" if language == "python" else "1"),
                  f"metrics count the run of {language}", metrics)
    name = 'codesandbox_runs_total{language="python",status="memory"}'
    tap.check(samples.get(name) == "1", "and the one that had no memory left", metrics)


def check_watchdog(tap, found):
    journal = found["watchdog"]
    tap.check(journal.count("Watchdog timeout") == 2 and journal.count("Failed with result 'watchdog'") == 2,
              "the journal tells of both that hung", journal)
    for number, name in enumerate(("server", "supervisor"), 1):
        tap.check(found[f"{name} restarts"] == str(number) and f"restart counter is at {number}" in journal,
                  f"a {name} that hangs is noticed, and the service started again", journal)
        tap.check(found[f"{name} client"] in CUT, "whose clients hear of it", found[f"{name} client"])
        tap.check(answer_of(found, f"{name} run").get("output") == PROGRAMS["python"][1],
                  "it runs programs again", found[f"{name} run"])
        were = found[f"{name} were"].split()
        tap.check("group" in were and "process" in were and int(were[were.index("process") - 1]) > 3 and
                  found[f"{name} left"] == "",
                  "no process and no control group of the dead one is left", [were, found[f"{name} left"]])
        tap.check(found[f"{name} mounts"] == "", "no mount and no file of a jail", found[f"{name} mounts"])


def check_upgrade(tap, found, isolation):
    """With a job that is over, one that runs, one that waits, and a sandbox."""
    tap.check(found["upgrade"].endswith("exit 0"), "a newer package is installed over it", found["upgrade"])
    tap.check(found["newer"].split() == [NEWER, "active", "restarted"], "and its service runs", found["newer"])
    tap.check("isolation = " in found["newer settings"] and "dpkg" not in found["newer settings"],
              "with the settings as they were", found["newer settings"])
    tap.check(found["before"].split() == ["succeeded", "running", "queued"], "there were jobs of each kind", found["before"])
    tap.check(found["over"] == "succeeded over", "the result of one that was over is there", found["over"])
    tap.check(found["cut"].split() == ["may_have_run", "1"], "one that ran and may run once only is not run again", found["cut"])
    tap.check(found["waited"] == "succeeded waited", "one that waited runs", found["waited"])
    tap.check(found["sandbox"] == ("kept 0" if isolation == "microvm" else "1"),
              "the sandbox is as docs/OPERATIONS.md has it", found["sandbox"])


def check_removal(tap, found):
    tap.check(found["remove"].endswith("exit 0"), "the package is removed", found["remove"])
    tap.check(found["stopped"] in ("inactive 0", "unknown 0"), "which stops the service",
              found["stopped"])
    tap.check("cannot access" not in found["kept"], "settings and state are kept", found["kept"])
    tap.check(found["purge"].endswith("exit 0"), "the package is purged", found["purge"])
    tap.check(found["user"] == "none", "its user is gone", found["user"])
    tap.check(found["left"] == "", "no file is left or missing", found["left"])
    tap.check(found["units"] == "", "no unit and no control group is left", found["units"])


def with_jails(tap, package):
    found, metrics, output = in_machine(package, "process", tree_disk("image"))
    if not tap.check("units" in found, "the script ran to its end", output):
        return
    tap.group(check_start, found)
    tap.group(check_runs, found, "process")
    tap.group(check_use, found)
    tap.group(check_metrics, metrics)
    tap.group(check_watchdog, found)
    tap.group(check_upgrade, found, "process")
    tap.group(check_removal, found)


def with_microvms(tap, package, directory):
    """Nested virtualisation that is emulated loses a guest now and then: one time, a service that lost one may try
    again in a machine of its own."""
    disk = image_disk(directory)
    found, _, output = in_machine(package, "microvm", disk)
    if any(answer_of(found, language).get("code", 0) >= 500 for language in PROGRAMS if language in found):
        print("# a sandbox was lost, once more", flush=True)
        found, _, output = in_machine(package, "microvm", disk)
    if not tap.check("units" in found, "with microVMs the script ran to its end", output):
        return
    tap.group(check_start, found)
    tap.check(answer_of(found, "health").get("accel") == "kvm", "the unit lets it use KVM", found["health"])
    tap.group(check_runs, found, "microvm")
    tap.group(check_upgrade, found, "microvm")
    tap.group(check_removal, found)


def main():
    tap = Tap()
    artefacts()
    with Scratch("package") as directory:
        package = subprocess.run([ROOT / "packaging/deb/build.sh", BUILD, directory], check=True,
                                 capture_output=True, text=True).stdout.strip()
        tap.group(with_jails, package)
        if FULL:
            tap.group(with_microvms, package, directory)
    tap.finish()


if __name__ == "__main__":
    main()
