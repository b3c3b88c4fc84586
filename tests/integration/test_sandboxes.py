#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sandbox API over the fake driver: what is taken, what is refused and how, keys, listings."""
import concurrent.futures
import contextlib
import datetime
import json
import os
import pathlib
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import BUILD, Daemon  # noqa: E402
from tap import Tap  # noqa: E402

CSB = BUILD / "src/cli/csb"
ID = re.compile(r"^i[a-z0-9]{20}$")


def ask(d, method, path, body=None, key="anything", raw=None):
    """(status, headers, body) of one request."""
    data = raw if raw is not None else None if body is None else json.dumps(body)
    return d.request(method, path, data, {"X-API-KEY": key} if key else {})


def make(d, key="anything", path="/v2/sandboxes", **fields):
    status, _, body = ask(d, "POST", path, {"templateID": "base", **fields}, key)
    if status != 201:
        raise RuntimeError(f"{status} {body}")
    return body


def ids(answer):
    return [entry["sandboxID"] for entry in answer[2]]


def life(t, d):
    made = make(d, metadata={"who": "me"}, envVars={"A": "1"}, timeout=60)
    name = made["sandboxID"]
    t.check(ID.match(name) and made["templateID"] == "base" and made["clientID"]
            and made["envdVersion"] == "0.6.13", "a sandbox is made", made)
    t.check(re.match(r"^[0-9a-f]{40}$", made["envdAccessToken"]) and made["trafficAccessToken"] is None
            and made["domain"] == f"localhost:{d.port}", "with a token and a domain", made)
    other = make(d, templateID="code-interpreter-v1")
    t.check(other["templateID"] == "code-interpreter-v1" and ask(d, "DELETE", f"/sandboxes/{other['sandboxID']}")[0] == 204,
            "one of the other template", other)
    status, _, info = ask(d, "GET", f"/sandboxes/{name}")
    t.check(status == 200 and info["state"] == "running" and info["metadata"] == {"who": "me"}
            and info["envdAccessToken"] == made["envdAccessToken"]
            and info["lifecycle"] == {"onTimeout": "kill", "autoResume": False}, "it is told about", info)
    first = info["endAt"]
    status, _, again = ask(d, "POST", f"/v2/sandboxes/{name}/connect", {})
    later = ask(d, "GET", f"/sandboxes/{name}")[2]["endAt"]
    t.check(status == 200 and again == made and later > first, "connecting gives the same and more time",
            (status, again, first, later))
    ask(d, "POST", f"/sandboxes/{name}/connect", {"timeout": 10})
    t.check(ask(d, "GET", f"/sandboxes/{name}")[2]["endAt"] == later, "and never less")
    t.check(ask(d, "POST", f"/sandboxes/{name}/timeout", {"timeout": 20})[0] == 204
            and ask(d, "GET", f"/sandboxes/{name}")[2]["endAt"] < first, "a timeout may shorten")
    t.check(ask(d, "POST", f"/sandboxes/{name}/refreshes", raw="")[0] == 204, "refreshes")
    status, _, metrics = ask(d, "GET", f"/sandboxes/{name}/metrics")
    t.check(status == 200 and len(metrics) == 1 and metrics[0]["memUsed"] == 600
            and metrics[0]["cpuUsedPct"] == 12.5, "metrics are the agent's", metrics)
    t.check(ask(d, "GET", f"/sandboxes/{name}/metrics?start=1&end=2")[2] == [], "and only of now")
    status, _, metrics = ask(d, "GET", f"/sandboxes/metrics?sandbox_ids={name},iunknown")
    t.check(status == 200 and list(metrics["sandboxes"]) == [name], "metrics of several", metrics)
    told = [ask(d, "GET", f"/sandboxes/metrics?sandbox_ids={n * 'i0,'}{name}")[2]["sandboxes"] for n in (99, 100)]
    t.check(list(told[0]) == [name] and told[1] == {}, "of a hundred at most", told)
    t.check(ask(d, "GET", f"/sandboxes/{name}/logs")[2] == {"logs": [], "logEntries": []}, "logs")
    t.check(ask(d, "GET", f"/v2/sandboxes/{name}/logs")[2] == {"logs": []}, "logs of version 2")
    t.check(ask(d, "POST", f"/sandboxes/{name}/resume", {})[0] == 409, "a running one is not resumed")
    t.check(ask(d, "GET", f"/sandboxes/{name}-client")[0] == 200, "the older form of an id")
    status, _, _ = ask(d, "DELETE", f"/sandboxes/{name}")
    t.check(status == 204, "it is ended")
    for method, path in (("DELETE", ""), ("GET", ""), ("POST", "/timeout"), ("GET", "/metrics")):
        status, _, body = ask(d, method, f"/sandboxes/{name}{path}", {"timeout": 5} if method == "POST" else None)
        t.check(status == 404 and body["code"] == 404 and name in body["message"],
                f"{method} {path} of an ended one is 404 with its code in the body", body)
    t.check(make(d, path="/sandboxes").get("envdAccessToken") is None, "version 1 is not secure by default")
    t.check("envdAccessToken" in make(d, path="/sandboxes", secure=True), "but when asked")
    made = make(d, network={"allowPublicTraffic": False, "allowOut": [], "denyOut": ["0.0.0.0/0"]},
                allow_internet_access=False, autoPause=False, autoResume={"enabled": False},
                volumeMounts=[], mcp=None)
    t.check(re.match(r"^[0-9a-f]{40}$", made["trafficAccessToken"]), "private ports have a token", made)
    for entry in ask(d, "GET", "/v2/sandboxes")[2]:
        ask(d, "DELETE", "/sandboxes/" + entry["sandboxID"])


