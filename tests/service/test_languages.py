#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job: programs of each language through the real service in real sandboxes."""
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from service import CSB, ISOLATION, Service, small_table, wait_until  # noqa: E402
from tap import Tap  # noqa: E402

FIRST = [
    ("python", 'import math; print(f"Pi is approximately {math.pi:.4f}")',
     "Pi is approximately 3.1416\n"),
    ("typescript", 'const greeting: string = "Hello from TypeScript!"; console.log(greeting);',
     "Hello from TypeScript!\n"),
    ("rust", 'fn main() { println!("Hello from Rust!"); }', "Hello from Rust!\n"),
    ("rust", ' println!("Hello, world");', "Hello, world\n"),
    ("javascript", "console.log([1, 2, 3].map((x) => x * x).join())", "1,4,9\n"),
    ("bash", 'for i in 1 2 3; do printf "%s " "$i"; done; echo', "1 2 3 \n"),
]


def test_first_programs(tap, service):
    for language, code, output in FIRST:
        status, answer = service.post(language=language, code=code)
        tap.check(status == 200 and answer["success"] is True and answer["output"] == output,
                  f"{language}: {code[:40]}", answer)
        fields = list(answer)
        tap.check(fields[:4] == ["request_id", "success", "output", "execution_time"],
                  f"{language}: the first fields come first", fields)
        tap.check(uuid.UUID(answer.get("request_id", "")).version == 4, f"{language}: id is a UUID v4")
        tap.check(answer["isolation"] == ISOLATION
                  and answer["accel"] in (("none",) if ISOLATION == "process" else ("tcg", "kvm")),
                  f"{language}: says which boundary ran it", answer)


def test_inputs(tap, service):
    code = ("import sys, os, helper\n"
            "print(sys.argv, os.environ['GREETING'], sys.stdin.read(), helper.twice(21), os.getcwd())\n"
            "print(open('data/x.txt').read())")
    answer = service.run("python", code, args=["a b", "ü"], env={"GREETING": "hi"}, stdin="in put",
                         files={"helper.py": "def twice(x): return 2 * x", "data/x.txt": "deep"})
    tap.check(answer["stdout"] == "['main.py', 'a b', 'ü'] hi in put 42 /work\ndeep\n",
              "arguments, environment, stdin and files arrive", answer)
    code = "import sys\nprint(sys.path_importer_cache['/work/main.py'], sys.argv)  # "
    for what, text in (("text", "PK"), ("what ends an archive", "PK\5\6")):
        answer = service.run("python", code + text)
        tap.check(answer["stdout"] == "None ['main.py']\n", f"Python: a program with {what} in it", answer)
    answer = service.run("python", "import sys; print(sys.flags.optimize)", env={"PYTHONOPTIMIZE": "2"})
    tap.check(answer["stdout"] == "2\n", "a variable that Python reads at its start is honoured", answer)
    answer = service.run("typescript", "console.log(Deno.args, Deno.env.get('A'), import.meta.main)",
                         args=["x"], env={"A": "1"})
    tap.check(answer["stdout"] == '[ "x" ] 1 true\n', "Deno sees arguments and environment", answer)
    for args in ([], ["x", "y"]):
        answer = service.run("typescript", "console.log(JSON.stringify([Deno.args, process.argv.slice(2)]))",
                             args=args)
        tap.check(answer["stdout"] == json.dumps([args, args], separators=(",", ":")) + "\n",
                  f"Deno and Node's process see {len(args)} arguments", answer)


def test_failures(tap, service):
    answer = service.run("python", "def f():\n    return 1 / 0\n\nf()\n")
    tap.check(answer["status"] == "error" and answer["exit_code"] == 1
              and 'File "/work/main.py", line 2, in f' in answer["stderr"]
              and "return 1 / 0" in answer["stderr"], "a traceback names main.py and the line", answer)
    answer = service.run("rust", "fn main() { let x: u32 = \"no\"; }")
    tap.check(answer["status"] == "compile_error" and answer["success"] is False
              and "main.rs:1" in answer["compile"]["output"], "a compile error is one", answer)
    answer = service.run("bash", "exit 7")
    tap.check(answer["status"] == "error" and answer["exit_code"] == 7, "exit codes pass", answer)
    answer = service.run("bash", "kill -9 $$")
    tap.check(answer["status"] == "killed" and answer["signal"] == "SIGKILL"
              and answer["exit_code"] is None, "signals pass", answer)


