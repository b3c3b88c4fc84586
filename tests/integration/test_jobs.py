#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Durable jobs over the fake driver: what is taken and refused, owners, restarts, a disk that is full
or held by another, and callbacks."""
import hashlib
import hmac
import http.server
import json
import os
import pathlib
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import BUILD, Daemon, ended  # noqa: E402
from small_disk import small_disk  # noqa: E402
from tap import Tap  # noqa: E402

CSB = BUILD / "src/cli/csb"
OVER = ("succeeded", "failed", "cancelled", "may_have_run")
SECRET = "a secret of some length"
SLEEP = "sleep 200000"  # longer than any test waits
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def ask(d, method, path, body=None, key=None):
    headers = {"Content-Type": "application/json", **({"X-API-KEY": key} if key else {})}
    return d.request(method, path, None if body is None else json.dumps(body), headers)


def job(code="out hi", **fields):
    return {"language": "python", "code": ended(code), **fields}


def put(d, code="out hi", key=None, **fields):
    status, _, body = ask(d, "POST", "/jobs", job(code, **fields), key)
    if status not in (200, 202):
        raise RuntimeError(f"{status} {body}")
    return body["id"]


def get(d, name, key=None):
    return ask(d, "GET", f"/jobs/{name}", key=key)[2]


def wait_for(d, name, *states, key=None):
    d.wait(lambda: get(d, name, key)["state"] in states, f"{name} {states}")
    return get(d, name, key)


def make_notes(directory):
    """A file that programs of the service add to, whoever it runs as."""
    path = pathlib.Path(directory, "notes")
    path.touch()
    path.chmod(0o666)
    return path


def is_error(answer, status, word, field=None):
    return answer[0] == status and answer[2]["error"] == word and answer[2].get("field") == field


def life(t, d):
    status, headers, made = ask(d, "POST", "/jobs", job("out hi\nerr no"))
    t.check(status == 202 and headers["Location"] == f"/jobs/{made['id']}" and made["id"][0] == "j"
            and made["state"] in ("queued", "running", "succeeded"), "a job is taken", made)
    done = wait_for(d, made["id"], *OVER)
    t.check(done["state"] == "succeeded" and done["attempts"] == 1 and done["error"] is None
            and done["result"]["stdout"] == "hi\n" and done["result"]["stderr"] == "no\n"
            and done["result"]["status"] == "ok" and len(done["result"]["request_id"]) == 36,
            "its result is that of /execute", done)
    t.check(list(made) == list(done) and all(made[k] == done[k] for k in made if k not in
                                             ("state", "attempts", "started_at", "finished_at", "expires_at", "result")),
            "what was taken is what is there", (made, done))
    t.check(done["created_at"] <= done["started_at"] <= done["finished_at"] < done["expires_at"],
            "and it says when", done)
    done = wait_for(d, put(d, "out a\nexit 3"), *OVER)
    t.check(done["state"] == "failed" and done["result"]["exit_code"] == 3, "a failing program", done)
    done = wait_for(d, put(d, "reject no", language="rust"), *OVER)
    t.check(done["state"] == "failed" and done["result"]["status"] == "compile_error",
            "one that does not compile", done)
    done = wait_for(d, put(d, "out x\ndie"), *OVER)
    t.check(done["state"] == "may_have_run" and done["error"]["may_have_run"] is True
            and done["result"] is None and done["attempts"] == 1,
            "a sandbox that dies: it may have run, and is not run again", done)
    done = wait_for(d, put(d, "die", max_attempts=2), *OVER)
    t.check(done["state"] == "may_have_run" and done["attempts"] == 2, "unless more attempts are allowed", done)
    done = wait_for(d, put(d, "flood 900000"), *OVER)
    t.check(done["result"]["truncated"] and len(done["result"]["stdout"]) == 100000,
            "what is kept of the output is bounded", done["result"]["stdout_bytes"])
    t.check(ask(d, "GET", "/jobs/j123")[0] == 404 and ask(d, "DELETE", "/jobs/j123")[0] == 404
            and ask(d, "GET", "/jobs/" + "x" * 200)[0] == 404, "unknown ids are 404")


def refused(t, d):
    rows = [
        ({"code": "x"}, "language"), (job(nope=1), "nope"), (job(priority=10), "priority"),
        (job(priority=-1), "priority"), (job(priority="5"), "priority"), (job(max_attempts=0), "max_attempts"),
        (job(max_attempts=11), "max_attempts"), (job(idempotency_key=""), "idempotency_key"),
        (job(idempotency_key="x" * 129), "idempotency_key"), (job(idempotency_key="a b"), "idempotency_key"),
        (job(idempotency_key=5), "idempotency_key"), (job(stream=True), "stream"), (job(limits={"x": 1}), "limits.x"),
        (job(callback_url="http://example.org/"), "callback_url"),
    ]
    for body, field in rows:
        answer = ask(d, "POST", "/jobs", body)
        t.check(is_error(answer, 400, "invalid", field), f"{field} is named: {json.dumps(body)[-40:]}", answer)
    for body, field in (({}, "jobs"), ({"jobs": []}, "jobs"), ({"jobs": [1]}, "jobs[0]"), ({"jobs": {}}, "jobs"),
                        ({"jobs": [job()] * 101}, "jobs"), ({"jobs": [job()], "x": 1}, "x"),
                        ({"jobs": [job(), job(language="cobol")]}, "jobs[1].language"),
                        ({"jobs": [job(), job(priority=99)]}, "jobs[1].priority")):
        answer = ask(d, "POST", "/jobs/batch", body)
        t.check(is_error(answer, 400, "invalid", field), f"a batch: {field}", answer)
    for fits in (job(priority=0), job(priority=9), job(max_attempts=10), job(idempotency_key="x" * 128)):
        answer = ask(d, "POST", "/jobs", fits)
        t.check(answer[0] == 202, f"the most is taken: {json.dumps(fits)[-40:]}", answer)
    answer = ask(d, "POST", "/jobs/batch", {"jobs": [job()] * 100})
    t.check(answer[0] == 202 and len(answer[2]["jobs"]) == 100, "a batch of 100")
    t.check(ask(d, "GET", "/jobs?limit=100")[0] == 200, "and a page of as many")
    edge = {"language": "python", "code": "", "priority": 9}
    room = 20480 - len(json.dumps({"language": "python", "code": ""}, separators=(",", ":")))
    got = [ask(d, "POST", "/jobs", {**edge, "code": "#" * n})[0] for n in (room, room + 1)]
    t.check(got == [202, 413], "a program of JOB_BODY_MAX_BYTES, and no more", got)
    answer = ask(d, "POST", "/jobs", job("out " + "x" * 30000))
    t.check(is_error(answer, 413, "too_large", "body"), "a body that is too large", answer)
    for query, field in (("state=x", "state"), ("limit=0", "limit"), ("limit=101", "limit"), ("after=jx", "after"), ("after=1-j1-a", "after"), ("after=1-j1", "after"), ("after=x", "after"),
                         ("after=1-j1-d-", "after"), ("after=" + "9" * 30 + "-j1-d", "after"),
                         ("state=queued&state=failed", "state")):
        answer = ask(d, "GET", f"/jobs?{query}")
        t.check(is_error(answer, 400, "invalid", field), f"the list: {query}", answer)


def idempotency(t, d):
    body = job("out once", idempotency_key="k-1")
    status, _, first = ask(d, "POST", "/jobs", body)
    again, _, second = ask(d, "POST", "/jobs", body)
    t.check(status == 202 and again == 200 and first["id"] == second["id"], "the same key is the same job", second)
    answer = ask(d, "POST", "/jobs", job("out other", idempotency_key="k-1"))
    t.check(is_error(answer, 409, "conflict", "idempotency_key"), "but not for another", answer)
    status, _, made = ask(d, "POST", "/jobs/batch", {"jobs": [body, job(idempotency_key="k-2")]})
    t.check(status == 202 and made["jobs"][0] == {"id": first["id"], "known": True}
            and made["jobs"][1]["known"] is False, "a batch knows them, too", made)
    answer = ask(d, "POST", "/jobs/batch", {"jobs": [job(idempotency_key="k-3"), job("exit 1", idempotency_key="k-2")]})
    t.check(is_error(answer, 409, "conflict", "jobs[1].idempotency_key"), "and says which is not", answer)
    t.check(ask(d, "POST", "/jobs", job("exit 2", idempotency_key="k-3"))[0] == 202, "and then took none of them")


def cancelling(t, d):
    running = put(d, SLEEP, timeout=300)
    wait_for(d, running, "running")
    waiting = put(d, "out x")
    status, _, body = ask(d, "DELETE", f"/jobs/{waiting}")
    t.check(status == 200 and body["state"] == "cancelled", "a queued job is cancelled", body)
    status, _, body = ask(d, "DELETE", f"/jobs/{running}")
    t.check(status == 202 and body["cancel_requested"], "a running one is to be", body)
    done = wait_for(d, running, *OVER)
    t.check(done["state"] == "cancelled" and done["result"] is None, "and ends", done)
    t.check(ask(d, "DELETE", f"/jobs/{running}")[0] == 200, "once more is no harm")
    over = put(d, "out x")
    wait_for(d, over, "succeeded")
    t.check(is_error(ask(d, "DELETE", f"/jobs/{over}"), 409, "conflict"), "one that is over cannot be cancelled")


def order(t, d):
    blocker = put(d, SLEEP, timeout=300)
    wait_for(d, blocker, "running")
    made = ask(d, "POST", "/jobs/batch", {"jobs": [job(priority=p) for p in (1, 9, 5)]})[2]["jobs"]
    names = [m["id"] for m in made]
    listed = ask(d, "GET", "/jobs?state=queued&limit=2")[2]
    t.check([j["id"] for j in listed["jobs"]] == [names[2], names[1]] and "result" not in listed["jobs"][0],
            "the list is in pages, newest first", listed)
    for after in (listed["next"], names[1]):
        rest = ask(d, "GET", f"/jobs?state=queued&after={after}")[2]
        t.check([j["id"] for j in rest["jobs"]] == [names[0]] and rest["next"] is None, f"to their end: {after}", rest)
    t.check(d.execute("out quick")[0] == 200, "requests that are waited for do not wait for jobs")
    text = d.get("/metrics")[2].decode()
    t.check('codesandbox_jobs{state="queued"} 3' in text and 'codesandbox_jobs{state="running"} 1' in text,
            "metrics count them", text[-1500:])
    ask(d, "DELETE", f"/jobs/{blocker}")
    done = [wait_for(d, name, "succeeded") for name in names]
    t.check(done[1]["started_at"] <= done[2]["started_at"] <= done[0]["started_at"], "higher priority goes first", done)


def command_line(t, d):
    """csb job."""
    def csb(*arguments, given=None):
        done = subprocess.run([CSB, "job", *arguments], env={**os.environ, "CSB_URL": f"http://127.0.0.1:{d.port}"},
                              input=given, capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr
    code, name, shown = csb("submit", "-l", "python", "-p", "9", "-a", "2", "-k", "cli", "-", given="out hello\nexit 3\n")
    name = name.strip()
    t.check(code == 0 and get(d, name)["priority"] == 9 and get(d, name)["max_attempts"] == 2, "csb job submit", shown)
    code, out, shown = csb("wait", "-t", "60", name)
    t.check(code == 3 and out == "hello\n" and "failed" in shown, "csb job wait exits as the program did", (code, out))
    code, out, _ = csb("get", "--json", name)
    t.check(code == 0 and json.loads(out) == get(d, name), "csb job get", out)
    code, out, _ = csb("list", "--state", "failed", "--json")
    t.check(code == 0 and name in [j["id"] for j in json.loads(out)], "csb job list", out)
    code, out, _ = csb("list", "--json")
    names = {j["id"] for j in json.loads(out)}
    t.check(code == 0 and len(names) == len(json.loads(out)) > 100, "all pages of it", len(names))
    code, out, _ = csb("submit", "-l", "python", "--wait", "-", given="out now\n")
    t.check((code, out) == (0, "now\n"), "csb job submit --wait", (code, out))
    name = csb("submit", "-l", "python", "-", given=SLEEP + "\n")[1].strip()
    t.check(csb("wait", "-t", "0", name)[0] == 124, "a wait that is over")
    t.check(csb("cancel", name)[0] == 0 and wait_for(d, name, *OVER)["state"] == "cancelled", "csb job cancel")
    t.check(csb("wait", name)[0] == 125, "which is not the program's doing")
    t.check([csb(*a)[0] for a in (("get", "jnone"), ("get", "../x"), ("get",), ("list", "x"), ("submit",), ("cancel",),
                                  ("submit", "-p", "10", "-l", "python", "/dev/null"), ("nothing",))]
            == [1, 2, 2, 2, 2, 2, 2, 2], "csb job says what is wrong")


def make_keys(d, count):
    return [subprocess.run([CSB, "key", "create"], env={**os.environ, "STATE_DIR": d.state + "/state"},
                           capture_output=True, text=True, check=True).stdout.strip() for _ in range(count)]


def limits(t):
    with Daemon(JOB_WORKERS=1, JOB_MAX=3, JOB_MAX_PER_KEY=2) as d:
        keys = make_keys(d, 3)
        blocker = put(d, SLEEP, timeout=300, key=keys[0])
        t.check(ask(d, "POST", "/jobs", job())[0] == 401, "a key is needed")
        put(d, key=keys[0])
        answer = ask(d, "POST", "/jobs", job(), keys[0])
        t.check(is_error(answer, 429, "limit", "JOB_MAX_PER_KEY") and answer[1]["Retry-After"], "an owner's limit", answer)
        put(d, key=keys[1])
        t.check(ask(d, "POST", "/jobs", job(), keys[2])[0] == 429, "the limit of all")
        for method in ("GET", "DELETE"):
            t.check(is_error(ask(d, method, f"/jobs/{blocker}", key=keys[1]), 404, "not_found"),
                    f"{method} of another owner's job is 404")
        t.check(blocker not in [j["id"] for j in ask(d, "GET", "/jobs", key=keys[1])[2]["jobs"]], "and it is not listed")
        t.check(ask(d, "GET", f"/jobs?after={blocker}", key=keys[1])[0] == 400, "nor a place in a list")
        t.check(ask(d, "DELETE", f"/jobs/{blocker}", key=keys[0])[0] == 202, "its owner may end it")


def running(d, key=None):
    return [j["id"] for j in ask(d, "GET", "/jobs?state=running", key=key)[2]["jobs"]]


def workers(t):
    """A tenant whose jobs do not end leaves a worker to others."""
    with Daemon(JOB_WORKERS=4, POOL_MAX=12, DRAIN_MS=300) as d:
        for _ in range(6):
            put(d, SLEEP, timeout=300)
        d.wait(lambda: len(running(d)) == 4, "where there are no keys jobs have all workers")
    with Daemon(JOB_WORKERS=4, POOL_MAX=12, DRAIN_MS=300) as d:
        (one,) = make_keys(d, 1)
        held = [put(d, SLEEP, key=one, timeout=300, priority=9) for _ in range(12)]
        d.wait(lambda: len(running(d, one)) == 4, "so has a tenant who is the only one")
        other, third = make_keys(d, 2)
        name = put(d, key=other)
        t.check(get(d, name, other)["state"] == "queued", "who comes later waits for the first that ends")
        for ended_one in running(d, one)[:2]:
            ask(d, "DELETE", f"/jobs/{ended_one}", key=one)
        t.check(wait_for(d, name, *OVER, key=other)["state"] == "succeeded", "and is next then")
        d.wait(lambda: len(running(d, one)) == 3, "who was there has three of the four")
        began = time.monotonic()
        done = [wait_for(d, put(d, key=key), *OVER, key=key)["state"] for key in (other, third) for _ in range(5)]
        took = time.monotonic() - began
        t.check(done == ["succeeded"] * 10 and took < 30, "others' short jobs do not wait for those that do not end", took)
        t.check(len(running(d, one)) == 3 and all(get(d, n, one)["attempts"] <= 1 for n in held),
                "which go on, three at a time", running(d, one))
    with Daemon(JOB_WORKERS=2, ALLOW_UNAUTHENTICATED=1, DRAIN_MS=300) as d:
        (one,) = make_keys(d, 1)
        for _ in range(3):
            put(d, SLEEP, key=one, timeout=300)
        d.wait(lambda: running(d, one), "one of two")
        t.check(wait_for(d, put(d), *OVER)["state"] == "succeeded" and len(running(d, one)) == 1,
                "who needs no key is another tenant")


def shares(t):
    """A tenant whose results fill the queue's room leaves some for others."""
    with Daemon(JOB_STORE_MAX_BYTES="4M") as d:
        hostile, other = make_keys(d, 2)
        made = ask(d, "POST", "/jobs/batch", {"jobs": [job("flood 500000")] * 12}, hostile)[2]["jobs"]
        done = [wait_for(d, m["id"], *OVER, key=hostile) for m in made]
        kept = [j for j in done if j["result"]]
        t.check(2 <= len(kept) < len(done) and {j["state"] for j in done if not j["result"]} == {"may_have_run"}
                and all("no room" in j["error"]["message"] for j in done if not j["result"]),
                "there is no room for all results", [(j["state"], j["error"]) for j in done])
        answer = ask(d, "POST", "/jobs", job("out " + "x" * 60000), hostile)
        t.check(is_error(answer, 429, "limit", "JOB_STORE_MAX_BYTES"), "nor for more jobs", answer)
        told = wait_for(d, put(d, "flood 50000", key=other), *OVER, key=other)
        t.check(told["state"] == "succeeded" and told["result"]["stdout_bytes"] == 50000,
                "another's are taken, run and kept", (told["state"], told["error"]))


