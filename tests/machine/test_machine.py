#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The test machine tests itself: what the other tests of this directory rely on is really there.

usage: test_machine.py KVM_LOOP     (KVM_LOOP is the static program built from kvm_loop.c)
"""
import pathlib
import sys

from machine import Machine, MachineError, MachineStopped
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from tap import Tap  # noqa: E402

KVM_LOOP_MAX_US = 100_000  # interpreted, it would be above 1,000,000


def direct_mode(tap):
    result = Machine().run(
        """
        echo to stdout; echo to stderr >&2
        for i in 1 2 3; do /opt/kvm_loop; done | sort -n | head -n 1 >/tmp/loop_us
        cat /sys/fs/cgroup/cgroup.subtree_control >/tmp/controllers
        mkdir /sys/fs/cgroup/small && echo 20M >/sys/fs/cgroup/small/memory.max
        {
            (echo $BASHPID >/sys/fs/cgroup/small/cgroup.procs
             exec python3 -c 'x = bytearray(100 << 20)')
            echo $? >/tmp/oom
        } 2>/dev/null # the shell says "Killed"
        cp /root/given /tmp/copy; stat -c %a /opt/kvm_loop >/tmp/mode
        ls /sys/class/net >/tmp/net
        seq 1 200000
        printf 'no newline at the end'
        exit 7
        """,
        files_in={"/opt/kvm_loop": sys.argv[1], "/root/given": bytes(range(256)) * 4096},
        files_out=["/tmp/loop_us", "/tmp/controllers", "/tmp/oom", "/tmp/copy", "/tmp/mode",
                   "/tmp/net", "/tmp/absent"])
    tap.check(result.exit_code == 7, "the exit code comes back", result)
    tap.check(result.output.startswith("to stdout\nto stderr\n1\n2\n"), "output is in order",
              result.output[:200])
    tap.check(result.output.endswith("\n200000\nno newline at the end"), "output is whole",
              result.output[-200:])
    tap.check(result.files.get("/tmp/copy") == bytes(range(256)) * 4096,
              "a file goes in and out unchanged", result.files.keys())
    tap.check("/tmp/absent" not in result.files, "a file that is not there does not come back")
    tap.check(result.files["/tmp/mode"] == b"755\n", "a program stays executable")
    loop_us = int(result.files["/tmp/loop_us"] or b"0")
    print(f"# one million turns of a KVM guest: {loop_us} us")
    tap.check(0 < loop_us < KVM_LOOP_MAX_US, "KVM runs guests at the processor's speed",
              f"{loop_us} us, output {result.output[:500]}")
    controllers = result.files["/tmp/controllers"].decode().split()
    tap.check({"memory", "pids", "cpu", "io"} <= set(controllers),
              "cgroup v2 has the controllers", controllers)
    tap.check(result.files["/tmp/oom"] == b"137\n", "and the memory limit is enforced",
              result.files["/tmp/oom"])
    tap.check(result.files["/tmp/net"] == b"lo\n", "there is no network", result.files["/tmp/net"])


def ordinary_user(tap):
    result = Machine().run(
        """
        id -u; id -nG | tr ' ' '\\n' | grep kvm
        sudo -n true 2>/dev/null && echo may sudo
        unshare --user --map-root-user --pid --fork --mount --net id -u
        unshare --user --map-root-user --map-auto chown 5:5 given && stat -c %u given
        [ -r /dev/kvm ] && [ -w /dev/kvm ] && echo may use KVM
        mkdir /sys/fs/cgroup/tester/own && cat /sys/fs/cgroup/tester/own/pids.max
        mkdir /sys/fs/cgroup/other 2>/dev/null && echo may write foreign cgroups
        """, user="tester", files_in={"/home/tester/given": b"x"})
    tap.check(result.output.split("\n") == ["1000", "kvm", "0", "100004", "may use KVM", "max", ""],
              "an ordinary user: KVM, subordinate ids, a cgroup, no sudo", result.output)


def power_cut(tap):
    with Machine(persistent=True, kvm=False) as machine:
        result = machine.run("mkdir /srv/data; echo kept >/srv/data/clean")
        tap.check(result.ok, "a persistent machine switches itself off", result)
        machine.start("""
            cd /srv/data
            dd if=/dev/urandom of=synced bs=64k count=16 conv=fsync status=none; sync .
            sha256sum synced >synced.sum; sync synced.sum .
            echo lost >unsynced
            echo written; sleep 1000
            """)
        machine.wait_for("written")
        machine.power_cut()
        result = machine.run("""
            cd /srv/data; cat clean; sha256sum -c synced.sum
            [ -s unsynced ] && echo the unsynced file survived
            dmesg | grep -o 'EXT4-fs (vda): recovery complete'
            """)
        tap.check(result.output.split("\n") ==
                  ["kept", "synced: OK", "EXT4-fs (vda): recovery complete", ""],
                  "after a power cut what was synced is there, and only that", result.output)


def systemd_mode(tap):
    result = Machine(systemd=True).run(
        """
        cat /proc/1/comm; systemctl is-system-running --wait
        cut -d: -f3 /proc/self/cgroup
        systemd-run --quiet --wait --pipe -p MemoryMax=20M -p DynamicUser=yes id -u | grep -c .
        /opt/kvm_loop >/dev/null && echo KVM
        exit 5
        """, files_in={"/opt/kvm_loop": sys.argv[1]})
    tap.check(result.exit_code == 5, "the exit code comes back from systemd's unit", result)
    tap.check(result.output.split("\n") ==
              ["systemd", "running", "/system.slice/machine-run.service", "1", "KVM", ""],
              "systemd runs, whole and without failed units", result.output)


def systemd_user(tap):
    result = Machine(systemd=True, kvm=False).run(
        "id -un; echo $XDG_RUNTIME_DIR; systemd-run --user --quiet --wait --pipe echo from a unit",
        user="tester")
    tap.check(result.output.split("\n") == ["tester", "/run/user/1000", "from a unit", ""],
              "an ordinary user has a session and a service manager", result.output)


def failures(tap):
    machine = Machine(kvm=False)
    try:
        machine.run("echo begun; sleep 1000", timeout=2)
        tap.check(False, "a script that overruns is ended")
    except MachineError as error:
        tap.check("begun" in str(error) and "script: no end" in str(error),
                  "a script that overruns is ended, with its output in the message", error)
    tap.check(machine.dir is None, "and leaves nothing behind", machine.dir)
    try:
        Machine(kvm=False).run("echo c >/proc/sysrq-trigger; sleep 1000", timeout=60)
        tap.check(False, "a machine that panics is noticed")
    except MachineError as error:
        tap.check("the machine ended" in str(error) and "sysrq_handle_crash" in str(error),
                  "a machine that panics is noticed, with its console in the message", error)
        tap.check(not isinstance(error, MachineStopped), "and is the script's failure", error)
    with Machine(kvm=False) as machine:
        machine.start("echo '<0>svm_vcpu_enter_exit' >/dev/kmsg; echo c >/proc/sysrq-trigger; sleep 1000")
        try:
            machine.wait(60)
            tap.check(False, "a machine that panics on entering a guest is noticed")
        except MachineError as error:
            tap.check(isinstance(error, MachineStopped),
                      "unless it panics on entering a guest, which is the emulation's", error)


def main():
    tap = Tap()
    for group in (direct_mode, ordinary_user, power_cut, systemd_mode, systemd_user, failures):
        tap.group(group)
    tap.finish()


if __name__ == "__main__":
    main()
