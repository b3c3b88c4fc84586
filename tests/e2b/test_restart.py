#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What becomes of sandboxes when the service ends. At once: paused ones are there again, files, processes and all;
running ones are lost and told so. When it is told to stop, those that run in virtual machines run on with the next
start, for programs that use the SDK (restart.mjs) and by plain HTTP."""
import http.client
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "service"), str(HERE.parent / "lib")]
import npm  # noqa: E402
import sdk_rig  # noqa: E402
from service import ISOLATION, STATE, Service, small_table, survivors, wait_until  # noqa: E402
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


def kill(service):
    """The supervisor; the rest ends with it, a moment later."""
    family = service.family()
    service.stop(signal.SIGKILL)
    wait_until(lambda: not survivors(family), 100)


def killed(t, service):
    for left in ask(service, "GET", "/snapshots")[1]:  # of a test that failed
        ask(service, "DELETE", f"/templates/{left['snapshotID']}")
    for left in ask(service, "GET", "/v2/sandboxes?limit=100")[1]:
        ask(service, "DELETE", f"/sandboxes/{left['sandboxID']}")
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
    kill(service)
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
    t.check(ask(service, "DELETE", f"/sandboxes/{made['sandboxID']}")[0] == 204, "and what began as it is ended")
    no_image_left(t)


def begin_sdk(t, service):
    """The SDK's program, once it waits for the restart; None where there is no SDK."""
    try:
        sdk_rig.install()
    except npm.Unusable as why:
        must = "e2b" in os.environ.get("CSB_MUST_RUN", "").split(",")
        t.check(not must, "the SDK can be used", why)
        print(f"# without the SDK: {why}")
        return None
    program = subprocess.Popen(["node", str(HERE / "restart.mjs")], env=sdk_rig.environment(service), text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    pass_on(t, program, "# restart now\n")
    return program


def pass_on(t, program, until=None):
    """Its checks are ours, up to that line."""
    for line in program.stdout:
        if line == until:
            return
        verdict, _, name = line.rstrip().partition(" - ")
        if verdict.split(" ")[0] in ("ok", "not"):
            t.check(verdict.startswith("ok"), "SDK: " + name)
        elif not line.startswith("1.."):  # the plan of these checks alone
            print(line, end="", flush=True)
    if until is not None:
        t.check(False, "the SDK's program waits for the restart")


def end_sdk(t, program):
    if program is None:
        return
    if program.poll() is None:
        program.stdin.write("go on\n")
        program.stdin.close()
    pass_on(t, program)
    t.check(program.wait(100) == 0, "the SDK's program ends well", program.returncode)


def stopped(t, service):
    """A service that is told to stop does not wait for the streams of sandboxes; they are told why they end. Returns the
    sandbox and the process's pid."""
    made = ask(service, "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3000})[1]
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    body = json.dumps({"process": {"cmd": "/bin/sleep", "args": ["6000"]}}).encode()
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
    return made, json.loads(start)["event"]["start"]["pid"]


def processes(service, made):
    status, answer = ask(service, "POST", "/process.Process/List", b"{}", {**plane(made), "Content-Type": "application/json"})
    return status, [p["pid"] for p in answer.get("processes", ())] if isinstance(answer, dict) else answer


def survives(t, service):
    """Sandboxes outlive a restart, and whoever asks first need not wait for the others."""
    program = begin_sdk(t, service)
    made, pid = stopped(t, service)
    service.stop()
    service.start(ready=False)

    def answers():
        try:
            return ask(service, "GET", "/health", None, plane(made))[0] == 204
        except OSError:
            return False
    t.check(wait_until(answers, 300), "a request brings its sandbox back", service.log_tail())
    service.wait_ready()
    status, info = ask(service, "GET", f"/sandboxes/{made['sandboxID']}")
    t.check(status == 200 and info["state"] == "running", "it runs", info)
    status, pids = processes(service, made)
    t.check(status == 200 and pid in pids, "and so does its process", (status, pids, pid))
    end_sdk(t, program)
    t.check(ask(service, "DELETE", f"/sandboxes/{made['sandboxID']}")[0] == 204, "it is ended")


def no_image_left(t):
    images = STATE / "templates/images"
    t.check(wait_until(lambda: not any(images.iterdir()), 100), "no image is left", list(images.iterdir()))


def killed_meanwhile(t, service):
    """The service is killed while it stores sandboxes: each is there or told to be lost, and nothing else is left."""
    made = [ask(service, "POST", "/v2/sandboxes", {"templateID": "base", "timeout": 3000})[1] for _ in range(3)]
    service.process.send_signal(signal.SIGTERM)
    images = STATE / "templates/images"
    names = {one["sandboxID"] for one in made}
    wait_until(lambda: names & set(os.listdir(images)) or service.process.poll() is not None, 60, 0.002)
    kill(service)
    service.start()
    listed = {s["sandboxID"] for s in ask(service, "GET", "/v2/sandboxes")[1]}
    for one in made:
        name = one["sandboxID"]
        if name in listed:
            t.check(ask(service, "GET", "/health", None, plane(one))[0] == 204, "one was stored, and runs", service.log_tail())
            t.check(ask(service, "DELETE", f"/sandboxes/{name}")[0] == 204, "it is ended")
        else:
            t.check(ask(service, "GET", f"/sandboxes/{name}")[0] == 404 and f"{name} of the former run is lost" in service.log_tail(200),
                    "one is lost, and told to be", service.log_tail())
    no_image_left(t)


def main():
    t = Tap()
    service = Service(RUNTIMES_DIR=small_table(), POOL_SIZE=0, SANDBOX_READY=2, DRAIN_MS=DRAIN_S * 1000,
                      SANDBOX_KEEP_MS=DRAIN_S * 1000)
    service.start()
    try:
        if ISOLATION == "microvm":
            t.group(killed, service)
            t.group(survives, service)
            t.group(killed_meanwhile, service)
        else:
            t.group(stopped, service)
    finally:
        service.stop()
    t.finish()


main()