def restarts(t):
    with tempfile.TemporaryDirectory(prefix="csb-jobs-") as state:
        settings = {"state": state, "JOB_WORKERS": 1, "DRAIN_MS": 300, "CSB_FAKE_NOTES": make_notes(state)}
        with Daemon(**settings) as d:
            kept = put(d, "out kept", idempotency_key="kept")
            wait_for(d, kept, "succeeded")
            cut = put(d, "note cut\n" + SLEEP, timeout=300)
            again = put(d, "note again\nsleep 4000\nout done", max_attempts=3)
            wait_for(d, cut, "running")
        with Daemon(**settings) as d:
            t.check(get(d, kept)["result"]["stdout"] == "kept\n" and put(d, "out kept", idempotency_key="kept") == kept,
                    "results and keys outlive the service")
            told = get(d, cut)
            t.check(told["state"] == "may_have_run" and "shutting down" in told["error"]["message"],
                    "what was cut at the end may have run, and says who cut it", told)
            notes = pathlib.Path(state, "notes")
            d.wait(lambda: "again" in notes.read_text(), "its program has begun, not only been handed over")
            d.stop(signal.SIGKILL)
        with Daemon(**settings) as d:
            done = wait_for(d, again, *OVER)
            t.check(done["state"] == "succeeded" and done["attempts"] == 2, "what may run again does, and is counted", done)
        notes = notes.read_text().split()
        t.check(notes == ["cut", "again", "again"], "each ran as often as was said", notes)


