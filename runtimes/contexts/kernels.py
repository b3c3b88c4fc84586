# SPDX-License-Identifier: Apache-2.0
"""How the server speaks with the kernel of each language.

Python       python_kernel.py, forked from one process that has loaded IPython, numpy, pandas and
             matplotlib: a new context costs a fork. It is sent a length (4 bytes, big-endian) and a
             JSON object, and answers with finished lines of the stream.
JavaScript,  `deno repl --json`: Deno's own line evaluator, so that types are stripped, imports of
TypeScript   every kind work, declarations outlive their cell and may be repeated, and await stands
             anywhere, all by the same code as at Deno's prompt. It says only whether a line
             succeeded; deno_kernel.js, loaded into it, shows values and errors. An inspector of our
             own would have to bring its own rewriting of imports and types. What it cannot do is
             give up a running line, so an interrupted context is restarted, which is said in the
             next execution.
bash         An interactive bash without an editor that reads its commands from the control
             socket, and the code with `read` from another, since the shell reads ahead on the
             first. Only an interactive shell gives up a whole list of commands at an interrupt and
             lives on."""
import asyncio
import json
import os
import re
import shlex
import signal
import socket
import struct

import process
from process import Kernel, KernelDied

HERE = os.path.dirname(os.path.abspath(__file__))
LINE_MAX = 48 << 20
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


class Zygote:
    """The process that Python kernels are forked from; started when it is first needed and again
    when it is gone."""

    def __init__(self, account):
        self.account = account
        self.kernel = None
        self.lock = asyncio.Lock()
        self.forks = {}  # pid: kernel

    async def fork(self, kernel, cwd, descriptors):
        async with self.lock:
            if self.kernel is None or self.kernel.dead:
                self.kernel = ZygoteKernel(self.account, self)
                await self.kernel.start("/")
            pid = await self.kernel.ask(cwd, descriptors)
        self.forks[pid] = kernel
        return pid

    def ended(self, pid, code):
        kernel = self.forks.pop(pid, None)
        if kernel:
            kernel.ended(code)


class ZygoteKernel(Kernel):
    def __init__(self, account, owner):
        super().__init__(account)
        self.owner = owner
        self.buffer = b""
        self.answer = None

    def spawn(self, cwd, control, out, err):
        # Descriptors travel by a socket of their own: the loop's transport sends bytes alone.
        self.side, theirs = socket.socketpair()
        try:
            self.popen(["/usr/bin/python3", "-sP", f"{HERE}/python_kernel.py", "--zygote"], cwd,
                       {0: control, 1: out, 2: err, 3: theirs.fileno()},
                       {"MPLBACKEND": "module://matplotlib_inline.backend_inline",
                        "PYTHONPATH": "", "PYTHONUNBUFFERED": ""})
        finally:
            theirs.close()

    async def ask(self, cwd, descriptors):
        self.answer = asyncio.get_running_loop().create_future()
        socket.send_fds(self.side, [cwd.encode()], descriptors)
        return await self.answer

    def data_received(self, data):
        self.buffer += data
        while b"\n" in self.buffer:
            line, self.buffer = self.buffer.split(b"\n", 1)
            word, *numbers = line.split()
            if word == b"ready" and not self.ready.done():
                self.ready.set_result(None)
            elif word == b"forked" and self.answer and not self.answer.done():
                self.answer.set_result(int(numbers[0]))
            elif word == b"ended":
                self.owner.ended(int(numbers[0]), int(numbers[1]))

    def bury(self):
        if self.dead:
            return
        super().bury()
        self.side.close()
        if self.answer and not self.answer.done():
            self.answer.set_exception(KernelDied(self.exit_text))

    def kill(self):
        self.signal_group(signal.SIGKILL)


class LineKernel(Kernel):
    """One that answers with lines; those of the stream begin with a brace and go on unread."""

    def __init__(self, account):
        super().__init__(account)
        self.lines = bytearray()

    def split(self, data):
        """Whole lines out of what has come, as one piece."""
        self.lines += data
        end = self.lines.rfind(b"\n", max(0, len(self.lines) - len(data))) + 1
        if end == 0 and len(self.lines) > LINE_MAX:
            self.exit_text = "it sent a line that is too long"
            self.kill()
        whole = bytes(self.lines[:end])
        del self.lines[:end]
        return whole


