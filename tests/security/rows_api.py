# SPDX-License-Identifier: Apache-2.0
"""Abuse of the API: requests instead of programs."""
import concurrent.futures
import json
import re
import socket
import time

from model import MIB, Row, want

LANGUAGES = {"python": "print(6*7)", "typescript": "console.log(6*7)", "bash": "echo $((6*7))",
             "javascript": "console.log(6*7)", "rust": 'fn main(){println!("{}",6*7)}'}


def odd_code(rig):
    for language, code in LANGUAGES.items():
        for bad in (code + "\0", "", " \n\t"):
            rig.refused(field="code", language=language, code=bad)
        for raw in ('"\\ud800"', '"\\ud800x"', '"\\udc00\\ud800"'):
            rig.refused(field="body", raw='{"language":"%s","code":%s}' % (language, raw))
    for raw in (b'{"language":"python","code":"\xff"}', b'\xef\xbb\xbf{"language":"python","code":"1"}',
                b'{"language":"python","code":"1"}x', b'{"language":"python","code":"1"', b"\0", b"[]", b"1"):
        rig.refused(field="body", raw=raw)
    # A byte order mark is part of the program, which each interpreter takes in its own way, always the same.
    for language in ("python", "typescript"):
        said = [rig.run(language, "\ufeff" + LANGUAGES[language]).out for _ in range(2)]
        want(said == ["42\n", "42\n"], f"{language} runs a program with a mark", said)


def huge(rig):
    """Too much is refused before it is all there, and 16 MB is not too much."""
    with socket.create_connection(("127.0.0.1", rig.service.port), 20) as s:
        s.sendall(b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 209715200\r\n\r\n")
        sent, block = 0, b" " * 65536
        try:
            while sent < 200 * MIB:
                s.sendall(block)
                sent += len(block)
        except OSError:
            pass
        want(sent < 64 * MIB, "not all of 200 MB is taken", sent)
    status, answer = early_answer(rig, 200 * MIB)
    want(status == 413 and answer["error"] == "too_large", "413", (status, answer))
    rig.refused(field="args", args=["x" * 3000000])
    rig.refused(field="args", args=["x"] * 257)
    rig.refused(field="env.A", env={"A": "x" * 3000000})
    rig.refused(field="env", env={f"A{n}": "x" for n in range(129)})
    rig.refused(field="files", files={f"f{n}": "x" for n in range(256)})
    run = rig.run("python", "#" * (8 * MIB) + "\nprint(6*7)")
    want(run.out == "42\n", "8 MB of program run", run.answer["status"])

    def large(_):
        status, answer = rig.service.post(language="python", code="pass", stdin="x" * (14 * MIB))
        return status, answer.get("error") or answer.get("status")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(large, range(12)))
    allowed = {(200, "ok"), (429, "busy")}
    want(set(answers) <= allowed and (200, "ok") in answers, "taken or busy", answers)


def early_answer(rig, length):
    """The answer to a head that announces so much, before any of it is sent."""
    with socket.create_connection(("127.0.0.1", rig.service.port), 20) as s:
        s.sendall(b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % length)
        s.sendall(b"{")
        data = bytearray()
        while b"}" not in data and (chunk := s.recv(65536)):
            data += chunk
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body[body.index(b"{"):body.rindex(b"}") + 1])


def bad_limits(rig):
    for value in (-1, 0, 301, "5", "NaN", True, [], {}, 1e300):
        rig.refused(field="timeout", timeout=value)
    for raw in ("NaN", "Infinity", "-Infinity", "1e999", "0x10", "+1", ".5", "1."):
        rig.refused(field="body", raw='{"language":"python","code":"1","timeout":%s}' % raw)
    for name in ("memory_bytes", "processes", "output_bytes", "disk_bytes", "cpu_ms", "wall_ms"):
        for value in (-5, 0, 1 << 62, (1 << 63) - 1, 1.5, "1", True, [1]):
            rig.refused(field=f"limits.{name}", limits={name: value})
        rig.refused(field="body", raw='{"language":"python","code":"1","limits":{"%s":%d}}' % (name, 1 << 64))
    for name in ("memory_mb", "cpus", "max_output", "MEMORY_BYTES", "memory_bytes "):
        rig.refused(field=name, **{name: 1})
        rig.refused(field=f"limits.{name}", limits={name: 1})
    rig.refused(timeout=1, limits={"wall_ms": 1000})


