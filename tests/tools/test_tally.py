#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tally's own test: a real meson project whose programs pass, fail, crash, hang, skip or say nothing."""
import pathlib
import subprocess
import sys
import tempfile

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "tally"

PROGRAMS = {
    "good": "echo 'ok 1 - a'; echo 'ok 2 - b'; echo 1..2",
    "bad": "echo 'ok 1 - a'; echo 'not ok 2 - b'; echo '#   b is 3'; echo 1..2; exit 1",
    "crash": "echo 'ok 1 - a'; kill -SEGV $$",
    "hang": "echo 'ok 1 - a'; sleep 60",
    "skip": "echo 'ok 1 # SKIP no such device'; echo 1..1",
    "empty": "exit 0",
    "plan": "echo 1..2; echo 'ok 1 - a'",
}

done = 0
failed = 0


def check(condition, text):
    global done, failed
    done += 1
    failed += not condition
    print(f"{'ok' if condition else 'not ok'} {done} - {text}", flush=True)


def tally(names):
    with tempfile.TemporaryDirectory() as tmp:
        root = pathlib.Path(tmp)
        lines = ["project('t', 'c')"]
        for name in names:
            script = root / f"{name}.sh"
            script.write_text("#!/bin/sh\n" + PROGRAMS[name] + "\n")
            script.chmod(0o755)
            lines.append(f"test('{name}', find_program('{name}.sh'), protocol: 'tap', timeout: 2)")
        (root / "meson.build").write_text("\n".join(lines) + "\n")
        subprocess.run(["meson", "setup", "b", "."], cwd=root, check=True, capture_output=True)
        subprocess.run(["meson", "test", "-C", "b"], cwd=root, capture_output=True)
        log = root / "b" / "meson-logs" / "testlog.json"
        out = subprocess.run([sys.executable, str(TOOL), str(log)], capture_output=True, text=True)
        return out.returncode, out.stdout.splitlines()


def ends(names, code, line):
    status, lines = tally(names)
    return status == code and lines[-1] == line


check(ends(["good"], 0, "2 passed, 0 failed, 0 skipped"), "checks are counted, not programs")
check(ends(["bad"], 1, "1 passed, 1 failed, 0 skipped"), "a failing check fails")
check(ends(["crash"], 1, "1 passed, 1 failed, 0 skipped"), "a crash after a check fails")
check(ends(["hang"], 1, "1 passed, 1 failed, 0 skipped"), "a hang fails")
check(ends(["good", "skip"], 0, "2 passed, 0 failed, 1 skipped"), "a skip is shown")
check("    #   b is 3" in tally(["bad"])[1], "what a failing check says is shown")
check(tally(["skip"])[0] == 1, "only skips is nothing run")
check(tally(["empty"])[0] == 1, "a program that says nothing fails")
check(tally(["plan"])[0] == 1, "a program that stops before its plan fails")
missing = subprocess.run([sys.executable, str(TOOL), "/nonexistent"], capture_output=True, text=True)
check(missing.returncode == 1, "a missing log fails")
check(subprocess.run([sys.executable, str(TOOL)], capture_output=True).returncode == 1, "no log fails")
print(f"1..{done}")
sys.exit(failed != 0)
