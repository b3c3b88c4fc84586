#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /execute: results, and every kind of bad input, each 400 or 413 naming its field."""
import base64
import json
import pathlib
import subprocess
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import BUILD, Daemon  # noqa: E402
from tap import Tap  # noqa: E402

USAGE = {"wall_ms", "cpu_ms", "cpu_user_ms", "cpu_system_ms", "memory_peak_bytes",
         "processes_peak", "output_bytes"}
FIRST = ["request_id", "success", "output", "execution_time"]


def b64(data):
    return {"content": base64.b64encode(data).decode(), "encoding": "base64"}


def results(t, d):
    status, headers, r = d.execute("out hello\nerr oops\nout again")
    t.check(status == 200 and list(r)[:4] == FIRST, "the old fields come first", r)
    t.check(uuid.UUID(r["request_id"]).version == 4 and r["request_id"] == headers["X-Request-Id"],
            "request_id is a UUID v4 and the header's", r)
    t.check(r["success"] is True and r["status"] == "ok" and r["exit_code"] == 0, "success", r)
    t.check(r["output"] == "hello\noops\nagain\n", "output is in order of arrival", r)
    t.check(r["stdout"] == "hello\nagain\n" and r["stderr"] == "oops\n", "and apart", r)
    t.check(isinstance(r["execution_time"], float) and 0 < r["execution_time"] < 30,
            "execution_time is in seconds", r)
    t.check(set(r["usage"]) == USAGE and r["usage"]["output_bytes"] == 17 and
            set(r["timing"]) == {"queue_ms", "sandbox_ms", "run_ms"}, "usage and timing", r)
    t.check(r["isolation"] == "fake" and r["compile"] is None and r["signal"] is None, "the rest", r)
    r = d.execute("out x\nexit 3")[2]
    t.check((r["success"], r["status"], r["exit_code"]) == (False, "error", 3), "exit code 3", r)
    r = d.execute("signal 11")[2]
    t.check((r["status"], r["signal"], r["exit_code"]) == ("killed", "SIGSEGV", None), "signal", r)
    r = d.execute("oom")[2]
    t.check(r["status"] == "memory" and r["success"] is False, "memory limit", r)
    r = d.execute("reject error: no main", language="rust")[2]
    t.check(r["status"] == "compile_error" and r["compile"]["success"] is False and
            "no main" in r["output"] and "no main" in r["compile"]["output"], "compile error", r)
    r = d.execute("out ran", language="rust")[2]
    t.check(r["output"] == "ran\n" and r["compile"]["success"] is True, "compiled and ran", r)
    t.check(set(r["compile"]) == {"success", "exit_code", "signal", "reason", "limits_hit", "output",
                                  "truncated", "cached", "wall_ms", "usage"} and
            set(r["compile"]["usage"]) == USAGE, "the compile step has the same fields", r)
    r = d.execute(language="py")[2]
    t.check(r["language"] == "python" and r["version"] == "3.11.2", "an alias works", r)
    for version in ("3", "3.11", "3.11.2", None):
        t.check(d.execute(version=version)[0] == 200, f"version {version} matches")


# code, request fields, then status, reason, exit_code, signal, limits_hit: docs/API.md, Verdicts.
VERDICTS = [
    ("exit 0", {}, "ok", "exit", 0, None, []),
    ("exit 7", {}, "error", "exit", 7, None, []),
    ("signal 6", {}, "killed", "signal", None, "SIGABRT", []),
    ("sleep 5000", {"timeout": 0.2}, "timeout", "timeout", None, None, ["timeout"]),
    ("spin", {}, "timeout", "cpu_timeout", None, None, ["cpu_timeout"]),
    ("oom", {}, "memory", "memory", None, None, ["memory"]),
    ("flood 5000", {"limits": {"output_bytes": 4096}}, "output_limit", "output_limit", None, None,
     ["output_limit"]),
    ("hit disk\nexit 1", {}, "error", "disk", 1, None, ["disk"]),
    ("hit disk\nsignal 7", {}, "killed", "disk", None, "SIGBUS", ["disk"]),
    ("hit disk\nexit 0", {}, "ok", "exit", 0, None, ["disk"]),
    ("hit processes\nexit 2", {}, "error", "processes", 2, None, ["processes"]),
    ("hit processes\nexit 0", {}, "ok", "exit", 0, None, ["processes"]),
    ("hit memory\nexit 137", {}, "memory", "memory", 137, None, ["memory"]),
    ("hit memory\nexit 0", {}, "ok", "exit", 0, None, ["memory"]),
    ("hit disk\nsleep 5000", {"timeout": 0.2}, "timeout", "timeout", None, None,
     ["timeout", "disk"]),
]


