#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""GET /metrics and /ready: the text is what Prometheus takes, and the numbers follow what was done.

promtool, where there is one ($CSB_PROMTOOL, or on the path), checks the text as well.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import Daemon  # noqa: E402
from tap import Tap  # noqa: E402

SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^{}]*\})? ([0-9.e+-]+|\+Inf|NaN)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\\n]|\\.)*)"')
SUFFIXES = ("_bucket", "_sum", "_count")


def scrape(d):
    status, headers, text = d.get("/metrics")
    assert status == 200, (status, text)
    return headers["Content-Type"], text.decode()


def family(name, types):
    for suffix in SUFFIXES:
        base = name.removesuffix(suffix)
        if base != name and types.get(base) == "histogram":
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
            and value(after, "process_resident_memory_bytes") > 1 << 20, "the process tells of itself")


def test_ready(t, d):
    status, _, body = d.get("/ready")
    t.check(status == 200 and body["ready"] is True, "/ready is 200 when programs can run", body)


def test_promtool(t, d):
    tool = os.environ.get("CSB_PROMTOOL") or shutil.which("promtool")
    if not tool or not os.access(tool, os.X_OK):
        print("# no promtool here: the format was checked by this test's own parser only")
        return
    done = subprocess.run([tool, "check", "metrics"], input=scrape(d)[1], text=True,
                          capture_output=True, check=False)
    t.check(done.returncode == 0, "promtool finds nothing wrong", done.stdout + done.stderr)


def main():
    tap = Tap()
    with Daemon() as d:
        for test in (test_format, test_runs, test_ready, test_promtool):
            tap.group(lambda t, test=test: test(t, d))
    tap.finish()


if __name__ == "__main__":
    main()
