#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of sandboxes when the service ends at once: paused ones are there again, files, processes and
all; running ones are lost and told so. By plain HTTP."""
import http.client
import json
import pathlib
import signal
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "service"))
from service import ISOLATION, STATE, Service, small_table, wait_until  # noqa: E402
from tap import Tap  # noqa: E402

DRAIN_S = 150


def ask(service, method, path, body=None, headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        connection.request(method, path, body if isinstance(body, (bytes, type(None))) else json.dumps(body),
                           {"X-API-KEY": "any", **(headers or {})})
        answer = connection.getresponse()
        text = answer.read()
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text) if text else None
    except ValueError:
        return answer.status, text


def plane(made):
    return {"E2b-Sandbox-Id": made["sandboxID"], "E2b-Sandbox-Port": "49983",
            "X-Access-Token": made["envdAccessToken"]}


def killed(t, service):
    for left in ask(service, "GET", "/snapshots")[1]:  # of a test that failed
        ask(service, "DELETE", f"/templates/{left['snapshotID']}")
    paused = ask(service, "POST", "/v2/sandboxes", {"templateID": "base", "metadata": {"a": "b"}})[1]
    asleep = ask(service, "POST", "/v2/sandboxes", {"templateID": "base", "autoPause": True, "autoResume": {"enabled": True}})[1]
    lost = ask(service, "POST", "/v2/sandboxes", {"templateID": "base"})[1]
    data = bytes(range(256)) * 8000
    status, _ = ask(service, "POST", "/files?path=kept", data,
                    {**plane(paused), "Content-Type": "application/octet-stream"})
    t.check(status == 200, "a file is written", status)
    status, snapshot = ask(service, "POST", f"/sandboxes/{paused['sandboxID']}/snapshots", {"name": "before"})
    t.check(status == 201, "a snapshot is made of it", (status, snapshot))
    t.check(ask(service, "POST", f"/sandboxes/{paused['sandboxID']}/pause", {})[0] == 204, "it is paused")
    t.check(ask(service, "POST", f"/sandboxes/{asleep['sandboxID']}/pause", {})[0] == 204, "and one that requests wake")
    service.stop(signal.SIGKILL)  # the supervisor; the rest ends with it
    service.start()
    t.check(lost["sandboxID"] in service.log_tail(60), "the running one is told to be lost", service.log_tail())
    t.check(ask(service, "GET", f"/sandboxes/{lost['sandboxID']}")[0] == 404, "and is gone")
    status, info = ask(service, "GET", f"/sandboxes/{paused['sandboxID']}")
    t.check(status == 200 and info["state"] == "paused" and info["metadata"] == {"a": "b"}, "the paused one is there", info)
    status, again = ask(service, "POST", f"/v2/sandboxes/{paused['sandboxID']}/connect", {})
    t.check(status == 201 and again["envdAccessToken"] == paused["envdAccessToken"], "and resumed", (status, again))
    t.check(ask(service, "GET", "/files?path=kept", None, plane(paused)) == (200, data), "with its files")
    t.check(ask(service, "DELETE", f"/sandboxes/{paused['sandboxID']}")[0] == 204, "and ended")
    t.check(ask(service, "GET", "/files?path=/etc/hostname", None, plane(asleep))[0] in (200, 404), "a request wakes the other",
            ask(service, "GET", f"/sandboxes/{asleep['sandboxID']}"))
    t.check(ask(service, "DELETE", f"/sandboxes/{asleep['sandboxID']}")[0] == 204, "which is ended, too")
    t.check(ask(service, "GET", "/snapshots") == (200, [snapshot]), "the snapshot is there")
    status, made = ask(service, "POST", "/v2/sandboxes", {"templateID": "before"})
    t.check(status == 201 and ask(service, "GET", "/files?path=kept", None, plane(made)) == (200, data),
            "and a sandbox begins as it", (status, made))
    t.check(ask(service, "DELETE", f"/templates/{snapshot['snapshotID'].replace(':', '%3A')}")[0] == 204, "it is deleted")
    images = STATE / "templates/images"
    t.check(wait_until(lambda: not any(images.iterdir()), 100), "no image is left", list(images.iterdir()))


def stopped(t, service):
    """A service that is told to stop does not wait for the streams of sandboxes; they are told why they end."""
    made = ask(service, "POST", "/v2/sandboxes", {"templateID": "base"})[1]
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    body = json.dumps({"process": {"cmd": "/bin/sleep", "args": ["600"]}}).encode()
    connection.request("POST", "/process.Process/Start", bytes([0, 0, 0, 0, len(body)]) + body,
                       {**plane(made), "Content-Type": "application/connect+json"})
    answer = connection.getresponse()
    first = answer.read(5)
    start = answer.read(int.from_bytes(first[1:], "big"))
    t.check(b'"start"' in start, "a command runs", start)
    begun = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    try:
        rest = answer.read()
    except http.client.IncompleteRead as error:
        rest = error.partial
    t.check(rest[:1] == b"\x02" and json.loads(rest[5:])["error"]["code"] == "unavailable",
            "its stream ends with an error that says so", rest)
    service.process.wait(200)
    t.check(time.monotonic() - begun < DRAIN_S, "and nobody waited for it", time.monotonic() - begun)


def main():
    t = Tap()
    service = Service(RUNTIMES_DIR=small_table(), POOL_SIZE=0, SANDBOX_READY=2, DRAIN_MS=DRAIN_S * 1000)
    service.start()
    try:
        if ISOLATION == "microvm":
            t.group(killed, service)
        t.group(stopped, service)
    finally:
        service.stop()
    t.finish()


main()
