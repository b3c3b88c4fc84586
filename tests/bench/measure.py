# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: samples and their report, native peers, and clients that are cheap
next to what they measure."""
import http.client
import json
import os
import pathlib
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]

HELLO = {
    "python": 'print("hello")',
    "typescript": 'const s: string = "hello"; console.log(s);',
    "rust": 'fn main() { println!("hello"); }',
}


def quantile(samples, q):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]


def timed(function):
    start = time.perf_counter()
    function()
    return (time.perf_counter() - start) * 1000


def interval(samples):
    """Where the p50 is in 19 of 20 cases, by the order of the samples alone."""
    ordered, half = sorted(samples), 0.98 * len(samples) ** 0.5
    middle = len(samples) / 2
    return ordered[max(0, int(middle - half))], ordered[min(len(samples) - 1, int(middle + half))]


def hello_body(language="python"):
    return json.dumps({"language": language, "code": HELLO[language]}).encode()


def timed_hello(connection, body, headers):
    """Milliseconds of one run of hello_body() over a connection that is kept."""
    start = time.perf_counter()
    connection.request("POST", "/execute", body, headers)
    answer = connection.getresponse()
    data = answer.read()
    took = (time.perf_counter() - start) * 1000
    if answer.status != 200 or json.loads(data)["output"] != "hello\n":
        raise RuntimeError(f"HTTP {answer.status} {data[:300]}")
    return took


class Client:
    """A connection to a service that is kept."""

    def __init__(self, port):
        self.key = None
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def get(self, path, key=None):
        self.connection.request("GET", path, None, {"X-API-KEY": key} if key else {})
        answer = self.connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: HTTP {answer.status} {data[:300]}")
        return data

    def wait_full(self):
        while True:
            pool = json.loads(self.get("/health", self.key))["pool"]
            if pool["ready"] >= pool["target"]:
                return
            time.sleep(0.002)

    def run(self, body):
        """Milliseconds of one run of hello_body()."""
        headers = {"Content-Type": "application/json", **({"X-API-KEY": self.key} if self.key else {})}
        return timed_hello(self.connection, body, headers)


def create_key(service, *arguments):
    from service import CSB

    return subprocess.run([str(CSB), "key", "create", *arguments], check=True, capture_output=True, text=True,
                          env={**os.environ, **service.settings}).stdout.strip()


class Report:
    def __init__(self):
        self.samples = {}

    def heading(self, text):
        print(f"\n{text}", flush=True)

    def add(self, name, samples_ms):
        self.samples[name] = samples_ms
        print(f"{name:52} n={len(samples_ms):4}  p50 {quantile(samples_ms, 0.5):9.2f} ms  "
              f"p99 {quantile(samples_ms, 0.99):9.2f} ms", flush=True)

    def value(self, name, value, unit):
        self.samples[name] = value
        print(f"{name:52} {value:.2f} {unit}", flush=True)

    def p50(self, name):
        return quantile(self.samples[name], 0.5)

    def ratio(self, name, inside, outside):
        self.value(name, self.p50(inside) / self.p50(outside), "times native")


class Native:
    """The image's own interpreters, run on the host out of the image's root tree."""

    def __init__(self, image, work):
        self.root = pathlib.Path(work, "root")
        subprocess.run(["fsck.erofs", f"--extract={self.root}", str(image / "rootfs.erofs")],
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        (self.root / "work").mkdir(exist_ok=True)
        for name, code in (("main.ts", HELLO["typescript"]), ("main.rs", HELLO["rust"])):
            (self.root / "work" / name).write_text(code)
        rust = (ROOT / "runtimes/rust.runtime").read_text()
        fast_link = re.search(r"^compile = (.*)$", rust, re.M).group(1)
        self.commands = {
            "python": ["/usr/bin/python3", "-c", HELLO["python"]],
            "typescript": ["/usr/bin/deno", "run", "--allow-all", "/work/main.ts"],
            "rust": ["/bin/sh", "-c", f"cd /work && {fast_link} && ./main"],
            "rust, default flags": ["/bin/sh", "-c", "cd /work && rustc -o main main.rs && ./main"],
        }
        self.env = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"}

    def start(self, language):
        subprocess.run(["/usr/sbin/chroot", str(self.root), *self.commands[language]], env=self.env,
                       check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def bwrap(self, language):
        """The argument vector of the same program in bubblewrap, with everything unshared."""
        return ["bwrap", "--unshare-all", "--die-with-parent", "--ro-bind", str(self.root), "/",
                "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", *self.commands[language]]


def hello(service, language, code=None):
    answer = service.run(language, code or HELLO[language], timeout=60)
    if answer["output"] != "hello\n":
        raise RuntimeError(answer)
    return answer


def wait_full(service):
    while True:
        _, health = service.get("/health")
        if health["pool"]["ready"] >= health["pool"]["target"]:
            return
        time.sleep(0.02)


# wrk posts one program over and over and counts the answers that are not the right ones.
WRK_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[%s]==]
local wrong = 0
local threads = {}
function setup(thread) table.insert(threads, thread) end
function init() wrong_answers = 0 end
function response(status, headers, body)
  if status ~= 200 or not string.find(body, '"output":"hello\\\\n"', 1, true) then
    wrong_answers = wrong_answers + 1
  end
end
function done(summary, latency)
  local wrong = 0
  for _, t in ipairs(threads) do wrong = wrong + t:get("wrong_answers") end
  io.write(string.format("RESULT %%d %%d %%d %%d %%d\\n", summary.requests, wrong,
           summary.errors.connect + summary.errors.read + summary.errors.write +
           summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


def load(service, work, language, clients, seconds):
    """Closed loop by wrk. {requests, wrong, errors, p50_us, p99_us, rate}"""
    script = pathlib.Path(work, f"{language}.lua")
    script.write_text(WRK_SCRIPT % json.dumps({"language": language, "code": HELLO[language]}))
    done = subprocess.run(["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s",
                           "-s", str(script), f"http://127.0.0.1:{service.port}/execute"],
                          capture_output=True, text=True, check=True)
    found = re.search(r"^RESULT (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.M)
    names = ("requests", "wrong", "errors", "p50_us", "p99_us")
    result = dict(zip(names, map(int, found.groups())))
    result["rate"] = result["requests"] / seconds
    return result


def process_rate(argv, env, jobs, count):
    """Runs `argv` `count` times, `jobs` at once, out of one small parent. Runs per second."""
    start = time.perf_counter()
    subprocess.run(["xargs", "-P", str(jobs), "-I{}", *argv], env=env, text=True, check=True,
                   input="".join(f"{n}\n" for n in range(count)), stdout=subprocess.DEVNULL)
    return count / (time.perf_counter() - start)


def resident_mib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", text, re.M).group(1)) / 1024