def refused(t, d):
    base = {"templateID": "base"}
    many = {f"k{i}": "v" for i in range(257)}
    for what, body, status, says in (
            ("no template", {}, 400, "templateID"),
            ("an unknown template", {"templateID": "nix"}, 404, "nix"),
            ("a number for a template", {"templateID": 3}, 400, "templateID"),
            ("an unknown field", {**base, "cpus": 2}, 400, "cpus"),
            ("timeout 0", {**base, "timeout": 0}, 400, "timeout"),
            ("a negative timeout", {**base, "timeout": -5}, 400, "timeout"),
            ("a timeout beyond the longest", {**base, "timeout": 86401}, 400, "timeout"),
            ("a timeout in text", {**base, "timeout": "60"}, 400, "timeout"),
            ("metadata that is a list", {**base, "metadata": []}, 400, "metadata"),
            ("metadata with a number", {**base, "metadata": {"a": 1}}, 400, "metadata.a"),
            ("metadata with null", {**base, "metadata": {"a": None}}, 400, "metadata.a"),
            ("too much metadata", {**base, "metadata": many}, 400, "metadata"),
            ("a large value", {**base, "metadata": {"a": "x" * 70000}}, 400, "metadata.a"),
            ("a variable with =", {**base, "envVars": {"A=B": "1"}}, 400, "envVars"),
            ("a variable without a name", {**base, "envVars": {"": "1"}}, 400, "envVars"),
            ("a NUL in a variable", {**base, "envVars": {"A": "a\0b"}}, 400, "envVars.A"),
            ("half of pausing", {**base, "autoPauseMemory": False}, 400, "autoPauseMemory"),
            ("resuming without pausing", {**base, "autoResume": {"enabled": True}}, 400, "autoResume.enabled"),
            ("resuming with the files alone", {**base, "autoPause": True, "autoPauseMemory": False,
                                               "autoResume": {"enabled": True}}, 400, "autoPauseMemory"),
            ("half of resuming", {**base, "autoPause": True, "autoResume": {"enabled": 1}}, 400, "autoResume.enabled"),
            ("a way out", {**base, "network": {"allowOut": ["1.1.1.1"]}}, 501, "network.allowOut"),
            ("an unknown network field", {**base, "network": {"x": 1}}, 400, "network.x"),
            ("volumes", {**base, "volumeMounts": [{"name": "a", "path": "/a"}]}, 501, "volumeMounts"),
            ("mcp", {**base, "mcp": {"a": 1}}, 501, "mcp")):
        got, _, answer = ask(d, "POST", "/v2/sandboxes", body)
        t.check(got == status and answer["code"] == status and says in answer["message"],
                f"{what} is refused with {status}", (got, answer))
    for what, raw in (("a key twice", '{"templateID":"base","templateID":"base"}'), ("no JSON", "{"),
                      ("a list", "[]"), ("nothing", ""), ("text behind", '{"templateID":"base"}x'),
                      ("bad UTF-8", b'{"templateID":"\xff"}')):
        got, _, answer = ask(d, "POST", "/sandboxes", raw=raw)
        t.check(got == 400 and answer["code"] == 400, f"{what} is refused", (got, answer))
    got, _, answer = ask(d, "POST", "/sandboxes", raw='{"templateID":"' + "x" * 300000 + '"}')
    t.check(got == 413 and answer["code"] == 413, "a large body is refused", (got, answer))
    name = make(d)["sandboxID"]
    got, _, answer = ask(d, "POST", f"/sandboxes/{name}/snapshots", {})
    t.check(got == 501 and answer["error_code"] == "unsupported" and "isolation" in answer["message"],
            "snapshots are told to be unsupported where none can be kept", answer)
    for body in ({"name": ""}, {"name": "a:b"}, {"name": "../x"}, {"name": "-x"}, {"name": "x" * 64}, {"name": 1},
                 {"nome": "x"}):
        got, _, answer = ask(d, "POST", f"/sandboxes/{name}/snapshots", body)
        t.check(got == 400 and list(body)[0] in answer["message"],
                f"no name of a snapshot: {str(body)[:40]}", answer)
    got, _, answer = ask(d, "PUT", f"/sandboxes/{name}/network", {})
    t.check(got == 501 and "no network" in answer["message"], "so is another network", answer)
    for body in ({}, {"timeout": "1"}, {"timeout": 1, "x": 2}):
        t.check(ask(d, "POST", f"/sandboxes/{name}/timeout", body)[0] == 400, f"no timeout: {body}")
    t.check(ask(d, "PATCH", f"/sandboxes/{name}")[0] == 405, "another method is 405")
    for bad in ("i0", "I" + "A" * 20, "..", "%2e%2e", "a" * 200, "i'--"):
        got, _, answer = ask(d, "GET", f"/sandboxes/{bad}")
        t.check(got == 404 and answer["code"] == 404, f"no sandbox {bad[:24]}", answer)
    t.check(ask(d, "POST", f"/sandboxes/{name}/timeout", {"timeout": -1})[0] == 204, "a negative timeout ends it")
    d.wait(lambda: ask(d, "GET", f"/sandboxes/{name}")[0] == 404, "ended")
    t.check(True, "at once")
    t.check(ask(d, "GET", "/templates/aliases/code-interpreter-v1")[2]["templateID"] == "code-interpreter-v1"
            and ask(d, "GET", "/templates/aliases/x")[0] == 404, "templates by alias")
    for query in ("limit=0", "limit=x", "sandboxID=" + 22 * "i", "name=" + 96 * "n", "limit=1&limit=2"):
        t.check(ask(d, "GET", "/snapshots?" + query)[0] == 400, f"no listing of snapshots: {query[:24]}")
    t.check(ask(d, "GET", "/snapshots?name=x&limit=1")[2] == [] and ask(d, "DELETE", "/templates/x%3Adefault")[0] == 404
            and ask(d, "DELETE", "/templates/base")[0] == 403, "there are no snapshots")


