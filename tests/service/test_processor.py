#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Processor time of long-lived sandboxes: what one burns is its tenant's, who begins nothing more once
he has used up his own; what runs goes on, and can be looked at and ended."""
import base64
import json
import pathlib
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from service import ISOLATION, Service, small_table, wait_until  # noqa: E402
from tap import Tap  # noqa: E402

BUDGET_S = 8 if ISOLATION == "process" else 90  # where the processor is emulated, starts take much of it
CONNECT = "application/connect+json"
BURN = "setsid sh -c 'while :; do :; done' >/dev/null 2>&1 </dev/null & echo $!"


class Tenant:
    def __init__(self, service):
        self.service = service
        self.key = {"X-API-KEY": "e2b_" + 40 * "0", "Content-Type": "application/json"}

    def ask(self, method, path, body=None):
        """(status, headers, JSON)"""
        status, headers, data = self.service.request(method, path, None if body is None else json.dumps(body), self.key)
        return status, headers, json.loads(data) if data else None

    def make(self):
        status, _, made = self.ask("POST", "/v2/sandboxes", {"templateID": "base", "timeout": 600})
        if status != 201:
            raise RuntimeError(f"HTTP {status}: {made}")
        return made

    def plane(self, made, method, path, body=None, content="application/json"):
        return self.service.request(method, path, body, {
            "Content-Type": content, "E2b-Sandbox-Id": made["sandboxID"], "E2b-Sandbox-Port": "49983",
            "X-Access-Token": made["envdAccessToken"]})

    def command(self, made, script):
        """(why it was refused or None, headers, what it wrote)"""
        body = json.dumps({"process": {"cmd": "/bin/bash", "args": ["-c", script]}, "stdin": False}).encode()
        status, headers, data = self.plane(made, "POST", "/process.Process/Start",
                                           b"\0" + struct.pack(">I", len(body)) + body, CONNECT)
        if status != 200:
            raise RuntimeError(f"HTTP {status}: {data}")
        out, error = b"", None
        while data:
            size = struct.unpack(">I", data[1:5])[0]
            message = json.loads(data[5:5 + size])
            out += base64.b64decode(message.get("event", {}).get("data", {}).get("stdout", ""))
            error = message.get("error", error)
            data = data[5 + size:]
        return error, headers, out.decode()


def is_refused(answer):
    return answer[0] == 429 and int(answer[1]["Retry-After"]) >= 1 and answer[2]["code"] == 429


def test_burning(t, tenant):
    burning, idle = tenant.make(), tenant.make()
    error, _, pid = tenant.command(burning, BURN)
    t.check(error is None and pid.strip().isdigit(), "a program is left to compute", (error, pid))
    began = time.monotonic()
    used_up = wait_until(lambda: tenant.command(idle, "true")[0], BUDGET_S * 6 + 60, 0.5)
    t.check(used_up, "what it takes is counted")
    print(f"# after {time.monotonic() - began:.1f} s of {BUDGET_S}")
    error, headers, out = tenant.command(idle, "echo ran")
    t.check(error["code"] == "resource_exhausted" and "TENANT_CPU_SECONDS_PER_HOUR" in error["message"]
            and int(headers["Retry-After"]) >= 1 and out == "", "no command begins, and why", (error, out))
    refused = tenant.ask("POST", "/v2/sandboxes", {"templateID": "base"})
    t.check(is_refused(refused) and "processor" in refused[2]["message"], "no sandbox either", refused)
    return burning, idle, int(pid)


def test_rest(t, tenant, burning, idle, pid):
    names = {burning["sandboxID"], idle["sandboxID"]}
    listed = tenant.ask("GET", "/v2/sandboxes")[2]
    t.check({entry["sandboxID"] for entry in listed if entry["state"] == "running"} == names, "they run on", listed)
    status, _, data = tenant.plane(burning, "GET", f"/files?path=/proc/{pid}/cmdline")
    t.check(status == 200 and b"while" in data, "so does the program, and files are read", (status, data))
    t.check(tenant.plane(idle, "POST", "/process.Process/List", "{}")[0] == 200, "processes are listed")
    t.check(tenant.ask("POST", f"/sandboxes/{idle['sandboxID']}/connect", {"timeout": 60})[0] == 200,
            "one that runs is connected to")
    t.check(all(tenant.ask("DELETE", f"/sandboxes/{name}")[0] == 204 for name in names), "and all of it ends")
    t.check(is_refused(tenant.ask("POST", "/v2/sandboxes", {"templateID": "base"})), "which gives nothing back")


def main():
    t = Tap()
    with Service(TENANT_CPU_SECONDS_PER_HOUR=BUDGET_S, SANDBOX_READY=0, RUNTIMES_DIR=small_table()) as service:
        tenant = Tenant(service)
        test_rest(t, tenant, *test_burning(t, tenant))
    t.finish()


main()
