#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Escape and abuse: every row of the list against a running service.

A row passes when its expected outcome holds in time and typed, never as HTTP 5xx; the host is the same
before and after (host.py); the next program runs; and a neighbour who ran programs meanwhile saw nothing.

CSB_TEST_ISOLATION: microvm or process. CSB_TEST_UID: the ordinary user to start the service as; run by
one already, it is that one. --only N,M: just these rows; --brief N,M: the
same, but not with CSB_TEST_FULL=1. --list: what there is.

A row, or the part of it, that needs what the service does not have yet is told in a line
"# TODO row N: needs ..." and counted in the last line; it is no test point, neither passed nor skipped.
"""
import argparse
import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "service"), str(HERE.parent / "lib")]
from full import FULL  # noqa: E402
import rows_api  # noqa: E402
import rows_faults  # noqa: E402
import rows_files  # noqa: E402
import rows_kernel  # noqa: E402
import rows_leaks  # noqa: E402
import rows_network  # noqa: E402
import rows_processes  # noqa: E402
import rows_resources  # noqa: E402
import rows_sessions  # noqa: E402
from rig import Rig  # noqa: E402
from tap import Tap  # noqa: E402

# The faults come last: they kill the service.
MODULES = (rows_processes, rows_resources, rows_files, rows_kernel, rows_network, rows_leaks, rows_api,
           rows_faults)


def all_rows(isolation):
    rows = [row for module in MODULES for row in module.rows(isolation)]
    numbers = [row.number for row in rows]
    if len(set(numbers)) != len(numbers):
        raise ValueError("a row is there twice")
    for row in rows:
        row.session = rows_sessions.PARTS.get(row.number)
    return rows


def run_rows(tap, rows, isolation, uid):
    rig = Rig(isolation, uid)
    who = "root" if rig.world.root else f"uid {uid or os.geteuid()}"
    print(f"# {isolation}, started by {who}; confinement {rig.world.confinement}", flush=True)
    try:
        for row in rows:
            tap.group(lambda t, row=row: check(t, rig, row))
        for what in sorted(rig.world.weaker):
            print(f"# weaker here, as /health says under confinement: {what}", flush=True)
        print(f"# the neighbour's slowest answer took {rig.neighbour.slowest:.2f} s", flush=True)
    finally:
        code, left = rig.stop()
    tap.check(code == 0 and not left, "the service ends, and nothing of it is left", (code, left))


def check(tap, rig, row):
    start = time.monotonic()
    problems = rig.check_row(row)
    tap.check(not problems, f"row {row.number}: {row.title}", "\n".join(problems))
    print(f"# {time.monotonic() - start:.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="numbers of rows, separated by commas")
    parser.add_argument("--brief", default="", help="as --only, unless everything is asked for")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    isolation = os.environ.get("CSB_TEST_ISOLATION", "microvm")
    uid = int(os.environ["CSB_TEST_UID"]) if os.environ.get("CSB_TEST_UID") else None
    rows = all_rows(isolation)
    only = options.only or ("" if FULL else options.brief)
    if only:
        wanted = {int(n) for n in only.split(",")}
        rows = [row for row in rows if row.number in wanted]
    if options.list:
        for row in rows:
            print(f"{row.number:3} {row.title}" + (f" (later: {row.later})" if row.later else ""))
        return
    if os.geteuid() != 0 and uid is None:
        print("1..0 # SKIP starting the service as root needs root")
        return
    tap = Tap()
    tap.group(run_rows, rows, isolation, uid)
    later = [row for row in rows if row.later]
    for row in later:
        print(f"# TODO row {row.number}: needs {row.later}")
    print(f"# rows: {len(rows)}; of {len(later)} a part is for later", flush=True)
    tap.finish()


if __name__ == "__main__":
    main()
