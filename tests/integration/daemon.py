# SPDX-License-Identifier: Apache-2.0
"""Starts codesandboxd with the fake driver: all of the daemon and its HTTP API, no virtual machine.

CSB_BUILD is the meson build directory. The programs sent are in the fake agent's little language
(src/driver/fake_program.h): out, err, stdin, flood, sleep, exit, signal, oom, spin, hit, warn, reject, die and more.
"""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("CSB_BUILD", HERE.parents[1] / "build/release"))
PROGRAM = BUILD / "src/daemon/codesandboxd"
START = re.compile(r"listening on http://127\.0\.0\.1:(\d+)")
START_S = 60
SANITIZER = re.compile(r"(Thread|Address|Leak|UndefinedBehavior)Sanitizer|runtime error:")


def ended(code):
    """The program with its last line ended: `out` writes what its line holds, newline included."""
    return code + "\n" if isinstance(code, str) and code else code


class Daemon:
    """One codesandboxd on a free port; use as a context manager."""

    def __init__(self, state=None, wait_ready=True, options=(), **settings):
        self._own = None if state else tempfile.TemporaryDirectory(prefix="csb-test-")
        self.state = str(state or self._own.name)
        os.chmod(self.state, 0o755)
        self.log = []
        env = {k: v for k, v in os.environ.items() if not k.startswith(("API_", "POOL_"))}
        env.update(ISOLATION="fake", RUNTIMES_DIR=str(HERE / "runtimes"), API_PORT="0",
                   STATE_DIR=self.state + "/state", POOL_SIZE="2")
        env.update({k: str(v) for k, v in settings.items()})
        self.process = subprocess.Popen([str(PROGRAM), *options], env=env, stderr=subprocess.PIPE, text=True)
        self.port = None
        self._started = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._started.wait(START_S) or self.port is None:
            self.stop()
            raise RuntimeError("codesandboxd did not start:\n" + "".join(self.log))
        if wait_ready:
            try:
                self.wait(lambda: self.get("/health")[0] == 200, "healthy")
            except Exception:
                self.stop(signal.SIGKILL)
                raise

    def _read(self):
        for line in self.process.stderr:
            self.log.append(line)
            match = START.search(line)
            if match and self.port is None:
                self.port = int(match.group(1))
                self._started.set()
        self._started.set()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.stop()
        reports = [n for n, line in enumerate(self.log) if SANITIZER.search(line)]
        if reports:
            raise RuntimeError("".join(self.log[reports[0]:reports[0] + 60]))

    def stop(self, sig=signal.SIGTERM, seconds=120):
        """Ends the daemon and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        self._reader.join(5)
        if self._own:
            self._own.cleanup()
            self._own = None
        return code

    def wait(self, condition, what, seconds=START_S):
        """Polls until the condition holds; raises when it does not in time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if condition():
                return
            time.sleep(0.02)
        raise RuntimeError(f"not {what} after {seconds} s:\n" + "".join(self.log[-20:]))

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def socket(self, timeout=60):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, parsed JSON or text) of one request on a connection of its own."""
        connection = self.connect(timeout)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        try:
            return answer.status, answer.headers, json.loads(text) if text else None
        except ValueError:
            return answer.status, answer.headers, text

    def get(self, path, **headers):
        return self.request("GET", path, headers=headers)

    def execute(self, code="out hi", language="python", headers=None, raw=None, **fields):
        """Posts to /execute; `raw` replaces the whole body."""
        body = raw
        if raw is None:
            body = json.dumps({"language": language, "code": ended(code), **fields})
        return self.request("POST", "/execute", body,
                            {"Content-Type": "application/json", **(headers or {})})

    def running(self):
        return self.get("/health")[2]["pool"]["running"]


def children(pid):
    """Pids of the direct children of a process."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = pathlib.Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if int(stat.rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(entry))
    return found