def confusion(rig):
    for field, values in {"code": ({"$gt": ""}, ["1"], 1, None, True), "language": (["python"], {}, 1, None),
                          "stdin": (1, ["x"], True), "args": ("x", {"0": "x"}, 1),
                          "env": ([], "A=B", 1), "files": ([], "x", 1), "stream": ("yes", 1, []),
                          "limits": ([], 1, "x")}.items():
        for value in values:
            rig.refused(field=field, **{field: value})
    rig.refused(field="args[1]", args=["x", 1])
    rig.refused(field="files.a", files={"a": 1})
    rig.refused(files={"a": {"content": "!!!", "encoding": "base64"}})
    rig.refused(field="body", raw='{"language":"python","code":"1","code":"2"}')
    for deep in ("[" * 10000 + "]" * 10000, "[" * 10000, '{"a":' * 10000 + "1" + "}" * 10000, "[" * 5000000):
        rig.refused(field="body", raw='{"language":"python","code":"1","x":%s}' % deep)
    rig.refused(field="body", raw='{"language":"python","code":"1","x":[%s]}' % ",".join("1" * 300000))
    for field in ("__proto__", "constructor", "x" * 10000, "\u202ecode", "code\0"):
        rig.refused(**{field: 1})


def strange_names(rig):
    for language in ("../../bin", "/bin/sh", "python;id", "python\n", "python\0", "PYTHON ", "$(id)", "*",
                     "a" * 100000, "python/../python", ".", ""):
        answer = rig.refused(field="language", language=language)
        want(len(json.dumps(answer)) < 2000, "the answer does not echo it all", len(json.dumps(answer)))
    rig.refused(field="version", version="../3.11")
    for field in ("template", "snapshot", "image", "sandbox"):
        for value in ("a;id", "/etc/x", "../x"):
            rig.refused(field=field, **{field: value})


def unknown_paths(rig):
    """What is not there is always the same 404, whatever it looks like."""
    said = set()
    for path in ("/sandboxes/x/files?path=/", "/sandboxes/../x", "/runs/1",
                 "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//health", "/health/", "/health%00",
                 "/languages/../health", "/EXECUTE", "/" + "a" * 4000, "/debug/guest/../../health"):
        status, _, data = rig.service.request("GET", path)
        answer = json.loads(data)
        said.add((status, answer["error"], answer["message"]))
    want(len(said) == 1 and next(iter(said))[0] == 404, "one 404 for all", said)
    for method in ("DELETE", "PUT", "GET", "PATCH", "TRACE", "PROPFIND"):
        want(rig.service.request(method, "/execute")[0] == 405, f"{method} is 405")
    unknown_sandboxes(rig)


def unknown_sandboxes(rig):
    """Whatever an id looks like and whatever is asked of it, a sandbox that is not there is the same 404,
    its own part of the message apart; and its data plane is the same 502."""
    key = {"X-API-KEY": "e2b_" + "0" * 40, "Content-Type": "application/json"}
    calls = (("GET", "", None), ("DELETE", "", None), ("POST", "/timeout", '{"timeout": 5}'),
             ("POST", "/pause", "{}"), ("POST", "/connect", '{"timeout": 5}'), ("GET", "/metrics", None))
    said, planes = set(), set()
    for name in ("00000000-0000-4000-8000-000000000000", "i" + "a" * 20, "i" * 300, "%2e%2e", "x'--", "a%00b"):
        for method, tail, body in calls:
            status, _, data = rig.service.request(method, f"/sandboxes/{name}{tail}", body, key)
            answer = json.loads(data)
            said.add((status, answer["code"], re.sub('"[a-z0-9]*"', "ID", answer["message"])))
    for name in ("i" + "a" * 20, "i" + "b" * 20):
        status, _, data = rig.service.request("GET", "/files?path=/etc/passwd", None,
                                              {"E2b-Sandbox-Id": name, "E2b-Sandbox-Port": "49983"})
        planes.add((status, data.decode().replace(name, "ID")))
    want(len(said) == 1 and next(iter(said))[0] == 404, "one 404 for all sandboxes", said)
    want(len(planes) == 1 and next(iter(planes))[0] == 502, "one 502 for all data planes", planes)


