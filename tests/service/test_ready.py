#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Machines that wait for sandboxes to come, in process isolation: which sandbox got one is told by
counters, and what holds for one that is made when asked for holds for those."""
import base64
import json
import os
import pathlib
import re
import signal
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from service import Service, cgroup_dirs, processes, small_table, survivors, wait_until  # noqa: E402
from tap import Tap  # noqa: E402

MEMORY_MB = 256
THREADS = """import threading, time
threading.stack_size(1 << 16)
n = 0
try:
    while n < 2000:
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        n += 1
except RuntimeError:
    pass
print(n)"""
KEY = {"X-API-KEY": "e2b_" + 40 * "0"}
PLAIN, CONTEXTS = "base", "code-interpreter-v1"


def figure(service, name, **labels):
    text = service.request("GET", "/metrics")[2].decode()
    wanted = name + "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "} "
    return next(float(line[len(wanted):]) for line in text.splitlines() if line.startswith(wanted))


def taken(service):
    return tuple(figure(service, "codesandbox_live_taken_total", **{"from": which}) for which in ("ready", "made"))


def one_waits(service, template=PLAIN):
    return wait_until(lambda: figure(service, "codesandbox_live_ready", template=template) == 1, 240)


class Sandbox:
    def __init__(self, service, template=PLAIN):
        self.service = service
        status, _, data = service.request("POST", "/v2/sandboxes", json.dumps(
            {"templateID": template, "timeout": 600, "envVars": {"MINE": "yes"}}),
            {**KEY, "Content-Type": "application/json"})
        if status != 201:
            raise RuntimeError(f"HTTP {status}: {data}")
        self.made = json.loads(data)

    def ask(self, port, path, body, content):
        return self.service.request("POST", path, body, {
            **KEY, "Content-Type": content, "E2b-Sandbox-Id": self.made["sandboxID"], "E2b-Sandbox-Port": port,
            "X-Access-Token": self.made["envdAccessToken"]})[2]

    def run(self, text):
        """What a command wrote, as the stream's messages tell it, and that it ended."""
        body = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-c", text]}, "stdin": False}).encode()
        data = self.ask("49983", "/process.Process/Start", b"\0" + struct.pack(">I", len(body)) + body,
                        "application/connect+json")
        out, status = b"", None
        while data:
            size = struct.unpack(">I", data[1:5])[0]
            event = json.loads(data[5:5 + size]).get("event", {})
            out += base64.b64decode(event.get("data", {}).get("stdout", ""))
            status = event.get("end", {}).get("status", status)
            data = data[5 + size:]
        return out.decode(), status

    def metrics(self):
        data = self.service.request("GET", f"/sandboxes/{self.made['sandboxID']}/metrics", None, KEY)[2]
        return json.loads(data)[-1]

    def kill(self):
        self.service.request("DELETE", f"/sandboxes/{self.made['sandboxID']}", None, KEY)


def agents(service):
    """Agents of sandboxes: in jails of the launcher, and no program's."""
    table = processes()
    launcher = service.pids("csb-launch")
    inits = {pid for pid, (ppid, _, _) in table.items() if ppid in launcher}
    found = []
    for pid, (ppid, _, _) in table.items():
        try:
            if ppid in inits and b"--envd" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
        except OSError:  # it ended
            continue
    return set(found)


def test_taken(t, service):
    t.check(one_waits(service), "one is made ahead")
    before = taken(service)
    first = Sandbox(service)
    t.check(taken(service) == (before[0] + 1, before[1]), "a sandbox gets the one that waits", (before, taken(service)))
    t.check(one_waits(service), "another takes its place")
    second = Sandbox(service)
    t.check(taken(service) == (before[0] + 2, before[1]), "for the next one", (before, taken(service)))
    said, status = first.run("echo $MINE $E2B_SANDBOX_ID; cat /proc/1/cmdline")
    t.check(status == "exit status 0" and said.startswith(f"yes {first.made['sandboxID']}\n"),
            "it has its owner's variables", (said, status))
    t.check(said.split("\n", 1)[1].strip("\0") == "csb-launch", "nothing in it tells of the host's paths", said)
    ids = [sandbox.run("awk '{print $2}' /proc/self/uid_map")[0] for sandbox in (first, second)]
    t.check(ids[0] and ids[1] and ids[0] != ids[1], "ids of its own", ids)
    return first, second


def test_limits(t, sandbox, other):
    said, status = sandbox.run(f"exec python3 -c 'len(bytearray({2 * MEMORY_MB} << 20))'")
    t.check(status != "exit status 0" and status is not None, "memory is limited", (said, status))
    said, status = sandbox.run(f"head -c {2 * MEMORY_MB}M /dev/zero >/tmp/much && echo fits; rm -f /tmp/much")
    t.check("fits" not in said, "what is written is", (said, status))
    said, status = sandbox.run(f"exec python3 -c '{THREADS}'")
    t.check(said.strip().isdigit() and 100 < int(said) < 1100, "processes are", (said, status))
    used = sandbox.metrics()
    t.check(used["memTotal"] == MEMORY_MB << 20 and 0 < used["memUsed"] < used["memTotal"],
            "its metrics are its own", used)
    t.check(other.run("echo fine") == ("fine\n", "exit status 0"), "another knows nothing of it")


def test_dead(t, service):
    # Those of the sandboxes that were just killed may still be ending.
    t.check(one_waits(service) and wait_until(lambda: len(agents(service)) == 1, 60), "one waits", agents(service))
    before = agents(service)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    t.check(before and wait_until(lambda: not agents(service) & before, 120) and one_waits(service),
            "one that died is replaced", before)
    made = taken(service)
    Sandbox(service).kill()
    t.check(taken(service) == (made[0] + 1, made[1]), "by one that can be used", (made, taken(service)))


def test_contexts(t, service):
    t.check(figure(service, "codesandbox_live_ready", template=CONTEXTS) == 0,
            "no code interpreter before one was asked for")
    before = taken(service)
    Sandbox(service, CONTEXTS).kill()
    t.check(taken(service) == (before[0], before[1] + 1), "the first is made when asked for", (before, taken(service)))
    t.check(one_waits(service, CONTEXTS), "then one waits")
    sandbox = Sandbox(service, CONTEXTS)
    t.check(taken(service) == (before[0] + 1, before[1] + 1), "for the second", (before, taken(service)))
    answer = sandbox.ask("49999", "/execute", json.dumps({"code": "import os; os.environ['MINE']"}), "application/json")
    t.check(re.search(rb'"text": ?"yes"', answer), "whose code finds the variables", answer)
    sandbox.kill()


def test_killed(t, service):
    t.check(one_waits(service), "one waits when the service is killed")
    family = service.family()
    service.stop(signal.SIGKILL)
    t.check(wait_until(lambda: not survivors(family) and not cgroup_dirs(), 60), "nothing is left",
            (survivors(family), cgroup_dirs()))


def main():
    t = Tap()
    with Service(RUNTIMES_DIR=small_table(), POOL_SIZE=0, SANDBOX_READY=1, VM_MEMORY_MB=MEMORY_MB) as service:
        first, second = test_taken(t, service)
        test_limits(t, first, second)
        first.kill()
        second.kill()
        test_dead(t, service)
        test_contexts(t, service)
        test_killed(t, service)
    t.finish()


main()
