#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GET /metrics and /ready: the text is what Prometheus takes, and the numbers follow what was done.

promtool, where there is one ($CSB_PROMTOOL, or on the path), checks the text as well.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import Daemon  # noqa: E402
from tap import Tap  # noqa: E402

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\})? ([0-9.e+-]+|\+Inf|NaN)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"')
METRIC = re.compile(r"\b(?:codesandbox|process)_\w+")
CHOSEN = '{job=~"$job", instance=~"$instance"'
SOURCE = pathlib.Path(__file__).resolve().parents[2]
START = time.time()
SUFFIXES = ("_bucket", "_sum", "_count")


def promtool(t, *arguments, given, what=""):
    tool = os.environ.get("CSB_PROMTOOL") or shutil.which("promtool")
    if not tool or not os.access(tool, os.X_OK):
        print("# no promtool here: this test's own parser has to do")
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(given)
        file.flush()
        files = [file.name] if "rules" in arguments else []
        done = subprocess.run([tool, *arguments, *files], input=given, text=True, capture_output=True, check=False)
    what = what or f"promtool {' '.join(arguments)} finds nothing wrong"
    t.check(done.returncode == 0, what, done.stdout + done.stderr)


def scrape(d):
    status, headers, text = d.get("/metrics")
    assert status == 200, (status, text)
    return headers["Content-Type"], text.decode()


def family(name, types):
    for suffix in SUFFIXES:
        base = name.removesuffix(suffix)
        if base != name and types.get(base) in ("histogram", "summary"):
            return base
    return name


def parse(text):
    """({(name, labels): value}, {name: type}, problems)"""
    samples, types, helped, problems, done, last = {}, {}, set(), [], set(), None
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helped.add(line.split()[2])
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            if name in types:
                problems.append(f"{name} is told twice")
            types[name] = kind
            continue
        match = SAMPLE.fullmatch(line)
        if not match:
            problems.append(f"no sample: {line!r}")
            continue
        name, labels, value = match.groups()
        key = name, tuple(sorted(LABEL.findall(labels or "")))
        base = family(name, types)
        if base not in types or base not in helped:
            problems.append(f"{name} has no TYPE or HELP before it")
        if base != last and base in done:
            problems.append(f"{base} is in two places")
        done.add(base)
        last = base
        if key in samples:
            problems.append(f"{key} twice")
        samples[key] = float(value)
    return samples, types, problems


def histogram_problems(samples, types):
    for name in (n for n, kind in types.items() if kind == "histogram"):
        rows = {}
        for (sample, labels), value in samples.items():
            if sample == name + "_bucket":
                rest = tuple(label for label in labels if label[0] != "le")
                rows.setdefault(rest, []).append((float(dict(labels)["le"].replace("+Inf", "inf")), value))
        for labels, buckets in rows.items():
            values = [value for _, value in sorted(buckets)]
            if values != sorted(values) or values[-1] != samples[name + "_count", labels]:
                yield name, labels, buckets


def value(samples, name, **labels):
    return samples[name, tuple(sorted(labels.items()))]


def test_format(t, d):
    kind, text = scrape(d)
    t.check(kind.startswith("text/plain; version=0.0.4"), "the content type is the format's", kind)
    samples, types, problems = parse(text)
    t.check(not problems, "every line is in the format, told once and in one place", problems)
    t.check(not list(histogram_problems(samples, types)), "histograms rise to their count")
    t.check(all(name.endswith("_total") == (types[name] == "counter") for name in types),
            "counters, and only they, end with _total", types)


def test_runs(t, d):
    before = parse(scrape(d)[1])[0]
    d.execute("out hi")
    d.execute("exit 3")
    d.execute("out hi", headers={"Accept": "text/event-stream"})
    d.execute("die")
    d.execute("out hi", language="nothing")
    after = parse(scrape(d)[1])[0]

    def moved(name, **labels):
        return value(after, name, **labels) - value(before, name, **labels)
    t.check(moved("codesandbox_runs_total", language="python", status="ok") == 2,
            "two runs were ok, one of them streamed")
    t.check(moved("codesandbox_runs_total", language="python", status="error") == 1, "one failed")
    t.check(moved("codesandbox_run_errors_total", language="python", error="gone",
                  fault="sandbox") == 1, "one sandbox was lost",
            {k: v for k, v in after.items() if "errors" in k[0] and v})
    t.check(moved("codesandbox_run_phase_seconds_count", language="python", phase="run") == 3,
            "three runs have a duration")
    t.check(not any(("language", "nothing") in labels for _, labels in after),
            "a language that is not there is no label")
    t.check(value(after, "codesandbox_ready") == 1 and value(after, "process_open_fds") > 5
            and abs(value(after, "process_start_time_seconds") - START) < 5
            and value(after, "process_resident_memory_bytes") > 1 << 20, "the process tells of itself")