def edges(t, d):
    """The largest value of every limit is taken, one beyond it is refused by its field's name."""
    def body_of(size):
        return '{"templateID":"base"' + " " * (size - 21) + "}"
    for field, fits, beyond in (
            ("timeout", {"timeout": 86400}, {"timeout": 86401}),
            ("metadata", {"metadata": {f"k{i}": "" for i in range(256)}}, {"metadata": {f"k{i}": "" for i in range(257)}}),
            ("metadata.a", {"metadata": {"a": "x" * 65535}}, {"metadata": {"a": "x" * 65536}}),
            ("metadata." + "n" * 20, {"metadata": {"n" * 256: ""}}, {"metadata": {"n" * 257: ""}}),
            ("envVars", {"envVars": {f"k{i}": "" for i in range(256)}}, {"envVars": {f"k{i}": "" for i in range(257)}}),
            ("envVars.a", {"envVars": {"a": "x" * 65535}}, {"envVars": {"a": "x" * 65536}}),
            ("envVars." + "n" * 20, {"envVars": {"n" * 256: ""}}, {"envVars": {"n" * 257: ""}})):
        made = ask(d, "POST", "/v2/sandboxes", {"templateID": "base", **fits})
        t.check(made[0] == 201, f"the most of {field} is taken", made[2])
        ask(d, "DELETE", "/sandboxes/" + made[2].get("sandboxID", ""))
        got, _, answer = ask(d, "POST", "/v2/sandboxes", {"templateID": "base", **beyond})
        t.check(got == 400 and field in answer["message"], f"and no more of {field}", (got, answer))
    made = ask(d, "POST", "/v2/sandboxes", raw=body_of(262144))
    t.check(made[0] == 201 and ask(d, "POST", "/v2/sandboxes", raw=body_of(262145))[0] == 413, "a body of 256 KiB, and no more")
    name = made[2]["sandboxID"]
    for path, key in (("timeout", "timeout"), ("refreshes", "duration")):
        got = [ask(d, "POST", f"/sandboxes/{name}/{path}", {key: n})[0] for n in (2 ** 31 - 1, 2 ** 31)]
        t.check(got == [204, 400], f"{key} of {path} is a number of 32 bits", got)
    told = ask(d, "GET", f"/sandboxes/{name}")[2]
    start, end = (datetime.datetime.fromisoformat(told[key].replace("Z", "+00:00")) for key in ("startedAt", "endAt"))
    t.check((end - start).total_seconds() <= 86401, "and never makes it live longer than the longest life", told)
    for query in ("limit=100", "limit=1"):
        t.check(ask(d, "GET", "/v2/sandboxes?" + query)[0] == 200 and ask(d, "GET", "/snapshots?" + query)[0] == 200,
                f"a list with {query}")
    for path in ("/v2/sandboxes", "/snapshots"):
        got, _, answer = ask(d, "GET", path + "?limit=101")
        t.check(got == 400 and "limit" in answer["message"], f"no more than 100 of {path} in a page", answer)
    t.check([ask(d, "POST", f"/sandboxes/{name}/snapshots", {"name": n * "x"})[0] for n in (63, 64)] == [501, 400],
            "a snapshot's name has 63 bytes")
    got, _, copies = ask(d, "POST", f"/sandboxes/{name}/fork", {"count": 100})
    t.check(got == 201 and len(copies) == 100, "a fork may ask for 100", (got, len(copies)))
    for entry in copies:
        if "sandbox" in entry:
            ask(d, "DELETE", "/sandboxes/" + entry["sandbox"]["sandboxID"])
    ask(d, "DELETE", f"/sandboxes/{name}")


