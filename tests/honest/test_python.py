#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Python's own test suite, inside the sandbox and outside, test by test.

A module is one run of the service with ISOLATION=process, and one run by chroot from the same tree
without any wall (sides.py). A test that ends otherwise inside than outside must be in
python_differences.txt with both results and the reason, and what is in it must be so. Modules left
out are in python_excluded.txt.

usage: test_python.py BUILD_DIR [--agent] [--list] [MODULE...]
--agent  without the service, by csb-agent alone
--list   prints what differs in the form of python_differences.txt, and checks nothing
The image comes from $CSB_IMAGE_DIR, the tree is kept beside it in honest/, and there the results of
outside are kept too, as long as the tree, the kernel and the programs that made them are the same.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import sys
import time

import lists
from sides import Agent, Inside, Outside, honest_tree, key_of
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from full import FULL  # noqa: E402
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
SUITE = "usr/lib/python3.11/test"
MODULE_TIMEOUT_S = 240
RUN_TIMEOUT_S = 280
LIMITS = {"memory_bytes": 1 << 30, "processes": 128, "output_bytes": 8 << 20,
          "disk_bytes": 256 << 20}
# Parts of the suite that ask to be allowed; the servers' network is the loopback.
RESOURCES = {"test_socketserver": "network"}
# Begun first, so that the last does not run alone.
LONGEST = ("test_multiprocessing_fork", "test_asyncio", "test_ssl", "test_io", "test_imaplib",
           "test_subprocess", "test_socket", "test_signal", "test_xmlrpc", "test_logging",
           "test_faulthandler", "test_compileall", "test_selectors", "test_poll", "test_threading")
# Half of all the time, for what asks little of the system or what others here ask for as well: run with
# CSB_TEST_FULL=1 only.
SLOW = """asyncio bz2 compile compileall datetime decimal email faulthandler ftplib imaplib importlib io
    itertools json logging lzma multiprocessing_main_handling pdb poplib pydoc queue source_encoding ssl
    support sys_settrace tarfile trace unittest xmlrpc zipfile"""
TRIES = 3
WIDTH = 4 # much of the suite waits


EXCLUDED = [row[0] for row in lists.read("python_excluded.txt", 2)]


def left_out():
    """Modules that this run does not look at."""
    return set() if FULL else {"test_" + word for word in SLOW.split()}


def modules_of(tree):
    excluded = set(EXCLUDED)
    found = {path.stem for path in (tree / SUITE).glob("test_*")
             if path.suffix == ".py" or (path / "__init__.py").exists()}
    unknown = {name.split(".")[0] for name in excluded} - found
    if unknown:
        raise SystemExit(f"Bail out! python_excluded.txt: no such modules: {sorted(unknown)}")
    return sorted(found - excluded - left_out())


def words_of(module):
    """Options of `python3 -m test`."""
    words = ["--timeout", str(MODULE_TIMEOUT_S)]
    if module in RESOURCES:
        words += ["-u", RESOURCES[module]]
    for pattern in EXCLUDED:
        if pattern.startswith(module + "."):
            words += ["-i", "test." + pattern]
    return words


def run_module(side, module):
    program = (HERE / "module_run.py").read_text()
    began = time.monotonic()
    words = words_of(module)
    answer = side.run(f"MODULE, WORDS = {module!r}, {words!r}\n{program}", RUN_TIMEOUT_S)
    try:
        report = json.loads(answer["stdout"])
    except ValueError:
        report = {"tests": {}, "why": {}, "exit": None,
                  "tail": (answer["stdout"] + answer["stderr"])[-3000:]}
    report["ended"] = answer["ended"]
    report["seconds"] = time.monotonic() - began
    report["words"] = words
    return report


def differences(module, outside, inside):
    """{test: (outside, inside)} of what is not the same."""
    found = {}
    for name in outside["tests"].keys() | inside["tests"].keys():
        pair = outside["tests"].get(name, "absent"), inside["tests"].get(name, "absent")
        if pair[0] != pair[1]:
            found[name] = pair
    if outside["ended"] != inside["ended"]:
        found[module] = (outside["ended"], inside["ended"])
    elif not found and outside["exit"] != inside["exit"]:
        found[module] = (f"exit {outside['exit']}", f"exit {inside['exit']}")
    return found


