#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark: every figure of docs/PERFORMANCE.md, measured in one run on one machine; and, for itself, the part
that docs/CONTAINER.md has.

The service's figures and those of the same interpreters started cold on the host are taken in turn,
so that their ratio holds when the machine's speed drifts. Raw samples go to OUT/samples.json.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from measure import (HELLO, ROOT, Native, Report, hello, load, process_rate, quantile, resident_mib,
                     timed, wait_full)

from container import container
from neighbors import neighbors
from overhead import overhead
from sandboxes import sandboxes
from soak import soak

sys.path.insert(0, str(ROOT / "tests/service"))
sys.path.insert(0, str(ROOT / "tests/lib"))


def latency(report, service, native, language, count, peer=None, fresh=False):
    """`fresh`: each program differs, so that nothing compiled before serves it."""
    peer = peer or language
    inside, outside, handed, ran = [], [], [], []
    name = f"HTTP {language} hello, pool ready"
    hello(service, language)
    native.start(peer)
    for n in range(count):
        wait_full(service)
        code = HELLO[language] + (f"\n// {n} {time.monotonic_ns()}\n" if fresh else "")
        answer = {}
        inside.append(timed(lambda: answer.update(hello(service, language, code))))
        handed.append(answer["timing"]["sandbox_ms"])
        ran.append(answer["timing"]["run_ms"])
        outside.append(timed(lambda: native.start(peer)))
    report.add(name, inside)
    report.add(f"native cold {peer} hello", outside)
    report.ratio(f"  ratio {language}", name, f"native cold {peer} hello")
    report.samples[f"timing {language}"] = {"sandbox_ms": handed, "run_ms": ran}


def throughput_clients(report, service, language, seconds, clients):
    """Closed loop of this program's own threads: fine where a run takes hundreds of ms."""
    end = time.monotonic() + seconds
    took = []

    def client():
        while time.monotonic() < end:
            took.append(timed(lambda: hello(service, language)))

    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        for done in [pool.submit(client) for _ in range(clients)]:
            done.result()
    report.add(f"HTTP {language} hello, {clients} clients", took)
    report.value(f"  throughput {language}, {clients} clients", len(took) / (time.monotonic() - start),
                 "runs/s")


def idle_memory(report, service):
    """Private memory of each VMM of a full, idle pool."""
    wait_full(service)
    time.sleep(3)
    found = []
    for pid in service.pids("qemu"):
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        found.append(sum(int(n) for n in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.M)) / 1024)
    report.samples["idle private MiB"] = found
    for name, q in (("smallest", 0), ("median", 0.5), ("largest", 1)):
        report.value(f"private memory per idle clone, {name}", quantile(found, q), "MiB")


def clone_start(report, service):
    _, health = service.get("/health")
    for name, value in health["pool"]["start_ms"].items():
        report.value(f"clone start, median of the last 64: {name}", value, "ms")


def health_rate(report, service):
    wait_full(service)
    done = subprocess.run(["wrk", "-t1", "-c16", "-d5s", "--latency",
                           f"http://127.0.0.1:{service.port}/health"], capture_output=True, text=True,
                          check=True)
    report.value("/health", float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout).group(1)),
                 "requests/s")
    report.samples["/health wrk"] = done.stdout


def tell_isolation(report, service):
    _, health = service.get("/health")
    report.heading(f"isolation {health['isolation']}, accel {health['accel']}: {health['note']}")


