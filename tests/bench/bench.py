#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The benchmark: every figure of docs/PERFORMANCE.md, measured in one run on one machine.

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

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/service"))
sys.path.insert(0, str(ROOT / "tests/lib"))

HELLO = {
    "python": 'print("hello")',
    "typescript": 'const s: string = "hello"; console.log(s);',
    "rust": 'fn main() { println!("hello"); }',
}


def quantile(samples, q):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


class Report:
    def __init__(self):
        self.samples = {}
        self.rows = []

    def add(self, name, samples_ms):
        self.samples[name] = samples_ms
        self.rows.append((name, len(samples_ms), quantile(samples_ms, 0.5), quantile(samples_ms, 0.99)))
        print(f"{name:44} n={len(samples_ms):4}  p50 {self.rows[-1][2]:9.2f} ms  "
              f"p99 {self.rows[-1][3]:9.2f} ms", flush=True)

    def value(self, name, value, unit):
        self.samples[name] = value
        self.rows.append((name, 1, value, value))
        print(f"{name:44} {value:.2f} {unit}", flush=True)

    def p50(self, name):
        return quantile(self.samples[name], 0.5)


def timed(function):
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


class Native:
    """The image's own interpreters, run on the host."""

    def __init__(self, image, work):
        self.work = work
        self.root = pathlib.Path(work, "root")
        subprocess.run(["fsck.erofs", f"--extract={self.root}", str(image / "rootfs.erofs")],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (self.root / "work").mkdir(exist_ok=True)
        for name, code in (("main.ts", HELLO["typescript"]), ("main.rs", HELLO["rust"])):
            (self.root / "work" / name).write_text(code)

    def start(self, language):
        rust = (ROOT / "runtimes/rust.runtime").read_text()
        compile_line = re.search(r"^compile = (.*)$", rust, re.M).group(1)
        command = {
            "python": ["python3", "-c", HELLO["python"]],
            "typescript": ["deno", "run", "--allow-all", "/work/main.ts"],
            "rust": ["sh", "-c", f"cd /work && {compile_line} && ./main"],
        }[language]
        env = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}
        subprocess.run(["/usr/sbin/chroot", str(self.root), *command], env=env, check=True,
                       stdout=subprocess.DEVNULL)


def wait_full(service):
    while True:
        _, health = service.get("/health")
        if health["pool"]["ready"] >= health["pool"]["target"]:
            return
        time.sleep(0.02)


def hello(service, language):
    answer = service.run(language, HELLO[language], timeout=60)
    if answer["output"] != "hello\n":
        raise RuntimeError(answer)
    return answer


def latency(report, service, native, language, count):
    inside, outside, handed, ran = [], [], [], []
    hello(service, language)
    native.start(language)
    for _ in range(count):
        wait_full(service)
        answer = {}
        inside.append(timed(lambda: answer.update(hello(service, language))))
        handed.append(answer["timing"]["sandbox_ms"])
        ran.append(answer["timing"]["run_ms"])
        outside.append(timed(lambda: native.start(language)))
    report.add(f"HTTP {language} hello, pool ready", inside)
    report.add(f"native cold {language} hello", outside)
    report.value(f"  ratio {language}", report.p50(f"HTTP {language} hello, pool ready")
                 / report.p50(f"native cold {language} hello"), "times native")
    report.samples[f"timing {language}"] = {"sandbox_ms": handed, "run_ms": ran}


def throughput(report, service, language, seconds, clients):
    """Closed loop: each client asks again as soon as it is answered."""
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
    report.value("private memory per idle clone, smallest", min(found), "MiB")
    report.value("private memory per idle clone, median", quantile(found, 0.5), "MiB")
    report.value("private memory per idle clone, largest", max(found), "MiB")


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


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--daemon", required=True)
    parser.add_argument("--image", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=40, help="samples of each latency")
    parser.add_argument("--seconds", type=float, default=20, help="length of each throughput run")
    options = parser.parse_args()
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    os.environ["CSB_BUILD"] = str(pathlib.Path(options.daemon).resolve().parents[2])
    os.environ["CSB_IMAGE_DIR"] = str(pathlib.Path(options.image).resolve())
    os.environ.setdefault("CSB_TEST_STATE", str(out.resolve() / "state"))
    from service import Service

    report = Report()
    work = tempfile.mkdtemp(dir=out)
    try:
        native = Native(pathlib.Path(options.image), work)
        with Service() as service:
            _, health = service.get("/health")
            print(f"isolation {health['isolation']}, accel {health['accel']}: {health['note']}")
            health_rate(report, service)
            idle_memory(report, service)
            for language in ("python", "typescript", "rust"):
                count = options.count if language != "rust" else max(10, options.count // 4)
                latency(report, service, native, language, count)
            clone_start(report, service)
            for language in ("python", "typescript"):
                throughput(report, service, language, options.seconds, 4)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    (out / "samples.json").write_text(json.dumps(report.samples, indent=1))
    print(f"raw samples: {out / 'samples.json'}")


if __name__ == "__main__":
    main()
