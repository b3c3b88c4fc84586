#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The test machine: a Debian 12 computer under emulation in which KVM, cgroup v2, systemd, ordinary
users and power cuts are real. One call runs a script in a fresh one:

    result = Machine().run("id; cat /tmp/hello > /tmp/copy",
                           files_in={"/tmp/hello": "/etc/hostname"}, files_out=["/tmp/copy"])
    result.exit_code, result.output, result.files["/tmp/copy"]

How it works. QEMU emulates a q35 machine whose processor has AMD's virtualisation extension, and
boots it straight from a kernel and an initramfs (guest/init). Files go in as a tar archive on a raw
disk, and come back as one on another. The output of the script arrives live through a virtio-serial
port, between two lines that begin with a random word: the second one carries the exit code. A
machine that will not be booted again is then simply killed. There is no network.

A second port has a pulse of each processor. Emulated processors that emulate virtualisation have been
seen to stop for good, timers and all, once in some fifty runs. So the kernel keeps its periodic tick,
which survives a lost interrupt where a timer that is set anew by each interrupt does not; and a machine
one of whose processors has no pulse for long is not the script's failure: run() starts it again, at
most twice, and says so. Nor is a machine whose kernel died as it entered a guest of its own: an interrupt
that comes just then was seen to find no stack.