def test_stream(tap, service):
    events = service.events("python", "import sys, time\nprint('one', flush=True)\ntime.sleep(.3)\n"
                            "print('two', file=sys.stderr, flush=True)\nsys.exit(3)")
    names = [name for name, _ in events]
    tap.check(names[0] == "start" and names[-1] == "result", "a stream starts and ends as told", names)
    text = "".join(d["text"] for n, d in events if n == "stdout")
    errors = "".join(d["text"] for n, d in events if n == "stderr")
    tap.check((text, errors) == ("one\n", "two\n"), "both streams come through", events)
    tap.check(events[-1][1]["exit_code"] == 3, "the result carries the exit code", events[-1])


def test_resources(tap, service):
    status, health = service.get("/health")
    tap.check(status == 200 and health["status"] == "healthy", "/health is healthy", health)
    status, languages = service.get("/languages")
    tap.check(status == 200 and {"python", "typescript", "rust"} <= set(languages["languages"]),
              "/languages lists them", languages)
    for runtime in languages["runtimes"]:
        command = {"python": "python3 --version", "typescript": "deno --version",
                   "rust": "rustc --version"}.get(runtime["id"])
        if command:
            shown = service.run("bash", command)["stdout"]
            tap.check(runtime["version"] in shown, f"{runtime['id']}: the version is the image's",
                      (runtime, shown))
    status, guest = service.get("/debug/guest")
    tap.check(status == 200 and guest["cpu_count"] >= 1 and guest["memory_total_bytes"] > 1 << 27
              and guest["cmdline"] and guest["uptime_ms"] > 0 and guest["agent"],
              "/debug/guest tells of a live guest", guest)


def test_command_line(tap, service):
    env = {"CSB_URL": f"http://127.0.0.1:{service.port}", "PATH": "/usr/bin:/bin"}
    with tempfile.TemporaryDirectory() as tmp:
        program = pathlib.Path(tmp, "hello.py")
        program.write_text("import sys\nprint('hello', sys.argv[1:], sys.stdin.read())\nsys.exit(5)\n")
        done = subprocess.run([str(CSB), "run", str(program), "x", "y"], input="fed", env=env,
                              capture_output=True, text=True)
    tap.check((done.returncode, done.stdout) == (5, "hello ['x', 'y'] fed\n"),
              "csb run streams the output and passes the exit code on", done)
    done = subprocess.run([str(CSB), "run", "--language", "bash", "-"], input="kill -TERM $$", env=env,
                          capture_output=True, text=True)
    tap.check(done.returncode == 128 + 15, "csb run shows a death by signal as a shell does", done)
    done = subprocess.run([str(CSB), "doctor"], env={**env, **service.settings}, capture_output=True,
                          text=True)
    tap.check(done.returncode == 0 and "healthy at" in done.stdout and "process" in done.stdout,
              "csb doctor finds nothing broken", done)


def test_added_runtime(tap):
    """A new language needs a file, not code."""
    with Service(RUNTIMES_DIR=small_table(), POOL_SIZE=1) as service:
        answer = service.run("awk", "{ s += $1 } END { print s }", stdin="1\n2\n39\n")
        tap.check(answer["success"] and answer["output"] == "42\n", "awk runs by a file alone",
                  answer)
        tap.check("awk" in service.get("/languages")[1]["languages"], "and is listed")


def test_wrong_runtime(tap):
    """Who adds a language whose program there is not finds in the log which."""
    table = small_table()
    (table / "wrong.runtime").write_text(
        "name = Wrong\nextension = x\nrun = /usr/bin/no-such-program main.x\nwarm = 1\n")
    service = Service(RUNTIMES_DIR=table).start(ready=False)
    try:
        tap.check(wait_until(lambda: re.search("runtime wrong: .*no-such-program", service.log_tail()), 200),
                  "its name is in the log", service.log_tail())
    finally:
        service.stop()


def main():
    tap = Tap()
    with Service() as service:
        for test in (test_first_programs, test_inputs, test_failures, test_stream, test_resources,
                     test_command_line):
            tap.group(lambda t, test=test: test(t, service))
    tap.group(test_added_runtime)
    tap.group(test_wrong_runtime)
    tap.finish()


if __name__ == "__main__":
    main()
