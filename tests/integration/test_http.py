#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The HTTP surface: routes, keep-alive, pipelining, size limits, slow clients, foreign names."""
import json
import pathlib
import socket
import sys
import time
import uuid

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import Daemon  # noqa: E402
from tap import Tap  # noqa: E402

MIB = 1 << 20


def is_error(answer, code, word):
    """The shape every error has."""
    status, headers, body = answer
    return (status == code and isinstance(body, dict) and body.get("code") == code
            and body.get("error") == word and body.get("message")
            and body.get("request_id") == headers["X-Request-Id"]
            and headers["Content-Type"] == "application/json")


def read_all(sock):
    data = b""
    while True:
        try:
            piece = sock.recv(65536)
        except ConnectionResetError:  # by who did not read all we sent
            return data
        if not piece:
            return data
        data += piece


def routes(t, d):
    status, headers, body = d.get("/health")
    t.check(status == 200 and body["status"] == "healthy", "GET /health is 200 and healthy", body)
    t.check(body["isolation"] == "fake" and "accel" in body and "time" in body,
            "/health says the isolation", body)
    t.check(uuid.UUID(headers["X-Request-Id"]).version == 4, "X-Request-Id is a UUID v4")
    status, _, body = d.get("/languages")
    t.check(status == 200 and body["languages"] == ["python", "rust"], "GET /languages", body)
    t.check([r["id"] for r in body["runtimes"]] == body["languages"]
            and all(r["version"] for r in body["runtimes"]), "runtimes have id and version", body)
    status, _, body = d.get("/debug/guest")
    t.check(status == 200 and body["cpu_count"] >= 1 and "cmdline" in body and "agent" in body,
            "GET /debug/guest", body)
    t.check(is_error(d.get("/nothing"), 404, "not_found"), "an unknown path is 404")
    t.check(is_error(d.get("/health/"), 404, "not_found"), "paths match exactly")
    t.check(is_error(d.get("/%68ealth"), 404, "not_found"), "paths are not decoded")
    t.check(d.get("/health?x=1")[0] == 200, "a query is ignored")
    answer = d.get("/execute")
    t.check(is_error(answer, 405, "method_not_allowed") and answer[1]["Allow"] == "POST",
            "GET /execute is 405 with Allow", answer)
    answer = d.request("POST", "/health", "{}")
    t.check(is_error(answer, 405, "method_not_allowed") and answer[1]["Allow"] == "GET, HEAD",
            "POST /health is 405 with Allow", answer)
    answer = d.request("BREW", "/languages")
    t.check(answer[0] == 405, "an unknown method is 405", answer)
    for method, path, allowed in (("PUT", "/sandboxes/metrics", "GET, HEAD, DELETE"),
                                  ("PATCH", "/jobs/batch", "POST, GET, HEAD, DELETE")):
        answer = d.request(method, path)
        t.check(answer[1]["Allow"] == allowed, f"what {path} allows is told once", answer[1]["Allow"])
    status, headers, body = d.request("HEAD", "/health")
    t.check(status == 200 and body is None and int(headers["Content-Length"]) > 0,
            "HEAD /health has no body")


def connections(t, d):
    connection = d.connect()
    ids = set()
    for _ in range(20):
        connection.request("GET", "/health")
        answer = connection.getresponse()
        answer.read()
        ids.add(answer.headers["X-Request-Id"])
    sock = connection.sock
    t.check(sock is not None and len(ids) == 20, "20 requests on one connection, 20 ids")
    connection.close()

    with d.socket() as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 +
                     b"GET /languages HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        data = read_all(sock)
    t.check(data.count(b"HTTP/1.1 200") == 4 and data.rstrip().endswith(b"}"),
            "four pipelined requests get four answers", data)

    with d.socket() as sock:
        sock.sendall(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
        t.check(b" 200 " in read_all(sock), "HTTP/1.0 works and is closed")

    body = json.dumps({"language": "python", "code": "out chunked\n"}).encode()
    with d.socket() as sock:
        sock.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                     b"Transfer-Encoding: chunked\r\n\r\n")
        for i in range(0, len(body), 7):
            piece = body[i:i + 7]
            sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        sock.sendall(b"0\r\n\r\n")
        t.check(b'"output":"chunked\\n"' in read_all(sock), "a chunked request body is put together")

    with d.socket() as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        read_all(sock)
    t.check(d.get("/health")[0] == 200, "bytes that are no HTTP harm nothing")


