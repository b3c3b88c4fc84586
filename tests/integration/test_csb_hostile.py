#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""csb against services that mean it harm, or are not well: what they say moves no cursor, with --json an error is JSON,
and whoever waits for one that is silent can leave. No service of ours is started.

    test_csb_hostile.py
"""
import http.server
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import BUILD  # noqa: E402
from tap import Tap  # noqa: E402

CSB = BUILD / "src/cli/csb"
EVIL = "a\x1b]0;owned\x07\x9b31mb\x7f\r\nc"
PLAIN = r"a\x1b]0;owned\x07\x9b31mb\x7f\x0d\x0ac"
SECONDS = 30


def envelope(message, flags=0):
    data = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(data)) + data


def everywhere(value):
    """An answer to whatever is asked: all that csb may show is this text."""
    one = {key: value for key in (
        "sandboxID", "templateID", "state", "startedAt", "endAt", "snapshotID", "kind", "createdAt", "name", "permissions",
        "owner", "group", "size", "modifiedTime", "symlinkTarget", "id", "language", "created_at", "timestamp", "message",
        "version", "isolation", "accel", "status", "time")}
    return {**one, "metadata": {value: value}, value: value, "entry": {"type": "FILE_TYPE_FILE"}, "entries": [one],
            "jobs": [one], "logs": [one], "sandbox": one, "error": {"message": value}, "callback": {"state": value}}


class Evil(http.server.BaseHTTPRequestHandler):
    """Its way is in `server.way`: "refuse", "starting", "answer", "list" (as answer, of lists) or "silent"."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, data, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_any(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        way = self.server.way
        if way == "refuse":
            return self.answer(400, json.dumps({"message": EVIL, "field": EVIL}).encode())
        if way == "starting":
            return self.answer(503, json.dumps({"status": "starting", "state": "building the template"}).encode())
        if way == "silent" and self.path.endswith("/Start"):
            self.server.asked.set()
            time.sleep(SECONDS)
        elif self.path.endswith("/Start"):
            return self.answer(200, envelope({"error": {"code": "internal", "message": EVIL}}, 2), "application/connect+json")
        elif self.path == "/execute":
            data = f"event: error\ndata: {json.dumps({'message': EVIL})}\n\n".encode()
            return self.answer(200, data, "text/event-stream")
        value = everywhere(EVIL)
        self.answer(200, json.dumps([value] if way == "list" else value).encode())

    do_GET = do_POST = do_DELETE = do_any


class Rig:
    def __init__(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Evil)
        self.server.daemon_threads = True
        self.server.asked = threading.Event()
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.env = {**os.environ, "CSB_URL": f"http://127.0.0.1:{self.server.server_port}", "E2B_API_KEY": "x"}

    def csb(self, way, *args):
        self.server.way = way
        return subprocess.run([str(CSB), *args], capture_output=True, timeout=SECONDS, check=False, env=self.env,
                              stdin=subprocess.DEVNULL)


def controls(data):
    """What of it a terminal would obey, by its code points."""
    text = data.decode()  # which it must be
    return {hex(ord(c)) for c in text if (ord(c) < 32 and c != "\n") or 0x7f <= ord(c) < 0xa0}


def shown(t, rig, program):
    for way, *args in (
            ("list", "sandbox", "list"), ("list", "sandbox", "list", "-q"), ("answer", "sandbox", "info", "i1"),
            ("answer", "sandbox", "create"), ("list", "sandbox", "fork", "i1"), ("answer", "sandbox", "logs", "i1"),
            ("answer", "sandbox", "ls", "i1"), ("answer", "job", "list"), ("answer", "job", "get", "j1"),
            ("answer", "job", "submit", "-l", "x", program), ("list", "template", "ls"), ("answer", "top", "-n", "1")):
        done = rig.csb(way, *args)
        out = done.stdout + done.stderr
        t.check(not controls(out) and PLAIN in out.decode(), f"csb {' '.join(args[:3])} shows no control characters",
                (controls(out), out))
    for args in (("sandbox", "list"), ("sandbox", "ls"), ("job", "list"), ("top", "-n", "1")):
        words = (*args, "--json", *(["i1"] if "ls" in args else []))
        done = rig.csb("answer" if args[0] in ("job", "top") or "ls" in args else "list", *words)
        t.check(not controls(done.stdout) and EVIL in values(done.stdout), f"csb {' '.join(words[:2])} --json has it, escaped",
                done.stdout)