def microvm(report, native, options):
    from service import Service

    with Service(ISOLATION="microvm") as service:
        tell_isolation(report, service)
        health_rate(report, service)
        idle_memory(report, service)
        for language in ("python", "typescript"):
            latency(report, service, native, language, options.count)
        latency(report, service, native, "rust", max(10, options.count // 4), fresh=True)
        clone_start(report, service)
        for language in ("python", "typescript"):
            throughput_clients(report, service, language, options.seconds, 4)


def steady_rate(report, service, native, work, options):
    """Throughput in slices, so that a falling rate shows, and the same work in bubblewrap."""
    slices = [load(service, work, "python", 8, max(1, int(options.sustained // 6)))
              for _ in range(6)]
    report.samples["process throughput slices"] = slices
    rates = [s["rate"] for s in slices]
    wrong = sum(s["wrong"] + s["errors"] for s in slices)
    report.value("HTTP python hello, 8 clients, throughput", sum(rates) / len(rates), "runs/s")
    report.value("  first and last sixth of the time", rates[-1] / rates[0], "last/first")
    report.value("  p50", quantile([s["p50_us"] for s in slices], 0.5) / 1000, "ms")
    report.value("  p99, worst sixth", max(s["p99_us"] for s in slices) / 1000, "ms")
    report.value("  wrong answers and errors", wrong, "")
    if shutil.which("bwrap") is None:
        print("no bwrap on this machine: no comparison")
        return
    peer = process_rate(native.bwrap("python"), native.env, 8, 400)
    report.value("bwrap --unshare-all, cold python3, 8 at once", peer, "runs/s")
    report.value("  ratio", sum(rates) / len(rates) / peer, "times bwrap")


def process(report, native, work, options):
    from service import Service

    report.samples, kept = {}, report.samples
    with Service(ISOLATION="process") as service:
        tell_isolation(report, service)
        for language in ("python", "typescript"):
            latency(report, service, native, language, options.count * 5)
        latency(report, service, native, "rust", options.count, "rust, default flags", fresh=True)
        cached = []
        for _ in range(options.count):
            wait_full(service)
            cached.append(timed(lambda: hello(service, "rust")))
        report.add("HTTP rust hello, compiled before", cached)
        clone_start(report, service)
        before = resident_mib(service.daemon_pid())
        steady_rate(report, service, native, work, options)
        report.value("daemon RSS growth over it", resident_mib(service.daemon_pid()) - before, "MiB")
        soak(report, service, options.soak)
    report.samples = {**kept, "process": report.samples}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--daemon", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--isolation", choices=("both", "microvm", "process"), default="both")
    parser.add_argument("--count", type=int, default=40, help="samples of each latency")
    parser.add_argument("--seconds", type=float, default=20, help="length of a microvm throughput run")
    parser.add_argument("--sustained", type=float, default=60, help="length of the process one")
    parser.add_argument("--soak", type=int, default=20000, help="mixed runs of the process soak")
    parser.add_argument("--part", default="all",
                        choices=("all", "runs", "sandboxes", "overhead", "neighbors", "container"),
                        help="runs of programs, long-lived sandboxes, what keys and quotas cost a run, two tenants, "
                             "what a container costs a run (needs podman and runc, and is no part of \"all\")")
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    os.environ["CSB_BUILD"] = str(pathlib.Path(options.daemon).resolve().parents[2])
    os.environ["CSB_IMAGE_DIR"] = str(pathlib.Path(options.image).resolve())
    os.environ.setdefault("CSB_TEST_STATE", str(out.resolve() / "state"))

    report = Report()
    work = tempfile.mkdtemp(dir=out)
    try:
        if options.part in ("all", "runs"):
            native = Native(pathlib.Path(options.image), work)
            if options.isolation != "process":
                microvm(report, native, options)
            if options.isolation != "microvm":
                process(report, native, work, options)
        if options.part in ("all", "sandboxes"):
            for isolation in ("microvm", "process"):
                if options.isolation in ("both", isolation):
                    sandboxes(report, isolation)
        if options.part in ("all", "overhead") and options.isolation != "microvm":
            overhead(report)
        if options.part in ("all", "neighbors") and options.isolation != "microvm":
            neighbors(report, work)
        if options.part == "container":
            container(report, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    (out / "samples.json").write_text(json.dumps(report.samples, indent=1))
    print(f"raw samples: {out / 'samples.json'}")


if __name__ == "__main__":
    main()