def sizes(t, d):
    big = b'{"language":"python","code":"' + b"x" * (20 * MIB) + b'"}'
    answer = d.request("POST", "/execute", big)
    t.check(is_error(answer, 413, "too_large") and answer[2]["field"] == "body",
            "a 20 MiB body is 413 and names the body", answer)
    with d.socket() as sock:
        sock.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20971520\r\n"
                     b"Expect: 100-continue\r\n\r\n")
        start = sock.recv(4096)
    t.check(start.startswith(b"HTTP/1.1 413"), "Expect: 100-continue gets 413 before the body", start)
    with d.socket() as sock:
        sock.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\n"
                     b"Content-Length: 99999999999999\r\n\r\n")
        start = sock.recv(4096)
    t.check(start.startswith(b"HTTP/1.1 413"), "an absurd length is 413 at once", start)
    body = b'{"language":"python","code":"out yes\\n"}'
    with d.socket() as sock:
        sock.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                     b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        start = sock.recv(4096)
        sock.sendall(body)
        data = read_all(sock)
    t.check(start.startswith(b"HTTP/1.1 100") and b'"output":"yes\\n"' in data,
            "Expect: 100-continue gets 100, then the answer", start + data)
    code = "out ok\n" + "#" * (3 * MIB)
    answer = d.execute(code)
    t.check(answer[0] == 200 and answer[2]["output"] == "ok\n", "3 MiB of code run", str(answer)[:300])
    with d.socket() as sock:
        try:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 200000 + b"\r\n\r\n")
            data = read_all(sock)
        except ConnectionError:
            data = b""
    t.check(b" 200 " not in data and d.get("/health")[0] == 200, "a huge header is refused", data[:200])
    for what, head, status in (
            ("headers of 40 KB", b"X: " + b"a" * 40000 + b"\r\n", 431),
            ("1500 headers", b"".join(b"X%d: y\r\n" % i for i in range(1500)), 431),
            ("headers of 24 KB", b"X: " + b"a" * 24000 + b"\r\n", 200)):
        with d.socket() as sock:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + head + b"\r\n")
            data = read_all(sock)
        t.check(data.startswith(b"HTTP/1.1 %d " % status), f"{what} are {status}", data[:100])
    with d.socket() as sock:
        sock.sendall(b"GET /health?" + b"a" * 40000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        data = read_all(sock)
    t.check(data.startswith(b"HTTP/1.1 414 "), "a target of 40 KB is 414", data[:100])


def names(t, d):
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost:80:80", ""):
        answer = d.get("/health", Host=host)
        t.check(is_error(answer, 403, "host_not_allowed"), f"Host '{host}' is 403", answer)
    for host in ("localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]:8000"):
        t.check(d.get("/health", Host=host)[0] == 200, f"Host '{host}' is answered")
    for origin in ("http://evil.example", "null", "file://", "https://localhost.evil.example"):
        answer = d.execute(headers={"Origin": origin})
        t.check(is_error(answer, 403, "origin_not_allowed"), f"Origin '{origin}' is 403", answer)
    t.check(d.execute(headers={"Origin": "http://localhost:3000"})[0] == 200,
            "a page of this machine may ask")
    with d.socket() as sock:
        sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        t.check(read_all(sock).startswith(b"HTTP/1.1 400 "), "two Host headers are 400")
    fetch = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    for site in ("cross-site", "same-site"):
        fetch["Sec-Fetch-Site"] = site
        t.check(is_error(d.get("/debug/guest", **fetch), 403, "origin_not_allowed")
                and is_error(d.execute(headers=fetch), 403, "origin_not_allowed"), f"what a {site} page fetches is 403")
    t.check(d.get("/health", **{**fetch, "Sec-Fetch-Mode": "navigate"})[0] == 200
            and d.get("/health", **{**fetch, "Sec-Fetch-Site": "same-origin"})[0] == 200
            and d.get("/health", **{"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"})[0] == 200,
            "following a link, the service's own pages and typing its address are not")
    answer = d.execute(headers={"Origin": f"http://3000-i{'0' * 20}.localhost:{d.port}"})
    t.check(is_error(answer, 403, "origin_not_allowed"), "a page of a sandbox may not drive the service", answer)
    answer = d.get("/health", Host=f"3000-i{'0' * 20}.localhost:{d.port}")
    t.check(answer[0] == 502 and "pool" not in str(answer[2]), "a sandbox's host name is that sandbox's alone", answer)
    answer = d.execute(headers={"Content-Encoding": "gzip"})
    t.check(answer[0] == 415, "a compressed body is 415", answer)


def framing(t, d):
    """What another server might read otherwise is refused, and nothing behind it is read."""
    head = b"POST /execute HTTP/1.1\r\nHost: localhost\r\n"
    behind = b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    for what, raw, field in (
            ("two kinds of length", b"Content-Length: 5\r\n" + chunked + b"\r\n0\r\n\r\n", "Content-Length"),
            ("two lengths", b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", "Content-Length"),
            ("a length twice", b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", "Content-Length"),
            ("chunked twice", 2 * chunked + b"\r\n0\r\n\r\n", "Transfer-Encoding"),
            ("another coding", b"Transfer-Encoding: gzip\r\n\r\n", "Transfer-Encoding"),
            ("a list of codings", b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding"),
            ("no coding", b"Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello", "Transfer-Encoding"),
            ("a space before the colon", b"Content-Length : 5\r\n\r\nhello", "headers"),
            ("a line end that is none", b"X: a\rContent-Length: 5\r\n\r\nhello", "headers"),
            ("a length on the next line", b"Content-Length:\r\n 5\r\n\r\nhello", "headers"),
            ("a length on two lines", b"Content-Length: 1\r\n 5\r\n\r\n" + 15 * b"x", "headers"),
            ("a length of a part", b"Content-Leng: 5\r\n\tth\r\n\r\n", "headers"),
            ("a coding on the next line", b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", "headers"),
            ("a coding of a part", b"Transfer-Encod: chunked\r\n ing\r\n\r\n", "headers"),
            ("another header on two lines", b"X-A: b\r\n c\r\n\r\n", "headers")):
        for sandbox in (b"", b"E2b-Sandbox-Id: abc\r\nE2b-Sandbox-Port: 80\r\n"):
            with d.socket() as sock:
                sock.sendall(head + sandbox + raw + behind)
                answer = read_all(sock)
            body = answer.partition(b"\r\n\r\n")[2]
            t.check(answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1 ") == 1
                    and json.loads(body)["field"] == field, f"{what} is refused" + (" for a sandbox" if sandbox else ""),
                    answer[-300:])
    with d.socket() as sock:
        sock.sendall(head.replace(b"1.1", b"1.0") + b"Connection: keep-alive\r\n" + chunked + b"\r\n0\r\n\r\n" + behind)
        answer = read_all(sock)
        t.check(answer.count(b"HTTP/1.1 ") == 1 and b'"field":"Transfer-Encoding"' in answer,
                "chunks are refused where HTTP has none", answer[-300:])
    with d.socket() as sock:
        sock.sendall(b"GET /ready HTTP/1.1\r\nHost:localhost\r\nX-A: \t b  \r\nX-B:\r\nX-C: \r\nConnection: close\r\n\r\n")
        answer = read_all(sock)
        t.check(answer.startswith(b"HTTP/1.1 200 "), "blanks around values, and empty values, are no fault", answer)
    with d.socket() as sock:
        body = json.dumps({"language": "python", "code": "out hi\n"}).encode()
        sock.sendall(head + b"transfer-encoding: Chunked\r\nConnection: close\r\n\r\n%x\r\n" % len(body) + body
                     + b"\r\n0\r\n\r\n")
        t.check(read_all(sock).startswith(b"HTTP/1.1 200 "), "a body in chunks is taken")


def allowed_names(t):
    with Daemon(ALLOWED_HOSTS="box.example, other.example") as d:
        t.check(d.get("/health", Host="box.example:8000")[0] == 200
                and d.execute(headers={"Origin": "https://other.example"})[0] == 200
                and d.execute(headers={"Origin": "https://other.example", "Sec-Fetch-Site": "cross-site"})[0] == 200
                and is_error(d.get("/health", Host="x.box.example"), 403, "host_not_allowed")
                and is_error(d.execute(headers={"Origin": "https://evil.example"}), 403, "origin_not_allowed"),
                "names that the operator lists are answered, others are not")


def many_connections(t):
    with Daemon(HTTP_CONNECTIONS_PER_ADDRESS=3, wait_ready=False) as d:
        held = [d.socket() for _ in range(3)]
        for sock in held:
            sock.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not sock.recv(4096).startswith(b"HTTP/1.1 "):
                raise RuntimeError("the first three connections are not answered")

        def refused():
            try:
                with d.socket() as sock:
                    sock.sendall(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    return sock.recv(1) == b""
            except ConnectionError:
                return True

        t.check(refused(), "one connection more of an address is closed")
        held.pop().close()
        d.wait(lambda: not refused(), "answered again")
        t.check(True, "and not once another has ended")
        for sock in held:
            sock.close()


def slow(t):
    with Daemon(HTTP_IDLE_MS=2000, HTTP_BODY_MS=2000) as d:
        for name, start in (("head", b"GET /hea"),
                            ("body", b"POST /execute HTTP/1.1\r\nHost: localhost\r\n"
                                     b"Content-Length: 100\r\n\r\n")):
            began = time.monotonic()
            with d.socket() as sock:
                try:
                    sock.sendall(start)
                    for _ in range(600):  # a byte now and then must not keep the connection
                        sock.sendall(b"x")
                        sock.settimeout(0.1)
                        try:
                            if sock.recv(1) == b"":
                                break
                        except TimeoutError:
                            pass
                except ConnectionError:
                    pass
            took = time.monotonic() - began
            t.check(1.6 < took < 40, f"a client that drips its {name} is closed", took)
        began = time.monotonic()
        with d.socket() as sock:
            t.check(sock.recv(1) == b"" and time.monotonic() - began < 40, "so is one that is silent")
        answer = d.execute("sleep 4500\nout done")
        t.check(answer[0] == 200 and answer[2]["output"] == "done\n",
                "one that waits for its answer is not", answer)


def slow_to_take(t):
    with Daemon(HTTP_WRITE_MS=1000, LIMIT_OUTPUT_BYTES_MAX="16M") as d:
        body = json.dumps({"language": "python", "code": f"flood {12 * MIB}\n",
                           "limits": {"output_bytes": 12 * MIB}}).encode()
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", d.port))
            sock.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
                         % len(body) + body)
            sock.settimeout(30)
            start = sock.recv(1000)
            time.sleep(4)
            try:
                whole = len(start + read_all(sock)) > 12 * MIB
            except ConnectionError:
                whole = False
        t.check(start.startswith(b"HTTP/1.1 200") and not whole,
                "a client that does not take its answer in time is cut off", start[:100])
        d.wait(lambda: d.running() == 0, "free")
        t.check(True, "and holds nothing")


def crowded(t):
    """Bodies that are held while they come have a limit in sum: 16 of the largest."""
    small = "out x\n" + "#" * 1000
    socks = []

    with Daemon(BODY_MAX_BYTES=4 * MIB) as d:
        def fill(count):
            for _ in range(count):
                socks.append(d.socket())
                socks[-1].sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\n"
                                  b"Content-Length: %d\r\n\r\n" % (4 * MIB)
                                  + b" " * (4 * MIB - 1))
            time.sleep(0.5)

        def refused():
            if d.execute(small)[0] == 429:
                return True
            fill(1)  # the small one came between, and one of the large ones was refused
            return False

        try:
            fill(16)
            d.wait(refused, "refused")
            answer = d.execute(small)
            t.check(is_error(answer, 429, "busy") and answer[1]["Retry-After"] == "1",
                    "too many large bodies at once are 429", answer)
        finally:
            for sock in socks:
                sock.close()
        d.wait(lambda: d.execute(small)[0] == 200, "taken again")
        t.check(True, "and the next are taken once they are gone")


def main():
    t = Tap()
    with Daemon() as d:
        for part in (routes, connections, sizes, framing, names):
            t.group(lambda tap, part=part: part(tap, d))
    t.group(allowed_names)
    t.group(many_connections)
    t.group(slow)
    t.group(slow_to_take)
    t.group(crowded)
    t.finish()


main()
