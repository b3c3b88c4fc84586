#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every stressor of stress-ng for a second, as a user's program, class by class: the service and the
host survive, and each stressor ends as it should: it does its work, or says itself that it may not,
or is ended by a limit. What is not "done" is in stress_expected.txt with the reason.

After each class a canary runs, and the host is compared with what it was: processes, mounts, control
groups, IPC objects, settings of the kernel, clock, the service's own processes and descriptors.

usage: test_stress.py BUILD_DIR [--agent] [--list] [CLASS...]
--agent  without the service, by csb-agent alone
--list   prints what is not done, in the form of stress_expected.txt, and checks nothing of it
"""
import concurrent.futures
import os
import pathlib
import subprocess
import sys
import time

import lists
from sides import Agent, Inside, honest_tree
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from tap import Tap  # noqa: E402

CLASSES = ("cpu", "cpu-cache", "memory", "vm", "io", "filesystem", "pipe", "os", "scheduler",
           "interrupt", "network", "security", "device")
LIMITS = {"memory_bytes": 384 << 20, "processes": 64, "output_bytes": 1 << 20,
          "disk_bytes": 256 << 20}
WIDTH = 4
STRESSOR_S = 1
RUN_TIMEOUT_S = 100
SETTLE_S = 60

PROGRAM = """import os
os.execv("/usr/bin/stress-ng", ["stress-ng", "--{name}", "1", "--timeout", "{seconds}",
                                "--temp-path", "/tmp", "--oomable", "--pathological"])