def test_http(t, d):
    def asked():
        samples = parse(scrape(d)[1])[0]
        return {key[1]: n for key, n in samples.items() if key[0] == "codesandbox_http_requests_total"}
    before = asked()
    for n in range(30):
        d.get(f"/nothing/{n}")
        d.request(f"ODD{n}", "/execute")
        d.get(f"/sandboxes/i{n}", **{"X-API-KEY": "x"})
    d.request("GET", "/", headers={"Host": "elsewhere.example"})
    for _ in range(3):
        d.request("GET", "/languages", headers={"Host": "elsewhere.example"})
    d.get("/health")

    def moved(after, route, method, status):
        key = (("method", method), ("route", route), ("status", status))
        return after.get(key, 0) - before.get(key, 0)
    d.wait(lambda: moved(asked(), "/health", "GET", "2xx") == 1, "counted")
    after = asked()
    t.check(moved(after, "other", "any", "4xx") == 61, "what no route takes is counted together", after)
    t.check(moved(after, "/sandboxes/*", "GET", "4xx") == 30, "ids are no labels", after)
    t.check(moved(after, "/languages", "GET", "4xx") == 3, "who is refused is counted where he asked", after)
    t.check(len(after) < len(before) + 6, "labels have as many values as there are routes", after)
    samples = parse(scrape(d)[1])[0]
    t.check(value(samples, "codesandbox_http_request_seconds_count", route="/sandboxes/*", method="GET") >= 30,
            "and there are durations")


def test_live(t, d):
    def call(method, path, body=None):
        return d.request(method, path, None if body is None else json.dumps(body), {"X-API-KEY": "x"})

    def now(name, **labels):
        return value(parse(scrape(d)[1])[0], "codesandbox_live_" + name, **labels)
    created, ended = now("created_total"), now("lifetime_seconds_count")
    ids = [call("POST", "/v2/sandboxes", {"templateID": "base"})[2]["sandboxID"] for _ in range(2)]
    t.check(now("created_total") == created + 2 and now("sandboxes", state="running") == 2,
            "sandboxes that were made are counted, and those that run")
    call("DELETE", "/sandboxes/" + ids[0])
    t.check(now("sandboxes", state="running") == 1 and now("ended_total", cause="killed") == 1
            and now("lifetime_seconds_count") == ended + 1, "and those that ended, with their lives")
    if call("POST", f"/sandboxes/{ids[1]}/pause")[0] == 204:
        t.check(now("sandboxes", state="paused") == 1 and now("paused_total") == 1, "a paused one")
        call("POST", f"/v2/sandboxes/{ids[1]}/connect", {})
        t.check(now("sandboxes", state="running") == 1 and now("resumed_total") == 1, "that runs again")
    call("DELETE", "/sandboxes/" + ids[1])
    samples = parse(scrape(d)[1])[0]
    t.check(value(samples, "codesandbox_machine_restores_total")
            >= value(samples, "codesandbox_machine_lifetime_seconds_count") > 0, "machines have lives, too")


def dashboard():
    return json.loads((SOURCE / "packaging/grafana/codesandbox.json").read_text())


def queries_of(board):
    """Each panel's queries, with what names their lines. Prometheus itself adds `job` and `instance`."""
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], target.get("legendFormat", "")


def wanted_labels(query, legend):
    """({label}, {(label, value)}) that the query and its legend name."""
    pairs = set(re.findall(r'[{,]\s*(\w+)="([^"]*)"', query))
    names = {word for group in re.findall(r"by \(([^)]*)\)", query) for word in group.split(", ")}
    names |= set(re.findall(r"[{,]\s*(\w+)=", query)) | set(re.findall(r"{{(\w+)}}", legend))
    return names - {"job", "instance"}, pairs


def test_queries(t, d):
    """Every query names metrics that are there, with labels that they have."""
    samples, types, _ = parse(scrape(d)[1])
    labels = {}
    for name, pairs in samples:
        labels.setdefault(family(name, types), set()).update(pairs)
    queries = list(queries_of(dashboard()))
    used = set()
    for query, legend in queries:
        names = set(METRIC.findall(query))
        used |= names
        wrong = [name for name in names if family(name, types) not in types]
        there = set().union(*(labels.get(family(name, types), set()) for name in names))
        wanted, pairs = wanted_labels(query, legend)
        missing = wanted - {label for label, _ in there}, pairs - there
        t.check(names and not wrong and not any(missing), f"there is what '{query}' asks for",
                (wrong, missing))
        t.check(query.count(CHOSEN) == len(re.findall(r"\w{", query)) >= len(METRIC.findall(query)),
                "of the chosen services alone", query)
    t.check(len(queries) > 20, "there are queries")
    unused = {name for name in types if name not in {family(n, types) for n in used}}
    t.check(not unused, "every metric is shown", unused)
    told = set(re.findall(r"`((?:codesandbox|process)_\w+)`", (SOURCE / "docs/OPERATIONS.md").read_text()))
    untold = {name for name in types if name not in told and "compile_cache" not in name}
    t.check(not untold, "docs/OPERATIONS.md has every metric", untold)