def verdicts(t, d):
    for code, fields, *want in VERDICTS:
        r = d.execute(code, **fields)[2]
        got = [r["status"], r["reason"], r["exit_code"], r["signal"], r["limits_hit"]]
        t.check(got == want and r["success"] is (want[0] == "ok"),
                f"{code!r} is {want[0]}, {want[1]}", r)
    api = (pathlib.Path(__file__).resolve().parents[2] / "docs/API.md").read_text()
    reasons = {row[3] for row in VERDICTS} | {"internal"}
    t.check(all(f"| `{reason}` | " in api for reason in reasons), "docs/API.md lists every reason")


# code, language: exit code of csb run, and what it adds to standard error.
COMMANDS = [
    ("exit 0", "python", 0, ""), ("exit 3", "python", 3, ""), ("signal 15", "python", 143, "csb run: killed\n"),
    ("hit disk\nexit 4", "python", 4, "csb run: disk\n"),
    ("hit processes\nsignal 6", "python", 134, "csb run: killed: processes\n"),
    ("spin", "python", 124, "csb run: timeout: cpu_timeout\n"), ("oom", "python", 1, "csb run: memory\n"),
    ("reject no", "rust", 1, "csb run: compile_error\n"),
]


def command_line(t, d):
    for code, language, exit_code, words in COMMANDS:
        done = subprocess.run([str(BUILD / "src/cli/csb"), "run", "-l", language, "-"], input=code + "\n",
                              env={"CSB_URL": f"http://127.0.0.1:{d.port}"}, capture_output=True, text=True)
        t.check(done.returncode == exit_code and done.stderr.endswith(words) and
                ("csb run" in done.stderr) is (words != ""), f"csb run of {code!r}", done)


def cache(t, d):
    code = "warn careful\nout ran\nexit 3"
    first = d.execute(code, language="rust")[2]
    second = d.execute(code, language="rust", args=["x"], env={"A": "1"}, stdin="y")[2]
    t.check(first["compile"]["cached"] is False and second["compile"]["cached"] is True,
            "the same sources are not compiled again", (first, second))
    t.check(second["stdout"] == "ran\n" and second["exit_code"] == 3 and
            second["compile"]["output"] == "careful\n" and second["compile"]["success"] is True and
            second["compile"]["usage"]["cpu_ms"] == 0, "and all else is the same", second)
    r = d.execute(code, language="rust", files={"a": "1"})[2]
    t.check(r["compile"]["cached"] is False, "another file is another program", r)
    # The compiler's output has a limit of its own, whatever the program's is.
    for again in (0, 1):
        r = d.execute("chatter 600000\nout x", language="rust", limits={"output_bytes": 10})[2]
        t.check(r["status"] == "ok" and r["stdout"] == "x\n" and len(r["compile"]["output"]) == 600000 and
                r["truncated"] is False and r["compile"]["usage"]["output_bytes"] == 600000,
                "what a compiler says takes no room of the program's", str(r)[:200])
        t.check(r["compile"]["cached"] is False, "and is too much to be kept")
    status, _, r = d.execute("chatter 1200000\nout x", language="rust")
    t.check(status == 503 and r["error"] == "sandbox_lost", "no more than 1 MiB is taken", (status, r))
    held = d.get("/health")[2]["compile_cache"]
    t.check(held["entries"] >= 2 and held["hits"] >= 1 and 0 < held["bytes"] <= held["max_bytes"],
            "/health tells", held)


