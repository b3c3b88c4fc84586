# SPDX-License-Identifier: Apache-2.0
"""The benchmark's long-lived sandboxes: what a client of E2B's protocol waits for, over one connection
that it keeps, as the SDKs do; beside each figure what is aimed at."""
import base64
import hashlib
import http.client
import json
import os
import pathlib
import re
import socket
import struct
import time

from measure import quantile, timed, wait_full

ENVD, CONTEXTS = "49983", "49999"
LARGE = 64 << 20
TCP_INFO_RECEIVED, TCP_INFO_SENT = 128, 200  # offsets of struct tcp_info: tcpi_bytes_received, _sent
BUILDING_S = 400  # longest wait for the code interpreter's template
# Milliseconds at p50, by isolation.
AIMS = {
    "microvm": {"create": 60, "command": 150, "context": 60, "resume": 400, "fork": 2000},
    "process": {"create": 10, "command": 8, "context": 8},
}
# Samples of each; with them the whole part takes about a minute and a half where processors are emulated.
COUNTS = {
    "microvm": {"create": 20, "command": 60, "context": 60, "resume": 8, "fork": 4, "file": 3, "idle": 4},
    "process": {"create": 60, "command": 200, "context": 200, "resume": 0, "fork": 0, "file": 5, "idle": 8},
}


class Client:
    """One connection that is kept, and how many bytes went over it."""

    def __init__(self, service):
        self.connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=120)
        self.connection.connect()

    def close(self):
        self.connection.close()

    def ask(self, method, path, body=None, headers=None, want=None):
        """(status, data) of a request; `body` is bytes, or becomes JSON."""
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.connection.request(method, path, body, {"X-API-KEY": "e2b_" + 40 * "0", **(headers or {})})
        answer = self.connection.getresponse()
        data = answer.read()
        if want is not None and answer.status not in want:
            raise RuntimeError(f"{method} {path}: HTTP {answer.status} {data[:300]}")
        return answer.status, data

    def wire(self):
        """(sent, received) bytes so far, without TCP's and IP's own headers; what was sent twice counts twice."""
        info = self.connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        return tuple(struct.unpack_from("=Q", info, at)[0] if len(info) >= at + 8 else 0
                     for at in (TCP_INFO_SENT, TCP_INFO_RECEIVED))


class Sandbox:
    def __init__(self, client, template="base"):
        self.client = client
        self.made = json.loads(client.ask("POST", "/v2/sandboxes", {"templateID": template}, want=(201,))[1])
        self.id = self.made["sandboxID"]

    def headers(self, port, content=None):
        found = {"E2b-Sandbox-Id": self.id, "E2b-Sandbox-Port": port,
                 "X-Access-Token": self.made["envdAccessToken"]}
        return {**found, "Content-Type": content} if content else found

    def kill(self):
        self.client.ask("DELETE", f"/sandboxes/{self.id}", want=(204,))

    def command(self, text="true"):
        """What it wrote, run in a login shell as the SDKs do."""
        body = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-l", "-c", text]}, "stdin": False}).encode()
        data = self.client.ask("POST", "/process.Process/Start", b"\0" + struct.pack(">I", len(body)) + body,
                               self.headers(ENVD, "application/connect+json"), want=(200,))[1]
        events, out = [], b""
        while data:
            size = struct.unpack(">I", data[1:5])[0]
            events.append(json.loads(data[5:5 + size]).get("event", {}))
            data = data[5 + size:]
        for event in events:
            out += base64.b64decode(event.get("data", {}).get("stdout", ""))
        if not any(event.get("end", {}).get("status") == "exit status 0" for event in events):
            raise RuntimeError(f"'{text}' failed: {events}")
        return out

    def execute(self, code="1+1", result="2"):
        data = self.client.ask("POST", "/execute", {"code": code}, self.headers(CONTEXTS, "application/json"),
                               want=(200,))[1]
        if not any(json.loads(line).get("text") == result for line in data.splitlines()):
            raise RuntimeError(f"'{code}' is not {result}: {data[:300]}")

    def pause(self):
        self.client.ask("POST", f"/sandboxes/{self.id}/pause", {}, want=(204,))

    def resume(self):
        self.client.ask("POST", f"/v2/sandboxes/{self.id}/connect", {}, want=(201,))

    def fork(self, count):
        """The copies' ids."""
        data = json.loads(self.client.ask("POST", f"/sandboxes/{self.id}/fork", {"count": count}, want=(201,))[1])
        return [one["sandbox"]["sandboxID"] for one in data]


