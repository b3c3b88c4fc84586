# SPDX-License-Identifier: Apache-2.0
"""Runs the contexts server in a root directory on this host, in namespaces of its own, and speaks
HTTP with it."""
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/lib"))
from ports import free_port  # noqa: E402

INSIDE = r"""
set -e
mount --make-rprivate /
mount -t tmpfs csb-csb "$1/csb"; mkdir "$1/csb/contexts"
mount --bind "$2" "$1/csb/contexts"
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=1777 csb-tmp "$1/tmp"
mount -t tmpfs csb-run "$1/run"
mount -t tmpfs -o mode=755,uid=1000,gid=1000 csb-home "$1/home/user"
root=$1; shift 2
exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 CSB_CONTEXTS_OUTPUT_BYTES=4194304 CSB_CONTEXTS_KEEPALIVE_SECONDS=1 \
    python3 -sP /csb/contexts/server.py "$@"
"""


class Server:
    def __init__(self, root, warm=True, seconds=300):
        self.port = free_port()
        self.root = root
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", INSIDE,
                   "sh", str(root), str(TOP / "runtimes/contexts"), "--port", str(self.port)]
        self.process = subprocess.Popen(command + (["--warm"] if warm else []),
                                        stdout=subprocess.PIPE, stderr=sys.stderr)
        begun = time.monotonic()
        line = self.process.stdout.readline()
        if line.strip() != b"ready" or time.monotonic() - begun > seconds:
            raise RuntimeError(f"the server did not start: {line!r}")
        self.start_seconds = time.monotonic() - begun

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def inside(self, path):
        """A path of the server's own root, through its first process."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
            child = file.read().split()[0]
        return f"/proc/{child}/root{path}"

    def ask(self, method, path, body=None, seconds=200):
        """(status, value or text) of a whole answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.headers.get_content_type() == "application/json":
            return answer.status, json.loads(text)
        return answer.status, text

    def open(self, body, seconds=200):
        """A streamed execution: its connection and answer, headers read."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        connection.request("POST", "/execute", json.dumps(body).encode())
        return connection, connection.getresponse()

    def run(self, code, seconds=60, **more):
        """The events of one execution."""
        connection, answer = self.open({"code": code, **more}, seconds)
        try:
            text = answer.read().decode()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status} {text}")
            return Events(json.loads(line) for line in text.split("\n")[:-1])
        finally:
            connection.close()


class Events(list):
    def of(self, kind):
        return [event for event in self if event["type"] == kind]

    def stdout(self):
        return "".join(event["text"] for event in self.of("stdout"))

    def stderr(self):
        return "".join(event["text"] for event in self.of("stderr"))

    def results(self):
        return self.of("result")

    def text(self):
        return next((e.get("text") for e in self.results() if e["is_main_result"]), None)

    def error(self):
        return next(iter(self.of("error")), {})


def drop(connection):
    """Closes a client's connection in the middle of an answer."""
    if connection.sock:
        connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