def text(t, d):
    r = d.execute("stdin", stdin="grüße €\n")[2]
    t.check(r["stdout"] == "grüße €\n" and r["lossy"] is False, "UTF-8 passes unchanged", r)
    r = d.execute("stdin", stdin=b64(b"a\xff\xe2\x82b\xf0\x9f\x98"))[2]
    t.check(r["stdout"] == "a\ufffd\ufffdb\ufffd" and r["lossy"] is True,
            "one U+FFFD per maximal subpart", r)
    r = d.execute("stdin", stdin={"content": "a\u0000b\u001b[0m\"\\"})[2]
    t.check(r["stdout"] == "a\0b\x1b[0m\"\\", "control characters survive", r)
    big = "é" * 200000
    r = d.execute("stdin", stdin=big)[2]
    t.check(r["stdout"] == big, "characters cut between pieces are whole again")


def failures(t, d):
    status, _, r = d.execute("out before\ndie")
    t.check(status == 503 and r["error"] == "sandbox_lost" and r["may_have_run"] is True and
            r["retry"] is False and r["code"] == 503, "a lost sandbox is typed", r)
    t.check(d.execute("out next")[0] == 200, "and the next run is well")


def bad_input(t, d):
    deep = '{"language":"python","code":"x","args":' + "[" * 10000 + "]" * 10000 + "}"
    surrogate = '{"language":"python","code":"\\ud800"}'
    raw = [
        ("not JSON", "hello", "body"), ("empty", "", "body"), ("cut", '{"language":"py', "body"),
        ("an array", "[]", "body"), ("a string", '"x"', "body"), ("null", "null", "body"),
        ("a duplicate key", '{"language":"python","code":"a","code":"b"}', "body"),
        ("trailing text", '{"language":"python","code":"a"} x', "body"),
        ("10,000 deep", deep, "body"), ("10,000 deep objects", '{"a":' * 10000, "body"),
        ("invalid UTF-8", b'{"language":"python","code":"\xff"}', "body"),
        ("a lone surrogate", surrogate, "body"), ("NaN", '{"timeout":NaN}', "body"),
        ("a NUL in a key", '{"a\\u0000b":1}', "body"),
        ("a huge integer", '{"language":"python","code":"a","timeout":' + "9" * 400 + "}", "body"),
    ]
    for name, body, field in raw:
        status, _, r = d.execute(raw=body)
        t.check(status == 400 and r.get("field") == field, f"{name} is 400 naming {field}", r)
    t.check("nested" in d.execute(raw=deep)[2]["message"], "the message says what is wrong")

    good = {"language": "python", "code": "out x"}
    cases = [
        ("language", None, "language"), ("language", 5, "language"), ("language", "", "language"),
        ("language", "cobol", "language"), ("language", "py\0thon", "language"),
        ("code", None, "code"), ("code", 5, "code"), ("code", "", "code"), ("code", " \n\t", "code"),
        ("code", "a\0b", "code"), ("version", "2", "version"), ("version", "3.1", "version"),
        ("version", 3, "version"), ("version", "", "version"),
        ("timeout", 0, "timeout"), ("timeout", -1, "timeout"), ("timeout", 1e9, "timeout"),
        ("timeout", "x", "timeout"), ("timeout", True, "timeout"), ("timeout", 300.1, "timeout"),
        ("timeout", 10**18, "timeout"), ("timeout", -0.0, "timeout"), ("timeout", [1], "timeout"),
        ("files", [], "files"), ("files", {"a": 5}, "files.a"), ("files", {"": "x"}, "files."),
        ("files", {"../a": "x"}, "files.../a"), ("files", {"/etc/x": "x"}, "files./etc/x"),
        ("files", {"a//b": "x"}, "files.a//b"), ("files", {"main.py": "x"}, "files.main.py"),
        ("files", {"main.py/x": "x"}, "files.main.py/x"), ("files", {"a/b": "", "a": ""}, "files.a"),
        ("files", {"a": {"content": 5}}, "files.a.content"), ("files", {"a": {}}, "files.a.content"),
        ("files", {"a": {"content": "x", "encoding": "hex"}}, "files.a.encoding"),
        ("files", {"a": {"content": "x", "mode": 5}}, "files.a.mode"),
        ("files", {"a": {"content": "a", "encoding": "base64"}}, "files.a.content"),
        ("files", {"x" * 256: "x"}, None), ("files", {f"f{i}": "" for i in range(256)}, "files"),
        ("stdin", 5, "stdin"), ("stdin", {"content": "=", "encoding": "base64"}, "stdin.content"),
        ("args", "x", "args"), ("args", {"a": 1}, "args"), ("args", ["a", 5], "args[1]"),
        ("args", ["a\0"], "args[0]"), ("args", ["x"] * 257, "args"), ("args", ["x" * 140000], "args"),
        ("env", [], "env"), ("env", {"A": 5}, "env.A"), ("env", {"A": None}, "env.A"),
        ("env", {"1A": "x"}, "env.1A"), ("env", {"A=B": "x"}, "env.A=B"), ("env", {"": "x"}, "env."),
        ("env", {"A": "x\0"}, "env.A"), ("env", {"CSB_X": "1"}, "env.CSB_X"),
        ("env", {f"V{i}": "" for i in range(129)}, "env"),
        ("limits", 5, "limits"), ("limits", {"cores": 5}, "limits.cores"),
        ("limits", {"wall_ms": 0}, "limits.wall_ms"), ("limits", {"wall_ms": 1.5}, "limits.wall_ms"),
        ("limits", {"wall_ms": "1"}, "limits.wall_ms"), ("limits", {"cpu_ms": -1}, "limits.cpu_ms"),
        ("limits", {"wall_ms": 10**15}, "limits.wall_ms"),
        ("limits", {"memory_bytes": 1}, "limits.memory_bytes"),
        ("limits", {"processes": 0}, "limits.processes"),
        ("limits", {"output_bytes": 2**62}, "limits.output_bytes"),
        ("limits", {"disk_bytes": 1}, "limits.disk_bytes"),
        ("network", True, "network"), ("network", "full", "network"), ("network", {}, "network"),
        ("artifacts", ["a"], "artifacts"), ("artifacts", "a", "artifacts"),
        ("stream", 1, "stream"), ("colour", 1, "colour"), ("Code", "x", "Code"),
    ]
    for key, value, field in cases:
        body = dict(good, **{key: value})
        status, _, r = d.execute(raw=json.dumps(body))
        ok = status == 400 and r.get("message") and (field is None or r.get("field") == field)
        t.check(ok, f"{key}: {str(value)[:40]!r} is 400 naming {field}", (status, r))
    status, _, r = d.execute(timeout=5, limits={"wall_ms": 5000})
    t.check(status == 400 and r["field"] == "limits.wall_ms", "timeout and wall_ms exclude", r)
    for field in ("language", "code"):
        body = {k: v for k, v in good.items() if k != field}
        r = d.execute(raw=json.dumps(body))
        t.check(r[0] == 400 and r[2]["field"] == field, f"{field} is required", r)


