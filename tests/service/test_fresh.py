#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A fresh sandbox per run: nothing of one run is seen by the next, and no clone repeats another's chance."""
import concurrent.futures
import json
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from full import FULL  # noqa: E402
from service import ISOLATION, Service, quick_table  # noqa: E402
from tap import Tap  # noqa: E402

# A run of an emulated machine takes more than a second: all of them with CSB_TEST_FULL=1.
RUNS = 300 if FULL or ISOLATION == "process" else 60
# One in this many runs is TypeScript; an emulated Deno start costs several Python ones.
TYPESCRIPT_EVERY = 4 if FULL or ISOLATION == "process" else 6

# More than twice as long as a clone in the pool goes without being told the time, and many times what its clock may
# be off by.
OLD_S = 12

PYTHON = """
import os, random, uuid, json, secrets, tempfile, time
print(json.dumps({"urandom": os.urandom(16).hex(), "random": random.random(), "uuid": str(uuid.uuid4()),
  "hash": hash("a"), "secrets": secrets.token_hex(16), "temp": tempfile.mktemp(),
  "boot": open("/proc/sys/kernel/random/uuid").read(), "host": os.uname().nodename,
  "time": time.time()}))
"""
TYPESCRIPT = """
console.log(JSON.stringify({math: Math.random(), values: crypto.getRandomValues(new Uint32Array(4)).join(),
  uuid: crypto.randomUUID(), host: Deno.hostname(), time: Date.now() / 1000}));
"""
SECRET = "of-the-environment-alone"
DIRECTORIES = "/tmp /var/tmp /dev/shm /home/user /work /run /var/lock /root /etc /usr/bin".split()

LEAVE = f"""
import os, subprocess, random, json
for d in {DIRECTORIES!r}:
    p = os.path.join(d, "bean")
    print(d, os.path.exists(p))
    try: open(p, "w").write("x")
    except OSError: pass
json.dumps = None
print("left", "LEFT" in os.environ, [p for p in os.listdir("/proc") if p.isdigit()
      and b"sleep" in open(f"/proc/{{p}}/cmdline", "rb").read()])
os.environ["LEFT"] = "1"
subprocess.Popen(["sleep", "1000"], start_new_session=True)
"""


def test_nothing_stays(tap, service):
    first = service.run("python", LEAVE)
    second = service.run("python", LEAVE)
    tap.check("True" not in first["stdout"] and first["success"], "the first run finds nothing", first)
    tap.check("True" not in second["stdout"] and "left False []" in second["stdout"],
              "the second finds no file and no process of the first", second)
    answer = service.run("python", "import json; print(json.dumps([1]))")
    tap.check(answer["stdout"] == "[1]\n", "a patched module is whole again", answer)


def one(service, number):
    language, code = (("typescript", TYPESCRIPT) if number % TYPESCRIPT_EVERY == 0
                      else ("python", PYTHON))
    before = time.time()
    answer = service.run(language, code, timeout=60)
    return language, json.loads(answer["stdout"]), before, time.time()


def test_no_value_repeats(tap, service):
    columns = {}
    late = []
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for language, values, before, after in pool.map(lambda n: one(service, n), range(RUNS)):
            shown = values.pop("time")
            if not before - 0.5 <= shown <= after + 0.5:
                late.append((language, before, shown, after))
            for name, value in values.items():
                columns.setdefault((language, name), []).append(value)
    hosts = columns.pop(("python", "host")) + columns.pop(("typescript", "host"))
    if ISOLATION == "process":
        hosts = None  # all are "sandbox"
        hashes = columns.pop(("python", "hash"))
        tap.check(len(set(hashes)) > 1, "a zygote's hash seed does not live long", hashes)
    for (language, name), values in sorted(columns.items()):
        tap.check(len(set(values)) == len(values),
                  f"{language} {name}: no value twice in {len(values)} runs", values)
    if hosts is not None:
        # What both languages draw from must differ between them as well.
        tap.check(len(set(hosts)) == RUNS, f"{RUNS} different host names")
    tap.check(not late, "no clock was off", late)


def test_clock(tap, service):
    """Waits until the clones in the pool are old, then compares clocks within half a second."""
    time.sleep(OLD_S)
    before = time.time()
    answer = service.run("python", "import time; print(time.time())")
    after = time.time()
    shown = float(answer["stdout"])
    tap.check(before - 0.5 <= shown <= after + 0.5, "the clock of a clone that waited is right",
              (before, shown, after))


def test_environment(tap, service):
    """What the service was started with stays with the two processes that read it."""
    with_secret, others = set(), set()
    for pid, (_, name) in service.family().items():
        try:
            found = SECRET.encode() in pathlib.Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:  # it has ended
            continue
        (with_secret if found else others).add(name)
    tap.check(with_secret == {"codesandboxd"} and "csb-launch" in others and len(others) > 1,
              "no secret of the environment is with the launcher or in a jail", (with_secret, others))


def main():
    tap = Tap()
    # A clone that ran nothing before has nothing but its seeds to differ by.
    with Service(RUNTIMES_DIR=quick_table(), WEBHOOK_SECRET=SECRET) as service:
        for test in (test_environment, test_nothing_stays, test_clock, test_no_value_repeats):
            tap.group(lambda t, test=test: test(t, service))
    tap.finish()


if __name__ == "__main__":
    main()
