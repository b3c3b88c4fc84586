#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The data plane: routing, tokens, signatures, files and processes streamed, ports, upgrades.

plane_server.c is the server: our HTTP, the agent's data plane, no virtual machine.
"""
import base64
import hashlib
import http.client
import json
import os
import pathlib
import socket
import struct
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from tap import Tap  # noqa: E402

TOKEN = "0tQG31xiMp0IOQfaz9dcwi72L1CPo8e0"
MIB = 1 << 20


class Plane:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True)
        port, self.directory = self.process.stdout.readline().split()
        self.port = int(port)

    def say(self, word):
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()

    def wakes(self):
        self.say("wakes")
        return int(self.process.stdout.readline())

    def stop(self):
        self.say("stop")
        return self.process.wait(30)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def ask(self, method, path, sandbox=("iopen", 49983), body=None, headers=None, token=None,
            chunked=False):
        """One request; the answer's status, headers and body."""
        h = dict(headers or {})
        if sandbox:
            h["E2b-Sandbox-Id"], h["E2b-Sandbox-Port"] = sandbox[0], str(sandbox[1])
        if token:
            h["X-Access-Token"] = token
        c = self.connect()
        c.request(method, path, body, h, encode_chunked=chunked)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, r.headers, data


def code_of(answer):
    status, _, body = answer
    try:
        return status, json.loads(body).get("code")
    except ValueError:
        return status, None


def routing(t, p):
    t.check(p.ask("GET", "/health")[0] == 204, "by headers: GET /health is 204")
    for headers in ({"E2b-Sandbox-Id": "iopen"}, {"E2b-Sandbox-Port": "49983"}):
        t.check(code_of(p.ask("GET", "/health", None, headers=headers)) == (400, 400),
                f"{headers} alone is 400")
    for sandbox in (("iopen", 0), ("iopen", 65536), ("iopen", "x"), ("IOPEN", 49983),
                    ("../x", 49983), ("", 49983), ("a" * 64, 49983)):
        t.check(p.ask("GET", "/health", sandbox)[0] == 400, f"{sandbox} is 400")
    for host in ("49983-iopen.example.org", "49983-iopen.localhost:3000", "49983-IOPEN.LOCALHOST",
                 "49983-iopen-old.example.org"):
        t.check(p.ask("GET", "/health", None, headers={"Host": host})[0] == 204, f"Host {host}")
    for host in ("49983-iopen_.example.org", "x-iopen.example.org", "-iopen.a", "49983-.a"):
        t.check(p.ask("GET", "/health", None, headers={"Host": host})[0] == 403,
                f"Host {host} is no sandbox's and no name of ours")
    for sandbox in ("inone", "ipaused"):
        status, headers, body = p.ask("GET", "/health", (sandbox, 49983))
        t.check(status == 502 and body.decode() ==
                '{"sandboxId":"%s","message":"The sandbox was not found","code":502}' % sandbox
            and headers["Content-Type"] == "application/json", f"{sandbox} is 502", body)
    for path in ("/init", "/freeze", "/unfreeze", "/fsfreeze", "/fsthaw", "/collapse"):
        for method in ("GET", "POST"):
            t.check(code_of(p.ask(method, path)) == (404, 404), f"{method} {path} is 404")
    for path in ("/%69nit", "//init", "/files/../init", "/./init"):
        t.check(p.ask("POST", path, body="{}")[0] == 404, f"POST {path} reaches nothing")