class PythonKernel(LineKernel):
    def __init__(self, account, zygote):
        super().__init__(account)
        self.zygote = zygote

    async def start(self, cwd):
        self.cwd = cwd
        await super().start(cwd)

    def spawn(self, cwd, control, out, err):
        held = [os.dup(fd) for fd in (control, out, err)]
        task = asyncio.get_running_loop().create_task(self.fork(cwd, held))
        task.add_done_callback(lambda _task: [os.close(fd) for fd in held])

    async def fork(self, cwd, held):
        try:
            self.pid = await self.zygote.fork(self, cwd, held)
        except (KernelDied, OSError) as error:
            self.exit_text = str(error)
            self.bury()

    def data_received(self, data):
        whole = self.split(data)
        if not whole:
            return
        if not self.ready.done():
            self.ready.set_result(None)
            return
        self.drain()
        ask, last = whole.endswith(b"ack\n"), whole.endswith(b"end\n")
        if ask or last:
            whole = whole[:-4]
        if whole and self.sink:
            self.sink.events(whole)
        if ask:
            self.transport.write(b"a")
        if last and self.sink:
            self.finish()

    def submit(self, code, variables, sandbox_variables, fresh):
        message = json.dumps({"code": code, "count": self.sink.count, "variables": variables,
                              "sandbox_variables": sandbox_variables, "fresh": fresh}).encode()
        self.transport.write(struct.pack(">I", len(message)) + message)


class DenoKernel(LineKernel):
    COMMAND = ["/usr/bin/deno", "repl", "--json", "--allow-all", "--no-config", "--no-lock",
               "--quiet"]
    CALL = 'globalThis[Symbol.for("csb.kernel")].'

    def __init__(self, account):
        super().__init__(account)
        self.buffer = bytearray()
        self.waiting = None
        self.restart_on_interrupt = True

    def spawn(self, cwd, control, out, err):
        self.events, write_end = os.pipe()
        os.set_blocking(self.events, False)
        try:
            self.account.give(write_end)
            self.popen(self.COMMAND, cwd, {0: self.account.null, 1: out, 2: err, 3: control,
                                           4: write_end},
                       {"NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1", "DENO_NO_PROMPT": "1"})
        finally:
            os.close(write_end)
        asyncio.get_running_loop().add_reader(self.events, self.read_events)
        with open(f"{HERE}/deno_kernel.js", encoding="utf-8") as file:
            self.say(file.read(), self.started)

    def started(self, answer):
        if answer.get("type") == "RunSuccess":
            self.ready.set_result(None)
        else:
            self.exit_text = f"it could not be set up: {json.dumps(answer)[:500]}"
            self.kill()

    def say(self, code, then):
        message = json.dumps({"type": "Run", "code": code, "output": False}).encode()
        self.waiting = then
        self.transport.write(struct.pack("<I", len(message)) + message)

    def data_received(self, data):
        self.buffer += data
        while len(self.buffer) >= 4:
            (size,) = struct.unpack_from("<I", self.buffer)
            if len(self.buffer) < 4 + size:
                return
            message = bytes(self.buffer[4 : 4 + size])
            del self.buffer[: 4 + size]
            then, self.waiting = self.waiting, None
            if then:
                then(json.loads(message))

    def read_events(self):
        while True:
            try:
                data = os.read(self.events, process.READ_SIZE)
            except BlockingIOError:
                return
            if not data:
                asyncio.get_running_loop().remove_reader(self.events)
                return
            whole = self.split(data)
            if whole and self.sink:
                self.drain()
                self.sink.events(whole)

    def hold(self, on):
        super().hold(on)
        loop = asyncio.get_running_loop()
        if on and not self.dead:
            loop.remove_reader(self.events)
        elif not self.dead:
            loop.add_reader(self.events, self.read_events)

    def bury(self):
        if not self.dead:
            asyncio.get_running_loop().remove_reader(self.events)
            os.close(self.events)
        super().bury()

    def submit(self, code, variables, sandbox_variables, fresh):
        def run(_answer=None):
            self.say(code, self.came)

        if fresh or variables or sandbox_variables:
            told = json.dumps([fresh, variables, sandbox_variables])
            self.say(f"{self.CALL}begin({told})", run)
        else:
            run()

    def came(self, answer):
        if answer.get("type") == "RunSuccess":
            self.say(self.CALL + "succeeded()", self.shown)
        elif answer.get("type") == "RunFailure":
            self.say(self.CALL + "failed()", self.shown)
        else:
            told = json.dumps(str(answer.get("error", answer)))
            self.say(f"{self.CALL}refused({told})", self.shown)

    def shown(self, _answer):
        self.drain()
        self.read_events()
        self.finish()