def pausing(t, d):
    made = make(d, metadata={"p": "1"}, timeout=300)
    name = made["sandboxID"]
    t.check(ask(d, "POST", f"/sandboxes/{name}/pause", {"memory": 1})[0] == 400
            and ask(d, "POST", f"/sandboxes/{name}/pause", {"x": 1})[0] == 400, "a wrong pause is refused")
    t.check(ask(d, "POST", f"/sandboxes/{name}/pause", {})[0] == 204, "a sandbox is paused")
    status, _, body = ask(d, "POST", f"/sandboxes/{name}/pause", raw="")
    t.check(status == 409 and body["code"] == 409, "twice is 409", body)
    t.check(ask(d, "GET", f"/sandboxes/{name}")[2]["state"] == "paused", "it is told to be paused")
    t.check(ids(ask(d, "GET", "/v2/sandboxes?state=paused")) == [name] and ids(ask(d, "GET", "/v2/sandboxes?state=running")) == []
            and ids(ask(d, "GET", "/sandboxes")) == [], "and listed so")
    status, _, body = ask(d, "POST", f"/sandboxes/{name}/timeout", {"timeout": 9})
    t.check(status == 404 and "paused" in body["message"], "it has no time", body)
    t.check(ask(d, "GET", f"/sandboxes/{name}/metrics")[2] == [], "and uses nothing")
    status, _, again = ask(d, "POST", f"/v2/sandboxes/{name}/connect", {"timeout": 100})
    t.check(status == 201 and again == made, "connecting resumes it: 201", (status, again))
    t.check(ask(d, "POST", f"/v2/sandboxes/{name}/connect", {})[0] == 200, "and then 200")
    ask(d, "POST", f"/sandboxes/{name}/pause", {})
    t.check(ask(d, "POST", f"/sandboxes/{name}/resume", {"timeout": 60})[0] == 201, "the older resume")
    ask(d, "POST", f"/sandboxes/{name}/pause", {})
    t.check(ask(d, "DELETE", f"/sandboxes/{name}")[0] == 204 and ask(d, "GET", f"/sandboxes/{name}")[0] == 404, "a paused one is ended")
    name = make(d, timeout=1, autoPause=True)["sandboxID"]
    t.check(ask(d, "GET", f"/sandboxes/{name}")[2]["lifecycle"]["onTimeout"] == "pause", "autoPause is told")
    d.wait(lambda: ask(d, "GET", f"/sandboxes/{name}")[2]["state"] == "paused", "paused")
    t.check(ask(d, "DELETE", f"/sandboxes/{name}")[0] == 204, "and pauses it when its time is over")


