# SPDX-License-Identifier: Apache-2.0
"""The Python kernel: IPython's shell, embedded. Runs as a zygote that loads what programs use most
and forks one kernel per context, each with a control socket of its own and pipes as its output.

The zygote: descriptor 0 tells `ready`, `forked PID`, `ended PID CODE`; descriptor 3 takes messages
of a working directory with three descriptors (control, output, error output).
A kernel: reads a length (4 bytes, big-endian) and {"code", "count", "variables",
"sandbox_variables", "fresh"}; writes lines of the stream and then a line `end`. After a line `ack`
it waits for one byte."""
import builtins
import gc
import io
import json
import os
import random
import select
import signal
import site
import socket
import struct
import sys
import threading
import warnings

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import python_charts  # noqa: E402
import python_display  # noqa: E402
from python_display import Shell  # noqa: E402

sys.path.pop(0)

PRELOAD = os.environ.pop("CSB_CONTEXTS_PRELOAD", "numpy pandas matplotlib.pyplot").split()


class Kernel:
    """Takes programs from the control socket, one after the other, in the main thread."""

    def __init__(self, shell, control):
        self.shell = shell
        self.control = control
        self.lock = threading.Lock()
        self.late = []  # lines that go out with the end of the execution
        self.running = False
        self.sending = False  # an interrupt must not cut a line
        self.put_off = False
        shell.emitter = self

    def emit(self, event, late=False):
        line = python_display.line_of(event)
        self.sending = True
        try:
            with self.lock:
                self.late.append(line)
                if not late:
                    self.show_now()
        finally:
            self.sending = False
        if self.put_off:
            self.put_off = False
            raise KeyboardInterrupt

    def show_now(self):
        """In the main thread waits until the server has it, so that it has taken what was written
        before, and nothing of what is written after."""
        wait = self.running and threading.current_thread() is threading.main_thread()
        if wait:
            self.late.append(b"ack\n")
        self.flush()
        if wait and not self.control.recv(1):
            os._exit(0)

    def flush(self):
        sys.stdout.flush()
        sys.stderr.flush()
        lines, self.late = self.late, []
        if lines:
            self.control.sendall(b"".join(lines))

    def receive(self):
        data = b""
        while len(data) < 4 or len(data) < 4 + struct.unpack(">I", data[:4])[0]:
            part = self.control.recv(1 << 20)
            if not part:
                os._exit(0)
            data += part
        return json.loads(data[4:])

    def interrupted(self, _number, _frame):
        if not self.running:
            return
        if self.sending:
            self.put_off = True
            return
        raise KeyboardInterrupt

    def serve(self):
        signal.signal(signal.SIGINT, self.interrupted)
        self.control.sendall(b"ready\n")
        while True:
            self.execute(self.receive())

    def execute(self, message):
        if message["fresh"]:
            freshen()
        os.environ.update(message["sandbox_variables"])
        saved = {name: os.environ.get(name) for name in message["variables"]}
        os.environ.update(message["variables"])
        self.shell.execution_count = message["count"]
        signal.signal(signal.SIGINT, self.interrupted)
        try:
            self.running = True
            self.shell.run_cell(message["code"], store_history=True)
        except BaseException:  # what came too late for the shell to show, an interrupt mostly
            self.running = False
            self.shell.showtraceback()
        self.running = self.put_off = False
        for name, value in saved.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self.finish()

    def finish(self):
        try:
            with self.lock:
                self.late.append(b"end\n")
                self.flush()
        except OSError:
            os._exit(1)
        except ValueError:  # a stream that the program closed
            take_streams()
            self.control.sendall(b"end\n")


def freshen():
    """Before the first code in a sandbox: this process may be one of many copies of a machine that
    was frozen with it, so nothing random may be left of that time."""
    random.seed()
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    if "_ssl" in sys.modules:
        sys.modules["_ssl"].RAND_add(os.urandom(48), 48.0)
    if "tempfile" in sys.modules:
        sys.modules["tempfile"]._name_sequence = None


def refuse_input(*_arguments, **_named):
    raise RuntimeError("input() is not available: the code runs without a terminal")


def take_streams():
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = io.TextIOWrapper(io.FileIO(number, "w", closefd=False), encoding="utf-8",
                                  errors="backslashreplace", line_buffering=True)
        stream.mode = "w"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def be_kernel(shell, cwd, control, out, err):
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, null), (1, out), (2, err)):
        os.dup2(source, target)
        os.set_inheritable(target, True)
    held = socket.socket(fileno=os.dup(control))
    os.set_inheritable(held.fileno(), False)
    os.closerange(3, held.fileno())
    os.closerange(held.fileno() + 1, 256)
    take_streams()
    try:
        os.chdir(cwd)
    except OSError as error:
        print(f"{cwd}: {error.strerror}", file=sys.stderr)
    # As at a prompt: modules beside the program, and what the user installed for himself.
    sys.path.insert(0, "")
    sys.path.append(site.getusersitepackages())
    shell.user_ns["_dh"][:] = [os.getcwd()]
    Kernel(shell, held).serve()


def preload():
    """Loads modules and goes once through what programs do most, so that it is in memory."""
    for name in PRELOAD:
        try:
            __import__(name)
        except ImportError:
            pass
    if "matplotlib.axes" in sys.modules:
        python_charts.remember_boxes()
    shell = Shell.instance()
    shell.emitter = python_display.Nowhere()
    for noise in ("To exit: use", "Output cache limit"):
        warnings.filterwarnings("ignore", message=noise)
    saved, sys.stdout = sys.stdout, io.StringIO()
    rehearsal = "1+1\n"
    if "pandas" in sys.modules:
        rehearsal = "import pandas as _p\n_p.DataFrame({'a': [1, 2]})\n"
    try:
        shell.run_cell(rehearsal, store_history=True)
        if "matplotlib.pyplot" in sys.modules:
            shell.run_cell("import matplotlib.pyplot as _p\n_p.plot([1, 2])\n_p.show()\n")
        shell.run_cell("_p.no_such_name\n")
    finally:
        sys.stdout = saved
    shell.reset(new_session=True)
    builtins.input = refuse_input
    sys.modules["getpass"].getpass = refuse_input
    return shell


def zygote():
    shell = preload()
    reports = socket.socket(fileno=0)
    requests = socket.socket(fileno=3)
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    reports.sendall(b"ready\n")
    while True:
        readable, _, _ = select.select([requests, wake], [], [])
        if wake in readable:
            os.read(wake, 4096)
            report_ended(reports)
        if requests in readable:
            cwd, descriptors, _, _ = socket.recv_fds(requests, 4096, 3)
            if not cwd:
                os._exit(0)
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                return shell, cwd.decode(), descriptors
            for fd in descriptors:
                os.close(fd)
            reports.sendall(b"forked %d\n" % pid)


def report_ended(reports):
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        reports.sendall(b"ended %d %d\n" % (pid, os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    child_shell, child_cwd, child_descriptors = zygote()
    be_kernel(child_shell, child_cwd, *child_descriptors)
