# SPDX-License-Identifier: Apache-2.0
"""The process of a kernel as the server sees it, whatever its language: one control socket, and a
pipe each for standard output and error.

What a program writes goes through the pipes, so that its own output and that of processes it
started are in the order in which they were written. What a kernel says on its control socket comes
after the output that was written before it: the pipes are emptied up to there first."""
import array
import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import termios

READ_SIZE = 64 << 10
START_SECONDS = 120  # of an interpreter in an emulated machine whose caches are cold


class KernelDied(Exception):
    pass


def pending_bytes(fd):
    count = array.array("i", [0])
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return count[0]


def memory_shortage_score(value):
    """Who is ended first when memory runs out: the kernels, not the server."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(value))
    except OSError:
        pass


class Kernel(asyncio.Protocol):
    """Subclasses say how it is started (spawn) and what it says (heard). `sink` is whoever takes
    the output of the running execution: output(kind, bytes), events(bytes), done(error or None)."""

    def __init__(self, account):
        self.account = account
        self.pid = 0
        self.sink = None
        self.dead = False
        self.exit_text = None
        self.fresh = True  # has run no code of a user
        self.environment = None  # the sandbox's variables that it was told last
        self.sandbox = None  # the sandbox's id at that time
        self.held = False
        self.ready = asyncio.get_running_loop().create_future()

    # Life

    async def start(self, cwd):
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        self.outputs = {}
        ends = [theirs.fileno()]
        for kind in ("stdout", "stderr"):
            read_end, write_end = os.pipe()
            os.set_blocking(read_end, False)
            self.outputs[kind] = read_end
            ends.append(write_end)
        ours.setblocking(False)
        await loop.create_connection(lambda: self, sock=ours)
        try:
            self.spawn(cwd, *ends)
        finally:
            theirs.close()
            os.close(ends[1])
            os.close(ends[2])
        for kind, fd in self.outputs.items():
            loop.add_reader(fd, self.read_output, kind)
        try:
            await asyncio.wait_for(asyncio.shield(self.ready), START_SECONDS)
        except asyncio.TimeoutError:
            self.exit_text = f"it was not ready within {START_SECONDS} seconds"
            self.kill()
            raise KernelDied(self.exit_text) from None

    def popen(self, command, cwd, descriptors, extra_environment=None):
        """Starts a program as the sandbox's user, with descriptors {number there: number here}."""

        def place():
            saved = {there: fcntl.fcntl(here, fcntl.F_DUPFD_CLOEXEC, 64)
                     for there, here in descriptors.items()}
            for there, here in saved.items():
                os.dup2(here, there)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            memory_shortage_score(0)

        process = subprocess.Popen(
            command, cwd=cwd, close_fds=False, start_new_session=True, preexec_fn=place,
            env={**self.account.environment(), **(extra_environment or {})},
            **self.account.popen_arguments())
        self.pid = process.pid
        loop = asyncio.get_running_loop()
        pidfd = os.pidfd_open(process.pid)

        def reap():
            loop.remove_reader(pidfd)
            os.close(pidfd)
            self.ended(process.wait())

        loop.add_reader(pidfd, reap)
        return process

    def ended(self, code):
        """Its exit code came, negative for a signal."""
        if self.exit_text is None and code < 0:
            self.exit_text = f"it was ended by {signal.Signals(-code).name}"
        elif self.exit_text is None:
            self.exit_text = f"it ended with exit code {code}"
        self.bury()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, _error):
        # The exit code, which says more, is on its way.
        asyncio.get_running_loop().call_later(0.5, self.bury)

    def bury(self):
        if self.dead:
            return
        self.dead = True
        self.exit_text = self.exit_text or "it closed its control socket"
        for kind, fd in self.outputs.items():
            self.read_output(kind, everything=True)
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)
        self.transport.close()
        self.signal_group(signal.SIGKILL)
        if not self.ready.done():
            self.ready.set_exception(KernelDied(self.exit_text))
            self.ready.exception()
        if self.sink:
            self.finish(self.exit_text)

    def kill(self):
        self.signal_group(signal.SIGKILL)

    def signal_group(self, number):
        if self.pid > 1:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                pass

    def interrupt(self, attempt):
        """Asks the running code to end. The first time the interpreter alone is told, so that
        servers it started in the background live on; then the processes it waits for too."""
        if self.dead or self.pid <= 1:
            return
        if attempt > 0:
            self.signal_group(signal.SIGINT)
            return
        try:
            os.kill(self.pid, signal.SIGINT)
        except (ProcessLookupError, PermissionError):
            pass

    # Output

    def read_output(self, kind, everything=False):
        fd = self.outputs[kind]
        left = pending_bytes(fd) if everything else 1
        while left > 0:
            try:
                data = os.read(fd, READ_SIZE)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(fd)
                return
            left -= len(data)
            if self.sink:
                self.sink.output(kind, data)

    def drain(self):
        """Takes all that was written until now."""
        for kind in self.outputs:
            self.read_output(kind, everything=True)

    def hold(self, on):
        """Stops reading while the client is slow, so that the program waits as for a slow pipe."""
        if self.dead or on == self.held:
            return
        self.held = on
        loop = asyncio.get_running_loop()
        if on:
            self.transport.pause_reading()
        else:
            self.transport.resume_reading()
        for kind, fd in self.outputs.items():
            if on:
                loop.remove_reader(fd)
            else:
                loop.add_reader(fd, self.read_output, kind)

    # Executions

    def begin(self, code, variables, sandbox_variables, sink):
        """Runs code; sink.done() ends it. One at a time."""
        self.drain()
        self.sink = sink
        told = sandbox_variables if sandbox_variables is not self.environment else {}
        self.environment = sandbox_variables
        sandbox = sandbox_variables.get("E2B_SANDBOX_ID")
        fresh = self.fresh or sandbox != self.sandbox  # never used, or part of a fork since
        self.fresh, self.sandbox = False, sandbox
        self.submit(code, variables, told, fresh)

    def finish(self, error=None):
        sink, self.sink = self.sink, None
        self.hold(False)
        sink.done(error)

    def spawn(self, cwd, control, out, err):
        raise NotImplementedError

    def submit(self, code, variables, sandbox_variables, fresh):
        """sandbox_variables are to stay, variables to be undone after it; fresh: it may be one of many
        copies, since no code of a user ran in it, or since that code ran in another sandbox."""
        raise NotImplementedError