def forking(t, d):
    made = make(d, metadata={"f": "1"})
    name = made["sandboxID"]
    for body in ({"count": 0}, {"count": 101}, {"timeout": 0}, {"x": 1}, {"count": "2"}):
        t.check(ask(d, "POST", f"/sandboxes/{name}/fork", body)[0] == 400, f"no fork: {body}")
    status, _, copies = ask(d, "POST", f"/sandboxes/{name}/fork", {"count": 3, "timeout": 60})
    got = [entry["sandbox"] for entry in copies]
    t.check(status == 201 and len(got) == 3 and len({c["sandboxID"] for c in got} | {name}) == 4
            and len({c["envdAccessToken"] for c in got} | {made["envdAccessToken"]}) == 4, "three copies with ids and tokens of their own", copies)
    info = ask(d, "GET", f"/sandboxes/{got[0]['sandboxID']}")[2]
    t.check(info["metadata"] == {"f": "1"} and info["state"] == "running", "which are sandboxes", info)
    t.check(len(ask(d, "POST", f"/sandboxes/{name}/fork", raw="")[2]) == 1, "one where no count is said")
    ask(d, "POST", f"/sandboxes/{name}/pause", {})
    t.check(ask(d, "POST", f"/sandboxes/{name}/fork", {})[0] == 409, "a paused one is not forked")
    status, _, copies = ask(d, "POST", f"/sandboxes/{got[0]['sandboxID']}/fork", {"count": 40})
    failed = [entry["error"] for entry in copies if "error" in entry]
    t.check(status == 201 and len(copies) == 40 and failed and all(e["code"] == 429 for e in failed), "up to the limit", failed)
    for one in ask(d, "GET", "/v2/sandboxes")[2]:
        ask(d, "DELETE", f"/sandboxes/{one['sandboxID']}")