"""
SETTINGS = ("kernel/hostname", "kernel/domainname", "kernel/core_pattern", "kernel/shmmax",
            "kernel/modprobe", "kernel/tainted", "kernel/panic", "kernel/sysrq", "kernel/pid_max",
            "kernel/threads-max", "kernel/randomize_va_space", "kernel/perf_event_paranoid",
            "vm/swappiness", "vm/overcommit_memory", "vm/drop_caches", "vm/nr_hugepages",
            "vm/max_map_count", "fs/file-max", "fs/pipe-max-size", "net/ipv4/ip_forward",
            "net/core/somaxconn")


def classes(tree):
    """{class: stressors that are in no class before it}."""
    found, seen = {}, set()
    for name in CLASSES:
        said = subprocess.run(["chroot", tree, "/usr/bin/stress-ng", "--class", name + "?"],
                              capture_output=True, text=True).stdout
        words = said.partition("stressors:")[2].split()
        if not words:
            raise SystemExit(f"Bail out! stress-ng knows no class {name}: {said}")
        found[name] = [word for word in words if word not in seen]
        seen.update(words)
    return found


def read(path):
    try:
        return pathlib.Path(path).read_text()
    except OSError:
        return ""


def kernel_complaints():
    said = subprocess.run(["dmesg"], capture_output=True, text=True, errors="replace").stdout
    return sum(any(word in line for word in ("BUG:", "Oops", "WARNING: CPU", "hung task"))
               for line in said.splitlines())


def stress_processes():
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and read(f"/proc/{entry}/comm").startswith("stress-ng"):
            found.append(entry)
    return found


def host(inside):
    """What must be the same before and after. Others may be at work on the machine, so it is only
    what stressors try to change and what the service owns."""
    facts = {name: read(f"/proc/sys/{name}") for name in SETTINGS}
    facts["swaps"] = read("/proc/swaps").count("\n")
    facts["cpus"] = read("/sys/devices/system/cpu/online")
    facts["interfaces"] = sorted(os.listdir("/sys/class/net"))
    facts["ipc"] = [read(f"/proc/sysvipc/{kind}").count("\n") for kind in ("shm", "sem", "msg")]
    facts["clock"] = round((time.time() - time.monotonic()) / 5)
    facts["loops"] = sorted(path.name for path in pathlib.Path("/sys/block").glob("loop*/loop"))
    facts["devices"] = sorted(os.listdir("/dev"))
    facts["stressors"] = stress_processes()
    facts["complaints"] = kernel_complaints()
    facts.update(inside.facts())
    return facts


def settled(inside, before):
    """The facts once they are what they were, or after some seconds what they still are."""
    end = time.monotonic() + SETTLE_S
    while not same(before, facts := host(inside)) and time.monotonic() < end:
        time.sleep(0.2)
    return facts


# How much more there may be of what the service keeps for the next runs: a sandbox or two more in the
# pool, a zygote in the making, groups and network namespaces that are used again.
SLACK = {"groups": 16, "processes": 8, "descriptors": 64}


def same(before, after):
    """The pool may have shrunk to its size meanwhile, so counts may have fallen."""
    return all(after[key] <= before[key] + SLACK[key] if key in SLACK
               and isinstance(before[key], int) else after[key] == before[key] for key in before)


def outcome(answer):
    said = answer["stdout"] + answer["stderr"]
    # 7: the work is done, but what was counted of it cannot be relied on.
    if answer["ended"] in ("exit 0", "exit 7"):
        return "skipped" if "No stress workers invoked" in said else "done"
    return answer["ended"]


def run_class(tap, name, stressors, inside, expected, only_list):
    before = host(inside)

    def one(stressor):
        return inside.run(PROGRAM.format(name=stressor, seconds=STRESSOR_S), RUN_TIMEOUT_S)

    wrong, counts = [], {}
    with concurrent.futures.ThreadPoolExecutor(WIDTH) as pool:
        for stressor, answer in zip(stressors, pool.map(one, stressors)):
            found = outcome(answer)
            counts[found] = counts.get(found, 0) + 1
            if only_list and found != "done":
                print(f"{stressor} | {found} | ? {(answer['stdout'] + answer['stderr'])[-400:]!r}",
                      flush=True)
            if found not in expected.get(stressor, "done").split("/"):
                said = (answer["stdout"] + answer["stderr"])[-600:]
                wrong.append(f"{stressor}: {found}, expected {expected.get(stressor, 'done')}\n"
                             f"{said}")
    if only_list:
        return
    tap.check(not wrong, f"{name}: its {len(stressors)} stressors end as they should",
              "\n".join(wrong))
    print(f"# {name}: " + ", ".join(f"{n} {kind}" for kind, n in sorted(counts.items())),
          flush=True)
    canary = inside.run("print(sum(range(10)))", 20)
    tap.check(canary["stdout"] == "45\n" and canary["ended"] == "exit 0",
              f"{name}: the canary sings", canary)
    after = settled(inside, before)
    tap.check(same(before, after), f"{name}: the host is what it was",
              "\n".join(f"{key}: {before[key]} -> {after[key]}" for key in before
                        if before[key] != after[key]))


def warm_up(inside):
    """The service keeps what as many runs at once have needed: sandboxes, network namespaces."""
    with concurrent.futures.ThreadPoolExecutor(WIDTH) as pool:
        list(pool.map(lambda _: inside.run("import time; time.sleep(0.3)", 100), range(4 * WIDTH)))


def main():
    options = {word for word in sys.argv[1:] if word.startswith("--")}
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    build = pathlib.Path(words[0]).resolve()
    tap = Tap()
    if os.geteuid() != 0:
        print("1..0 # SKIP the tree is built by chroot, which needs root")
        return
    tree = honest_tree()
    expected = {name: ended for name, ended, _ in lists.read("stress_expected.txt", 3)}
    stressors = classes(tree)
    unknown = expected.keys() - {name for names in stressors.values() for name in names}
    tap.check(not unknown, "stress_expected.txt names stressors that there are", unknown)
    began = time.monotonic()
    with (Agent if "--agent" in options else Inside)(build, tree, LIMITS) as inside:
        warm_up(inside)
        for name in words[1:] or CLASSES:
            if stressors[name]:
                run_class(tap, name, stressors[name], inside, expected, "--list" in options)
            else:
                print(f"# {name}: all its stressors are in classes before it")
    took = time.monotonic() - began
    print(f"# {sum(map(len, stressors.values()))} stressors, {took:.0f} s")
    if "--list" not in options:
        tap.finish()


if __name__ == "__main__":
    main()
