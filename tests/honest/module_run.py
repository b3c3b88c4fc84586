# SPDX-License-Identifier: Apache-2.0
# The program that is run inside and outside: runs a module of Python's own test suite by
# `python3 -m test` and prints what came of it as JSON: {"exit", "tests": {name: outcome}, "why":
# {name: text}, "slow": {name: seconds}, "tail"}. A line put in front sets MODULE and WORDS, more
# options.
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as tree

REPORT = "/tmp/report.xml"
TAIL = 1500
SLOW_S = 1


def outcome(case):
    for kind in ("error", "failure", "skipped"):
        if case.find(kind) is not None:
            return {"error": "failed", "failure": "failed", "skipped": "skipped"}[kind]
    return "skipped" if case.get("result") == "skipped" else "ok"


def text_of(case):
    return " ".join((child.text or "").strip()[-700:] for child in case)


def main():
    done = subprocess.run([sys.executable, "-m", "test", "--junit-xml", REPORT, *WORDS, MODULE],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace")
    tests, why, slow = {}, {}, {}
    try:
        cases = list(tree.parse(REPORT).iter("testcase"))
    except (OSError, tree.ParseError):
        cases = []
    for case in cases:
        if case.get("name") is None:  # only a part of it failed, which has a case of its own
            continue
        # Addresses of objects get into some names.
        name = re.sub(r"0x[0-9a-f]+", "0x", case.get("name")).removeprefix("test.")
        found = outcome(case)
        if tests.get(name) != "failed":
            tests[name] = found
        if found != "ok":
            why[name] = text_of(case)
        if float(case.get("time", 0)) > SLOW_S:
            slow[name] = float(case.get("time"))
    print(json.dumps({"exit": done.returncode, "tests": tests, "why": why, "slow": slow,
                      "tail": done.stdout[-TAIL:]}))


main()