def good_input(t, d):
    cases = {
        "timeout": [1, 0.5, 300, 1e-3, None], "files": [{}, {"a/b.py": "", "c": b64(b"\0")}, None],
        "stdin": ["", {"content": ""}, b64(b""), None], "args": [[], ["", "é"], ["x"] * 256],
        "env": [{}, {"_A1": "a=b\n"}, {f"V{i}": "" for i in range(128)}],
        "limits": [{}, {"wall_ms": 1000, "processes": 1}, {"memory_bytes": 64 << 20}],
        "network": [False, "none", None], "artifacts": [[], None], "stream": [False, None],
    }
    for key, values in cases.items():
        for value in values:
            answer = d.execute(**{key: value})
            t.check(answer[0] == 200, f"{key}: {str(value)[:40]!r} is accepted", answer)


MIB = 1 << 20


def fits_body(size):
    """A body of exactly that many bytes."""
    body = json.dumps({"language": "python", "code": ""})
    return body.replace('""', '"' + "#" * (size - len(body)) + '"')


# Each thing a client can set: what is least and most, and what is just beyond; the field at fault.
BOUNDS = [
    ("timeout", "timeout", [0.001, 300], [0, 300.001]),
    ("limits.wall_ms", "limits", [{"wall_ms": n} for n in (1, 300000)],
     [{"wall_ms": n} for n in (0, 300001)]),
    ("limits.cpu_ms", "limits", [{"cpu_ms": n} for n in (1, 4800000)],
     [{"cpu_ms": n} for n in (0, 4800001)]),
    ("limits.memory_bytes", "limits", [{"memory_bytes": n * MIB} for n in (16, 768)],
     [{"memory_bytes": n} for n in (16 * MIB - 1, 768 * MIB + 1)]),
    ("limits.processes", "limits", [{"processes": n} for n in (1, 1024)],
     [{"processes": n} for n in (0, 1025)]),
    ("limits.output_bytes", "limits", [{"output_bytes": n} for n in (1, 16 * MIB)],
     [{"output_bytes": n} for n in (0, 16 * MIB + 1)]),
    ("limits.disk_bytes", "limits", [{"disk_bytes": n} for n in (65536, 512 * MIB)],
     [{"disk_bytes": n} for n in (65535, 512 * MIB + 1)]),
    ("args", "args", [["x"] * 256], [["x"] * 257]),
    ("args[0]", "args", [["x" * (128 * 1024 - 1)]], [["x" * 128 * 1024]]),
    ("env", "env", [{f"V{i}": "" for i in range(128)}], [{f"V{i}": "" for i in range(129)}]),
    ("env.A", "env", [{"A": "x" * (128 * 1024 - 3)}], [{"A": "x" * (128 * 1024 - 2)}]),
    ("env." + "N" * 129, "env", [{"N" * 128: ""}], [{"N" * 129: ""}]),
    ("files", "files", [{f"f{i}": "" for i in range(255)}], [{f"f{i}": "" for i in range(256)}]),
    ("files." + "x" * 256, "files", [{"x" * 255: ""}], [{"x" * 256: ""}]),
    ("files." + "/".join("a" * 17), "files", [{"/".join("a" * 16): ""}], [{"/".join("a" * 17): ""}]),
]