class OutsideResults:
    """Kept between runs: they do not depend on what is tested here."""

    def __init__(self, side, tree):
        programs = b"".join((HERE / name).read_bytes() for name in ("sides.py", "module_run.py"))
        key = hashlib.sha256(programs).hexdigest() + key_of(tree) + os.uname().release
        self.path = tree.parent / "outside.json"
        self.side = side
        self.known = {"key": key, "modules": {}}
        try:
            kept = json.loads(self.path.read_text())
            if kept["key"] == key:
                self.known = kept
        except (OSError, ValueError, KeyError):
            pass

    def get(self, module, again=False):
        if again or self.known["modules"].get(module, {}).get("words") != words_of(module):
            self.known["modules"][module] = run_module(self.side, module)
        return self.known["modules"][module]

    def save(self):
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(self.known))
        new.rename(self.path)


def compare(module, outside, inside, listed):
    """Runs a module on both sides until what differs is what is listed, some times at most: tests
    that hang on the machine's speed differ from themselves. What differs in every try differs."""
    found = differences(module, outside.get(module), run_module(inside, module))
    tries = 1
    while found != listed and tries < TRIES:
        report = run_module(inside, module)
        again = differences(module, outside.get(module, again=True), report)
        merged = {name: pair for name, pair in again.items()
                  if name in listed or found.get(name) == pair}
        # A listed difference that showed once is there.
        for name, pair in found.items():
            if listed.get(name) == pair:
                merged[name] = pair
        found = merged
        tries += 1
    return found, tries


def check_module(tap, module, listed, found, tries, outside, inside):
    tests = outside.get(module)["tests"]
    kinds = [list(tests.values()).count(kind) for kind in ("ok", "skipped", "failed")]
    shown = []
    for name in sorted(found.keys() | listed.keys()):
        if found.get(name) != listed.get(name):
            shown.append(f"{name}: (outside, inside) is {found.get(name, 'the same')}, "
                         f"listed is {listed.get(name, 'no difference')}")
    if not tests:
        shown.append(f"no test ran outside: {outside.get(module)['tail']}")
    tap.check(not shown, f"{module}: {len(tests)} tests, {len(found)} differ as listed",
              "\n".join(shown))
    if shown:
        report = run_module(inside, module)
        for line in [*(f"{name}: {why}" for name, why in report["why"].items() if name in found),
                     report["tail"]]:
            print("#   inside: " + line.replace("\n", "\n#     ")[:3000], flush=True)
    remark = f"# {module}: outside {kinds[0]} ok, {kinds[1]} skipped, {kinds[2]} failed"
    if tries > 1:
        remark += f"; {tries} tries"
    print(remark, flush=True)
    return len(tests)


def run_all(tap, modules, outside, inside, only_list):
    listed = {}
    for name, out, within, _ in lists.read("python_differences.txt", 4):
        listed.setdefault(module_of(name), {})[name] = (out, within)
    for module in sorted(listed.keys() - set(modules) - left_out()):
        if len(sys.argv) == 2:
            tap.check(False, f"python_differences.txt: {module} is not run")
    modules = sorted(modules, key=lambda module: module not in LONGEST)
    total = differ = 0
    with concurrent.futures.ThreadPoolExecutor(WIDTH) as pool:
        jobs = [(module, pool.submit(compare, module, outside, inside, listed.get(module, {})))
                for module in modules]
        for module, job in jobs:
            found, tries = job.result()
            differ += len(found)
            if only_list:
                for name, pair in sorted(found.items()):
                    print(f"{name} | {pair[0]} | {pair[1]} | ?", flush=True)
            else:
                total += check_module(tap, module, listed.get(module, {}), found, tries, outside,
                                      inside)
    outside.save()
    print(f"# {len(modules)} modules, {total} tests, {differ} differ")


def module_of(test):
    """test.test_os.FileTests.test_access -> test_os"""
    return next((part for part in test.split(".") if part.startswith("test_")), test)


def main():
    options = {word for word in sys.argv[1:] if word.startswith("--")}
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    build, only = pathlib.Path(words[0]).resolve(), words[1:]
    tap = Tap()
    if os.geteuid() != 0:
        print("1..0 # SKIP the side without walls is a chroot, which needs root")
        return
    tree = honest_tree()
    modules = only or modules_of(tree)
    outside = OutsideResults(Outside(tree), tree)
    if "--agent" in options:
        run_all(tap, modules, outside, Agent(build, tree, LIMITS), "--list" in options)
    else:
        with Inside(build, tree, LIMITS, LIMIT_MEMORY_BYTES_MAX=LIMITS["memory_bytes"]) as inside:
            run_all(tap, modules, outside, inside, "--list" in options)
    if "--list" not in options:
        tap.finish()


if __name__ == "__main__":
    main()
