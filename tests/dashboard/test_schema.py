#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""packaging/grafana/codesandbox.json against the types that Grafana publishes for dashboards: every
name in it is one that Grafana knows, with a value of its type, and none that is needed is missing.

usage: test_schema.py DIRECTORY
DIRECTORY keeps the packages of npm's; where they cannot be had the test is skipped, and says why.
That every query asks for what the service tells is in tests/integration/test_metrics.py.
"""
import copy
import json
import os
import pathlib
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import npm  # noqa: E402
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BOARD = HERE.parents[1] / "packaging/grafana/codesandbox.json"
PACKAGES = pathlib.Path(sys.argv[1]).resolve()
OPTIONS = ("--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext",
           "--moduleResolution", "nodenext")


def skip(why):
    if "dashboard" in os.environ.get("CSB_MUST_RUN", "").split(","):
        print(f"1..1\nnot ok 1 - {why}")
        sys.exit(1)
    print(f"1..0 # SKIP {why}")
    sys.exit(0)


def source(board):
    """The dashboard as a program that holds only when it has those types."""
    plain = {name: value for name, value in board.items() if name != "panels"}
    yield 'import type {Dashboard, Panels} from "./shapes.js";'
    yield f"export const board: Dashboard = {json.dumps(plain, indent=1)};"
    for panel in board["panels"]:
        kind = json.dumps(panel["type"])
        yield f"export const p{panel['id']}: Panels[{kind}] = {json.dumps(panel, indent=1)};"


def problems(boards):
    """{name: what the compiler says of it, "" where it is as it shall be}"""
    with Scratch("dashboard", PACKAGES) as directory:
        shutil.copy(HERE / "shapes.d.ts", directory / "shapes.d.ts")
        files = [f"board{number}.ts" for number in range(len(boards))]
        for name, board in zip(files, boards.values()):
            (directory / name).write_text("\n".join(source(board)) + "\n")
        done = subprocess.run(["node", PACKAGES / "node_modules/typescript/bin/tsc", *OPTIONS, *files],
                              cwd=directory, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=600)
    said = dict.fromkeys(files, "")
    for line in (done.stdout + done.stderr).splitlines():
        for name in files:
            if name in line:
                said[name] += line + "\n"
    if done.returncode and not any(said.values()):
        raise RuntimeError(f"the compiler did not compare: {done.stdout}{done.stderr}")
    return dict(zip(boards, said.values()))


def spoilt(board):
    """Dashboards with one mistake each, which must be seen."""
    def first(changed, kind):
        return next(panel for panel in changed["panels"] if panel["type"] == kind)
    mistakes = {
        "a name that Grafana does not know": lambda b: b.update(refreshes="30s"),
        "a legend in a place that there is not":
            lambda b: first(b, "timeseries")["options"]["legend"].update(placement="left"),
        "a query without an expression": lambda b: first(b, "stat")["targets"][0].pop("expr"),
        "a variable of an unknown type": lambda b: b["templating"]["list"][0].update(type="source"),
    }
    for name, change in mistakes.items():
        changed = copy.deepcopy(board)
        change(changed)
        yield name, changed


def main():
    try:
        npm.install(HERE, PACKAGES)
    except npm.Unusable as why:
        skip(why)
    tap = Tap()
    board = json.loads(BOARD.read_text())
    mistakes = dict(spoilt(board))
    said = problems({"": board, **mistakes})
    tap.check(not said[""], "the dashboard is what Grafana's types say", said[""])
    for name in mistakes:
        tap.check(said[name], f"{name} would be seen")
    tap.finish()


if __name__ == "__main__":
    main()