def listing(t, d):
    made = []
    for i in range(7):
        made.append(make(d, metadata={"n": str(i), "odd": str(i % 2), "t x": "a&b=c d+%"})["sandboxID"])
        time.sleep(0.003)  # the order is that of milliseconds
    twice = lambda text: urllib.parse.quote(urllib.parse.quote(text, safe=""), safe="")  # noqa: E731

    def where(**pairs):
        form = "&".join(f"{urllib.parse.quote(k, safe='')}={urllib.parse.quote(v, safe='')}" for k, v in pairs.items())
        return "metadata=" + twice(form)

    t.check(ids(ask(d, "GET", "/v2/sandboxes")) == made[::-1], "newest first")
    t.check(ids(ask(d, "GET", "/v2/sandboxes?order=asc")) == made, "oldest first")
    t.check(ids(ask(d, "GET", "/sandboxes?" + where(odd="1"))) == made[1::2][::-1], "by metadata, version 1")
    t.check(ids(ask(d, "GET", "/v2/sandboxes?" + where(odd="1", n="3"))) == [made[3]], "by two pairs")
    t.check(len(ids(ask(d, "GET", "/v2/sandboxes?" + where(**{"t x": "a&b=c d+%"})))) == 7, "by a value that is encoded thrice")
    t.check(ids(ask(d, "GET", "/v2/sandboxes?state=paused")) == [], "none is paused")
    for order in ("asc", "desc"):
        got, path = [], f"/v2/sandboxes?limit=3&order={order}"
        answer = ask(d, "GET", path)
        pages = 1
        while True:
            got += ids(answer)
            token = answer[1].get("X-Next-Token")
            if not token or pages > 9:
                break
            answer = ask(d, "GET", f"{path}&nextToken={urllib.parse.quote(token)}")
            pages += 1
        t.check(pages == 3 and got == (made if order == "asc" else made[::-1]), f"pages, {order}", (pages, got))
    t.check(ask(d, "GET", "/v2/sandboxes")[1]["X-Total-Running"] == "7", "how many run")
    started = ask(d, "GET", f"/sandboxes/{made[3]}")[2]["startedAt"]
    later = ids(ask(d, "GET", f"/v2/sandboxes?order=asc&startedAfter={started}"))
    t.check(later and made[3] not in later and later == made[-len(later):], "by time", (started, later))
    t.check(ids(ask(d, "GET", "/v2/sandboxes?template=base&limit=1")) == [made[-1]]
            and ids(ask(d, "GET", "/v2/sandboxes?template=code-interpreter-v1")) == [], "by template")
    for query in ("order=up", "limit=0", "limit=101", "limit=x", "state=dead", "nextToken=x", "startedAfter=now",
                  "metadata=a", "metadata=a%3Db%3Dc", "limit=1&limit=2", "metadata=%zz", "nextToken=1-i-d",
                  f"order=asc&nextToken=5-{made[0]}-d", f"nextToken=5-{made[0]}-dx"):
        got, _, answer = ask(d, "GET", f"/v2/sandboxes?{query}")
        t.check(got == 400 and answer["code"] == 400 and query.split("=")[0] in answer["message"] + "order",
                f"{query[:40]} is refused", (got, answer))
    for name in made:
        ask(d, "DELETE", f"/sandboxes/{name}")


def many(t, d):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: make(d)["sandboxID"], range(24)))
        t.check(len(set(made)) == 24, "24 at once, each its own id")
        killed = list(pool.map(lambda name: ask(d, "DELETE", f"/sandboxes/{name}")[0], made * 2))
    t.check(sorted(killed) == [204] * 24 + [404] * 24, "each is ended once", killed)


def limits(t):
    with Daemon(SANDBOX_MAX="3", SANDBOX_MAX_PER_KEY="2", SANDBOX_MAX_LIFE="100") as d:
        make(d), make(d)
        status, headers, body = ask(d, "POST", "/v2/sandboxes", {"templateID": "base"})
        t.check(status == 429 and body["code"] == 429 and int(headers["Retry-After"]) > 0, "a key's limit is 429", body)
        t.check(ask(d, "POST", "/sandboxes", {"templateID": "base", "timeout": 101})[0] == 400, "the longest life")
        name = ids(ask(d, "GET", "/v2/sandboxes"))[0]
        ask(d, "POST", f"/sandboxes/{name}/timeout", {"timeout": 9999})
        info = ask(d, "GET", f"/sandboxes/{name}")[2]
        t.check(info["endAt"][:-1] <= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 101)),
                "is not made longer", info)
        short = make_after_kill(d, name)
        d.wait(lambda: ask(d, "GET", f"/sandboxes/{short}")[0] == 404, "expired")
        t.check(True, "a sandbox ends by itself when its time is over")


def make_after_kill(d, name):
    ask(d, "DELETE", f"/sandboxes/{name}")
    return make(d, timeout=1)["sandboxID"]


def csb(d, *arguments, key=None):
    env = {**os.environ, "STATE_DIR": d.state + "/state", "CSB_URL": f"http://127.0.0.1:{d.port}"}
    if key:
        env["E2B_API_KEY"] = key
    return subprocess.run([str(CSB), *arguments], env=env, capture_output=True, text=True, timeout=60)


