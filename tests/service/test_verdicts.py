#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Why programs ended and what they used, by the rows of docs/API.md; and the compile cache."""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from service import Service, quick_table  # noqa: E402
from tap import Tap  # noqa: E402

MIB = 1 << 20
FILL = "f = open('fill', 'wb', buffering=0)\nwhile True: f.write(bytes(1 << 16))"
FORKS = "import os, time\nwhile True:\n  if os.fork() == 0: time.sleep(60)"
# name, code, fields, status, reason, exit_code, signal, limits_hit
VERDICTS = [
    ("good", "print(1)", {}, "ok", "exit", 0, None, []),
    ("exit code", "import sys; sys.exit(9)", {}, "error", "exit", 9, None, []),
    ("abort", "import os; os.abort()", {}, "killed", "signal", None, "SIGABRT", []),
    ("wall clock", "import time; time.sleep(60)", {"timeout": 1}, "timeout", "timeout", None, None,
     ["timeout"]),
    ("CPU time", "while True: pass", {"timeout": 200, "limits": {"cpu_ms": 500}}, "timeout",
     "cpu_timeout", None, None, ["cpu_timeout"]),
    ("CPU time of children", "import os\nfor _ in range(3): os.fork()\nwhile True: pass",
     {"timeout": 200, "limits": {"cpu_ms": 1000}}, "timeout", "cpu_timeout", None, None, ["cpu_timeout"]),
    ("memory", "x = bytearray(512 << 20)", {"limits": {"memory_bytes": 64 * MIB}}, "memory", "memory",
     None, None, ["memory"]),
    ("output", "while True: print('x' * 1000)", {"limits": {"output_bytes": 100000}}, "output_limit",
     "output_limit", None, None, ["output_limit"]),
    ("full disk", FILL, {"limits": {"disk_bytes": 4 * MIB}}, "error", "disk", 1, None, ["disk"]),
    ("no more files", "for i in range(100000): open(f'/tmp/{i}', 'w').close()",
     {"limits": {"disk_bytes": 4 * MIB}}, "error", "disk", 1, None, ["disk"]),
    ("full disk, minded", "try:\n  " + FILL.replace("\n", "\n  ") + "\nexcept OSError: pass",
     {"limits": {"disk_bytes": 4 * MIB}}, "ok", "exit", 0, None, ["disk"]),
    ("processes", FORKS, {"limits": {"processes": 16}}, "error", "processes", 1, None, ["processes"]),
    ("processes, minded", "try:\n  " + FORKS.replace("\n", "\n  ") + "\nexcept OSError: pass",
     {"limits": {"processes": 16}}, "ok", "exit", 0, None, ["processes"]),
    ("fork bomb", "import os\nwhile True:\n  try: os.fork()\n  except OSError: pass",
     {"timeout": 5, "limits": {"processes": 16}}, "timeout", "timeout", None, None,
     ["timeout", "processes"]),
]


def verdicts(t, service):
    for name, code, fields, *want in VERDICTS:
        _, r = service.post(language="python", code=code, **{"timeout": 200, **fields})
        got = [r.get(k) for k in ("status", "reason", "exit_code", "signal", "limits_hit")]
        t.check(got == want, f"{name}: {want[0]}, {want[1]}", str(r)[:1500])
        if name.startswith("processes"):
            t.check(r["usage"]["processes_peak"] in (16, None), f"{name}: a peak of 16", r["usage"])


def usage(t, service):
    _, r = service.post(language="python", timeout=200, code=(
        "import os, time\n"
        "x = b'x' * (64 << 20)\n"
        "r, w = os.pipe()\n"
        "for stays in (0, 1):\n"
        "  if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    while time.process_time() < 0.3: sum(range(9999))\n"
        "    os.write(w, b'x')\n"
        "    while stays: sum(range(9999))\n"
        "    os._exit(0)\n"
        "for i in range(2): os.read(r, 1)\n"
        "print('done')\n"))
    u = r["usage"]
    t.check(r["status"] == "ok" and r["stdout"] == "done\n", "children nobody waits for", str(r)[:1000])
    t.check(u["cpu_ms"] >= 580, "their CPU time counts", u)
    t.check(abs(u["cpu_ms"] - u["cpu_user_ms"] - u["cpu_system_ms"]) < 0.01 and u["cpu_user_ms"] > 0,
            "in two parts", u)
    t.check(u["memory_peak_bytes"] > 64 * MIB and u["output_bytes"] == 5 and u["wall_ms"] > 0 and
            u["processes_peak"] in (3, None), "with memory, output and processes", u)