class Part:
    """One isolation's figures."""

    def __init__(self, report, service, isolation):
        self.report, self.service, self.isolation = report, service, isolation
        self.client = Client(service)
        self.counts = COUNTS[isolation]

    def add(self, kind, name, samples, wire=None):
        """`wire`: bytes (sent, received) of all samples together."""
        aim = AIMS[self.isolation].get(kind)
        self.report.add(f"sandbox: {name}", samples)
        if aim is not None:
            print(f"  aimed at: p50 of at most {aim} ms: {'reached' if quantile(samples, 0.5) <= aim else 'missed'}",
                  flush=True)
        if wire is not None:
            sent, received = (total / len(samples) for total in wire)
            self.report.samples[f"sandbox: {name}, bytes"] = {"sent": sent, "received": received}
            print(f"  on the wire, each: {sent:.0f} bytes sent by the client, {received:.0f} received", flush=True)

    def measure(self, kind, name, work):
        """As many samples of one call as COUNTS says, the bytes of all."""
        before = self.client.wire()
        samples = [timed(work) for _ in range(self.counts[kind])]
        after = self.client.wire()
        self.add(kind, name, samples, [b - a for a, b in zip(before, after)])

    def create(self):
        samples, wire = [], [0, 0]
        for _ in range(self.counts["create"]):
            wait_full(self.service)
            made = []
            before = self.client.wire()
            samples.append(timed(lambda: made.append(Sandbox(self.client))))
            wire = [total + b - a for total, a, b in zip(wire, before, self.client.wire())]
            made[0].kill()
        self.add("create", "create, one ready", samples, wire)

    def commands(self):
        box = Sandbox(self.client)
        box.command()
        self.measure("command", "command `true` in a login shell", box.command)
        box.kill()

    def files(self):
        box = Sandbox(self.client)
        data = os.urandom(1 << 20) * (LARGE >> 20)
        want = hashlib.sha256(data).hexdigest()
        octets = box.headers(ENVD, "application/octet-stream")
        self.measure("file", "64 MiB up",
                     lambda: self.client.ask("POST", "/files?path=/tmp/large", data, octets, want=(200,)))
        inside = box.command("sha256sum /tmp/large").split()[0].decode()
        got = []
        self.measure("file", "64 MiB down", lambda: got.append(
            self.client.ask("GET", "/files?path=/tmp/large", None, box.headers(ENVD), want=(200,))[1]))
        if inside != want or any(hashlib.sha256(g).hexdigest() != want for g in got):
            raise RuntimeError("a file of 64 MiB is not what was sent")
        box.kill()

    def pauses(self):
        box = Sandbox(self.client)
        box.command()
        paused, resumed = [], []
        for n in range(self.counts["resume"]):
            box.command(f"echo {n} > /tmp/round")
            paused.append(timed(box.pause))
            resumed.append(timed(box.resume))
            if box.command("cat /tmp/round") != f"{n}\n".encode():
                raise RuntimeError("what was written before a pause is lost")
        box.kill()
        self.add("pause", "pause of one with 512 MB", paused)
        self.add("resume", "resume of one with 512 MB", resumed)

    def forks(self):
        box = Sandbox(self.client)
        box.command()
        samples = []
        for _ in range(self.counts["fork"]):
            copies = []
            samples.append(timed(lambda: copies.extend(box.fork(5))))
            for copy in copies:
                self.client.ask("DELETE", f"/sandboxes/{copy}", want=(204,))
        box.kill()
        self.add("fork", "fork of a running one into 5", samples)

    def idle(self):
        """Private memory of the service's processes that each more sandbox adds."""
        count, boxes, found = self.counts["idle"], [], []
        settle(self.service)
        before = private_bytes(self.service)
        for _ in range(count):
            boxes.append(Sandbox(self.client))
            settle(self.service)
            now = private_bytes(self.service)
            found.append((now - before) / (1 << 20))
            before = now
        for box in boxes:
            box.kill()
        self.report.samples["sandbox: idle private MiB, each"] = found
        self.report.value(f"sandbox: private memory of an idle one, mean of {count}", sum(found) / count, "MiB")

    def contexts(self):
        box = self.interpreter()
        self.report.add("sandbox: the first code in a context", [timed(box.execute)])
        self.measure("context", "code `1+1` in a context", box.execute)
        box.kill()

    def interpreter(self):
        """A sandbox with the code interpreter, whose template is built when one is first wanted."""
        end, start = time.monotonic() + BUILDING_S, time.perf_counter()
        while True:
            status, data = self.client.ask("POST", "/v2/sandboxes", {"templateID": "code-interpreter-v1"})
            if status == 201:
                self.client.ask("DELETE", f"/sandboxes/{json.loads(data)['sandboxID']}", want=(204,))
                break
            if status != 503 or time.monotonic() > end:
                raise RuntimeError(f"no code interpreter: HTTP {status} {data[:300]}")
            time.sleep(0.2)
        self.report.value("sandbox: until the first code interpreter was there",
                          (time.perf_counter() - start) * 1000, "ms")
        return Sandbox(self.client, "code-interpreter-v1")


def private_bytes(service):
    total = 0
    for pid in service.family():
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # it ended, or is the kernel's
            continue
        total += sum(int(n) * 1024 for n in re.findall(r"^Private_\w+:\s+(\d+) kB", text, re.M))
    return total


def settle(service, seconds=10):
    """Waits until the pool is full again and memory stands still."""
    wait_full(service)
    last, end = -1, time.monotonic() + seconds
    while time.monotonic() < end:
        now = private_bytes(service)
        if abs(now - last) < 256 << 10:
            return
        last = now
        time.sleep(0.3)


def sandboxes(report, isolation):
    """All of it in a service of its own; the samples are kept under the isolation's name."""
    from service import Service, small_table

    report.samples, kept = {}, report.samples
    start = time.monotonic()
    report.heading(f"long-lived sandboxes, isolation {isolation}")
    with Service(ISOLATION=isolation, RUNTIMES_DIR=small_table(), VM_MEMORY_MB=512,
                 LIMIT_MEMORY_BYTES_MAX="384M", LIMIT_MEMORY_BYTES="256M", SANDBOX_READY=2,
                 POOL_SIZE=0 if isolation == "microvm" else 1) as service:
        part = Part(report, service, isolation)
        for work in (part.create, part.commands, part.files, part.idle):
            work()
        if isolation == "microvm":
            part.pauses()
            part.forks()
        part.contexts()
        part.client.close()
    report.value("this part took", time.monotonic() - start, "s")
    report.samples = {**kept, f"sandboxes {isolation}": report.samples}