def damaged(t):
    with tempfile.TemporaryDirectory(prefix="csb-jobs-") as state:
        with Daemon(state=state) as d:
            wait_for(d, put(d), *OVER)
        database = pathlib.Path(state, "state/store/jobs.db")
        kept = database.read_bytes()
        database.write_bytes(b"x" * len(kept))
        try:
            with Daemon(state=state):
                t.check(False, "a damaged queue is not used")
        except RuntimeError as error:
            t.check("queue of jobs" in str(error), "a damaged queue: the service does not start and says so", error)
        database.write_bytes(kept)
        with Daemon(state=state) as d:
            t.check(len(ask(d, "GET", "/jobs")[2]["jobs"]) == 1, "with a backup in its place it does")


def retention(t):
    with Daemon(JOB_RETENTION=1) as d:
        name = put(d)
        d.wait(lambda: ask(d, "GET", f"/jobs/{name}")[0] == 404, "removed")
        t.check(True, "a job is removed when it was kept for long enough")


def places(t):
    """A page begins where the one before ended, also when what was there is removed."""
    with Daemon(JOB_WORKERS=1, JOB_RETENTION=1, DRAIN_MS=300) as d:
        blocker = put(d, SLEEP, timeout=300)
        wait_for(d, blocker, "running")
        names = [put(d, "out x") for _ in range(4)]
        page = ask(d, "GET", "/jobs?limit=2")[2]
        t.check([j["id"] for j in page["jobs"]] == [names[3], names[2]], "the first page", page)
        ask(d, "DELETE", f"/jobs/{names[2]}")
        d.wait(lambda: ask(d, "GET", f"/jobs/{names[2]}")[0] == 404, "removed")
        status, _, rest = ask(d, "GET", f"/jobs?after={page['next']}")
        t.check(status == 200 and [j["id"] for j in rest["jobs"]] == [names[1], names[0], blocker] and not rest["next"],
                "the next one, when the job that it begins after is removed", rest)
        t.check(ask(d, "GET", f"/jobs?after={names[2]}")[0] == 400, "by its id there is no such place")