def tokens(t, p):
    secret = ("isecret", 49983)
    call = "/filesystem.Filesystem/Stat"
    body = json.dumps({"path": "/"})
    json_type = {"Content-Type": "application/json"}
    t.check(p.ask("GET", "/health", secret)[0] == 204, "health needs no token")
    t.check(code_of(p.ask("POST", call, secret, body, json_type)) == (401, 401), "none is 401")
    for wrong in ("x", TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
        t.check(code_of(p.ask("POST", call, secret, body, json_type, wrong)) == (401, 401),
                "a wrong one is 401")
    t.check(p.ask("POST", call, secret, body, json_type, TOKEN)[0] == 200, "the right one is taken")
    t.check(p.ask("GET", "/files?path=/etc/hostname", secret)[0] == 401, "files: 401 likewise")


def waking(t, p):
    refused = [p.ask("GET", "/files?path=x", ("iasleep", 49983))[0],
               p.ask("GET", "/files?path=x", ("iasleep", 49983), token="wrong")[0],
               p.ask("POST", "/init", ("iasleep", 49983), token="asleep")[0], p.ask("GET", "/", ("iasleep", 3000))[0]]
    t.check(refused == [401, 401, 404, 403] and p.wakes() == 0, "who may not does not wake a paused sandbox", refused)
    status, _, _ = p.ask("GET", "/health", ("iasleep", 49983))
    t.check(status == 204 and p.wakes() == 1, "who may does, and is answered by it", (status, p.wakes()))
    for name, want, message in (("ibroken", 502, "The sandbox is paused and cannot be resumed"),
                                ("icrowded", 503, "The sandbox takes no more requests right now")):
        for port in (49983, 49999, 3000):
            status, _, body = p.ask("GET", "/health", (name, port))
            t.check(status == want and json.loads(body) == {"sandboxId": name, "message": message, "code": want},
                    f"{name} port {port}: one that cannot be woken is {want}", (status, body))


def spent(t, p):
    begins = [("/process.Process/Start", 49983), ("/execute", 49999), ("/execute/", 49999), ("/contexts", 49999),
              ("/contexts/a/restart", 49999)]
    for path, port in begins:
        status, headers, body = p.ask("POST", path, ("ispent", port), "{}", {"Content-Type": "application/json"})
        said = json.loads(body)
        t.check(status == 429 and said["code"] == "resource_exhausted" and "TENANT_CPU_SECONDS_PER_HOUR" in said["message"]
                and headers["Retry-After"] == "62", f"{path} begins nothing for who has used up his time", (status, body))
    for sandbox in ("ispent", "itired"):
        status, headers, body = p.ask("POST", "/process.Process/Start", (sandbox, 49983), b"\0\0\0\0\2{}",
                                      {"Content-Type": "application/connect+json"})
        flags, size = struct.unpack(">BI", body[:5])
        t.check((status, flags, size) == (200, 2, len(body) - 5) and headers["Retry-After"] == "62"
                and headers["Content-Type"] == "application/connect+json"
                and json.loads(body[5:])["error"]["code"] == "resource_exhausted",
                f"{sandbox}: a stream is told so by its last message", (status, body))
    for method, path, port, want in (("GET", "/health", 49983, 204), ("GET", "/files?path=/etc/passwd", 49983, 200),
                                     ("POST", "/process.Process/List", 49983, 200), ("POST", "/execute", 49998, 502),
                                     ("GET", "/contexts", 49999, 502), ("POST", "/executed", 49999, 502)):
        status, _, body = p.ask(method, path, ("ispent", port), "{}" if method == "POST" else None,
                                {"Content-Type": "application/json"})
        t.check(status == want, f"{method} {path} of port {port} goes on", (status, body[:100]))
    for path, port in (("/health", 49983), ("/", 3000), ("/process.Process/Start", 49983)):
        status, headers, _ = p.ask("GET", path, ("itired", port))
        t.check((status, headers["Retry-After"]) == (429, "62"), f"and {path} of port {port} wakes nothing", status)


def signature(path, operation, user, expires=None):
    text = ":".join([path, operation, user, TOKEN] + ([str(expires)] if expires else []))
    return "v1_" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def signatures(t, p):
    t.check(signature("hello.txt", "read", "user") ==
            "v1_gUtH/s9YCJWgCizjfUxuWfhFE4QSydOWEIIvfLwDr6E", "the test makes known signatures")
    path = p.directory + "/signed and + more"
    sent = p.directory + "/signed+and+%2B+more"

    def quote(s):
        return s.replace("+", "%2B").replace("/", "%2F")
    up = quote(signature(path, "write", ""))
    down = quote(signature(path, "read", ""))
    octets = {"Content-Type": "application/octet-stream"}
    status, _, body = p.ask("POST", f"/files?path={sent}&signature={up}", None, b"signed", octets)
    t.check(status == 200 and json.loads(body)[0]["path"] == path, "an upload by link alone", body)
    status, headers, body = p.ask("GET", f"/files?path={sent}&signature={down}", None)
    t.check((status, body) == (200, b"signed") and headers["Access-Control-Allow-Origin"] == "*",
            "a download by link alone")
    t.check(p.ask("GET", f"/files?path={sent}&signature={down}", ("isecret", 49983))[2] ==
            b"signed", "the same with the sandbox named")
    for name, text, message in (
            ("of the other operation", f"&signature={up}", "invalid signature"),
            ("of another path", f"x&signature={down}", "invalid signature"),
            ("of another user", f"&username=a&signature={down}", "invalid signature"),
            ("empty", "&signature=", "invalid signature"),
            ("changed", f"&signature={down[:-1]}", "invalid signature")):
        answer = p.ask("GET", f"/files?path={sent}{text}", None)
        t.check(answer[0] == 401 and json.loads(answer[2]) == {"message": message, "code": 401},
                f"a signature {name} is 401", answer[2])
    then = int(time.time()) + 100
    ok = quote(signature(path, "read", "", then))
    t.check(p.ask("GET", f"/files?path={sent}&signature={ok}&signature_expiration={then}",
                  None)[2] == b"signed", "one that ends later")
    t.check(p.ask("GET", f"/files?path={sent}&signature={ok}&signature_expiration={then + 9}",
                  None)[0] == 401, "its end cannot be moved")
    past = int(time.time()) - 100
    old = quote(signature(path, "read", "", past))
    for sandbox in (None, ("isecret", 49983)):
        answer = p.ask("GET", f"/files?path={sent}&signature={old}&signature_expiration={past}",
                       sandbox)
        t.check(answer[0] == 401 and
                answer[2] == b'{"code":401,"message":"signature is already expired"}',
                "one that is over", answer[2])
    t.check(p.ask("GET", f"/files?path={sent}&signature={down}", ("isecret", 49983),
                  token="wrong")[0] == 401, "a wrong token is not saved by a signature")
    answer = p.ask("GET", f"/files?path={sent}", ("isecret", 49983))
    t.check(json.loads(answer[2])["message"] == "missing signature query parameter", "none at all")


def files(t, p):
    data = os.urandom(MIB) * 64

    def pieces():
        for at in range(0, len(data), 100000):
            yield data[at:at + 100000]
    octets = {"Content-Type": "application/octet-stream", "X-Metadata-Colour": "blue",
              "Transfer-Encoding": "chunked"}
    target = f"/files?path={p.directory}/big"
    start = time.monotonic()
    status, _, body = p.ask("POST", target, body=pieces(), headers=octets, chunked=True)
    up = time.monotonic() - start
    t.check(status == 200 and json.loads(body)[0]["metadata"] == {"colour": "blue"},
            f"64 MiB up, chunked ({up:.1f} s)", body)
    with open(p.directory + "/big", "rb") as f:
        t.check(f.read() == data, "and intact")
    start = time.monotonic()
    status, headers, body = p.ask("GET", target)
    t.check(status == 200 and body == data and "X-Request-Id" not in headers,
            f"64 MiB down, intact ({time.monotonic() - start:.1f} s)")
    status, headers, body = p.ask("GET", target, headers={"Range": "bytes=10-19"})
    t.check(status == 206 and body == data[10:20] and
            headers["Content-Range"] == f"bytes 10-19/{len(data)}", "a part of it", status)
    status, _, body = p.ask("GET", f"/files?path={p.directory}/none")
    t.check(code_of((status, None, body)) == (404, 404), "none is 404")
    octets = {"Content-Type": "application/octet-stream"}
    for count, value, want in ((40, "v", 200), (100, "v", 400), (1, "v" * 20000, 400)):
        named = {f"X-Metadata-k{n}": value for n in range(count)}
        status, _, body = p.ask("POST", f"/files?path={p.directory}/m", body=b"x",
                                headers=dict(octets, **named))
        t.check(status == want and (want != 200 or len(json.loads(body)[0]["metadata"]) == 40),
                f"{count} headers of metadata are {want}", body)
    c = p.connect()
    c.request("POST", target, b"x", {"E2b-Sandbox-Id": "isecret", "E2b-Sandbox-Port": "49983"})
    t.check(c.getresponse().status == 401, "a refused upload is answered")
    c.close()


def envelope(message):
    text = json.dumps(message).encode()
    return struct.pack(">BI", 0, len(text)) + text


def start_request(script, seconds=None):
    body = envelope({"process": {"cmd": "/bin/sh", "args": ["-c", script]}})
    head = (f"POST /process.Process/Start HTTP/1.1\r\nHost: a\r\nE2b-Sandbox-Id: iopen\r\n"
            f"E2b-Sandbox-Port: 49983\r\nContent-Type: application/connect+json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n")
    return head.encode() + body


def read_until(sock, what, seconds=60):
    sock.settimeout(seconds)
    data = b""
    while what not in data:
        piece = sock.recv(65536)
        if not piece:
            break
        data += piece
    return data


def processes(t, p):
    on, mark = pathlib.Path(p.directory, "on"), pathlib.Path(p.directory, "outlived")
    wait = f"until [ -e {on} ]; do sleep 0.02; done; "
    s = socket.create_connection(("127.0.0.1", p.port))
    s.sendall(start_request(f"echo now; {wait} echo later"))
    data = read_until(s, b"bm93Cg==")
    t.check(b"bm93Cg==" in data, "output comes at once")
    on.touch()
    data += read_until(s, b"\r\n0\r\n\r\n")
    t.check(b"bGF0ZXIK" in data and data.endswith(b"0\r\n\r\n"), "and to its end")
    s.close()
    on.unlink()
    s = socket.create_connection(("127.0.0.1", p.port))
    s.sendall(start_request(f"{wait} echo > {mark}"))
    read_until(s, b"start")
    s.close()
    time.sleep(0.5)
    on.touch()
    until = time.monotonic() + 60
    while not mark.exists() and time.monotonic() < until:
        time.sleep(0.02)
    t.check(mark.exists(), "a process outlives its client")
    results = []

    def run(n):
        c = socket.create_connection(("127.0.0.1", p.port))
        c.sendall(start_request(f"for i in 1 2 3; do echo {n}; done"))
        got = read_until(c, b"\r\n0\r\n\r\n")
        c.close()
        want = base64.b64encode(f"{n}\n".encode()).decode().rstrip("=")[:3].encode()
        results.append(want in got and b"exit status 0" in got)
    threads = [threading.Thread(target=run, args=(n,)) for n in range(100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    t.check(len(results) == 100 and all(results), "100 at once, each with its own output")


def browsers(t, p):
    ask = {"Access-Control-Request-Method": "POST", "Origin": "https://example.org",
           "Access-Control-Request-Headers": "e2b-sandbox-id,e2b-sandbox-port,x-access-token"}
    status, headers, _ = p.ask("OPTIONS", "/files", None, headers=ask)
    t.check(status == 204 and headers["Access-Control-Allow-Origin"] == "*" and
            "x-access-token" in headers["Access-Control-Allow-Headers"] and
            "POST" in headers["Access-Control-Allow-Methods"], "a preflight of headers to come")
    status, _, _ = p.ask("OPTIONS", "/files", None, headers=dict(ask, Host="49983-iopen.localhost"))
    t.check(status == 204, "a preflight by Host")
    ask["Access-Control-Request-Headers"] = "content-type"
    status, _, _ = p.ask("OPTIONS", "/execute", None, headers=dict(ask, Host="localhost"))
    t.check(status == 403, "one that is not about a sandbox is not")
    t.check(p.ask("GET", "/health", headers={"Origin": "https://example.org"})[1]
            ["Access-Control-Allow-Origin"] == "*", "answers are for every origin")


class Service:
    """A service in the sandbox: every connection goes to `serve` in a thread."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.serve = serve
        self.requests = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            try:
                c, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(c,), daemon=True).start()

    def _one(self, c):
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                piece = c.recv(65536)
                if not piece:
                    return
                head += piece
            head, rest = head.split(b"\r\n\r\n", 1)
            self.requests.append(head.decode())
            self.serve(c, head.decode(), rest)
        except OSError:
            pass
        finally:
            c.close()


def fixed(answer):
    return Service(lambda c, head, rest: c.sendall(answer))


def upload_size(c, head, rest):
    """Answers how many bytes and chunks came."""
    total = 0
    if "chunked" in head.lower():
        while True:
            while b"\r\n" not in rest:
                rest += c.recv(65536)
            size, rest = rest.split(b"\r\n", 1)
            need = int(size, 16) + 2
            while len(rest) < need:
                rest += c.recv(65536)
            rest = rest[need:]
            total += need - 2
            if need == 2:
                break
    else:
        length = int([h for h in head.split("\r\n") if h.lower().startswith("content-length")][0]
                     .split(":")[1])
        total = len(rest)
        while total < length:
            total += len(c.recv(65536))
    text = str(total).encode()
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))


def ports(t, p):
    s = fixed(b"HTTP/1.1 201 Made\r\nContent-Type: text/x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
              b"X-Long: " + b"v" * 3000 + b"\r\nContent-Length: 5\r\nConnection: close, X-Hop\r\n"
              b"X-Hop: 1\r\nKeep-Alive: 3\r\n\r\nhello")
    for sandbox, headers in ((("iopen", s.port), {}),
                             (None, {"Host": f"{s.port}-iopen.localhost:{p.port}"})):
        status, answer, body = p.ask("GET", "/a%20b?x=1&y", sandbox,
                                     headers=dict(headers, **{"X-Mine": "1", "Connection": "X-Gone",
                                                              "X-Gone": "1",
                                                              "X-Access-Token": "kept"}))
        t.check(status == 201 and body == b"hello" and answer.get_all("Set-Cookie") ==
                ["a=1", "b=2"] and len(answer["X-Long"]) == 3000, "a port's answer, as it is")
        t.check("X-Hop" not in answer and "Keep-Alive" not in answer and
                "X-Request-Id" not in answer and "Cache-Control" not in answer,
                "without what is of its connection or ours")
        head = s.requests[-1]
        t.check(head.startswith("GET /a%20b?x=1&y HTTP/1.1\r\n") and "X-Mine: 1" in head and
                "X-Access-Token: kept" in head, "the port's request", head)
        t.check("X-Gone" not in head and "sandbox-id" not in head.lower() and
                head.count("Connection: close") == 1 and head.lower().count("\nhost:") == 1,
                "without what is of the client's connection or ours", head)
    status, headers, body = p.ask("HEAD", "/", ("iopen", s.port))
    t.check(status == 201 and headers["Content-Length"] == "5" and body == b"", "HEAD", headers)
    for answer, want in (
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n"
             b"T: x\r\n\r\n", (200, b"abcde")),
            (b"HTTP/1.0 200 OK\r\n\r\nto the end", (200, b"to the end")),
            (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", (204, b"")),
            (b"HTTP/1.1 304 Not\r\nContent-Length: 10\r\n\r\n", (304, b"")),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nnot this", (200, b""))):
        status, _, body = p.ask("GET", "/", ("iopen", fixed(answer).port))
        t.check((status, body) == want, f"an answer {answer[:60]}", (status, body))
    for answer in (b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
                   b"HTTP/1.1 101 Switching\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 9999,
                   b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
                   b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                   b"HTTP/1.1 999 x\r\n\r\n", b"HTTP/1.1 102 x\r\n\r\n" * 20):
        status, _, body = p.ask("GET", "/", ("iopen", fixed(answer).port))
        t.check(status == 502 and json.loads(body)["code"] == 502, f"{answer[:40]} is 502", body)
    for answer in (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
                   b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
                   b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\nzz\r\n"):
        try:
            p.ask("GET", "/", ("iopen", fixed(answer).port))
            broken = False
        except (http.client.IncompleteRead, ConnectionError):
            broken = True
        t.check(broken, f"{answer[-20:]} is broken off")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    status, _, body = p.ask("GET", "/", ("iopen", port))
    t.check(status == 502 and json.loads(body) == {
        "sandboxId": "iopen", "message": "The sandbox is running but port is not open",
        "port": port, "code": 502}, "a closed port is 502", body)
    t.check(p.ask("GET", "/", ("inone", s.port))[0] == 502, "a port of no sandbox is 502")
    up = Service(upload_size)
    status, _, body = p.ask("POST", "/", ("iopen", up.port), b"x" * (8 * MIB))
    t.check((status, body) == (200, str(8 * MIB).encode()), "8 MiB to a port", body)
    status, _, body = p.ask("POST", "/", ("iopen", up.port), iter([b"y" * 100000] * 50),
                            {"Transfer-Encoding": "chunked"}, chunked=True)
    t.check((status, body) == (200, b"5000000"), "5 MB to a port, chunked", body)


def private(t, p):
    s = fixed(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    for headers in ({}, {"E2b-Traffic-Access-Token": "x"}):
        answer = p.ask("GET", "/", ("iprivate", s.port), headers=headers)
        t.check(code_of(answer) == (403, 403) and not s.requests, f"{headers} is 403")
    t.check(p.ask("GET", "/", ("iprivate", s.port),
                  headers={"E2b-Traffic-Access-Token": "traffic"})[2] == b"ok", "its token opens it")
    t.check("traffic" not in s.requests[-1].lower(), "the service does not get to know it")
    t.check(p.ask("GET", "/health", ("iprivate", 49983))[0] == 204, "the agent is not restricted")


def streams(t, p):
    gone, go_on = threading.Event(), threading.Event()

    def slow(c, head, rest):
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        go_on.wait(60)
        c.sendall(b"data: 1\n\n")
        while c.recv(100):
            pass
        gone.set()
    s = Service(slow)
    c = socket.create_connection(("127.0.0.1", p.port))
    c.sendall(f"GET / HTTP/1.1\r\nHost: {s.port}-iopen.x\r\n\r\n".encode())
    head = read_until(c, b"\r\n\r\n")
    t.check(b"\r\n\r\n" in head and not go_on.is_set(), "the head comes before there is a body")
    go_on.set()
    t.check(b"data: 1" in read_until(c, b"data: 1"), "and its first piece at once")
    c.close()
    t.check(gone.wait(60), "a client that leaves closes the service's connection")


def upgrades(t, p):
    left = threading.Event()

    def echo(c, head, rest):
        c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                  b"Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nfirst")
        while True:
            data = rest or c.recv(65536)
            rest = b""
            if not data:
                break
            c.sendall(data)
        left.set()

    def dial():
        c = socket.create_connection(("127.0.0.1", p.port))
        c.sendall((f"GET /ws HTTP/1.1\r\nHost: {s.port}-iopen.localhost\r\nConnection: keep-alive, "
                   "Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly").encode())
        return c, read_until(c, b"firstearly")
    s = Service(echo)
    c, data = dial()
    t.check(data.startswith(b"HTTP/1.1 101 ") and b"firstearly" in data and
            b"Upgrade: websocket" in data and b"Sec-WebSocket-Accept: x" in data, "an upgrade", data)
    head = s.requests[-1]
    t.check("Connection: Upgrade\r\nUpgrade: websocket" in head and "Sec-WebSocket-Key: k" in head,
            "the service is asked for it", head)
    big = os.urandom(4 * MIB)
    sender = threading.Thread(target=c.sendall, args=(big,))
    sender.start()
    got = b""
    while len(got) < len(big):
        piece = c.recv(MIB)
        if not piece:
            break
        got += piece
    sender.join()
    t.check(got == big, "4 MiB there and back")
    c.shutdown(socket.SHUT_WR)
    t.check(left.wait(60), "the end of the client's sending is passed on")
    t.check(c.recv(100) == b"", "and the service's end comes back")
    c.close()
    left.clear()
    c, data = dial()
    c.close()
    t.check(left.wait(60), "a client that leaves closes the service's connection")
    return dial()[0]


def killed(t, p, upgraded):
    """A sandbox that dies breaks off what runs in it."""
    s = socket.create_connection(("127.0.0.1", p.port))
    s.sendall(start_request("echo now; sleep 1000"))
    data = read_until(s, b"bm93Cg==")
    p.say("kill")
    rest = read_until(s, b"never")
    t.check(b"0\r\n\r\n" not in data + rest,
            "the stream is broken off, without an end", rest)
    upgraded.settimeout(60)
    t.check(upgraded.recv(100) == b"", "so is an upgraded connection")
    t.check(code_of(p.ask("GET", "/health")) == (502, 502), "and /health is 502")
    t.check(p.ask("GET", "/", ("iopen", 80))[0] == 502, "and ports too")


def held(p):
    process = pathlib.Path(f"/proc/{p.process.pid}")
    return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))


def nothing_left(t, p, before):
    for _ in range(600):
        if held(p) == before:
            break
        time.sleep(0.1)
    t.check(held(p) == before, "no descriptor and no thread is left", (before, held(p)))


def main():
    t = Tap()
    p = Plane(sys.argv[1])
    before = held(p)
    try:
        for part in (routing, tokens, waking, spent, signatures, files, processes, browsers, ports, private,
                     streams):
            t.group(part, p)
        t.group(lambda t, p: upgrades(t, p).close(), p)
        t.group(nothing_left, p, before)
        t.group(lambda t, p: killed(t, p, upgrades(t, p)), p)
    finally:
        t.check(p.stop() == 0, "the server ends, with nothing held")
    t.finish()


if __name__ == "__main__":
    main()
