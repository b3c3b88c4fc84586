#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs in the test machine: starts codesandboxd as the user it runs as, sends programs, stops it, and
writes what it saw to report.json. It judges nothing; test_kvm.py does.

The programs are in programs.json: [{name, request}].
"""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path("/opt/csb")
URL = "http://127.0.0.1:8000"
READY_S = 240


def call(path, body=None, key=None):
    """The parsed answer, with its HTTP status and the seconds it took."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(URL + path, data, {"Content-Type": "application/json",
                                                        **({"X-API-KEY": key} if key else {})})
    began = time.monotonic()
    try:
        with urllib.request.urlopen(request, timeout=300) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return {"http": status, "seconds": time.monotonic() - began, **json.loads(text)}


def wait_ready(daemon):
    end = time.monotonic() + READY_S
    while time.monotonic() < end and daemon.poll() is None:
        try:
            health = call("/health")
            if health["http"] == 200:
                return health
        except OSError:
            pass
        time.sleep(0.3)
    return {"http": 0}


def debug_guest():
    """The runs took the ready sandboxes; the next one is on its way."""
    end = time.monotonic() + READY_S
    while True:
        answer = call("/debug/guest")
        if answer["http"] != 429 or time.monotonic() > end:
            return answer
        time.sleep(0.5)


def processes(name):
    """Numbers of the live processes whose program has this name."""
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "comm").read_text().strip()[:15] == name[:15]:
                found.append(int(entry.name))
        except OSError:
            pass
    return found


def cgroups():
    return sorted(str(path) for path in pathlib.Path("/sys/fs/cgroup").rglob("*") if path.is_dir())


def vm_facts():
    """Of each QEMU: its uids and its command line, as the host's kernel tells them."""
    facts = []
    for pid in processes("qemu-system-x86_64"):
        try:
            status = pathlib.Path(f"/proc/{pid}/status").read_text()
            command = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            cgroup = pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip()
        except OSError:
            continue
        lines = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        facts.append({"uid": lines["Uid"].split()[0], "no_new_privs": lines["NoNewPrivs"].strip(),
                      "seccomp": lines["Seccomp"].strip(), "cap_eff": lines["CapEff"].strip(),
                      "command": command, "cgroup": cgroup})
    return facts


def stop(daemon):
    began = time.monotonic()
    daemon.send_signal(signal.SIGTERM)
    try:
        code = daemon.wait(60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        code = "did not end"
    return {"code": code, "seconds": time.monotonic() - began}


def main():
    state = pathlib.Path.home() / "state"
    environment = {
        **os.environ, "STATE_DIR": str(state), "POOL_SIZE": "3", "ACCEL": "auto",
        "KERNEL_PATH": "/mnt/image/vmlinuz", "INITRD_PATH": "/mnt/image/initrd.img",
        "ROOTFS_PATH": "/mnt/image/rootfs.erofs", "RUNTIMES_DIR": str(HERE / "runtimes"),
        "LAUNCH_PATH": str(HERE / "csb-launch"), "DEFAULT_TIMEOUT": "120", "QUEUE_WAIT_MS": "120000"}
    report = {"cgroups_before": cgroups(), "runs": {}}
    log_path = pathlib.Path("daemon.log").resolve()
    began = time.monotonic()
    with open(log_path, "wb") as log:
        daemon = subprocess.Popen([HERE / "codesandboxd"], env=environment, stderr=log, stdout=log)
    try:
        report["health"] = wait_ready(daemon)
        report["ready_s"] = time.monotonic() - began
        if report["health"]["http"] == 200:
            report["vms"] = vm_facts()
            for program in json.loads((HERE / "programs.json").read_text()):
                report["runs"][program["name"]] = call("/execute", program["request"])
                print(program["name"], report["runs"][program["name"]], flush=True)
            report["guest"] = debug_guest()
    finally:
        report["stop"] = stop(daemon)
        time.sleep(1)
        report["left_over"] = {name: len(processes(name)) for name in
                               ("qemu-system-x86_64", "csb-launch", "codesandboxd")}
        report["cgroups_after"] = cgroups()
        report["log"] = log_path.read_text(errors="replace")[-20000:]
        pathlib.Path("report.json").write_text(json.dumps(report))
    sys.exit(0)


if __name__ == "__main__":
    main()