def other_sites(rig):
    """Pages of other sites and names that were made to resolve to loopback. Keys: test_tenants.py."""
    evil = [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example:8080"},
            {"Origin": "http://localhost.evil.example"}, {"Host": "127.0.0.1.evil.example"},
            {"Host": "localhost@evil.example"}, {"Host": "evil.example", "Origin": "http://evil.example"},
            {"Origin": f"http://evil.example:{rig.service.port}"}, {"Host": ""},
            {"Host": "localhost evil.example"}, {"Origin": "file://"},
            {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, {"Sec-Fetch-Site": "same-site"}]
    for headers in evil:
        rig.refused(403, headers=headers)
        rig.refused(403, headers={**headers, "Content-Type": "text/plain"})
        for path in ("/health", "/languages", "/debug/guest"):
            status, _, _ = rig.service.request("GET", path, headers=headers)
            want(status == 403, f"{path} is closed as well", (headers, status))
    status, headers, _ = rig.service.request("GET", "/health", headers={"Origin": "http://localhost"})
    want(status == 200 and headers.get("Access-Control-Allow-Origin") is None, "no CORS for anybody")
    status, _, _ = rig.service.request("GET", "/health", headers={
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="})
    want(status != 101, "there is no web socket", status)
    said = ambiguous(rig)
    want(all(status == 0 or 400 <= status < 500 for status in said), "refused or closed", said)


def ambiguous(rig):
    """Statuses of requests that two parsers may read in two ways; 0: no answer."""
    found = []
    for head in (b"Host: 127.0.0.1\r\nHost: evil.example\r\nContent-Length: 2\r\n",
                 b"Host: 127.0.0.1\r\nContent-Length: 2\r\nContent-Length: 50\r\n",
                 b"Host: 127.0.0.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                 b"Host: 127.0.0.1\r\nContent-Length: -1\r\n", b"Content-Length: 2\r\n"):
        with socket.create_connection(("127.0.0.1", rig.service.port), 60) as s:
            s.sendall(b"POST /execute HTTP/1.1\r\n" + head + b"Connection: close\r\n\r\n" + b"[]" * 25)
            try:
                data = s.recv(4096)
            except ConnectionError:
                data = b""
        found.append(int(data.split()[1]) if data else 0)
    return found


def parallel(rig):
    """Many runs at once, each with a word of its own: no answer holds another's."""
    count = 200 if rig.world.isolation == "process" else 12

    def one(number):
        word = f"word-{number:05d}-" * 50
        run = rig.run("python", "import sys\nprint(input()+sys.argv[1])", stdin=word, args=[word])
        want(run.out == word * 2 + "\n", "its own word, twice", run.answer)
        return run.answer["request_id"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(one, range(count)))
    want(len(set(ids)) == count, "every request has an id of its own", count - len(set(ids)))
    leaving_clients(rig)


def leaving_clients(rig):
    """Clients that go away in the middle: their runs end with them."""
    body = json.dumps({"language": "python", "code": "import time\ntime.sleep(250)", "timeout": 250}).encode()
    for _ in range(4):
        s = socket.create_connection(("127.0.0.1", rig.service.port), 60)
        s.sendall(b"POST /execute HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(0.2)
        s.close()
    end = time.monotonic() + 60
    rig.neighbour.go.clear()
    while time.monotonic() < end and rig.health()["pool"]["running"] + rig.health()["pool"]["queued"]:
        time.sleep(0.1)
    want(rig.health()["pool"]["running"] == 0, "their runs are over", rig.health()["pool"])
    rig.neighbour.go.set()


def crowd(rig):
    """More than there is room for: all are answered, the rest with 429 and when to come again."""
    def one(_):
        status, headers, data = rig.service.request("POST", "/execute", json.dumps(
            {"language": "python", "code": "import time\ntime.sleep(0.5)\nprint(6*7)", "timeout": 60}))
        answer = json.loads(data)
        return status, answer.get("output"), answer.get("error"), headers.get("Retry-After")
    with concurrent.futures.ThreadPoolExecutor(120) as pool:
        answers = list(pool.map(one, range(120)))
    for status, output, error, retry in answers:
        if status == 200:
            want(output == "42\n", "a result is right", output)
        else:
            want(status == 429 and error == "busy" and int(retry) > 0, "429 with Retry-After",
                 (status, error, retry))
    done = sum(status == 200 for status, *_ in answers)
    want(10 <= done < 120, "some were taken and some not", done)


def busy(status, answer):
    return status == 429 and answer["error"] == "busy"


def slow(status, answer):
    """A crowd makes everybody wait, and is told so."""
    return busy(status, answer) or (status == 200 and answer["output"] == "42\n")


def rows(_):
    return [
        Row(78, "code that is not text", action=odd_code),
        Row(79, "huge requests", action=huge, neighbour=slow),
        Row(82, "limits out of range", action=bad_limits),
        Row(83, "types, unknown fields, duplicates, depth", action=confusion),
        Row(84, "names with paths and shell characters", action=strange_names),
        Row(86, "ids of others", action=unknown_paths),
        Row(87, "other sites, other hosts", action=other_sites),
        Row(88, "many at once", action=parallel, neighbour=busy),
        Row(89, "a crowd", action=crowd, neighbour=slow),
    ]
