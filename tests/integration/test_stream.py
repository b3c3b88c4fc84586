#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""POST /execute as server-sent events, and what becomes of a run whose client goes away."""
import base64
import json
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import Daemon, ended  # noqa: E402
from tap import Tap  # noqa: E402


def open_stream(d, code, header=True, **fields):
    connection = d.connect()
    if not header:
        fields["stream"] = True
    connection.request("POST", "/execute", json.dumps({"language": "python", "code": ended(code), **fields}),
                       {"Accept": "text/event-stream"} if header else {})
    return connection, connection.getresponse()


def events(answer):
    """Yields (event, data)."""
    name = None
    for line in answer:
        line = line.decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


def joined(found, name):
    return "".join(data["text"] for event, data in found if event == name)


def order(t, d):
    for header in (True, False):
        connection, answer = open_stream(d, "out one\nsleep 3000\nerr two\nexit 2", header)
        t.check(answer.status == 200 and answer.headers["Content-Type"] == "text/event-stream",
                "an event stream is answered", answer.headers)
        found, running = [], None
        for event in events(answer):
            if event[0] == "stdout" and running is None:
                running = d.running()
            found.append(event)
        connection.close()
        names = [name for name, _ in found]
        t.check(names[0] == "start" and names[-1] == "result" and set(names[1:-1]) ==
                {"stdout", "stderr"}, "start, output, result", found)
        t.check(found[0][1]["request_id"] == found[-1][1]["request_id"] ==
                answer.headers["X-Request-Id"], "one id through all", found)
        t.check(joined(found, "stdout") == "one\n" and joined(found, "stderr") == "two\n", "the texts")
        t.check(running == 1, "output comes when it is written", running)
        r = found[-1][1]
        t.check(r["status"] == "error" and r["exit_code"] == 2 and "stdout" not in r and
                "output" not in r and "execution_time" in r, "the result leaves the texts out", r)
        t.check(r["reason"] == "exit" and r["limits_hit"] == [] and r["usage"]["output_bytes"] == 8 and
                r["usage"]["processes_peak"] == 1, "and has the verdict and its figures", r)


def utf8(t, d):
    text = "é€😀" * 30000
    connection, answer = open_stream(d, "stdin", stdin=text)
    found = list(events(answer))
    connection.close()
    t.check(joined(found, "stdout") == text and found[-1][1]["lossy"] is False,
            "characters cut between pieces are whole again", found[-1])
    bad = {"content": base64.b64encode(b"x\xe2\x82").decode(), "encoding": "base64"}
    connection, answer = open_stream(d, "stdin", stdin=bad)
    found = list(events(answer))
    connection.close()
    t.check(joined(found, "stdout") == "x\ufffd" and found[-1][1]["lossy"] is True,
            "a character never ended is one U+FFFD", found)


def errors(t, d):
    connection, answer = open_stream(d, "out x\nsleep 200\ndie")
    found = list(events(answer))
    connection.close()
    t.check(found[-1][0] == "error" and found[-1][1]["error"] == "sandbox_lost" and
            found[-1][1]["may_have_run"] is True, "a lost sandbox is an error event", found)
    connection, answer = open_stream(d, "", True)
    body = json.loads(answer.read())
    connection.close()
    t.check(answer.status == 400 and body["field"] == "code", "bad input is a plain 400", body)


def slow_reader(t, d):
    size = 700000  # within the default limit, beyond what is buffered
    connection, answer = open_stream(d, f"flood {size}")
    time.sleep(1)
    found = list(events(answer))
    connection.close()
    t.check(len(joined(found, "stdout")) == size and found[-1][1]["status"] == "ok",
            "a slow reader gets everything", found[-1])


def leaving(t, d):
    for name, header in (("stream", True), ("plain request", None)):
        connection = d.connect()
        connection.request("POST", "/execute", json.dumps({"language": "python", "code": "sleep 200000", "timeout": 250}),
                           {"Accept": "text/event-stream"} if header else {})
        d.wait(lambda: d.running() == 1, "running")
        connection.sock.close() if not header else connection.close()
        d.wait(lambda: d.running() == 0, "cancelled")
        t.check(True, f"closing a {name} ends its run")
    with d.socket() as sock:
        body = json.dumps({"language": "python", "code": "sleep 200000\n", "timeout": 250}).encode()
        sock.sendall(b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" %
                     len(body) + body)
        d.wait(lambda: d.running() == 1, "running")
        sock.shutdown(socket.SHUT_WR)
        d.wait(lambda: d.running() == 0, "cancelled")
        told = sock.makefile("rb").read()
        t.check(b" 503 " in told.splitlines()[0] and b'"error":"cancelled"' in told,
                "closing the sending half ends it too, and the client is told", told)
    connection, answer = open_stream(d, "flood 900000\nsleep 200000", timeout=250)
    d.wait(lambda: d.running() == 1, "running")
    answer.read(1000)
    answer.close()
    connection.close()
    d.wait(lambda: d.running() == 0, "cancelled")
    t.check(d.execute()[0] == 200, "leaving amid unread output does as well")


def crowd(t):
    with Daemon(POOL_SIZE=8, POOL_MAX=16, QUEUE_MAX=200) as d:
        done, wrong = [], []

        def one(i):
            connection, answer = open_stream(d, f"out {i}\nsleep 20\nflood 5000\nexit {i % 200}")
            found = list(events(answer)) or [(None, {})]
            connection.close()
            if found[-1][1].get("exit_code") != i % 200 or not joined(found, "stdout").startswith(f"{i}\n"):
                wrong.append((i, answer.status, found[-1]))
            done.append(i)

        threads = [threading.Thread(target=one, args=(i,)) for i in range(60)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        t.check(len(done) == 60 and not wrong, "60 streams at once, each with its own output", wrong)


def main():
    t = Tap()
    with Daemon(POOL_SIZE=3) as d:
        for part in (order, utf8, errors, slow_reader, leaving):
            t.group(lambda tap, part=part: part(tap, d))
    t.group(crowd)
    t.finish()


main()
