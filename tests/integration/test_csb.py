#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""csb over the fake driver: what of its commands needs virtual machines (pause, resume, fork), the completion
for bash, and the manual pages against the tables of commands. The rest is driven by tests/service/test_csb.py.

    test_csb.py SOURCE
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import BUILD, Daemon  # noqa: E402
from tap import Tap  # noqa: E402

CSB = BUILD / "src/cli/csb"
SOURCE = pathlib.Path(sys.argv[1])
GROUPS = ("sandbox", "template", "job")


def csb(port, *args):
    return subprocess.run([str(CSB), *args], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "CSB_URL": f"http://127.0.0.1:{port}", "E2B_API_KEY": "x"})


def machines(t):
    with Daemon() as d:
        name = csb(d.port, "sandbox", "create").stdout.strip()
        t.check(csb(d.port, "sandbox", "pause", name).returncode == 0, "sandbox pause")
        t.check(" paused " in csb(d.port, "sandbox", "list").stdout, "it is listed as paused")
        again = csb(d.port, "sandbox", "pause", name)
        t.check(again.returncode == 125 and "paused" in again.stderr, "twice is refused", again)
        done = csb(d.port, "sandbox", "resume", "--json", name)
        t.check(json.loads(done.stdout)["sandboxID"] == name, "sandbox resume --json", done)
        done = csb(d.port, "sandbox", "fork", "-n", "2", name)
        copies = done.stdout.split()
        t.check(done.returncode == 0 and len(set(copies) - {name}) == 2, "sandbox fork prints the copies", done)
        t.check(csb(d.port, "sandbox", "kill", name, *copies).returncode == 0
                and csb(d.port, "sandbox", "list").stdout == "", "sandbox kill of several")


def complete(t, script, line):
    """What is offered after the words of the line."""
    words = line.split(" ")
    done = subprocess.run(["bash", "-c", f'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _csb; '
                           'printf "%s\\n" "${COMPREPLY[@]}"', "bash", script, *words],
                          capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": f"{BUILD / 'src/cli'}:{os.environ['PATH']}",
                               "CSB_URL": "http://127.0.0.1:1"})
    t.check(done.stderr == "", f"completing '{line}' says nothing", done.stderr)
    return done.stdout.split()


def completion(t, d):
    path = pathlib.Path(d.state) / "csb.bash"
    path.write_text(csb(1, "completion", "bash").stdout)
    t.check(subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0, "completion is a script")
    if shutil.which("shellcheck"):
        done = subprocess.run(["shellcheck", "-s", "bash", str(path)], capture_output=True, text=True, check=False)
        t.check(done.returncode == 0, "shellcheck finds nothing", done.stdout)
    top = complete(t, path, "csb ")
    t.check({"run", "sandbox", "template", "top", "key", "doctor"} <= set(top) and "completion" not in top,
            "commands", top)
    t.check(complete(t, path, "csb sandbox ex") == ["exec"], "commands of a command")
    t.check("--user" in complete(t, path, "csb sandbox exec --u") and complete(t, path, "csb top --d") == ["--delay"],
            "options")
    t.check(complete(t, path, "csb sandbox kill ") == [], "no ids without a service")


def commands():
    """{'sandbox exec': usage} as the program tells them."""
    found = {}
    for name in re.findall(r"^  (\w+)", csb(1, "help").stdout, re.M):
        found[name] = None
    for top in GROUPS:
        for name in re.findall(r"^  (\w+)", csb(1, top, "--help").stdout, re.M):
            found[f"{top} {name}"] = None
    return found


def manuals(t):
    text = (SOURCE / "docs/man/csb.1").read_text()
    told = set(re.findall(r"^\.It (?:Cm|Ic) ([a-z ]+?)(?: (?:Ar|Op|Fl|Oc|Oo|No).*)?$", text, re.M))
    known = set(commands()) - set(GROUPS)
    t.check(known <= told, "docs/man/csb.1 has every command", known - told)
    t.check(told <= known | {"completion bash"} | {name for name in told if name == "key"},
            "and no other", told - known)
    for page in ("csb.1", "codesandboxd.8"):
        path = SOURCE / "docs/man" / page
        if shutil.which("mandoc"):
            done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(path)], capture_output=True, text=True,
                                  check=False)
            t.check(done.returncode == 0, f"mandoc finds nothing wrong with {page}", done.stdout)
        elif shutil.which("groff"):
            done = subprocess.run(["groff", "-mdoc", "-Tutf8", "-ww", "-z", str(path)], capture_output=True, text=True,
                                  check=False)
            t.check(done.returncode == 0 and done.stderr == "", f"groff finds nothing wrong with {page}", done.stderr)
        else:
            print(f"# neither mandoc nor groff here: {page} was not checked")


def main():
    tap = Tap()
    tap.group(machines)
    with Daemon(wait_ready=False) as d:
        tap.group(lambda t: completion(t, d))
    tap.group(manuals)
    tap.finish()


if __name__ == "__main__":
    main()