def bounds(t, d):
    for name, key, good, bad in BOUNDS:
        for value in good:
            status, _, r = d.execute(**{key: value})
            t.check(status == 200, f"{name[:40]}: {str(value)[:40]} is taken", (status, str(r)[:300]))
        for value in bad:
            status, _, r = d.execute(**{key: value})
            # The field's name is cut as the message is.
            t.check(status == 400 and name.startswith(r.get("field", "-")) and r["field"],
                    f"{name[:40]}: {str(value)[:40]} is refused", (status, str(r)[:300]))
    limit = 16 * MIB
    t.check(d.execute(raw=fits_body(limit))[0] == 200, "a body of BODY_MAX_BYTES is taken")
    status, _, r = d.execute(raw=fits_body(limit + 1))
    t.check(status == 413, "a larger one is 413", (status, r))
    api = (pathlib.Path(__file__).resolve().parents[2] / "docs/API.md").read_text()
    fields = {key for _, key, _, _ in BOUNDS} | {"language", "code", "version", "stdin", "network",
                                                 "artifacts", "stream"}
    words = {name.split(".")[1] for name, key, _, _ in BOUNDS if key == "limits"}
    t.check(all(f"| `{word}` | " in api for word in fields | words), "docs/API.md lists every field")


def limits(t):
    with Daemon(POOL_SIZE=1, POOL_MAX=1, QUEUE_MAX=0, QUEUE_WAIT_MS=500, LIMIT_OUTPUT_BYTES="64K") as d:
        slow = d.connect()
        slow.request("POST", "/execute", json.dumps({"language": "python", "code": "sleep 6000"}))
        d.wait(lambda: d.running() == 1, "running")
        status, headers, r = d.execute()
        t.check(status == 429 and int(headers["Retry-After"]) >= 1 and r["error"] == "busy" and
                r["may_have_run"] is False and r["retry"] is True,
                "when all is taken: 429 with Retry-After", (status, r))
        t.check(d.running() == 1, "and while that goes on")
        t.check(slow.getresponse().status == 200, "the one that was first ends well")
        floods = []

        def flooded():  # the sandbox of the run before is replaced in the background
            status, _, answer = d.execute("flood 10000000")
            floods.append(answer)
            return status == 200

        d.wait(flooded, "free again")
        r = floods[-1]
        t.check(len(r["stdout"]) <= 64 * 1024 + 65536 and r["status"] in ("ok", "output_limit") and
                (r["truncated"] or r["status"] == "output_limit"), "output is bounded", str(r)[-300:])


def main():
    t = Tap()
    with Daemon(POOL_SIZE=3) as d:
        for part in (results, verdicts, command_line, cache, text, failures, bad_input, good_input, bounds):
            t.group(lambda tap, part=part: part(tap, d))
    t.group(limits)
    t.finish()


main()
