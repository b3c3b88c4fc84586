#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Keys and tenants over the fake driver: who may, how much of it, and whose turn it is.

Fairness is told by counts and by the order of answers, never by how long something took.
"""
import http.client
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import BUILD, PROGRAM, Daemon  # noqa: E402
from tap import Tap  # noqa: E402

CSB = BUILD / "src/cli/csb"
ROUTES = (("POST", "/execute"), ("GET", "/languages"), ("GET", "/sandboxes"), ("GET", "/v2/sandboxes"),
          ("POST", "/sandboxes"), ("GET", "/sandboxes/i0"), ("DELETE", "/sandboxes/i0"), ("GET", "/snapshots"),
          ("GET", "/templates"), ("GET", "/templates/aliases/base"), ("GET", "/metrics"), ("GET", "/debug/guest"),
          ("GET", "/jobs/webhook-secret"))
LONG = 250000  # milliseconds that no test waits for


def csb(d, *arguments):
    return subprocess.run([str(CSB), *arguments], env={**os.environ, "STATE_DIR": d.state + "/state"},
                          capture_output=True, text=True, timeout=60)


def key_of(d, *arguments):
    done = csb(d, "key", "create", *arguments)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return done.stdout.strip()


def run(d, key, code="out hi", **fields):
    return d.execute(code, headers={"X-API-KEY": key}, **fields)


def pool(d, key=None):
    return d.get("/health", **({"X-API-KEY": key} if key else {}))[2]["pool"]


def keys(t):
    with Daemon() as d:
        t.check(all(d.request(method, path, "{}" if method == "POST" else None)[0] not in (401, 403)
                    for method, path in ROUTES), "on loopback nothing needs a key as long as there is none")
        one, other = key_of(d, "--tenant=acme", "one"), key_of(d, "--tenant=umbra")
        second, admin = key_of(d, "--tenant=acme", "two"), key_of(d, "--role=admin")
        for method, path in ROUTES:
            status, headers, body = d.request(method, path, "{}" if method == "POST" else None)
            t.check(status == 401 and body["code"] == 401 and headers["WWW-Authenticate"] == "Bearer",
                    f"from the first key on {method} {path} needs one", (status, body))
        t.check(d.get("/nothing")[0] == 404, "what is not there is not there")
        for headers in ({"X-API-KEY": one}, {"Authorization": f"Bearer {one}"}, {"authorization": f"bearer  {one}"}):
            t.check(d.execute(headers=headers)[0] == 200, f"it is taken as {list(headers)[0]}")
        for bad in (one[:-1], one + "0", one.upper(), "e2b_" + "0" * 40, "x" * 20000, one[:43] + "g"):
            t.check(run(d, bad)[0] == 401 and d.execute(headers={"Authorization": f"Bearer {bad}"})[0] == 401,
                    f"{bad[:12]}... of {len(bad)} is not")
        t.check(d.execute(headers={"Authorization": f"Basic {one}"})[0] == 401, "nor is another scheme")
        for path in ("/metrics", "/debug/guest"):
            status, _, body = d.get(path, **{"X-API-KEY": one})
            t.check(status == 403 and body["error"] == "admin_only"
                    and d.get(path, **{"X-API-KEY": admin})[0] == 200, f"{path} needs the role admin", body)
        status, _, body = d.get("/health")
        t.check(status == 200 and sorted(body) == ["accel", "isolation", "status", "time"],
                "/health says little without a key", body)
        t.check("pool" in d.get("/health", **{"X-API-KEY": one})[2], "and more with one")
        t.check(list(d.get("/ready")[2]) == ["ready"] and "state" in d.get("/ready", **{"X-API-KEY": one})[2],
                "so does /ready")
        made = d.request("POST", "/v2/sandboxes", '{"templateID":"base"}', {"X-API-KEY": one})[2]["sandboxID"]
        path = f"/sandboxes/{made}"
        unknown = d.get("/sandboxes/" + "i" + "0" * 20, **{"X-API-KEY": other})
        theirs = d.get(path, **{"X-API-KEY": other})
        t.check(d.get(path, **{"X-API-KEY": second})[0] == 200, "keys of one tenant share its sandboxes")
        t.check(theirs[0] == unknown[0] == 404
                and str(theirs[2]).replace(made, "") == str(unknown[2]).replace("i" + "0" * 20, ""),
                "another tenant's is a 404 like one that never was", (theirs[2], unknown[2]))
        listed = csb(d, "key", "list").stdout
        key_id = re.search(r"^(\S+).* acme +one$", listed, re.M).group(1)
        t.check(re.search(r" good +admin ", listed) and " umbra " in listed, "csb key list tells roles and tenants", listed)
        t.check(csb(d, "key", "revoke", key_id).returncode == 0 and run(d, one)[0] == 401 and run(d, second)[0] == 200,
                "a revoked key is refused at once, others are not")
        big = b'{"language":"python","code":"' + b"x" * (3 << 20) + b'"}'
        t.check(d.request("POST", "/execute", big)[0] == 401, "a large body without a key is 401, too")
        for arguments in (("--tenant=",), ("--tenant=a b",), ("--tenant=" + "x" * 64,), ("--role=root",), ("--x",)):
            t.check(csb(d, "key", "create", *arguments).returncode != 0, f"csb key create {arguments[0][:20]} is refused")


def start_on(state, **settings):
    """What codesandboxd says when it is to be reached by others."""
    env = {**os.environ, "ISOLATION": "fake", "RUNTIMES_DIR": str(pathlib.Path(__file__).parent / "runtimes"),
           "API_HOST": "0.0.0.0", "API_PORT": "0", "STATE_DIR": state, **settings}
    process = subprocess.Popen([str(PROGRAM)], env=env, stderr=subprocess.PIPE, text=True)
    lines = []
    for line in process.stderr:
        lines.append(line)
        if "listening on" in line:
            port = int(line.split("http://")[1].split(",")[0].rsplit(":", 1)[1])
            return process, port, "".join(lines)
    process.stderr.close()
    return process, None, "".join(lines)


def ask(port, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/languages", headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def stop(process):
    process.terminate()
    process.stderr.close()
    return process.wait(120)


def reachable(t):
    with tempfile.TemporaryDirectory(prefix="csb-test-") as state:
        os.chmod(state, 0o755)
        process, port, said = start_on(state + "/a")
        t.check(port is None and process.wait(60) != 0 and "csb key create" in said and "ALLOW_UNAUTHENTICATED" in said,
                "listening for others without a key is refused, saying how", said)
        process, port, said = start_on(state + "/b", ALLOW_UNAUTHENTICATED="1")
        t.check(port and ask(port, {}) == 200 and stop(process) == 0, "unless it is allowed", said)
        done = subprocess.run([str(CSB), "key", "create"], env={**os.environ, "STATE_DIR": state + "/c"},
                              capture_output=True, text=True, timeout=60)
        key = done.stdout.strip()
        t.check(done.returncode == 0, "a key can be made before the first start", done)
        process, port, said = start_on(state + "/c")
        t.check(port and ask(port, {"X-API-KEY": key}) == 200 and ask(port, {}) == 401
                and ask(port, {"X-API-KEY": key, "Host": "any.example"}) == 200, "with it the service starts", said)
        stop(process)
        process, port, said = start_on(state + "/c", ALLOW_UNAUTHENTICATED="1")
        t.check(port and ask(port, {}) == 200 and ask(port, {"X-API-KEY": "e2b_bad"}) == 401,
                "where none is needed, a bad one is refused all the same", said)
        stop(process)


def rate(t):
    with Daemon(TENANT_REQUESTS_PER_MINUTE=1, TENANT_REQUESTS_BURST=5) as d:
        one, same, other = key_of(d, "--tenant=a"), key_of(d, "--tenant=a"), key_of(d, "--tenant=b")
        got = [run(d, key) for key in (one, same, one, same, one, same, one)]
        status, headers, body = got[-1]
        t.check([g[0] for g in got] == [200] * 5 + [429] * 2, "five at once of a tenant, whichever its key", got)
        t.check(body["error"] == "limit" and body["field"] == "TENANT_REQUESTS_PER_MINUTE"
                and 1 <= int(headers["Retry-After"]) <= 60, "then 429, which says what and when", (body, headers))
        status, headers, body = d.get("/sandboxes", **{"X-API-KEY": one})
        t.check(status == 429 and body["code"] == 429 and body["error_code"] == "limit" and headers["Retry-After"],
                "also of the sandbox API", body)
        t.check(run(d, other)[0] == 200, "another tenant goes on")
        t.check(d.get("/health", **{"X-API-KEY": one})[0] == 200, "and /health is not counted")


class Sender:
    """Requests on threads of their own."""

    def __init__(self, d):
        self.d, self.threads, self.answers = d, [], []

    def send(self, name, key, code):
        def work():
            self.answers.append((name, *run(self.d, key, code)))
        thread = threading.Thread(target=work)
        thread.start()
        self.threads.append(thread)

    def join(self):
        for thread in self.threads:
            thread.join()


def hold(d, key):
    """A run that goes on until the connection it gives is closed."""
    connection = d.connect()
    connection.request("POST", "/execute", json.dumps({"language": "python", "code": f"sleep {LONG}\n", "timeout": 300}),
                       {"X-API-KEY": key})
    return connection


def turns(t):
    with tempfile.NamedTemporaryFile(prefix="csb-test-") as notes, \
            Daemon(POOL_SIZE=1, POOL_MAX=1, QUEUE_MAX=100, QUEUE_WAIT_MS=100000, CSB_FAKE_NOTES=notes.name) as d:
        os.chmod(notes.name, 0o666)
        loud, quiet, third = key_of(d, "--tenant=loud"), key_of(d, "--tenant=quiet"), key_of(d, "--tenant=third")
        first = hold(d, loud)
        d.wait(lambda: pool(d, loud)["running"] == 1, "running")
        s = Sender(d)
        for n in range(40):
            s.send("loud", loud, "note loud")
        d.wait(lambda: pool(d, loud)["queued"] == 40, "queued")
        for key, name in ((quiet, "quiet"), (third, "third")):
            for n in range(3):
                s.send(name, key, f"note {name}")
        d.wait(lambda: pool(d, loud)["queued"] == 46, "queued, too")
        first.close()
        s.join()
        order = pathlib.Path(notes.name).read_text().split()
        last = max(i for i, x in enumerate(order) if x != "loud")
        # Three turns each.
        behind = order[last:].count("loud")
        t.check(all(a[1] == 200 for a in s.answers) and len(order) == 46 and behind >= 30,
                "who sends three waits for turns, not for the forty before", (last, behind, order))


def longest_line(t):
    with Daemon(POOL_SIZE=1, POOL_MAX=1, QUEUE_MAX=4, QUEUE_WAIT_MS=100000) as d:
        loud, quiet = key_of(d, "--tenant=loud"), key_of(d, "--tenant=quiet")
        s = Sender(d)
        first = hold(d, loud)
        d.wait(lambda: pool(d, loud)["running"] == 1, "running")
        for n in range(4):
            s.send("loud", loud, "out hi")
        d.wait(lambda: pool(d, loud)["queued"] == 4, "queued")
        status, _, body = run(d, loud)
        t.check(status == 429 and body["error"] == "busy", "a queue that is full is full for who filled it", body)
        s.send("quiet", quiet, "out hi")
        d.wait(lambda: s.answers, "taken in place of another")
        first.close()
        s.join()
        got = sorted((a[0], a[1]) for a in s.answers)
        t.check(got == [("loud", 200)] * 3 + [("loud", 429)] + [("quiet", 200)],
                "another takes the place of its last", got)


def runs(t):
    with Daemon(POOL_SIZE=2, POOL_MAX=8, TENANT_RUNS=2, TENANT_QUEUE=1, QUEUE_WAIT_MS=5000) as d:
        one, other = key_of(d, "--tenant=a"), key_of(d, "--tenant=b")
        busy = [hold(d, one) for n in range(2)]
        d.wait(lambda: pool(d, one)["running"] == 2, "running")
        s = Sender(d)
        s.send("waits", one, "out hi")
        d.wait(lambda: pool(d, one)["queued"] == 1, "queued")
        status, headers, body = run(d, one)
        t.check(status == 429 and body["field"] == "TENANT_QUEUE" and body["error"] == "limit" and headers["Retry-After"]
                and body["may_have_run"] is False, "a tenant's line has an end", body)
        t.check(run(d, other)[0] == 200, "another tenant runs meanwhile")
        s.join()
        _, status, _, body = s.answers[0]
        t.check(status == 429 and body["field"] == "TENANT_RUNS", "who waited too long is told for what", body)
        s.send("next", one, "out hi")
        d.wait(lambda: pool(d, one)["queued"] == 1, "queued again")
        busy[0].close()
        s.join()
        t.check(s.answers[1][1] == 200, "the end of a run lets the next begin", s.answers[1])
        busy[1].close()


def processor(t):
    with Daemon(TENANT_CPU_SECONDS_PER_HOUR=1) as d:
        one, other = key_of(d, "--tenant=a"), key_of(d, "--tenant=b")
        t.check(all(run(d, one)[0] == 200 for _ in range(5)), "little is used by little")
        connection = hold(d, one)
        d.wait(lambda: pool(d, one)["running"] == 1, "running")
        time.sleep(1.1)  # it is to use more than a second
        connection.close()
        d.wait(lambda: pool(d, one)["running"] == 0, "over")
        d.wait(lambda: run(d, one)[0] == 429, "used up")
        status, headers, body = run(d, one)
        t.check(status == 429 and body["field"] == "TENANT_CPU_SECONDS_PER_HOUR" and body["error"] == "limit"
                and int(headers["Retry-After"]) >= 1, "what broke off counts as long as it ran", (body, headers["Retry-After"]))
        t.check(run(d, other)[0] == 200, "for its tenant alone")
        t.check(d.get("/languages", **{"X-API-KEY": one})[0] == 200, "who may ask what needs no run")


def sandboxes_wait(t):
    with Daemon(TENANT_CPU_SECONDS_PER_HOUR=1) as d:
        one, other = key_of(d, "--tenant=a"), key_of(d, "--tenant=b")

        def ask(method, path, key=one, **fields):
            return d.request(method, path, json.dumps(fields), {"X-API-KEY": key})
        awake, paused = (ask("POST", "/v2/sandboxes", templateID="base")[2]["sandboxID"] for _ in range(2))
        t.check(ask("POST", f"/sandboxes/{paused}/pause")[0] == 204, "a sandbox is paused")
        connection = hold(d, one)
        d.wait(lambda: pool(d, one)["running"] == 1, "running")
        time.sleep(1.1)
        connection.close()
        d.wait(lambda: run(d, one)[0] == 429, "used up")
        for what, path, fields in (("made", "/v2/sandboxes", {"templateID": "base"}), ("resumed", f"/sandboxes/{paused}/connect", {}),
                                   ("resumed by the older path", f"/sandboxes/{paused}/resume", {}),
                                   ("forked", f"/sandboxes/{awake}/fork", {"count": 2})):
            status, headers, body = ask("POST", path, **fields)
            t.check(status == 429 and body["error_code"] == "limit" and "processor" in body["message"]
                    and int(headers["Retry-After"]) > 10, f"none is {what} when it is used up", (status, body))
        t.check(ask("POST", "/v2/sandboxes", other, templateID="base")[0] == 201, "but by another tenant")
        listed = ask("GET", "/v2/sandboxes")[2]
        t.check({entry["sandboxID"]: entry["state"] for entry in listed} == {awake: "running", paused: "paused"},
                "what is there stays as it was", listed)
        t.check(ask("POST", f"/sandboxes/{awake}/connect", timeout=60)[0] == 200
                and ask("POST", f"/sandboxes/{awake}/timeout", timeout=60)[0] == 204
                and ask("POST", f"/sandboxes/{awake}/pause")[0] == 204, "its time is changed, and it is paused")
        t.check(all(ask("DELETE", f"/sandboxes/{name}")[0] == 204 for name in (awake, paused)), "and all of it ends")


def own_limits(t):
    with Daemon(TENANT_REQUESTS_PER_MINUTE=1, TENANT_REQUESTS_BURST=100, TENANT_RUNS=2, QUEUE_WAIT_MS=60000) as d:
        one, other = key_of(d, "--tenant=a"), key_of(d, "--tenant=b")
        for bad, name in (("TENANT_RUNS=1025", "TENANT_RUNS"), ("TENANT_RUNS=", "TENANT_RUNS"),
                          ("TENANT_QUEUE=-1", "TENANT_QUEUE"), ("TENANT_REQUESTS_BURST=0", "TENANT_REQUESTS_BURST"),
                          ("SANDBOX_MAX_PER_KEY=901", "SANDBOX_MAX_PER_KEY"), ("POOL_MAX=3", "POOL_MAX"),
                          ("TENANT_CPU_SECONDS_PER_HOUR=x", "TENANT_CPU_SECONDS_PER_HOUR"), ("TENANT_RUNS", "TENANT_RUNS")):
            done = csb(d, "tenant", "set", "a", "TENANT_QUEUE=9", bad)
            t.check(done.returncode == 2 and name in done.stderr, f"csb tenant set a {bad} is refused", done.stderr)
        t.check(csb(d, "tenant", "set", "a b", "TENANT_RUNS=1").returncode == 2, "so is a name that none can have")
        t.check(csb(d, "tenant", "list").stdout == "", "and nothing of it is kept")
        t.check(csb(d, "tenant", "set", "a").returncode == 2 and csb(d, "tenant").returncode == 2
                and csb(d, "tenant", "set", "--new", "a").returncode == 2, "csb tenant says how")
        done = csb(d, "tenant", "set", "aa", "TENANT_RUNS=1")
        t.check(done.returncode == 1 and "'aa'" in done.stderr and csb(d, "tenant", "list").stdout == "",
                "a tenant that nobody knows is most likely mistyped", done.stderr)
        done = csb(d, "tenant", "set", "--new", "aa", "TENANT_RUNS=1")
        t.check(done.returncode == 0 and csb(d, "tenant", "set", "aa", "TENANT_QUEUE=1").returncode == 0,
                "unless it is said to be new", done.stderr)
        t.check(csb(d, "tenant", "set", "aa", "TENANT_RUNS=default", "TENANT_QUEUE=default").returncode == 0
                and csb(d, "tenant", "set", "aa", "TENANT_RUNS=default").returncode == 1, "and gone with its last limit")
        done = csb(d, "tenant", "set", "a", "TENANT_RUNS=1", "TENANT_REQUESTS_BURST=50")
        t.check(done.returncode == 0, "a tenant gets limits of its own", done.stderr)
        listed = csb(d, "tenant", "list").stdout.split("\n")
        t.check([line.split() for line in listed if line] == [["a", "TENANT_REQUESTS_BURST=50"], ["a", "TENANT_RUNS=1"]],
                "csb tenant list shows them", listed)
        shown = [line for line in csb(d, "key", "list").stdout.splitlines() if "TENANT_RUNS=1" in line]
        t.check(len(shown) == 1 and " a " in shown[0], "so does csb key list, with its keys", shown)
        busy = [hold(d, key) for key in (one, other, other)]
        d.wait(lambda: pool(d, one)["running"] == 3, "running")
        s = Sender(d)
        s.send("waits", one, "out hi")
        d.wait(lambda: pool(d, one)["queued"] == 1, "a second run waits, where others may have two")
        csb(d, "tenant", "set", "a", "TENANT_RUNS=2")
        t.check(d.get("/languages", **{"X-API-KEY": one})[0] == 200, "a request is what has them read again")
        s.join()
        t.check(s.answers[0][1] == 200, "a greater limit holds for those that wait", s.answers)
        for connection in busy:
            connection.close()
        csb(d, "tenant", "set", "a", "TENANT_REQUESTS_PER_MINUTE=6000000", "TENANT_REQUESTS_BURST=default")
        t.check(all(d.get("/languages", **{"X-API-KEY": one})[0] == 200 for _ in range(150))
                and d.get("/languages", **{"X-API-KEY": other})[0] == 200, "a rate of its own")
        csb(d, "tenant", "set", "a", "SANDBOX_MAX_PER_KEY=1")
        made = [d.request("POST", "/sandboxes", '{"templateID":"base"}', {"X-API-KEY": key})
                for key in (one, one, other, other)]
        t.check([m[0] for m in made] == [201, 429, 201, 201],
                "sandboxes of its own number", made)
        csb(d, "tenant", "set", "a", "JOB_MAX_PER_KEY=1")
        job = json.dumps({"language": "python", "code": f"sleep {LONG}\n", "timeout": 300})
        put = [d.request("POST", "/jobs", job, {"X-API-KEY": key}) for key in (one, one, other, other)]
        t.check([p[0] for p in put] == [202, 429, 202, 202] and put[1][2]["field"] == "JOB_MAX_PER_KEY"
                and put[1][2]["error"] == "limit", "jobs of its own number", put)
        csb(d, "tenant", "set", "a", "JOB_MAX_PER_KEY=default")
        status, _, again = d.request("POST", "/jobs", job, {"X-API-KEY": one})
        t.check(status == 202, "and back to what all have", again)
        for key, made in ((one, put[0][2]), (one, again), (other, put[2][2]), (other, put[3][2])):
            d.request("DELETE", f"/jobs/{made['id']}", headers={"X-API-KEY": key})
        csb(d, "tenant", "set", "a", *(f"{name}=default" for name in ("TENANT_REQUESTS_PER_MINUTE", "TENANT_RUNS",
                                                                      "SANDBOX_MAX_PER_KEY")))
        t.check(csb(d, "tenant", "list").stdout == "" and "TENANT" not in csb(d, "key", "list").stdout,
                "what all have is not a limit of its own")


def main():
    t = Tap()
    for part in (keys, reachable, rate, turns, longest_line, runs, processor, sandboxes_wait, own_limits):
        t.group(part)
    t.finish()


main()