def test_panels(t, d):
    """What Grafana makes of the answers: variables, single numbers, lines with settings of their own."""
    board = dashboard()
    samples, types, _ = parse(scrape(d)[1])
    variables = {v["name"]: v.get("definition") for v in board["templating"]["list"]}
    t.check(variables == {"datasource": None, "job": "label_values(codesandbox_info, job)",
                          "instance": 'label_values(codesandbox_info{job=~"$job"}, instance)'}
            and "codesandbox_info" in types, "the dashboard's variables are there", variables)
    ids = [panel["id"] for panel in board["panels"]]
    t.check(len(ids) == len(set(ids)), "the panels are told apart")
    past = [panel["title"] for panel in board["panels"] if panel["type"] == "stat"
            and not all(target.get("instant") for target in panel["targets"])]
    t.check(not past, "a single number is of now, not the last one before the service was gone", past)
    values = {value for _, pairs in samples for _, value in pairs}
    for panel in (p for p in board["panels"] if p["type"] != "row"):
        legends = {target["legendFormat"] for target in panel["targets"]}
        names = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"] if o["matcher"]["id"] == "byName"}
        t.check(names <= legends | values, f"'{panel['title']}' has lines with those names", names)


def chosen_all(query):
    for name, given in (("$__rate_interval", "5m"), ("$__range", "1h"), ("$job", ".+"), ("$instance", ".+")):
        query = query.replace(name, given)
    return query


def series_of(samples, types, instance):
    """What Prometheus would have of a service that told this and whose counters went on by one."""
    for (name, pairs), first in samples.items():
        labels = ", ".join(f'{label}="{text}"' for label, text in (*pairs, ("job", "csb"), ("instance", instance)))
        step = 0 if types[family(name, types)] == "gauge" else 1
        yield {"series": f"{name}{{{labels}}}", "values": f"{first:f}+{step}x40"}


def test_evaluated(t, d):
    """Prometheus' own engine answers every query with a number, for two services at once."""
    samples, types, _ = parse(scrape(d)[1])
    series = [line for instance in ("one:1", "two:2") for line in series_of(samples, types, instance)]
    queries = [chosen_all(query) for query, _ in queries_of(dashboard())]
    promtool(t, "test", "rules", given=json.dumps({"tests": [{
        "interval": "15s", "input_series": series, "promql_expr_test": [
            {"expr": f"count(({query}) == ({query})) > bool 0", "eval_time": "10m",
             "exp_samples": [{"labels": "{}", "value": 1}]} for query in queries]}]}),
             what="every query is answered with a number")


def test_gone(t, _):
    """A service that cannot be scraped is not shown as ready, be it one of two or all."""
    ready = chosen_all(next(query for query, _ in queries_of(dashboard()) if "codesandbox_ready" in query))

    def series(name, instance, values):
        return {"series": f'{name}{{job="csb", instance="{instance}"}}', "values": values}
    promtool(t, "test", "rules", given=json.dumps({"tests": [{"interval": "15s", "input_series": [
        series("up", "one:1", "1x42 0x9"), series("codesandbox_ready", "one:1", "1x20 0x10 1x10 stale"),
        series("up", "two:2", "1x9 0x9 1x22 0x9"), series("codesandbox_ready", "two:2", "1x9 stale _x9 1x22 stale"),
    ], "promql_expr_test": [
        {"expr": ready, "eval_time": when, "exp_samples": [{"labels": "{}", "value": value}]}
        for when, value in (("2m", 1), ("3m", 0), ("5m", 1), ("6m", 0), ("9m", 1), ("11m", 0))]}]}),
             what="what is gone is not ready")


def test_ready(t, d):
    status, _, body = d.get("/ready")
    t.check(status == 200 and body["ready"] is True, "/ready is 200 when programs can run", body)


def test_promtool(t, d):
    promtool(t, "check", "metrics", given=scrape(d)[1])


def main():
    tap = Tap()
    with Daemon() as d:
        for test in (test_format, test_runs, test_http, test_live, test_queries, test_panels,
                     test_evaluated, test_gone, test_ready, test_promtool):
            tap.group(lambda t, test=test: test(t, d))
    tap.finish()


if __name__ == "__main__":
    main()
