#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programs are replaced by others while a service runs with jobs and long-lived sandboxes, first under it, then
with a restart: what docs/OPERATIONS.md says of an upgrade. Every file is another, as after a build, and put in place
as a package manager does it."""
import json
import os
import pathlib
import shutil
import signal
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "service"))
import service as rig  # noqa: E402
from service import BUILD, IMAGE, ISOLATION, STATE, Service, survivors, wait_until  # noqa: E402
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

PROGRAMS = ("src/daemon/codesandboxd", "src/launch/csb-launch", "src/agent/csb-agent")
SOON_S = 200


def install(directory, number):
    """The programs of the build; `number` makes them others, though they do the same."""
    shutil.copytree(BUILD / "src/jail", directory / "src/jail", dirs_exist_ok=True,
                    ignore=lambda _, names: [n for n in names if n.endswith(".p")])
    for name in PROGRAMS:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in (BUILD / name).parent.glob("*.so"):
            shutil.copy(other, path.parent / other.name)
        fresh = path.with_suffix(".new")
        shutil.copy(BUILD / name, fresh)
        with open(fresh, "ab") as file:
            file.write(b"\0version %d" % number)
        os.replace(fresh, path)


def ask(s, method, path, body=None, headers=None):
    status, _, text = s.request(method, path, None if body is None else json.dumps(body), {
        "X-API-KEY": "any", "Content-Type": "application/json", **(headers or {})}, timeout=120)
    return status, json.loads(text) if text else None


def works(s, made):
    return ask(s, "GET", "/health", None, {"E2b-Sandbox-Id": made["sandboxID"], "E2b-Sandbox-Port": "49983",
                                          "X-Access-Token": made["envdAccessToken"]})[0] == 204


def make(s):
    """A sandbox; None where this host has none."""
    status, made = ask(s, "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3600})
    if status == 501:
        return None
    if status != 201:
        raise RuntimeError(f"{status} {made}")
    return made


def put(s, code, **more):
    return ask(s, "POST", "/jobs", {"language": "bash", "code": code, "timeout": 200, **more})[1]["id"]


def state(s, name, *wanted):
    """A job's state, once it is one of these, or in the end."""
    wait_until(lambda: ask(s, "GET", f"/jobs/{name}")[1]["state"] in wanted, SOON_S)
    return ask(s, "GET", f"/jobs/{name}")[1]["state"]


def runs(s):
    status, answer = ask(s, "POST", "/execute", {"language": "bash", "code": "echo $((6 * 7))"})
    return status == 200 and answer["output"] == "42\n"


def told(s, name, words):
    return sum(1 for line in pathlib.Path(s.log.name).read_text(errors="replace").splitlines()
               if name in line and words in line)


def under_it(t, s, made):
    """The programs are others by now; what runs is still the old."""
    t.check(runs(s), "replaced while it runs: programs run")
    t.check(made is None or works(s, made), "and sandboxes go on")
    os.kill(s.pids("csb-launch")[0], signal.SIGKILL)
    t.check(wait_until(lambda: runs(s), SOON_S), "a launcher of the new version serves the old server")
    if made is not None:
        gone = wait_until(lambda: ask(s, "GET", f"/sandboxes/{made['sandboxID']}")[0] == 404, SOON_S)
        t.check(gone and told(s, made["sandboxID"], "its machine died") == 1,
                "the old launcher's sandboxes are told to be lost, once", s.log_tail())


def restart(t, s, made):
    done = put(s, "echo done")
    t.check(state(s, done, "succeeded") == "succeeded", "a job is done before the upgrade")
    running, again = put(s, "sleep 100"), put(s, "echo again", priority=9)
    t.check(state(s, running, "running") == "running" or state(s, again, "succeeded") == "succeeded", "others are there")
    family = s.family()
    t.check(s.stop() == 0, "the service is stopped")
    t.check(not survivors(family), "and nothing of it is left", survivors(family))
    s.start()
    if made is not None:
        name = made["sandboxID"]
        t.check(ask(s, "GET", f"/sandboxes/{name}")[0] == 404, "after the upgrade its sandboxes are gone")
        reports = told(s, name, "ends with the service") + told(s, name, "is lost")
        t.check(reports == 1, "which was told, once", s.log_tail())
        t.check(ask(s, "GET", "/v2/sandboxes")[1] == [], "and none is listed")
        made = make(s)
        t.check(works(s, made), "new ones can be made")
    status, answer = ask(s, "GET", f"/jobs/{done}")
    t.check(status == 200 and answer["result"]["stdout"] == "done\n", "the result of the job is there", answer)
    t.check(state(s, running, "may_have_run") == "may_have_run", "what was cut may have run")
    t.check(state(s, again, "succeeded") == "succeeded", "what was not begun runs")
    t.check(runs(s), "and programs run")


