#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Jails and control groups where cgroup v2 is real, in one start of the test machine: the tests of
the two libraries as root, as an ordinary user with a delegated group, and as one without; then the
service with ISOLATION=process as root and as an ordinary user.

usage: test_jail_v2.py BUILD_DIR [units|service]...
BUILD_DIR is a meson build directory; the image comes from $CSB_IMAGE_DIR.
"""
import json
import pathlib
import re
import sys
import tempfile

from image import quick_runtimes, tree_disk
from machine import Machine, artefacts
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from limited import FORKS, HOG  # noqa: E402
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = pathlib.Path(sys.argv[1]).resolve()
UNITS = ("test_cgroup", "test_jail")

WHO = """import os
print(os.getuid(), os.getgid(), os.getpid(), os.listdir('/work'))
"""
# Each request, and what its answer must hold with limits enforced by control groups.
PROGRAMS = {
    "python": ({"language": "python", "code": WHO},
               {"stdout": "1000 1000 2 ['main.py']\n", "reason": "exit"}),
    "typescript": ({"language": "typescript", "code": "const n: number = 6; console.log(n * 7);"},
                   {"stdout": "42\n", "reason": "exit"}),
    "rust": ({"language": "rust", "code": 'fn main() { println!("from Rust"); }'},
             {"stdout": "from Rust\n", "reason": "exit"}),
    "bash": ({"language": "bash", "code": "echo $((6 * 7))"}, {"stdout": "42\n", "reason": "exit"}),
    "memory": ({"language": "python", "code": HOG, "limits": {"memory_bytes": 64 << 20}},
               {"reason": "memory"}),
    "processes": ({"language": "python", "code": FORKS, "limits": {"processes": 20}},
                  {"stdout": "19\n"}),
    "cpu": ({"language": "python", "code": "while True: pass", "limits": {"cpu_ms": 500}},
            {"reason": "cpu_timeout"}),
    "disk": ({"language": "python", "code": "open('f', 'wb').write(bytes(9 << 20))",
              "limits": {"disk_bytes": 4 << 20}}, {"exit_code": 1}),
}
# Without a group there is nothing that could hold memory, processes and processor time together.
WITHOUT_GROUPS = ("python", "typescript", "bash", "disk")

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
    tap.check(not any(left), "no group is left behind", json.dumps(left))


def service(tap, report, who):
    whole, report = report, report["service"][who]
    health = report["health"]
    name = f"service, {who}"
    if not tap.check(health.get("http") == 200 and health.get("isolation") == "process",
                     f"{name}: is healthy", json.dumps(health) + "\n" + report["log"]):
        return
    confined = health["confinement"]
    print(f"# {name}: ready after {report['ready_s']:.1f} s; {json.dumps(health['pool'])}")
    print(f"# {name}: {json.dumps(confined)}")
    for program, (_, wanted) in PROGRAMS.items():
        if who == "plain" and program not in WITHOUT_GROUPS:
            continue
        run = report["runs"].get(program, {})
        tap.check(wanted.items() <= run.items(), f"{name}: {program}", json.dumps(run))
        print(f"# {name}: {program}: {run.get('seconds', 0) * 1000:.0f} ms in the machine")
    tap.check(confined["cgroup"] == (who != "plain"), f"{name}: says whether it has groups",
              json.dumps(confined))
    if who != "plain":
        tap.check(confined.get("cgroup_version") == 2, f"{name}: says that they are version 2",
                  json.dumps(confined))
    else:
        tap.check("cgroup" in json.dumps(confined.get("missing", "")),
                  f"{name}: says what is missing", json.dumps(confined))
    processes(tap, report, name, who)
    tap.check(report["stop"] == 0, f"{name}: ends when asked", report["log"])
    tap.check(report["after"] == report["before"], f"{name}: leaves no process",
              json.dumps([report["before"], report["after"]]))
    tap.check(whole["groups_after"] == whole["groups_before"] and not report.get("left_over"),
              f"{name}: leaves no group",
              json.dumps([whole["groups_before"], whole["groups_after"], report.get("left_over")]))


def processes(tap, report, name, who):
    """What waits in a sandbox, as the machine's kernel sees it."""
    agent = next((facts for facts in report["processes"].values()
                  if facts["name"] == "csb-agent"), None)
    if not tap.check(agent, f"{name}: an agent runs", json.dumps(report["processes"])):
        return
    tap.check(agent["user_ns"] != report["user_ns"] and agent["no_new_privs"] == "1" and
              agent["seccomp"] == "2", f"{name}: the agent is in a user namespace, with a filter",
              json.dumps(agent))
    # The zygote, which makes jails, shares the agent's user namespace; programs do not.
    waiting = [facts for facts in report["processes"].values()
               if facts["name"] in ("python3", "deno")
               and facts["user_ns"] != agent["user_ns"]]
    tap.check(waiting, f"{name}: interpreters wait in sandboxes", json.dumps(report["processes"]))
    tap.check(all(facts["cap_eff"].strip("0") == "" and facts["no_new_privs"] == "1" and
                  facts["seccomp"] == "2" for facts in waiting),
              f"{name}: they have no capability, no way to gain one, and a filter",
              json.dumps(waiting))
    uids = {facts["uid"] for facts in waiting}
    if who == "root":
        tap.check(not uids & {"0", "1000"}, f"{name}: none of them is a user of the machine", uids)
    else:
        tap.check(uids == {"1000"}, f"{name}: they are the user's own", uids)


def machine_report(parts, directory):
    files = {"/opt/csb/jail_v2.py": HERE / "guest" / "jail_v2.py",
             "/opt/csb/codesandboxd": BUILD / "src/daemon/codesandboxd",
             "/opt/csb/csb-launch": BUILD / "src/launch/csb-launch",
             "/opt/csb/csb-agent": BUILD / "src/agent/csb-agent",
             "/opt/csb/wait.so": BUILD / "src/agent/wait.so",
             "/opt/csb/zygote.so": BUILD / "src/jail/zygote.so",
             "/opt/csb/runtimes": quick_runtimes(directory),
             "/opt/csb/programs.json": json.dumps({
                 who: {name: request for name, (request, _) in PROGRAMS.items()
                       if who != "plain" or name in WITHOUT_GROUPS}
                 for who in ("root", "delegated", "plain")}).encode()}
    for name in UNITS:
        files[f"/opt/csb/{name}"] = BUILD / "tests/unit" / name
    result = Machine(kvm=False, disks=[tree_disk("tree")]).run(
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
    with tempfile.TemporaryDirectory(prefix="csb-jail-v2-") as directory:
        report = machine_report(parts, directory)
    if "units" in parts:
        for who in ("root", "delegated", "plain"):
            tap.group(units, report, who)
        tap.group(delegation, report)
    if "service" in parts:
        for who in ("root", "delegated", "plain"):
            tap.group(service, report, who)
    tap.finish()


if __name__ == "__main__":
    main()
