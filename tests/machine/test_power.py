#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cuts of the power while jobs are put and run: the machine ends in the middle of it, and its disk forgets part of
what was not flushed. No job that was acknowledged is missing afterwards, none that was told to be over is not over
any more, and none was begun more often than it may.

usage: test_power.py BUILD_DIR
6 cuts; with CSB_TEST_FULL=1, 20. CSB_TEST_SEED gives the dice.
"""
import json
import os
import pathlib
import random
import re
import sys

from machine import Disk, Machine, MachineStopped, artefacts
from volatile_disk import VolatileDisk, make_ext4
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from full import FULL  # noqa: E402
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(sys.argv[1]).resolve()
CUTS = int(os.environ.get("CSB_TEST_CUTS", 20 if FULL else 6))
STAND_S = 300
STOPS_MAX = 3  # lives that the emulation may end
PUTS = 200  # that each client has to send, more than it gets to
DISK_MIB = 48
TAKEN = '"state":"queued"'  # in the answer to each job that is put
ACKNOWLEDGED = re.compile(r'"id":\s*"(j[0-9a-f]{24})"')
OVER = ("succeeded", "failed", "cancelled", "may_have_run")


def puts(cut, client):
    """What curl is to send, one job after the other."""
    parts = []
    for n in range(PUTS):
        body = {"language": "python", "code": f"sleep {n % 7}\nout {n}\n", "max_attempts": 3 if n % 5 == 0 else 1,
                "idempotency_key": f"{cut}-{client}-{n}"}
        text = json.dumps(json.dumps(body))
        parts.append('url = "http://127.0.0.1:8000/jobs"\nheader = "Content-Type: application/json"\n'
                     f'data-raw = {text}\nwrite-out = "\\n"\n')
    return "next\n".join(parts).encode()


class Known:
    """What clients were told."""

    def __init__(self):
        self.acknowledged = set()
        self.over = {}  # id: state

    def problems(self, jobs):
        for name in self.acknowledged - set(jobs):
            yield f"job {name} was acknowledged and is lost"
        for name, state in self.over.items():
            if jobs.get(name, {}).get("state") != state:
                yield f"job {name} was {state} and is {jobs.get(name, {}).get('state')}"
        for name, job in jobs.items():
            if job["attempts"] > job["max_attempts"]:
                yield f"job {name} was begun {job['attempts']} times, not {job['max_attempts']}"

    def learn(self, told, more):
        """`told`: the jobs there were; `more`: what the machine wrote from then on. What a cut has cut off was
        told to nobody."""
        lines = more.split("\n")[:-1]
        for job in [*told.values(), *(job for line in lines for job in jobs_of(line))]:
            self.acknowledged.add(job["id"])
            if job["state"] in OVER:
                self.over[job["id"]] = job["state"]
        for line in lines:
            if not line.startswith("jobs "):
                self.acknowledged.update(ACKNOWLEDGED.findall(line))


def jobs_of(line):
    try:
        return json.loads(line[5:])["jobs"] if line.startswith("jobs ") else []
    except ValueError:
        return []  # two lines in one


def all_told(output):
    """({id: job}, what came after) of what a machine wrote."""
    told, _, more = output.partition("all told\n")
    return {job["id"]: job for line in told.splitlines() for job in jobs_of(line)}, more


def start(machine, cut, last=False):
    machine.start(f"exec /opt/test/power.sh {'last' if last else ''}", files_in={
        "/opt/test/codesandboxd": BUILD / "src/daemon/codesandboxd", "/opt/test/power.sh": HERE / "guest/power.sh",
        "/opt/test/runtimes": HERE.parent / "integration/runtimes",
        "/opt/test/puts-0": puts(cut, 0), "/opt/test/puts-1": puts(cut, 1)})
    machine.wait_for("all told\n", 180)


def one_life(t, machine, disk, known, dice, cut):
    """From a start to where the power is cut; the last one to the end of all jobs."""
    start(machine, cut, last=cut == CUTS)
    told, _ = all_told(machine.output())
    found = list(known.problems(told))
    t.check(not found, f"after {cut} cuts nothing is missing of {len(known.acknowledged)} jobs", "\n".join(found[:20]))
    if cut < CUTS:
        machine.wait_for_count(TAKEN, dice.randrange(10, 60), 180)
        disk.stand_still(dice.randrange(1, 40))
        if not disk.standing.wait(STAND_S):
            raise MachineStopped("nothing is written any more")
        machine.drain()
    else:
        machine.wait_for("all done\n", 300)
        t.check(True, "and what was left runs")


def lives(t, machine, disk, known, dice):
    cut = stopped = 0
    while cut <= CUTS:
        try:
            one_life(t, machine, disk, known, dice, cut)
            cut += 1
        except MachineStopped as error:  # its processor, not the service: one cut more
            print(f"# {str(error).splitlines()[0]}", flush=True)
            stopped += 1
            if stopped == STOPS_MAX:
                raise
        finally:
            machine.power_cut()
            disk.cut()
        known.learn(*all_told(machine.output()))


def main():
    seed = int(os.environ.get("CSB_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"# CSB_TEST_SEED={seed}", flush=True)
    t = Tap()
    artefacts()
    dice = random.Random(seed)
    with Scratch("power") as directory:
        make_ext4(directory / "data.img", DISK_MIB)
        disk = VolatileDisk(directory / "data.img", directory / "nbd", dice)
        known = Known()
        with Machine(kvm=False, memory_mib=512, cpus=1, disks=[Disk("data", disk.url, readonly=False)]) as machine:
            t.group(lives, machine, disk, known, dice)
        disk.close()
        t.check(disk.kept + disk.torn + disk.lost >= CUTS, "each cut found something that was not flushed")
        print(f"# {CUTS} cuts, {len(known.acknowledged)} jobs acknowledged, {len(known.over)} told to be over; of writes "
              f"that were not flushed {disk.kept} were kept, {disk.torn} torn, {disk.lost} lost", flush=True)
    t.finish()


if __name__ == "__main__":
    main()
