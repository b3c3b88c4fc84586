#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The log: lines of JSON or text that name the request, its trace and its sandbox, and hold nothing of
what a client sent. And traceparent: taken, answered, ignored when malformed.
"""
import json
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import Daemon  # noqa: E402
from tap import Tap  # noqa: E402

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
SECRET = "hunter2hunter2"
FIELDS = {"time", "level", "program", "message", "request_id", "trace_id", "sandbox_id"}


def entries(d):
    """The lines as objects, the text of those that are none."""
    parsed, odd = [], []
    for line in list(d.log):
        try:
            parsed.append(json.loads(line))
        except ValueError:
            odd.append(line)
    return parsed, odd


def about(d, word, what):
    """Waits for the line about a request: it is written when the answer has been sent."""
    found = []

    def there():
        found[:] = [e for e in entries(d)[0] if e.get(word) == what]
        return bool(found)
    d.wait(there, f"a line with {word} {what}")
    return found[0]


def send_secrets(d):
    """Requests with the secret in every place a client may put one; the ids of their answers."""
    key = {"X-API-KEY": "e2b_" + SECRET, "Authorization": "Bearer " + SECRET, "X-Access-Token": SECRET,
           "Cookie": SECRET}
    answers = [
        d.execute(f"out {SECRET}", files={SECRET + ".txt": SECRET}, stdin=SECRET, args=[SECRET],
                  env={"SECRET": SECRET}, headers=key),
        d.execute("exit 3 " + SECRET, headers=key), d.execute("die " + SECRET, headers=key),
        d.execute("out x", language=SECRET), d.execute(raw='{"' + SECRET + '": 1}'),
        d.execute(raw=SECRET), d.request("GET", f"/{SECRET}?{SECRET}={SECRET}", headers=key),
        d.request("GET", f"/files?path=/x&signature=v1_{SECRET}", headers=key),
        d.request("GET", "/sandboxes/" + SECRET, headers=key),
        d.request("POST", "/v2/sandboxes", json.dumps({"templateID": SECRET}), key),
        d.request("GET", "/files?path=" + SECRET, headers={**key, "E2b-Sandbox-Id": SECRET,
                                                           "E2b-Sandbox-Port": "49983"}),
    ]
    made = d.request("POST", "/v2/sandboxes", json.dumps({
        "templateID": "base", "metadata": {"a": SECRET}, "envVars": {"A": SECRET}}), key)
    answers.append(d.request("GET", "/sandboxes/" + made[2]["sandboxID"], headers=key))
    return made[2], [headers["X-Request-Id"] for _, headers, _ in answers if headers["X-Request-Id"]]


def json_lines(t):
    with Daemon(LOG_FORMAT="json", LOG_LEVEL="debug") as d:
        made, ids = send_secrets(d)
        line = about(d, "sandbox_id", made["sandboxID"])
        t.check("/sandboxes/*" in line["message"] and line["request_id"] == ids[-1],
                "a line names the sandbox it is about, and the request", line)
        _, headers, _ = d.execute("out hi", headers={"traceparent": PARENT})
        line = about(d, "request_id", headers["X-Request-Id"])
        t.check(line["trace_id"] == TRACE and line["level"] == "debug" and "sandbox_id" not in line
                and re.fullmatch(r"POST /execute: answered 200 after [0-9.]+ ms", line["message"]),
                "a line names the request and its trace", line)
        for one in ids:
            about(d, "request_id", one)
        parsed, odd = entries(d)
        t.check(not odd and all(set(e) <= FIELDS and {"time", "level", "program", "message"} <= set(e)
                                for e in parsed), "every line is an object of known members", odd or parsed)
        lost = [e for e in parsed if e["level"] == "warn" and "answered 503" in e["message"]]
        t.check(lost and lost[0]["request_id"] in ids, "a failed request is a warning", lost)
        secrets = [SECRET, made["envdAccessToken"]]
        t.check(not [line for line in d.log if any(s in line for s in secrets)],
                "nothing that a client sent or got as a secret is in any line", d.log)
    t.check(all(e["program"] in ("codesandboxd", "supervisor", "csb-launch") for e in entries(d)[0])
            and not entries(d)[1], "to the last line", d.log[-5:])


def text_lines(t):
    with Daemon(LOG_LEVEL="debug") as d:
        made, ids = send_secrets(d)
        _, headers, _ = d.execute("out hi", headers={"traceparent": PARENT})
        want = f" debug codesandboxd: POST /execute: answered 200 after "
        end = f" request={headers['X-Request-Id']} trace={TRACE}\n"
        d.wait(lambda: any(want in line and line.endswith(end) for line in list(d.log)), "a line of the request")
        t.check(any(f" request={ids[-1]} sandbox={made['sandboxID']}\n" in line for line in d.log),
                "text says the same", d.log)
        t.check(not [line for line in d.log if SECRET in line], "and as little", d.log)


def quiet(t, d):
    d.execute("out hi")
    d.request("GET", "/nothing")
    status = [d.request("GET", "/", headers={"E2b-Sandbox-Id": "i" + "0" * 20, "E2b-Sandbox-Port": "80"})[0],
              d.request("POST", "/v2/sandboxes", json.dumps({"templateID": "base", "volumeMounts": [{"name": "v", "path": "/v"}]}))[0]]
    t.check(status == [502, 501], "a sandbox that there is not, something that there is not", status)
    t.check(not [line for line in d.log if "answered" in line], "requests that went well, or wrong by who sent "
            "them, are not in the log unless LOG_LEVEL=debug", d.log)


def probes(t):
    """A service that cannot make its template, as its machines end at once."""
    image = {name: __file__ for name in ("KERNEL_PATH", "INITRD_PATH", "ROOTFS_PATH")}
    with Daemon(wait_ready=False, ISOLATION="microvm", ACCEL="tcg", QEMU_PATH="/bin/false", QUEUE_WAIT_MS=1000,
                **image) as d:
        d.wait(lambda: any("cannot build the template" in line for line in list(d.log)), "the reason in the log")
        status = [d.get("/ready")[0], d.get("/health")[0], d.get("/debug/guest")[0]]
        t.check(status == [503, 503, 429], "it is not ready", status)
        t.check(not [line for line in d.log if "answered" in line], "who asks for that gets no line each time", d.log)


def trace(t, d):
    _, headers, _ = d.execute("out hi", headers={"traceparent": PARENT})
    got = headers["traceparent"]
    t.check(re.fullmatch(rf"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-01", got), "the answer is of the same trace", got)
    _, again, _ = d.execute("out hi", headers={"traceparent": PARENT})
    t.check(again["traceparent"] not in (None, got), "each request has a span of its own")
    _, headers, _ = d.execute("out hi", headers={"traceparent": PARENT, "Accept": "text/event-stream"})
    t.check(headers["traceparent"].startswith(f"00-{TRACE}-"), "a streamed answer, too")
    status, headers, _ = d.execute("x", language="nothing", headers={"traceparent": PARENT})
    t.check(status == 400 and headers["traceparent"].startswith(f"00-{TRACE}-"), "and a refused request")
    for bad in ("", "x", PARENT[:-1], PARENT.upper(), PARENT + "-x", "ff" + PARENT[2:], f"00-{'0' * 32}-{SPAN}-01",
                PARENT.replace("-", "_"), "00-" + "a" * 4000):
        status, headers, _ = d.execute("out hi", headers={"traceparent": bad})
        t.check(status == 200 and headers["traceparent"] is None, f"'{bad[:60]}' is ignored", (status, headers))
    t.check(d.get("/ready")[1]["traceparent"] is None, "who sends none gets none")


def main():
    tap = Tap()
    tap.group(json_lines)
    tap.group(text_lines)
    tap.group(probes)
    with Daemon() as d:
        tap.group(lambda t: quiet(t, d))
        tap.group(lambda t: trace(t, d))
    tap.finish()


if __name__ == "__main__":
    main()