Everything lives in one temporary directory, and QEMU dies with the process that started it.
"""
import dataclasses
import io
import os
import pathlib
import re
import secrets
import select
import socket
import subprocess
import sys
import tarfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from scratch import Scratch  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
OUTPUT_MAX_BYTES = 64 << 20
# Waits are as long as an idle machine of the CI's kind needs several times over.
PULSE_LOST_S = 90
STARTS_MAX = 3
PATIENCE = float(os.environ.get("CSB_TIMEOUT_MULTIPLIER", "1"))

SYSTEMD_UNIT = """[Unit]
Description=Script of this test run
[Service]
Type=exec
ExecStart=/run/machine/runner
TimeoutStopSec=10
"""


class MachineError(Exception):
    """The machine itself failed: it did not boot, died, or the script overran its time."""


class MachineStopped(MachineError):
    """A processor of it stands still, or died of what the emulation did to it."""


@dataclasses.dataclass
class Result:
    """What a script left. `output` is its stdout and stderr in order, `files` what was asked for."""
    exit_code: int
    output: str
    files: dict
    boot_s: float
    run_s: float

    @property
    def ok(self):
        return self.exit_code == 0


@dataclasses.dataclass
class Disk:
    """A host file, or nbd:unix:SOCKET, that the machine sees as /dev/machine/NAME. NAME has at most 20
    characters."""
    name: str
    path: str
    readonly: bool = True


_built = {}


def say(message):
    print(f"# machine: {message}", file=sys.stderr, flush=True)


def artefacts():
    """The directory with the kernel, initramfs and disk; builds them if they are not current."""
    out = os.environ.get("CSB_MACHINE_DIR") or str(HERE.parent.parent / "build" / "machine")
    if out not in _built:
        build = subprocess.Popen([HERE / "build.sh", out], stdout=subprocess.PIPE, text=True)
        for line in build.stdout:
            print("# " + line, end="", file=sys.stderr, flush=True)
        if build.wait() != 0:
            raise MachineError("the machine's disk could not be built")
        _built[out] = pathlib.Path(out)
    return _built[out]


def make_disk(path, directory):
    """Writes an erofs image of a host directory's files (links followed), for large inputs that the
    machine should see as regular files: mount -t erofs /dev/machine/NAME DIR."""
    with Scratch("disk", pathlib.Path(path).parent) as tmp:
        tree = tmp / "tree"
        subprocess.run(["cp", "-rL", "--reflink=auto", directory, tree], check=True)
        image = tmp / "image"
        subprocess.run(["mkfs.erofs", "--quiet", image, tree], check=True,
                       stdout=subprocess.DEVNULL)
        image.rename(path)


class Machine:
    """A machine, switched off until run() or start(). Every start is a fresh machine, unless
    `persistent`: then all starts share one disk until close().

    systemd     boot systemd and run the script as a service of it, instead of as the only program
    persistent  keep the disk between starts
    disks       Disk objects
    kvm         load kvm-amd
    log         file to which the output of the script is appended as it comes
    verbose     show it on stderr too (also: CSB_MACHINE_VERBOSE=1)

    Use it as a context manager, or call close(), when you use start() or `persistent`.
    """

    def __init__(self, *, systemd=False, persistent=False, disks=(), memory_mib=4096, cpus=2,
                 kvm=True, log=None, verbose=None, out_mib=1024):
        self.systemd = systemd
        self.persistent = persistent
        self.disks = list(disks)
        self.memory_mib = memory_mib
        self.cpus = cpus
        self.kvm = kvm
        self.log_path = log
        self.verbose = bool(os.environ.get("CSB_MACHINE_VERBOSE")) if verbose is None else verbose
        self.out_mib = out_mib
        self.dir = None
        self._scratch = None
        self._qemu = None
        self._channel = None
        self._pulse = None
        self._root = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    # -- what tests call -------------------------------------------------------------------------

    def run(self, script, *, files_in=None, files_out=(), user="root", setup=None,
            timeout=120):
        """Boots, runs the script (bash, unless it begins with #!) and returns a Result.

        files_in   {path in the machine: file or directory of the host, or bytes}
        files_out  paths in the machine; those that exist come back, as bytes
        user       "root" or "tester", an ordinary user (uid 1000, group kvm, no sudo)
        setup      a script that root runs first; when it fails, its exit code is the result
        timeout    seconds for the script, after the boot
        """
        for number in range(1, STARTS_MAX + 1):
            self.start(script, files_in=files_in, files_out=files_out, user=user, setup=setup)
            try:
                return self.wait(timeout)
            except MachineStopped as error:
                # What a disk that is kept holds by now is not what the script began with.
                if self.persistent or number == STARTS_MAX:
                    raise
                say(f"{str(error).splitlines()[0]}; starting it again")
            finally:
                if not self.persistent:
                    self.close()
        raise AssertionError

    def start(self, script, *, files_in=None, files_out=(), user="root", setup=None):
        """Boots and returns when the script begins."""
        if self._qemu is not None:
            raise MachineError("the machine is on already")
        paths = artefacts()
        if self.dir is None:
            self._scratch = Scratch("machine")
            self.dir = self._scratch.path
        self._token = b"@" + secrets.token_hex(12).encode()
        self._buffer = bytearray()
        self._start_at = None
        self._files_out = list(files_out)
        self._write_input(script, setup, files_in or {}, user)
        began = time.monotonic()
        self._spawn(paths)
        self._start_at = self._pump_until(self._token + b" start\n",
                                          (240 if self.systemd else 120) * PATIENCE, "boot")
        self.boot_s = time.monotonic() - began
        self._run_began = time.monotonic()
        say(f"booted in {self.boot_s:.1f} s" + (" (systemd)" if self.systemd else ""))

    def output(self):
        """What the script has written so far, as far as it was read."""
        return self._text(len(self._buffer))

    def wait_for(self, text, timeout=60):
        """Returns when the script has written `text`."""
        self._pump_until(text.encode(), timeout * PATIENCE, f"wait for {text!r}")

    def wait_for_count(self, text, count, timeout=60):
        """Returns when it has written it so often."""
        at = self._start_at or 0
        for _ in range(count):
            at = self._pump_until(text.encode(), timeout * PATIENCE, f"wait for {count} times {text!r}", at)

    def drain(self):
        """Takes what the script has written and nobody has read yet, until nothing comes for a moment."""
        while select.select([self._channel], [], [], 0.3)[0]:
            data = self._channel.recv(1 << 16)
            if not data:
                return
            self._take(data)

    def wait(self, timeout=120):
        """Returns the Result when the script has ended."""
        mark = self._token + b" exit "
        at = self._pump_until(mark, timeout * PATIENCE, "script") - len(mark)
        self._pump_until(b"\n", 10 * PATIENCE, "exit line", at)
        code = int(bytes(self._buffer[at + len(mark):]).split(b"\n")[0])
        run_s = time.monotonic() - self._run_began
        files = self._read_output()
        if self.persistent:
            self._await_power_off()
        else:
            self.power_cut()
        say(f"script ended with {code} after {run_s:.1f} s")
        return Result(code, self._text(at), files, self.boot_s, run_s)

    def power_cut(self):
        """Ends the machine as a cut of its power does. What the guest had handed to its disk
        survives; what only its memory held does not."""
        if self._qemu is not None:
            self._qemu.kill()
            self._qemu.wait()
            self._qemu = None
        for port in (self._channel, self._pulse):
            if port is not None:
                port.close()
        self._channel = self._pulse = None

    def close(self):
        """Switches off and removes everything. May be called twice."""
        self.power_cut()
        if self.dir is not None:
            self._scratch.close()
            self.dir = None
            self._root = None

    def console(self, lines=40):
        """The end of the kernel's console."""
        try:
            text = (self.dir / "console.log").read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    # -- files -----------------------------------------------------------------------------------

    def _write_input(self, script, setup, files_in, user):
        owner = 1000 if user == "tester" else 0
        config = (f"TOKEN={self._token.decode()}\nRUN_USER={user}\n"
                  f"KVM={'yes' if self.kvm else ''}\nKEEP={'yes' if self.persistent else ''}\n")
        with tarfile.open(self.dir / "in.img", "w", format=tarfile.PAX_FORMAT) as tar:
            self._add_bytes(tar, "/run/machine/config", config.encode(), 0o600, 0)
            self._add_script(tar, "/run/machine/script", script)
            if setup:
                self._add_script(tar, "/run/machine/setup", setup)
            self._add_bytes(tar, "/run/machine/collect",
                            "".join(path + "\n" for path in self._files_out).encode(), 0o600, 0)
            if self.systemd:
                self._add_unit(tar)
            for path, source in files_in.items():
                if isinstance(source, bytes):
                    self._add_bytes(tar, path, source, 0o644, owner)
                else:
                    self._add_path(tar, path, source, owner)
        # The archive ends on a whole number of sectors, since tar pads it to 10 KiB.

    def _add_script(self, tar, path, text):
        if not text.startswith("#!"):
            text = "#!/bin/bash\n" + text
        self._add_bytes(tar, path, text.encode(), 0o755, 0)

    @staticmethod
    def _add_bytes(tar, path, data, mode, owner):
        info = tarfile.TarInfo(path.lstrip("/"))
        info.size, info.mode, info.mtime = len(data), mode, int(time.time())
        info.uid = info.gid = owner
        tar.addfile(info, io.BytesIO(data))

    @staticmethod
    def _add_path(tar, path, source, owner):
        def normal(info):
            info.mode = 0o755 if info.mode & 0o100 or info.isdir() else 0o644
            info.uid = info.gid = owner
            info.uname = info.gname = ""
            return info
        tar.add(os.path.realpath(source), path.lstrip("/"), filter=normal)

    def _add_unit(self, tar):
        units = "/run/systemd/system/"
        self._add_bytes(tar, "/run/machine/systemd", b"", 0o644, 0)
        self._add_bytes(tar, units + "machine-run.service", SYSTEMD_UNIT.encode(), 0o644, 0)
        link = tarfile.TarInfo((units + "multi-user.target.wants/machine-run.service").lstrip("/"))
        link.type, link.linkname = tarfile.SYMTYPE, "../machine-run.service"
        tar.addfile(link)

    def _read_output(self):
        if not self._files_out:
            return {}
        files = {}
        with tarfile.open(self.dir / "out.img", "r:") as tar:
            for info in tar:
                if info.isfile():
                    files["/" + info.name.lstrip("/")] = tar.extractfile(info).read()
        return files

    # -- QEMU ------------------------------------------------------------------------------------

    def _root_disk(self, base):
        if not self.persistent:
            return f"file={base},snapshot=on,cache=unsafe"
        if self._root is None:
            self._root = self.dir / "root.img"
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", base, self._root], check=True)
        return f"file={self._root},cache=writeback"

    def _command(self, paths, channel_fd, pulse_fd):
        drives = [("root", self._root_disk(paths / "root.img")),
                  ("in", f"file={self.dir}/in.img,readonly=on")]
        if self._files_out:
            with open(self.dir / "out.img", "wb") as out:
                out.truncate(self.out_mib << 20)
            drives.append(("out", f"file={self.dir}/out.img,cache=unsafe"))
        for disk in self.disks:
            mode = "readonly=on" if disk.readonly else "cache=writeback"
            path = str(disk.path) if str(disk.path).startswith("nbd:") else os.path.realpath(disk.path)
            drives.append((disk.name, f"file={path},{mode}"))
        command = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64",
                   "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                   "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "EPYC,+svm,+npt",
                   "-smp", str(self.cpus), "-m", str(self.memory_mib),
                   "-kernel", str(paths / "vmlinuz"), "-initrd", str(paths / "initrd.img"),
                   "-append", "console=ttyS0 quiet panic=-1 mitigations=off net.ifnames=0 "
                              "random.trust_cpu=on systemd.show_status=no "
                              "nohz=off highres=off watchdog_thresh=60 softlockup_panic=1",
                   "-chardev", f"file,id=console,path={self.dir}/console.log",
                   "-serial", "chardev:console",
                   "-device", "virtio-serial-pci",
                   "-chardev", f"socket,id=output,fd={channel_fd}",
                   "-device", "virtserialport,chardev=output,name=output",
                   "-chardev", f"socket,id=pulse,fd={pulse_fd}",
                   "-device", "virtserialport,chardev=pulse,name=pulse"]
        for number, (name, drive) in enumerate(drives):
            command += ["-drive", f"if=none,id=disk{number},format=raw,{drive}",
                        "-device", f"virtio-blk-pci,drive=disk{number},serial={name}"]
        return command

    def _spawn(self, paths):
        self._channel, output = socket.socketpair()
        self._pulse, pulse = socket.socketpair()
        fds = [output.fileno(), pulse.fileno()]
        with output, pulse, open(self.dir / "qemu.log", "wb") as log:
            self._qemu = subprocess.Popen(
                self._command(paths, *fds), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=fds, env={**os.environ, "TMPDIR": str(self.dir)})
        self._pulses = {}

    def _await_power_off(self):
        try:
            self._qemu.wait((90 if self.systemd else 30) * PATIENCE)
        except subprocess.TimeoutExpired:
            self._fail("the machine did not switch itself off")
        self.power_cut()

    # -- output ----------------------------------------------------------------------------------

    def _feel_pulse(self, readable):
        """Notes pulses. Between its first and the script's end none may be gone for long."""
        now = time.monotonic()
        if self._pulse in readable:
            self._pulses.update(dict.fromkeys(self._pulse.recv(1 << 12).split(), now))
        for processor, heard in self._pulses.items():
            if now - heard > PULSE_LOST_S * PATIENCE:
                self._fail(f"processor {processor.decode()} of the machine stands still for "
                           f"{now - heard:.0f} s", MachineStopped)

    def _pump_until(self, mark, timeout, what, search_from=None):
        """Reads until `mark` was seen and returns where it ends."""
        deadline = time.monotonic() + timeout
        at = self._start_at or 0 if search_from is None else search_from
        while True:
            found = self._buffer.find(mark, at)
            if found >= 0:
                return found + len(mark)
            at = max(at, len(self._buffer) - len(mark))
            left = deadline - time.monotonic()
            if left <= 0:
                self._fail(f"{what}: no end after {timeout:.0f} s")
            readable = select.select([self._channel, self._pulse], [], [], min(left, 5))[0]
            self._feel_pulse(readable)
            if self._channel not in readable:
                continue
            data = self._channel.recv(1 << 16)
            if not data:
                self._fail(f"{what}: the machine ended", self._why_ended())
            self._take(data)

    def _take(self, data):
        self._buffer += data
        if len(self._buffer) > OUTPUT_MAX_BYTES:
            self._fail(f"the script wrote more than {OUTPUT_MAX_BYTES} bytes")
        if self.log_path:
            with open(self.log_path, "ab") as log:
                log.write(data)
        if self.verbose:
            sys.stderr.write(re.sub("^", "#   ", data.decode(errors="replace"), flags=re.M))
            sys.stderr.flush()

    def _text(self, end):
        begin = self._start_at or 0
        return bytes(self._buffer[begin:end]).decode(errors="replace")

    def _why_ended(self):
        console = self.console(120)
        entering = "Kernel panic" in console and "svm_vcpu_enter_exit" in console
        return MachineStopped if entering else MachineError

    def _fail(self, message, kind=MachineError):
        output = "\n".join(self._text(len(self._buffer)).splitlines()[-40:])
        qemu = (self.dir / "qemu.log").read_text(errors="replace")
        qemu = "\n".join(line for line in qemu.splitlines() if "TCG doesn't support" not in line)
        console = self.console(120)
        self.close()
        raise kind(f"{message}\n-- output\n{output}\n-- console\n{console}\n-- qemu\n{qemu}")


if __name__ == "__main__":
    # python3 machine.py [--systemd] [--user tester] SCRIPT...: a try by hand.
    arguments = sys.argv[1:]
    options = {"systemd": "--systemd" in arguments}
    as_user = "tester" if "--tester" in arguments else "root"
    words = [word for word in arguments if not word.startswith("--")]
    outcome = Machine(**options).run(" ".join(words), user=as_user, timeout=600)
    sys.stdout.write(outcome.output)
    sys.exit(outcome.exit_code)