def keys(t):
    with Daemon() as d:
        t.check(ask(d, "GET", "/v2/sandboxes", key=None)[0] == 200, "no key is needed as long as there is none")
        orphan = make(d, key="e2b_00")["sandboxID"]
        t.check(ask(d, "GET", f"/sandboxes/{orphan}", key="other")[0] == 200, "on loopback any will do while there are none")
        done = csb(d, "key", "create", "first")
        first = done.stdout.strip()
        t.check(done.returncode == 0 and re.match(r"^e2b_[0-9a-f]{40}$", first), "csb key create", done)
        second = csb(d, "key", "create").stdout.strip()
        for bad in ("e2b_00", first[:-1], first + "0", first.upper(), "", "' OR 1=1 --", "x" * 5000):
            status, _, body = ask(d, "GET", "/v2/sandboxes", key=bad)
            t.check(status == 401 and body["code"] == 401, f"from then on {bad[:12]!r} is 401", body)
        t.check(ask(d, "GET", f"/sandboxes/{orphan}", key=first)[0] == 404, "a key does not get what had none")
        mine = make(d, key=first, metadata={"a": "secret"})["sandboxID"]
        for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/timeout"), ("POST", "/connect"), ("GET", "/metrics"),
                             ("GET", "/logs"), ("POST", "/pause"), ("POST", "/refreshes"), ("POST", "/resume")):
            status, _, body = ask(d, method, f"/sandboxes/{mine}{path}", {"timeout": 9} if method == "POST" else None, second)
            t.check(status == 404 and "secret" not in json.dumps(body), f"{method} {path} of another's is 404", (status, body))
        t.check(ids(ask(d, "GET", "/v2/sandboxes", key=second)) == [] and ids(ask(d, "GET", "/sandboxes", key=first)) == [mine],
                "a listing is of one's own")
        t.check(ask(d, "GET", f"/sandboxes/metrics?sandbox_ids={mine}", key=second)[2] == {"sandboxes": {}}, "so are metrics")
        listed = csb(d, "key", "list").stdout
        key_id = listed.split()[0]
        t.check(listed.count("\n") == 2 and first not in listed and first[:8] in listed, "csb key list tells no keys", listed)
        t.check(csb(d, "sandbox", "list", key=first).stdout.startswith(mine), "csb sandbox list")
        made = csb(d, "sandbox", "create", "-t", "60", "-m", "a=b", key=first).stdout.strip()
        t.check(ID.match(made), "csb sandbox create", made)
        t.check(csb(d, "sandbox", "kill", made, key=first).returncode == 0
                and csb(d, "sandbox", "kill", made, key=first).returncode == 1, "csb sandbox kill")
        t.check(csb(d, "key", "revoke", key_id).returncode == 0 and ask(d, "GET", "/v2/sandboxes", key=first)[0] == 401,
                "csb key revoke counts at once")
        t.check(csb(d, "key", "revoke", key_id).returncode == 1 and csb(d, "key", "revoke", "x").returncode == 1, "and once")
        raw = b"".join(p.read_bytes() for p in pathlib.Path(d.state, "state/store").iterdir())
        t.check(first.encode() not in raw and second.encode() not in raw, "no key is in the store's files")
        mode = pathlib.Path(d.state, "state/store").stat().st_mode & 0o777
        t.check(mode == 0o700, "which are closed to others", oct(mode))
        t.check(csb(d, "key").returncode == 2 and csb(d, "key", "create", "a", "b").returncode == 2, "csb key says how")


def restart(t):
    with tempfile.TemporaryDirectory(prefix="csb-test-") as state:
        d = Daemon(state=state)
        name = make(d)["sandboxID"]
        key = csb(d, "key", "create").stdout.strip()
        d.stop(signal.SIGKILL)
        with Daemon(state=state) as d:
            t.check(any(name in line and "lost" in line for line in d.log), "a lost sandbox is told", d.log)
            t.check(ask(d, "GET", f"/sandboxes/{name}", key=key)[0] == 404 and ids(ask(d, "GET", "/sandboxes", key=key)) == [],
                    "and gone; keys live on")
            name = make(d, key=key)["sandboxID"]
        with Daemon(state=state) as d:
            t.check(not any("lost" in line for line in d.log), "a service that stops ends its sandboxes", d.log)


def nothing_waits(t):
    """No pool at all: the service is healthy all the same, and makes what is asked for."""
    with Daemon(POOL_SIZE=0, SANDBOX_READY=0) as d:
        t.check(d.get("/health")[0] == 200 and d.get("/ready")[0] == 200, "healthy without a pool")
        t.check(ask(d, "POST", "/v2/sandboxes", {"templateID": "base"})[0] == 201, "sandboxes are made")