class BashKernel(LineKernel):
    COMMAND = ["/bin/bash", "--noprofile", "--norc", "--noediting", "-i"]
    # The code is run where a process it starts can reach neither what comes next nor the answer.
    RUN = (b'IFS= read -r -d "" -u 21 __csb_code; echo started >&22; '
           b'eval "$__csb_code" </dev/null 21<&- 22>&-\n')
    END = b'printf "ended %d\\n" "$?" >&22; unset __csb_code\n'

    def __init__(self, account):
        super().__init__(account)
        self.interruptible = False
        self.wanted = False

    def spawn(self, cwd, control, out, err):
        ours, theirs = socket.socketpair()
        try:
            self.popen(self.COMMAND, cwd,
                       {0: control, 1: out, 2: err, 21: theirs.fileno(), 22: control},
                       {"PS1": "", "PS2": "", "HISTFILE": "/dev/null"})
        finally:
            theirs.close()
        ours.setblocking(False)
        self.codes = asyncio.get_running_loop().create_task(
            asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours))
        self.transport.write(b"set +o history; unset PS1 PS2 HISTFILE; echo ready >&22\n")

    def submit(self, code, variables, sandbox_variables, fresh):
        # A value that is assigned is its seed.
        lines = [f"RANDOM={int.from_bytes(os.urandom(4))}"] if fresh else []
        usable = {k: v for k, v in variables.items() if NAME.match(k)}
        lines += [f"export {k}={shlex.quote(v)}" for k, v in sandbox_variables.items()
                  if NAME.match(k)]
        for name, value in usable.items():
            lines.append(f"__csb_had_{name}=${{{name}+1}} __csb_was_{name}=${{{name}-}}; "
                         f"export {name}={shlex.quote(value)}")
        after = [f'if [ -n "$__csb_had_{name}" ]; then {name}=$__csb_was_{name}; '
                 f"else unset {name}; fi; unset __csb_had_{name} __csb_was_{name}\n"
                 for name in usable]
        self.interruptible = self.wanted = False
        before = "".join(line + "\n" for line in lines).encode()
        self.transport.write(before + self.RUN)
        self.codes.result()[0].write(code.replace("\0", "").encode(errors="replace") + b"\0")
        self.after = self.END + "".join(after).encode() + b"echo done >&22\n"

    def data_received(self, data):
        for line in self.split(data).split(b"\n"):
            word, *rest = line.split()[:2] or [b""]
            if word == b"ready" and not self.ready.done():
                self.drain()
                self.ready.set_result(None)
            elif word == b"started":
                self.interruptible = True
                self.transport.write(self.after)
                if self.wanted:
                    self.signal_group(signal.SIGINT)
            elif word == b"ended":
                self.interruptible = False
                self.status = int(rest[0])
            elif word == b"done" and self.sink:
                self.drain()
                if self.status != 0:
                    self.sink.error("ExitStatus", str(self.status), "")
                self.finish()

    def bury(self):
        if not self.dead and self.codes.done():
            self.codes.result()[0].close()
        super().bury()

    def interrupt(self, attempt):
        """A shell that still reads its code must not be told: it would take the rest as commands.
        The commands it waits for are in its group."""
        self.wanted = True
        if self.interruptible:
            self.signal_group(signal.SIGINT)
