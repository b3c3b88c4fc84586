#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""openapi.yaml and docs/API.md against the code: routes, members, limits and words as the program
`api_tables` prints them from the parsers' own tables, and the answers of a running service.

    test_openapi.py API_TABLES SOURCE
"""
import json
import pathlib
import re
import subprocess
import sys

import yaml

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import Daemon  # noqa: E402
from schema import KNOWN, problems, resolve  # noqa: E402
from tap import Tap  # noqa: E402

METHODS = ("get", "put", "post", "delete", "patch")
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
DOC_ROUTE = re.compile(r"^\| `([A-Z]+) (/[^`?]*)` \|", re.M)
LITERAL = re.compile(r'http_fail\([^;]*?, (\d{3}), "([a-z_]+)"', re.S)


def pattern(path):
    return re.sub(r"\{[^}]*\}", "*", path)


class Book:
    """The description, and where things stand in it."""

    def __init__(self, text):
        self.doc = yaml.safe_load(text)
        self.schemas = self.doc["components"]["schemas"]

    def operations(self):
        for path, item in self.doc["paths"].items():
            for method in METHODS:
                if method in item:
                    yield method.upper(), path, item[method]

    def operation(self, method, path):
        for a_method, a_path, operation in self.operations():
            if a_method == method and re.fullmatch(re.sub(r"\{[^}]*\}", "[^/]+", a_path), path):
                return operation
        return None

    def problems(self, method, path, status, body):
        """What is wrong with an answer."""
        operation = self.operation(method, path)
        responses = operation["responses"]
        response = responses.get(str(status)) or responses.get("default")
        if response is None:
            return [f"{status} is not described"]
        content = resolve(self.doc, response).get("content", {})
        if "application/json" not in content:
            return [] if not body or "application/json" not in content and content else ["a body where none is told"]
        return list(problems(self.doc, content["application/json"]["schema"], body))


def routes(t, book, tables, source):
    code = {(method, path) for method, path, _ in tables["routes"]}
    told = {(method, pattern(path)) for method, path, _ in book.operations()}
    t.check(code == told, "every route is described, and no other", sorted(code ^ told))
    docs = {(m, pattern(p)) for m, p in DOC_ROUTE.findall((source / "docs/API.md").read_text())}
    t.check(code == docs, "docs/API.md has a row for every route, and no other", sorted(code ^ docs))
    for method, path, operation in book.operations():
        item = book.doc["paths"][path]
        names = [resolve(book.doc, p) for p in item.get("parameters", []) + operation.get("parameters", [])]
        named = {p["name"] for p in names if p["in"] == "path"}
        if named != set(re.findall(r"\{([^}]*)\}", path)):
            t.check(False, f"{method} {path} describes the parts of its path", named)
    access = {(method, path): who for method, path, who in tables["routes"]}
    roles = {(method, pattern(path)): "open" if operation.get("security") == [] else operation.get("x-role", "key")
             for method, path, operation in book.operations()}
    t.check(access == roles, "who may is told", set(access.items()) ^ set(roles.items()))
    ids = [operation["operationId"] for _, _, operation in book.operations()]
    t.check(len(ids) == len(set(ids)), "every operation has a name of its own", ids)


def references(t, book):
    broken, used = [], set()

    def walk(node):
        if isinstance(node, dict):
            if "$ref" in node:
                used.add(node["$ref"].rsplit("/", 1)[-1])
                try:
                    resolve(book.doc, node)
                except KeyError:
                    broken.append(node["$ref"])
            for value in node.values():
                walk(value)
        elif isinstance(node, list):
            for value in node:
                walk(value)
    walk(book.doc)
    t.check(not broken, "every reference leads somewhere", broken)
    odd = [(name, word) for name, schema in book.schemas.items()
           for at in [schema, *schema.get("properties", {}).values()] for word in set(at) - KNOWN]
    t.check(not odd, "schemas use words that are checked", odd)
    streamed = {"StreamStart", "StreamText", "StreamResult"}
    t.check(set(book.schemas) - used <= streamed, "every schema is used", set(book.schemas) - used - streamed)


def fields(t, book, tables):
    for name, known in tables["fields"].items():
        told = set(book.schemas[name]["properties"])
        t.check(told == set(known), f"{name} has the members its parser takes", sorted(told ^ set(known)))
        t.check(book.schemas[name].get("additionalProperties") is False, f"{name} has no others")
    asked = {resolve(book.doc, p)["name"] for p in book.operation("GET", "/v2/sandboxes")["parameters"]}
    t.check(asked == set(tables["list_arguments"]), "a listing's arguments", asked)
    asked = {resolve(book.doc, p)["name"] for p in book.operation("GET", "/snapshots")["parameters"]}
    t.check(asked == set(tables["snapshot_arguments"]), "those of a listing of snapshots", asked)


def limits(t, book, tables):
    wrong, told = [], set()
    for field, bounds in tables["limits"].items():
        schema, _, member = field.partition(".")
        at = book.schemas[schema]
        at = at["properties"][member] if member else at
        # 0: no limit of its own, or what another one allows.
        wrong += [f"{field}: {word} is {value} in the code, {at.get(word)} here"
                  for word, value in bounds.items() if at.get(word) != value]
        told.add(field)
    t.check(not wrong, "limits and defaults are those of the code", "\n".join(wrong))
    for name in tables["fields"]:
        for member, at in book.schemas[name]["properties"].items():
            big = {"maximum", "maxItems", "maxProperties"} & set(at)
            if any(at[word] for word in big) and f"{name}.{member}" not in told:
                t.check(False, f"{name}.{member} has a limit that the code is asked about", at)


def words(t, book, tables, source):
    enum = {name: set(book.schemas[name]["enum"]) for name in ("Status", "Reason", "ErrorWord")}
    t.check(enum["Status"] == set(tables["statuses"]), "statuses", enum["Status"] ^ set(tables["statuses"]))
    t.check(enum["Reason"] == set(tables["reasons"]), "reasons", enum["Reason"] ^ set(tables["reasons"]))
    code = {(status, word) for status, word in tables["errors"]}
    for path in [*(source / "src/http").glob("*.c"), *(source / "src/api").glob("*.c")]:
        code |= {(int(status), word) for status, word in LITERAL.findall(path.read_text())}
    t.check(enum["ErrorWord"] == {word for _, word in code}, "words of errors",
            enum["ErrorWord"] ^ {word for _, word in code})
    text = (source / "docs/API.md").read_text()
    rows = {(int(code), word) for code, listed in re.findall(r"^\| (\d{3}) \| ([^|]*) \|", text, re.M)
            for word in re.findall(r"`([a-z_]+)`", listed)}
    t.check(rows == code, "docs/API.md tells the status of every word", sorted(rows ^ code))
    missing = [f for name in ("ExecuteRequest", "Limits", "Usage", "ExecuteAnswer", "Timing")
               for f in book.schemas[name]["properties"] if f"`{f}`" not in text and f"`{f}" not in text
               and f"{f}`" not in text and f not in ("request_id", "language", "version", "code")]
    t.check(not missing, "docs/API.md names every member of /execute", missing)


def served(t, book, d, source):
    status, headers, text = d.get("/openapi.yaml")
    t.check(status == 200 and headers["Content-Type"] == "application/yaml"
            and text == (source / "src/api/openapi.yaml").read_bytes(), "the service serves this very file")


def answer(t, book, d, method, path, body=None, want=None, **headers):
    """One request whose answer must be as described; returns the body."""
    status, got, value = d.request(method, path, None if body is None else json.dumps(body), headers)
    wrong = book.problems(method, path.partition("?")[0], status, value)
    t.check(not wrong and (want is None or status == want),
            f"{method} {re.sub('i[a-z0-9]{20}', 'ID', path)} answers {status} as described",
            "\n".join([*wrong, str(status), str(value)[:500]]))
    return value


def programs(t, book, d):
    for code in ("out hi", "exit 3", "signal 9", "oom", "die", "warn"):
        answer(t, book, d, "POST", "/execute", {"language": "python", "code": code + "\n"})
    answer(t, book, d, "POST", "/execute", {"language": "rust", "code": "out hi\n"})
    answer(t, book, d, "POST", "/execute", {"language": "rust", "code": "reject\n"})
    answer(t, book, d, "POST", "/execute", {"language": "python"}, 400)
    answer(t, book, d, "POST", "/execute", {"language": "python", "code": "out hi\n", "limits": {"wall_ms": 0}}, 400)
    status, _, text = d.execute("out hi", headers={"Accept": "text/event-stream"})
    events = re.findall(r"event: (\w+)\ndata: (.*)\n\n", text.decode())
    shapes = {"start": "StreamStart", "stdout": "StreamText", "result": "StreamResult"}
    wrong = [p for name, data in events for p in problems(book.doc, book.schemas[shapes[name]], json.loads(data))]
    t.check({name for name, _ in events} == set(shapes) and not wrong, "events are as described", (events, wrong))
    for path in ("/health", "/ready", "/languages", "/debug/guest"):
        answer(t, book, d, "GET", path, want=200)
    for method, path in (("GET", "/nothing"), ("DELETE", "/execute")):
        status, headers, body = d.request(method, path)
        t.check(not list(problems(book.doc, book.schemas["Error"], body)) and UUID.fullmatch(headers["X-Request-Id"]),
                f"{status} of {method} {path} has an error's form", body)


def requests(t, book):
    """The examples of what may be sent, and of what may not, are told apart by the description."""
    schema = book.schemas["ExecuteRequest"]
    good = [{"language": "python", "code": "x", "files": {"a": "b", "c": {"content": "", "encoding": "base64"}}},
            {"language": "python", "code": "x", "stdin": None, "network": False, "artifacts": [], "timeout": 0.5}]
    bad = [{"code": "x"}, {"language": "python", "code": ""}, {"language": "python", "code": "x", "timeout": 0},
           {"language": "python", "code": "x", "nothing": 1}, {"language": "python", "code": "x", "network": True},
           {"language": "python", "code": "x", "env": {"CSB_A": "1"}}, {"language": "p", "code": "x", "args": [1]}]
    t.check(all(not list(problems(book.doc, schema, body)) for body in good), "what may be sent is described")
    t.check(all(list(problems(book.doc, schema, body)) for body in bad), "what may not is not",
            [body for body in bad if not list(problems(book.doc, schema, body))])


def sandboxes(t, book, d):
    key = {"X-API-KEY": "anything"}

    def ask(method, path, body=None, want=None):
        return answer(t, book, d, method, path, body, want, **key)
    made = ask("POST", "/v2/sandboxes", {"templateID": "base", "metadata": {"a": "b"}}, 201)
    at = "/sandboxes/" + made["sandboxID"]
    ask("POST", "/sandboxes", {"templateID": "base"}, 201)
    ask("POST", "/v2/sandboxes", {"templateID": "nothing"}, 404)
    ask("POST", "/v2/sandboxes", {}, 400)
    for path in ("/sandboxes", "/v2/sandboxes?limit=1", "/sandboxes/metrics?sandbox_ids=" + made["sandboxID"], at,
                 at + "/metrics", at + "/logs", "/v2" + at + "/logs", "/snapshots", "/templates", "/templates/aliases/base"):
        ask("GET", path, want=200)
    for path in ("/templates/aliases/nothing", "/sandboxes/nothing"):
        ask("GET", path, want=404)
    ask("POST", at + "/timeout", {"timeout": 60}, 204)
    ask("POST", at + "/refreshes", {"duration": 60}, 204)
    ask("POST", at + "/connect", {}, 200)
    ask("POST", "/v2" + at + "/connect", {"timeout": 50}, 200)
    ask("POST", at + "/resume", {}, 409)
    ask("POST", at + "/fork", {"count": 1})
    ask("POST", at + "/snapshots", {}, 501)
    ask("PUT", at + "/network", {}, 501)
    ask("POST", at + "/pause", {})
    ask("DELETE", "/templates/base", want=403)
    ask("DELETE", at, want=204)
    answer(t, book, d, "GET", "/sandboxes/nothing", None, 404)


def agreement(t, book, d):
    """What the description says may be sent is taken, and nothing else."""
    at = "/sandboxes/" + d.request("POST", "/v2/sandboxes", json.dumps({"templateID": "base"}))[2]["sandboxID"]
    program = {"language": "python", "code": "out hi\n"}
    seconds = ({}, {"timeout": None}, {"timeout": -2**31 - 1}, {"timeout": 2**31 - 1}, {"timeout": 2**31}, {"timeout": "1"},
               {"timeout": 60, "memory": None}, {"timeout": 60, "memory": 1}, {"timeout": 60, "other": 1})
    asked = [("POST", at + "/timeout", body) for body in seconds]
    asked += [("POST", version + at + "/connect", body) for body in seconds for version in ("", "/v2")]
    asked += [("POST", at + "/refreshes", {"duration" if k == "timeout" else k: v for k, v in body.items()})
              for body in seconds]
    asked += [("POST", path, body) for path in ("/v2/sandboxes", "/sandboxes")
              for body in ({}, {"templateID": ""}, {"templateID": None}, {"templateID": 1}, {"templateID": "base", "x": 1})]
    asked += [("POST", path, {**program, **more}) for path in ("/execute", "/jobs")
              for more in ({}, {"language": ""}, {"language": None}, {"code": None}, {"code": ""}, {"timeout": True},
                           {"args": None}, {"args": [None]}, {"env": {"A": None}}, {"limits": {"processes": None}})]
    asked += [("POST", "/jobs", {**program, **more})
              for more in ({"priority": None}, {"priority": 10}, {"max_attempts": 0}, {"idempotency_key": ""})]
    wrong = []
    for method, path, body in asked:
        schema = resolve(book.doc, book.operation(method, path)["requestBody"])["content"]["application/json"]["schema"]
        told = list(problems(book.doc, schema, body))
        status = d.request(method, path, json.dumps(body))[0]
        if (status == 400) != bool(told):
            wrong.append((method, path, body, status, told))
    t.check(not wrong and len(asked) > 60, f"the description and the parsers agree on {len(asked)} bodies",
            "\n".join(map(str, wrong)))


def jobs(t, book, d):
    made = answer(t, book, d, "POST", "/jobs", {"language": "python", "code": "out hi\n", "idempotency_key": "k"}, 202)
    at = "/jobs/" + made["id"]
    answer(t, book, d, "POST", "/jobs", {"language": "python", "code": "out hi\n", "idempotency_key": "k"}, 200)
    answer(t, book, d, "POST", "/jobs", {"language": "python", "code": "x\n", "idempotency_key": "k"}, 409)
    answer(t, book, d, "POST", "/jobs", {"language": "python"}, 400)
    d.wait(lambda: d.get(at)[2]["state"] == "succeeded", "a job over")
    answer(t, book, d, "GET", at, want=200)
    dying = answer(t, book, d, "POST", "/jobs/batch", {"jobs": [{"language": "python", "code": "die\n"}]}, 202)
    name = dying["jobs"][0]["id"]
    d.wait(lambda: d.get("/jobs/" + name)[2]["state"] == "may_have_run", "a job that dies over")
    answer(t, book, d, "GET", "/jobs/" + name, want=200)
    answer(t, book, d, "GET", "/jobs?limit=1", want=200)
    answer(t, book, d, "GET", "/jobs?limit=0", want=400)
    answer(t, book, d, "DELETE", at, want=409)
    answer(t, book, d, "GET", "/jobs/nothing", want=404)
    answer(t, book, d, "GET", "/jobs/webhook-secret", want=404)


def main():
    source = pathlib.Path(sys.argv[2])
    tables = json.loads(subprocess.run([sys.argv[1]], capture_output=True, check=True).stdout)
    book = Book((source / "src/api/openapi.yaml").read_text())
    tap = Tap()
    tap.group(lambda t: routes(t, book, tables, source))
    tap.group(lambda t: references(t, book))
    tap.group(lambda t: fields(t, book, tables))
    tap.group(lambda t: limits(t, book, tables))
    tap.group(lambda t: words(t, book, tables, source))
    tap.group(lambda t: requests(t, book))
    with Daemon() as d:
        tap.group(lambda t: served(t, book, d, source))
        for test in (programs, jobs, sandboxes, agreement):
            tap.group(lambda t, test=test: test(t, book, d))
    tap.finish()


if __name__ == "__main__":
    main()