def values(data):
    """All strings of a JSON value, joined."""
    found = []

    def walk(value):
        if isinstance(value, dict):
            for key, member in value.items():
                found.append(key)
                walk(member)
        elif isinstance(value, list):
            for member in value:
                walk(member)
        else:
            found.append(str(value))
    walk(json.loads(data))
    return "".join(found)


def refused(t, rig, program):
    for args in (("run", "-l", "x", program), ("sandbox", "list"), ("sandbox", "info", "i1"), ("sandbox", "exec", "i1", "x"),
                 ("sandbox", "cp", "i1:x", "-"), ("job", "get", "j1"), ("template", "ls"), ("top", "-n", "1")):
        done = rig.csb("refuse", *args)
        t.check(done.returncode == 2 and PLAIN in done.stderr.decode() and not controls(done.stderr) and done.stdout == b"",
                f"a refusal of csb {' '.join(args[:2])} shows none", done)
        words = (args[0], "--json", *args[1:]) if args[0] in ("run", "top") else (*args[:2], "--json", *args[2:])
        done = rig.csb("refuse", *words)
        t.check(done.returncode == 2 and EVIL in json.loads(done.stdout)["error"]["message"] and not controls(done.stdout),
                f"and with --json is {{\"error\"}} for csb {' '.join(args[:2])}", done)
    done = rig.csb("answer", "run", "-l", "x", program)
    t.check(done.returncode == 125 and PLAIN in done.stderr.decode() and not controls(done.stderr), "nor does a stream's error",
            done)
    done = rig.csb("answer", "sandbox", "exec", "i1", "x")
    t.check(done.returncode == 125 and PLAIN in done.stderr.decode() and not controls(done.stderr), "nor one of a command's",
            done)


def own_errors(t, rig, program):
    """Errors that are csb's own."""
    for args, code in ((("sandbox", "info", "--json"), 2), (("sandbox", "info", "--json", "../x"), 2), (("job", "wait", "--json"), 2),
                       (("run", "--json", "-l", "x", program + ".none"), 2), (("top", "--json", "-n", "x"), 2),
                       (("template", "rm", "--json"), 2), (("sandbox", "exec", "--json", "-t", "x", "i1", "true"), 2)):
        done = rig.csb("list", *args)
        t.check(done.returncode == code and json.loads(done.stdout)["error"]["message"] and done.stderr != b"",
                f"csb {' '.join(args)[-40:]} says so in JSON, too", done)
    done = rig.csb("starting", "top")
    t.check(done.returncode == 125 and b"building the template" in done.stderr, "of a service that starts top says what it is at",
            done)
    rig.env["CSB_URL"], url = "http://127.0.0.1:1", rig.env["CSB_URL"]
    done = rig.csb("list", "sandbox", "list", "--json")
    t.check(done.returncode == 125 and "running" in json.loads(done.stdout)["error"]["message"], "so without a service", done)
    rig.env["CSB_URL"] = url


def full(t, rig):
    """/dev/full takes nothing."""
    rig.server.way = "list"
    for args in (("sandbox", "list"), ("sandbox", "list", "--json"), ("version",), ("help",)):
        with open("/dev/full", "wb") as out:
            done = subprocess.run([str(CSB), *args], stdout=out, stderr=subprocess.PIPE, env=rig.env, timeout=SECONDS, check=False)
        t.check(done.returncode == 125 and b"No space left" in done.stderr, f"csb {' '.join(args)} on a full disk is no success",
                done)


def silent(t, rig):
    """A service that took a command and says nothing."""
    rig.server.way = "silent"
    for number in (signal.SIGINT, signal.SIGTERM):
        rig.server.asked.clear()
        with subprocess.Popen([str(CSB), "sandbox", "exec", "i1", "true"], env=rig.env, stdin=subprocess.DEVNULL) as process:
            asked = rig.server.asked.wait(SECONDS)
            began = time.monotonic()
            process.send_signal(number)
            try:
                code = process.wait(SECONDS / 2)
            except subprocess.TimeoutExpired:
                process.kill()
                code = "none"
        t.check(asked and code == -number, f"{number.name} ends the waiting", (asked, code, time.monotonic() - began))


def main():
    tap = Tap()
    rig = Rig()
    with tempfile.TemporaryDirectory(prefix="csb-test-") as work:
        program = pathlib.Path(work) / "program"
        program.write_text("x")
        for test in (shown, refused, own_errors):
            tap.group(test, rig, str(program))
    tap.group(full, rig)
    tap.group(silent, rig)
    tap.finish()


if __name__ == "__main__":
    main()