def daemon(t, service):
    start = time.monotonic()
    _, r = service.post(language="python", timeout=120, code=(
        "import os, signal, time\n"
        "if os.fork() == 0:\n"
        "  os.setsid()\n"
        "  if os.fork(): os._exit(0)\n"
        "  for s in range(1, 65):\n"
        "    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "  for fd in range(3): os.close(fd)\n"
        "  time.sleep(1000)\n"
        "print('parent')\n"))
    took = time.monotonic() - start
    t.check(r["status"] == "ok" and r["stdout"] == "parent\n" and took < 100,
            "a daemon delays no answer", (took, r))


RUST = 'fn main() { let unused = 1; println!("%s {:?}", std::env::args().nth(1)); std::process::exit(3) }'


def rust(service, word, **fields):
    return service.post(language="rust", code=RUST % word, timeout=200, **fields)[1]


def cache(t, service):
    first = rust(service, "one")
    t.check(first["status"] == "error" and first["exit_code"] == 3 and first["stdout"] == "one None\n" and
            first["compile"]["success"] and first["compile"]["cached"] is False and
            first["compile"]["usage"]["cpu_ms"] > 0, "the first is compiled", str(first)[:1500])
    second = rust(service, "one", args=["x"])
    t.check(second["stdout"] == 'one Some("x")\n' and second["exit_code"] == 3 and
            second["compile"]["cached"] is True and second["compile"]["usage"]["cpu_ms"] == 0,
            "the second is not", str(second)[:1500])
    t.check("unused" in first["compile"]["output"] and
            second["compile"]["output"] == first["compile"]["output"], "and has the same warnings",
            (first["compile"], second["compile"]))
    print(f"# compiled {first['timing']}, from the cache {second['timing']}", flush=True)
    t.check(rust(service, "two")["compile"]["cached"] is False, "other sources are compiled")
    # What a run does to its own executable stays with it.
    evil = ('fn main() { let _ = std::fs::remove_file("/work/main"); std::fs::write("/work/main", "evil")'
            '.unwrap(); println!("{:?}", std::fs::read("/work/main").unwrap().len()); }')
    answers = [service.post(language="rust", code=evil, timeout=200)[1] for _ in range(3)]
    t.check(all(a["stdout"] == "4\n" and a["status"] == "ok" for a in answers) and
            [a["compile"]["cached"] for a in answers] == [False, True, True],
            "no run changes what the next gets", [str(a)[:600] for a in answers])
    bad = [service.post(language="rust", code="fn main() { x }")[1] for _ in range(2)]
    t.check(all(b["status"] == "compile_error" and b["compile"]["cached"] is False and
                b["phase"] == "compile" and b["reason"] == "exit" and b["stderr_bytes"] == 0
                for b in bad), "what does not compile is not kept", str(bad)[:1500])
    small = rust(service, "one", limits={"disk_bytes": 65536})
    # The linker takes its half-written file away, so a full disk may not be seen any more.
    t.check(small["status"] == "compile_error" and small["phase"] == "compile" and
            small["reason"] in ("disk", "exit") and small["compile"]["reason"] == small["reason"] and
            small["compile"]["cached"] is False,
            "what has no room on the disk is not served from the cache", str(small)[:1500])


def main():
    tap = Tap()
    with Service(RUNTIMES_DIR=quick_table()) as service:
        for part in (verdicts, usage, daemon, cache):
            tap.group(lambda t, part=part: part(t, service))
    tap.finish()


if __name__ == "__main__":
    main()