def envd(made):
    return {"E2b-Sandbox-Id": made["sandboxID"], "E2b-Sandbox-Port": "49983", "X-Access-Token": made["envdAccessToken"],
            "Content-Type": "application/octet-stream"}


def machines(t, top, settings):
    """What is in the initial file system, the agent above all, is another after the restart."""
    initrd, data = top / "initrd.img", bytes(range(256)) * 1000
    shutil.copy(IMAGE / "initrd.img", initrd)
    s = Service(**settings, INITRD_PATH=initrd, VM_MEMORY_MB=256, LIMIT_MEMORY_BYTES=64 << 20, LIMIT_MEMORY_BYTES_MAX=64 << 20)
    with s:
        kept, ran = make(s), make(s)
        status = [s.request("POST", "/files?path=kept", data, envd(one))[0] for one in (kept, ran)]
        t.check(status == [200, 200], "files are written", status)
        end = ask(s, "GET", f"/sandboxes/{ran['sandboxID']}")[1]["endAt"]
        t.check(ask(s, "POST", f"/sandboxes/{kept['sandboxID']}/pause", {})[0] == 204, "one sandbox is paused")
    install(top, 2)
    with open(initrd, "ab") as file:
        file.write(bytes(4096))
    with s:
        t.check(" built in " in s.log_tail(12), "after the upgrade the template is another", s.log_tail(12))
        status, info = ask(s, "GET", f"/sandboxes/{ran['sandboxID']}")
        t.check(status == 200 and info["state"] == "running" and info["endAt"] == end, "the running one is there", (status, info))
        t.check(wait_until(lambda: told(s, ran["sandboxID"], "runs again") == 1, SOON_S), "and runs, though nobody asked for it",
                s.log_tail(12))
        status, _, text = s.request("GET", "/files?path=kept", None, envd(ran))
        t.check(status == 200 and text == data, "with its file", status)
        t.check(ask(s, "DELETE", f"/sandboxes/{ran['sandboxID']}")[0] == 204, "and ended")
        status, again = ask(s, "POST", f"/v2/sandboxes/{kept['sandboxID']}/connect", {})
        t.check(status == 201, "the paused one is resumed", (status, again, s.log_tail(12)))
        status, _, text = s.request("GET", "/files?path=kept", None, envd(kept))
        t.check(status == 200 and text == data, "with its file", status)
        t.check(ask(s, "DELETE", f"/sandboxes/{kept['sandboxID']}")[0] == 204, "and ended")
        t.check(runs(s), "and programs run")


def main():
    t = Tap()
    STATE.parent.mkdir(parents=True, exist_ok=True)
    with Scratch("upgrade", STATE.parent) as top:
        top.chmod(0o755)
        install(top, 1)
        rig.DAEMON = top / PROGRAMS[0]
        table = rig.small_table()
        for path in table.glob("*.runtime"):
            if path.stem != "bash":
                path.unlink()
        settings = {"RUNTIMES_DIR": table, "STATE_DIR": top / "state", "POOL_SIZE": 1, "SANDBOX_READY": 0,
                    "SANDBOX_KEEP_MS": 200000, "JOB_WORKERS": 1, "DRAIN_MS": 500}
        if ISOLATION == "microvm":
            t.group(machines, top, settings)
            t.finish()
        s = Service(**settings)
        with s:
            made = make(s)
            install(top, 2)
            t.group(under_it, s, made)
            t.group(restart, s, make(s))
    t.finish()


if __name__ == "__main__":
    main()
