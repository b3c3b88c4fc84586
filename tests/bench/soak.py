# SPDX-License-Identifier: Apache-2.0
"""Many mixed runs, abusive ones among them, and then: is anything left of them?

What is counted before and after, at rest: the service's processes by name, the descriptors of each
of its processes, control groups, mounts of the host and in the agent, namespaces in use, entries of
the state directory, and the daemon's memory.
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import time

from measure import HELLO, resident_mib

# name: (share of the runs, request, accepted reasons of the end)
MIX = {
    "hello": (900, {"language": "python", "code": HELLO["python"]}, {"exit"}),
    "bash": (40, {"language": "bash", "code": "echo hello"}, {"exit"}),
    "typescript": (10, {"language": "typescript", "code": HELLO["typescript"]}, {"exit"}),
    "rust": (10, {"language": "rust", "code": HELLO["rust"]}, {"exit"}),
    "signal": (10, {"language": "python", "code": "import os; os.abort()"}, {"signal"}),
    "daemon": (8, {"language": "python", "code":
                   "import os, time\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(600)\n"
                   "print('hello')"}, {"exit"}),
    "loop": (4, {"language": "python", "code": "while True: pass", "limits": {"wall_ms": 300}},
             {"timeout", "cpu_timeout"}),
    "forks": (4, {"language": "python", "code":
                  "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
                  "limits": {"wall_ms": 300, "processes": 32}},
              {"timeout", "cpu_timeout", "processes"}),
    "memory": (4, {"language": "python", "code": "b = []\nwhile True: b.append(bytearray(8 << 20))",
                   "limits": {"memory_bytes": 64 << 20}}, {"memory", "exit"}),
    "output": (4, {"language": "python", "code": "while True: print('y' * 4000)",
                   "limits": {"output_bytes": 200000}}, {"output_limit"}),
    "disk": (4, {"language": "python", "code":
                 "f = open('fill', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()",
                 "limits": {"disk_bytes": 8 << 20}}, {"disk", "exit"}),
    "threads": (2, {"language": "python", "code":
                    "import threading, time\nwhile True:\n"
                    "    threading.Thread(target=time.sleep, args=(9,)).start()",
                    "limits": {"wall_ms": 500, "processes": 32}},
                {"exit", "timeout", "processes", "signal"}),
}

CROWD = 2  # times as many clients before the soak as in it
DECAY_S = 10  # BOOST_DECAY_NS of the pool


def namespaces():
    found = set()
    for pid in os.listdir("/proc"):
        if not pid.isdigit():
            continue
        for kind in ("pid", "mnt", "net", "ipc", "uts", "user", "cgroup"):
            try:
                found.add(os.readlink(f"/proc/{pid}/ns/{kind}"))
            except OSError:
                continue
    return len(found)


def groups(name):
    found = 0
    for base, dirs, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(base) == name:
            found += sum(len(d) for _, d, _ in os.walk(base))
            dirs.clear()
    return found


def traces(service):
    """What a run could leave behind, as a flat dict of numbers."""
    family = service.family()
    found = dict(collections.Counter(f"processes {name}" for _, name in family.values()))
    for pid, (_, name) in family.items():
        if name in ("codesandboxd", "csb-launch", "csb-agent"):
            key = f"fds {name}"
            found[key] = found.get(key, 0) + service.open_fds(pid)
        if name == "csb-agent":
            lines = pathlib.Path(f"/proc/{pid}/mountinfo").read_text().count("\n")
            found["mounts in the agent"] = found.get("mounts in the agent", 0) + lines
    found["mounts"] = pathlib.Path("/proc/self/mountinfo").read_text().count("\n")
    found["control groups"] = groups(service.settings["CGROUP_NAME"])
    found["namespaces"] = namespaces()
    state = pathlib.Path(service.settings["STATE_DIR"])
    found["state entries"] = sum(1 for _ in state.rglob("*"))
    found["host /tmp entries"] = len(os.listdir("/tmp"))
    return found


def pool_of(service):
    found = service.get("/health")[1]["pool"]
    return {f"pool {key}": found[key] for key in ("ready", "target")}


def at_rest(service):
    """The traces once they and the pool have not changed for as long as the pool takes to halve what it
    wants more than usual: a replaced zygote or a pool that has not shrunk yet is no leak."""
    last, since, end = None, time.monotonic(), time.monotonic() + 300
    while time.monotonic() < end:
        now = {**traces(service), **pool_of(service)}
        if now != last:
            last, since = now, time.monotonic()
        elif time.monotonic() - since > DECAY_S + 2:
            break
        time.sleep(0.25)
    return last


def one(service, name):
    _, request, reasons = MIX[name]
    while True:
        status, headers, data = service.request(
            "POST", "/execute", json.dumps(request), {"Content-Type": "application/json"})
        if status != 429:
            break
        time.sleep(float(headers.get("Retry-After", "1")) / 4)
    answer = json.loads(data)
    if status != 200 or answer["reason"] not in reasons:
        return f"{name}: HTTP {status} {json.dumps(answer)[:300]}"
    return None


def soak(report, service, count, clients=8):
    """Runs `count` programs of the mix; what was wrong, as a list of sentences."""
    shuffle = random.Random(7)
    names = [name for name, (share, _, _) in MIX.items() for _ in range(share)]
    plan = [shuffle.choice(names) for _ in range(count)]
    # First what is made on first use and kept: groups and network namespaces of the largest crowd.
    with concurrent.futures.ThreadPoolExecutor(CROWD * clients) as crowd:
        for _ in crowd.map(lambda name: one(service, name), [*MIX, *plan[:2000]]):
            pass
    before = at_rest(service)
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        rss = resident_mib(service.daemon_pid())
        start = time.monotonic()
        wrong = [w for w in pool.map(lambda name: one(service, name), plan) if w]
        took = time.monotonic() - start
    report.value(f"soak: {count} mixed runs, {clients} clients", count / took, "runs/s")
    after = at_rest(service)
    growth = resident_mib(service.daemon_pid()) - rss
    report.samples["soak traces"] = {"before": before, "after": after}
    # Of what is kept to serve again there may be less: it is given back when it is not wanted.
    for key in sorted(after):
        if after[key] > before.get(key, 0):
            wrong.append(f"{key}: {before.get(key, 0)} before, {after[key]} after")
    if growth > 5:
        wrong.append(f"the daemon grew by {growth:.1f} MiB")
    report.value("soak: daemon RSS growth", growth, "MiB")
    report.value("soak: wrong answers and things left behind", len(wrong), "")
    for line in wrong[:20]:
        print(f"  {line}")
    return wrong
