#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The product on real KVM, in the test machine: the drivers' conformance suite, and the service
answering each language, as root and as an ordinary user.

usage: test_kvm.py BUILD_DIR [drivers|root|tester]...
BUILD_DIR is a meson build directory; the image comes from $CSB_IMAGE_DIR.
"""
import json
import pathlib
import re
import sys

from image import image_disk
from machine import Machine, artefacts
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve()

MOUNT = """
mkdir -p /mnt/image && modprobe erofs && mount -t erofs -o ro /dev/machine/image /mnt/image || exit 90
"""

UNIQUE = "os.urandom(8).hex(), uuid.uuid4(), random.random(), hash('a')"
LEAVE = f"""import os, random, subprocess, uuid
open('/tmp/left', 'w').write('x')
subprocess.Popen(['sleep', '1000'])
print({UNIQUE})
"""
LOOK = f"""import os, random, uuid
print(os.path.exists('/tmp/left'), os.popen('pgrep -c sleep').read().strip())
print({UNIQUE})
"""
PI = "import math; print(f'Pi is approximately {math.pi:.4f}')"
GREET = "const greeting: string = 'Hello from TypeScript!'; console.log(greeting);"

# (name, language, code, beginning of the output)
PYTHON_PROGRAMS = [
    ("python", "python", PI, "Pi is approximately 3.1416\n"),
    ("leave", "python", LEAVE, ""),
    ("look", "python", LOOK, "False 0\n"),
]
ALL_PROGRAMS = PYTHON_PROGRAMS + [
    ("typescript", "typescript", GREET, "Hello from TypeScript!\n"),
    ("rust", "rust", 'fn main() { println!("Hello from Rust!"); }', "Hello from Rust!\n"),
]


LOST = "the channel to the agent is closed"


def conformance_run(disk):
    return Machine(disks=[disk]).run(
        "export ACCEL=kvm CSB_IMAGE_DIR=/mnt/image CSB_TIMEOUT_MULTIPLIER=10; "
        "exec /opt/csb/test_driver qemu",
        setup=MOUNT,
        files_in={"/opt/csb/test_driver": BUILD / "tests/vm/test_driver",
                  "/opt/csb/csb-launch": BUILD / "src/launch/csb-launch"}, timeout=600)


def conformance(tap, disk):
    """Nested virtualisation that is emulated loses a guest now and then: one time, a suite that lost
    one may try again in a machine of its own."""
    result = conformance_run(disk)
    if not result.ok and LOST in result.output:
        print("# drivers on KVM: a guest was lost, once more:", flush=True)
        for line in result.output.splitlines():
            print(f"#   {line}", flush=True)
        result = conformance_run(disk)
    points = re.findall(r"^(not ok|ok) \d+(?: - )?(.*)$", result.output, re.M)
    for state, name in points:
        tap.check(state == "ok", f"drivers on KVM: {name}")
    tap.check(points and result.ok, "drivers on KVM: the suite ends well", result.output)
    print(f"# conformance: {len(points)} checks, boot {result.boot_s:.1f} s, run {result.run_s:.1f} s")


def runtimes_for(languages, directory):
    """A table of only these languages. The compiler, which takes a minute here, is not warmed, and one
    sandbox is kept ready for each other."""
    table = pathlib.Path(directory) / ("runtimes-" + "-".join(languages))
    table.mkdir(exist_ok=True)
    for language in languages:
        lines = (ROOT / "runtimes" / f"{language}.runtime").read_text().splitlines()
        dropped = ("pool_ready", "warm", "prepare") if language == "rust" else ("pool_ready",)
        lines = [line for line in lines if not line.startswith(dropped)]
        lines += [] if language == "rust" else ["pool_ready = 1"]
        (table / f"{language}.runtime").write_text("\n".join(lines) + "\n")
    return table


def lost(report):
    """The runs whose sandbox failed under them."""
    return {name: run for name, run in report["runs"].items() if run.get("http", 0) >= 500}


def service_report(directory, disk, user, programs):
    """What one machine's service did. Nested virtualisation that is emulated loses a guest now and
    then: one time, a service that lost sandboxes may try again in a machine of its own."""
    report = service_run(directory, disk, user, programs)
    if lost(report):
        print(f"# service as {user}: sandboxes were lost, once more: {json.dumps(lost(report))}",
              flush=True)
        report = service_run(directory, disk, user, programs)
    return report


def service_run(directory, disk, user, programs):
    requests = [{"name": name, "request": {"language": language, "code": code}}
                for name, language, code, _ in programs]
    languages = sorted({language for _, language, _, _ in programs})
    home = "/home/tester" if user == "tester" else "/root"
    files = {"/opt/csb/codesandboxd": BUILD / "src/daemon/codesandboxd",
             "/opt/csb/csb-launch": BUILD / "src/launch/csb-launch",
             "/opt/csb/runtimes": runtimes_for(languages, directory),
             "/opt/csb/service.py": HERE / "guest" / "service.py",
             "/opt/csb/programs.json": json.dumps(requests).encode()}
    result = Machine(disks=[disk]).run(
        f"cd {home} && exec /opt/csb/service.py", setup=MOUNT, files_in=files,
        files_out=[f"{home}/report.json"], user=user, timeout=500)
    report = json.loads(result.files.get(f"{home}/report.json", b"null"))
    if report is None:
        raise RuntimeError(f"the service's run left no report:\n{result.output}")
    print(f"# service as {user}: boot {result.boot_s:.1f} s, run {result.run_s:.1f} s, "
          f"ready after {report['ready_s']:.1f} s")
    for line in report["log"].splitlines():
        print(f"#   {line}", flush=True)
    return report


def check_runs(tap, report, programs, who):
    runs = report["runs"]
    for name, _, _, output in programs:
        run = runs.get(name, {})
        good = run.get("success") is True and run.get("accel") == "kvm" and \
            run.get("isolation") == "microvm" and run.get("output", "").startswith(output)
        tap.check(good, f"{who}: {name} answers from a microVM on KVM", json.dumps(run))
        print(f"# {who}: {name}: {run.get('seconds', 0) * 1000:.0f} ms in the machine")
    words = [set(runs.get(name, {}).get("output", "").splitlines()[-1:][0].split())
             if runs.get(name, {}).get("output") else set() for name in ("leave", "look")]
    tap.check(len(words[0]) == 4 and len(words[1]) == 4 and not words[0] & words[1],
              f"{who}: clones share no random value", words)


def service(tap, directory, disk, user):
    who = f"service on KVM as {user}"
    programs = ALL_PROGRAMS if user == "root" else PYTHON_PROGRAMS
    report = service_report(directory, disk, user, programs)
    health = report["health"]
    if not tap.check(health.get("http") == 200 and health.get("accel") == "kvm",
                     f"{who}: is healthy and says kvm",
                     json.dumps(health) + "\n" + report["log"]):
        return
    check_runs(tap, report, programs, who)
    vms = report["vms"]
    tap.check(vms and all("kvm" in " ".join(vm["command"]) for vm in vms),
              f"{who}: the VMMs were started with KVM", json.dumps(vms))
    tap.check(all(vm["no_new_privs"] == "1" and vm["seccomp"] == "2" and
                  int(vm["cap_eff"], 16) == 0 for vm in vms),
              f"{who}: the VMMs have no privilege and a system call filter", json.dumps(vms))
    if user == "root":
        tap.check(all(int(vm["uid"]) != 0 for vm in vms) and
                  len({vm["uid"] for vm in vms}) == len(vms),
                  f"{who}: each VMM has a uid of its own", json.dumps(vms))
    tap.check(report["guest"].get("http") == 200, f"{who}: the guest describes itself",
              report["guest"])
    tap.check(report["stop"]["code"] == 0, f"{who}: ends when asked",
              json.dumps(report["stop"]) + "\n" + report["log"])
    tap.check(not any(report["left_over"].values()) and
              set(report["cgroups_after"]) <= set(report["cgroups_before"]),
              f"{who}: leaves no process and no cgroup",
              json.dumps([report["left_over"], report["cgroups_after"]]))


def main():
    tap = Tap()
    artefacts()
    with Scratch("kvm") as directory:
        disk = image_disk(directory)
        for name, function, *arguments in (
                ("drivers", conformance, disk), ("root", service, directory, disk, "root"),
                ("tester", service, directory, disk, "tester")):
            if not sys.argv[2:] or name in sys.argv[2:]:
                tap.group(function, *arguments)
    tap.finish()


if __name__ == "__main__":
    main()