def at_once(t, d):
    """Whatever is done to a sandbox while it ends, it is not the service's fault."""
    calls = [("pause", {}), ("fork", {}), ("timeout", {"timeout": 60}), ("connect", {}), ("refreshes", {})] * 3
    faults = []
    with concurrent.futures.ThreadPoolExecutor(len(calls) + 1) as threads:
        for _ in range(6):
            name = make(d)["sandboxID"]
            answers = [threads.submit(ask, d, "POST", f"/sandboxes/{name}/{path}", body) for path, body in calls]
            answers.append(threads.submit(ask, d, "DELETE", f"/sandboxes/{name}"))
            faults += [a.result()[2] for a in answers if a.result()[0] not in (200, 201, 204, 404, 409)]
            for other in ids(ask(d, "GET", "/v2/sandboxes")):
                ask(d, "DELETE", f"/sandboxes/{other}")
    t.check(not faults, "what comes while a sandbox ends is told that it ended", faults[:3])


def snapshot_pages(t, d):
    """Rows without images: a page begins after one that may be gone by then."""
    names = [f"s{n:020d}" for n in range(5)]
    with contextlib.closing(sqlite3.connect(f"{d.state}/state/store/codesandbox.db", timeout=60)) as db, db:
        db.executemany("INSERT INTO snapshots(id, key, name, sandbox, env, created_ms, bytes) "
                       "VALUES(?, '', '', 'i', '{}', ?, 1)", [(name, 1000 + n // 2) for n, name in enumerate(names)])
    listed, token = [], ""
    for _ in range(len(names)):
        status, headers, page = ask(d, "GET", f"/snapshots?limit=2&nextToken={token}")
        listed += [entry["snapshotID"].split(":")[0] for entry in page]
        token = headers.get("X-Next-Token")
        for entry in page:
            ask(d, "DELETE", "/templates/" + urllib.parse.quote(entry["snapshotID"]))
        if not token:
            break
    t.check(listed == names[::-1], "a listing whose entries are deleted page by page has them all", listed)
    t.check(ask(d, "GET", "/snapshots")[2] == [], "and they are gone")
    for bad in (names[0], f"1-{names[0]}-a", f"1-{names[0]}", f"x-{names[0]}-d"):
        status, _, answer = ask(d, "GET", f"/snapshots?nextToken={bad}")
        t.check(status == 400 and "nextToken" in answer["message"], f"no token of a listing: {bad}", answer)


def templates(t):
    """What `e2b template list` shows of each."""
    with tempfile.NamedTemporaryFile() as image:
        os.utime(image.name, (1700000000, 1700000000))
        with Daemon(ROOTFS_PATH=image.name, VM_CPUS=2, VM_MEMORY_MB=2048) as d:
            made = ask(d, "POST", "/v2/sandboxes", {"templateID": "base"})[2]["sandboxID"]
            box = ask(d, "GET", f"/sandboxes/{made}")[2]
            told = ask(d, "GET", "/templates")[2]
            t.check([x["templateID"] for x in told] == ["base", "code-interpreter-v1"]
                    and all(x["names"] == x["aliases"] == [x["templateID"]] for x in told), "templates by name", told)
            shape = ("cpuCount", "memoryMB", "diskSizeMB", "envdVersion")
            t.check(all(x[k] == box[k] for x in told for k in shape) and (box["cpuCount"], box["memoryMB"]) == (2, 2048),
                    "they have what their sandboxes have", (told[0], box))
            t.check({x["createdAt"] for x in told} == {"2023-11-14T22:13:20.000Z"}, "and are as old as the image", told)
        with Daemon(ROOTFS_PATH=image.name + "-gone") as d:
            t.check(all("createdAt" not in x for x in ask(d, "GET", "/templates")[2]), "or of an age that is not known")


def main():
    t = Tap()
    with Daemon() as d:
        for part in (life, refused, edges, pausing, forking, at_once, listing, snapshot_pages, many):
            t.group(part, d)
    for part in (limits, keys, restart, templates, nothing_waits):
        t.group(part)
    t.finish()


main()