def held(t):
    """Another process holds the database."""
    with Daemon(JOB_WORKERS=1) as d:
        name = put(d, "sleep 3000")
        wait_for(d, name, "running")
        db = sqlite3.connect(d.state + "/state/store/jobs.db", isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        answer = ask(d, "POST", "/jobs", job())
        t.check(is_error(answer, 503, "queue_failed") and answer[1]["Retry-After"], "held by another: 503", answer)
        t.check(get(d, name)["state"] == "running", "jobs can be read")
        t.check(d.execute()[0] == 200, "and programs run")
        db.execute("ROLLBACK")
        db.close()
        t.check(wait_for(d, name, *OVER)["state"] == "succeeded", "no result is lost")
        t.check(wait_for(d, put(d), *OVER)["state"] == "succeeded", "and all goes on")


def full(t):
    """A disk without room: jobs are refused, none that was taken is lost."""
    if os.geteuid() != 0:
        print("# not root: no small disk can be mounted", flush=True)
        return
    with small_disk() as top:
        with Daemon(state=top, JOB_WORKERS=1, CSB_FAKE_NOTES=make_notes(top)) as d:
            blocker = put(d, SLEEP, timeout=300)
            wait_for(d, blocker, "running")
            taken, answer = [], None
            for i in range(200):
                answer = ask(d, "POST", "/jobs", job(f"note {i}\nout {'x' * 60000}", idempotency_key=f"f{i}"))
                if answer[0] != 202:
                    break
                taken.append(answer[2]["id"])
            t.check(answer[0] == 503 and answer[2]["error"] == "queue_failed" and len(taken) > 3,
                    "a full disk: 503", (answer, len(taken)))
            t.check(d.get("/health")[0] == 200 and d.execute()[0] == 200, "programs run")
            d.stop(signal.SIGKILL)
        subprocess.run(["mount", "-o", "remount,size=64m", top], check=True)
        with Daemon(state=top, CSB_FAKE_NOTES=make_notes(top)) as d:
            states = [wait_for(d, name, *OVER)["state"] for name in taken]
            t.check(set(states) == {"succeeded"}, "with room again, all that were taken run", states)
            ran = pathlib.Path(top, "notes").read_text().split()
            t.check(sorted(map(int, ran)) == list(range(len(taken))), "once each, and no other", ran)


class Receiver:
    """Keeps what is sent to it. `answers` are the statuses of the first answers; then 200."""

    def __init__(self, answers=(), tls=None):
        self.requests = []
        self.answers = list(answers)
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                status = receiver.answers.pop(0) if receiver.answers else 200
                self.send_response(status)
                if status // 100 == 3:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_GET = do_POST

            def log_message(self, *unused):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def signed_with(request, secret):
    """Whether what a receiver got has a signature of this secret."""
    _, headers, body = request
    stamp = headers["X-Codesandbox-Timestamp"].encode()
    want = "sha256=" + hmac.new(secret.encode(), stamp + b"." + body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(headers["X-Codesandbox-Signature"], want)


def callback_over(d, name):
    d.wait(lambda: get(d, name)["callback"]["state"] in ("delivered", "failed"), f"callback of {name} over")
    return get(d, name)["callback"]


def callbacks(t):
    receiver = Receiver([500, 302])
    try:
        with Daemon(WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="127.0.0.1", WEBHOOK_BACKOFF_MS=50, WEBHOOK_TRIES=3) as d:
            name = d.request("POST", "/jobs", json.dumps(job(
                callback_url=f"http://127.0.0.1:{receiver.port}/hook?x=1")), {"traceparent": PARENT})[2]["id"]
            told = callback_over(d, name)
            t.check(told["state"] == "delivered" and told["attempts"] == 3 and told["last_error"] is None,
                    "a callback is tried again until it is taken", told)
            t.check([r[0] for r in receiver.requests] == ["/hook?x=1"] * 3, "redirects are not followed",
                    receiver.requests)
            path, headers, body = receiver.requests[-1]
            stamp = headers["X-Codesandbox-Timestamp"]
            t.check(signed_with(receiver.requests[-1], ask(d, "GET", "/jobs/webhook-secret")[2]["secret"])
                    and abs(time.time() - int(stamp)) < 60, "and is signed", headers)
            shown = json.loads(body)
            t.check(shown["id"] == name == headers["X-Codesandbox-Job"] and shown["state"] == "succeeded"
                    and shown["result"]["stdout"] == "hi\n" and headers["X-Codesandbox-Attempt"] == "3",
                    "it is the job", shown)
            t.check(headers["traceparent"].startswith(PARENT[:36]) and headers["traceparent"] != PARENT,
                    "of the trace that put it", headers)
            receiver.answers = [500] * 3
            told = callback_over(d, put(d, callback_url=f"http://127.0.0.1:{receiver.port}/bad"))
            t.check(told["state"] == "failed" and told["attempts"] == 3 and "500" in told["last_error"],
                    "but not for ever", told)
            told = callback_over(d, put(d, callback_url="http://127.0.0.1:1/"))
            t.check(told["state"] == "failed" and told["attempts"] == 3, "nor where nobody is", told)
            answer = ask(d, "POST", "/jobs", job(callback_url="http://127.0.0.2/"))
            t.check(is_error(answer, 400, "invalid", "callback_url"), "only what is allowed is", answer)
    finally:
        receiver.close()


def tenants_secrets(t):
    """Who has what he needs to check his own callbacks cannot sign another tenant's."""
    receiver = Receiver()
    try:
        with Daemon(WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="127.0.0.1", ALLOW_UNAUTHENTICATED=1) as d:
            def csb(*arguments, **more):
                env = {**os.environ, "STATE_DIR": d.state + "/state", **more}
                return subprocess.run([CSB, *arguments], env=env, capture_output=True, text=True, check=False)

            keys = {name: csb("key", "create", f"--tenant={name}").stdout.strip() for name in ("acme", "umbra")}
            keys[""] = None
            second = csb("key", "create", "--tenant=acme").stdout.strip()
            secrets = {name: ask(d, "GET", "/jobs/webhook-secret", key=key)[2]["secret"] for name, key in keys.items()}
            want = {name: hmac.new(SECRET.encode(), b"csb-webhook:" + name.encode(), hashlib.sha256).hexdigest()
                    for name in keys}
            t.check(secrets == want and len(set(secrets.values())) == 3, "each tenant is told a secret of its own", secrets)
            t.check(ask(d, "GET", "/jobs/webhook-secret", key=second)[2]["secret"] == secrets["acme"],
                    "which is that of all its keys")
            t.check(ask(d, "GET", "/jobs/webhook-secret", key="e2b_" + "0" * 40)[0] == 401, "and of no other")
            for name, key in keys.items():
                put(d, key=key, callback_url=f"http://127.0.0.1:{receiver.port}/{name}")
            d.wait(lambda: len(receiver.requests) == 3, "callbacks")
            good = {(r[0][1:], name) for r in receiver.requests for name, secret in (*secrets.items(), ("service", SECRET))
                    if signed_with(r, secret)}
            t.check(good == {(name, name) for name in keys}, "each one's callbacks are signed with it, and nothing else", good)
            for name in keys:
                done = csb("tenant", "webhook-secret", *([name] if name else []), WEBHOOK_SECRET=SECRET)
                t.check(done.stdout == secrets[name] + "\n", f"so says csb tenant webhook-secret {name}", done)
            done = csb("tenant", "webhook-secret", "acne", WEBHOOK_SECRET=SECRET)
            t.check(done.returncode == 1 and done.stdout == "" and "acne" in done.stderr, "of nobody it says nothing", done)
            done = csb("tenant", "webhook-secret", "acme")
            t.check(done.returncode == 1 and done.stdout == "" and "WEBHOOK_SECRET" in done.stderr,
                    "nor without the service's", done)
            t.check(csb("tenant", "webhook-secret", "a", "b", WEBHOOK_SECRET=SECRET).returncode == 2, "of one at a time")
        with Daemon() as d:
            answer = ask(d, "GET", "/jobs/webhook-secret")
            t.check(is_error(answer, 404, "not_found"), "where there are no callbacks there is no secret", answer)
    finally:
        receiver.close()


class Tarpit:
    """Takes connections and never answers."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.taken = []
        threading.Thread(target=self.take, daemon=True).start()

    def take(self):
        while True:
            try:
                self.taken.append(self.listener.accept()[0])
            except OSError:
                return

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for s in self.taken:
            s.close()


def callbacks_by_turns(t):
    """A tenant whose receivers hang holds nobody's callbacks up but its own."""
    receiver, tarpit = Receiver(), Tarpit()
    try:
        with Daemon(WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="127.0.0.1", WEBHOOK_TIMEOUT_MS=60000, WEBHOOK_TRIES=1) as d:
            hostile, other = make_keys(d, 2)
            for _ in range(20):
                put(d, key=hostile, callback_url=f"http://127.0.0.1:{tarpit.port}/")
            d.wait(lambda: len(tarpit.taken) >= 4, "receivers hang")
            began = time.monotonic()
            name = put(d, key=other, callback_url=f"http://127.0.0.1:{receiver.port}/")
            d.wait(lambda: receiver.requests, "another's callback", seconds=100)
            took = time.monotonic() - began
            t.check(took < 30 and json.loads(receiver.requests[0][2])["id"] == name,
                    "another tenant's callback does not wait for receivers that hang", took)
            t.check(len(tarpit.taken) == 4, "of which some are called at a time", len(tarpit.taken))
    finally:
        receiver.close()
        tarpit.close()


def callbacks_outlive(t):
    receiver = Receiver([500])
    try:
        with tempfile.TemporaryDirectory(prefix="csb-jobs-") as state:
            settings = {"state": state, "WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW": "127.0.0.1", "WEBHOOK_BACKOFF_MS": 4000}
            url = f"http://127.0.0.1:{receiver.port}/"
            with Daemon(**settings) as d:
                name = put(d, callback_url=url)
                d.wait(lambda: get(d, name)["callback"]["last_error"], "tried")
                cut = put(d, SLEEP, timeout=300, callback_url=url)
                wait_for(d, cut, "running")
                d.stop(signal.SIGKILL)
            with Daemon(**settings) as d:
                told = [callback_over(d, n) for n in (name, cut)]
                t.check([c["state"] for c in told] == ["delivered"] * 2 and told[0]["attempts"] == 2,
                        "callbacks outlive the service", told)
                states = {json.loads(body)["id"]: json.loads(body)["state"] for _, _, body in receiver.requests}
                t.check(states == {name: "succeeded", cut: "may_have_run"}, "and tell what may have run", states)
    finally:
        receiver.close()


def not_called(t):
    receiver = Receiver()
    try:
        with Daemon(WEBHOOK_SECRET=SECRET, WEBHOOK_ALLOW="10.9.9.9", WEBHOOK_BACKOFF_MS=50) as d:
            port = receiver.port
            for host in ("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001",
                         "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "169.254.169.254",
                         "[fe80::1]", "10.0.0.1", "[64:ff9b::7f00:1]"):
                answer = ask(d, "POST", "/jobs", job(callback_url=f"http://{host}:{port}/"))
                t.check(is_error(answer, 400, "invalid", "callback_url"), f"refused at once: {host}", answer)
            base = "http://192.0.2.1/"
            got = [ask(d, "POST", "/jobs", job(callback_url=base + "x" * (n - len(base)))) for n in (1024, 1025)]
            t.check(all(is_error(g, 400, "invalid", "callback_url") for g in got) and "not public" in got[0][2]["message"]
                    and "1024 bytes" in got[1][2]["message"], "a URL has at most 1024 bytes", got)
            for url in (f"ftp://example.org:{port}/", f"http://u:p@example.org:{port}/", "file:///etc/passwd", "x",
                        "http://example.org/" + "x" * 1100):
                answer = ask(d, "POST", "/jobs", job(callback_url=url))
                t.check(is_error(answer, 400, "invalid", "callback_url"), f"no URL for this: {url[:40]}", answer)
            for host in ("localhost", "LOCALHOST"):
                told = callback_over(d, put(d, callback_url=f"http://{host}:{port}/"))
                t.check(told["state"] == "failed" and told["attempts"] == 1 and "not public" in told["last_error"],
                        f"a name that leads here is refused when it is resolved: {host}", told)
            t.check(receiver.requests == [], "nobody was called", receiver.requests)
    finally:
        receiver.close()


def encrypted(t):
    with tempfile.TemporaryDirectory(prefix="csb-tls-") as top:
        pem = pathlib.Path(top, "cert.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", top + "/key.pem", "-out", top + "/own.pem", "-subj", "/CN=127.0.0.1", "-days", "2",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        pem.write_text(pathlib.Path(top, "key.pem").read_text() + pathlib.Path(top, "own.pem").read_text())
        os.chmod(top, 0o755)
        receiver = Receiver(tls=str(pem))
        url = f"https://127.0.0.1:{receiver.port}/"
        settings = {"WEBHOOK_SECRET": SECRET, "WEBHOOK_ALLOW": "127.0.0.1", "WEBHOOK_TRIES": 1}
        try:
            with Daemon(**settings) as d:
                told = callback_over(d, put(d, callback_url=url))
                t.check(told["state"] == "failed" and not receiver.requests, "a certificate nobody vouches for", told)
            with Daemon(**settings, WEBHOOK_CA_FILE=top + "/own.pem") as d:
                told = callback_over(d, put(d, callback_url=url))
                t.check(told["state"] == "delivered" and len(receiver.requests) == 1, "one that is known", told)
        finally:
            receiver.close()


def main():
    t = Tap()
    with Daemon(JOB_WORKERS=1, JOB_BODY_MAX_BYTES="20K", JOB_OUTPUT_MAX_BYTES=100000) as d:
        for group in (life, refused, idempotency, cancelling, order, command_line):
            t.group(group, d)
    for group in (limits, workers, shares, restarts, damaged, retention, places, held, full, callbacks, tenants_secrets,
                  callbacks_by_turns, callbacks_outlive, not_called, encrypted):
        t.group(group)
    t.finish()


main()
