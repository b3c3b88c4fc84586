# SPDX-License-Identifier: Apache-2.0
"""Contexts: an id, a language, a directory and a kernel that lives from the first use on; and the
executions in them, one at a time, in the order in which they came."""
import asyncio
import codecs
import datetime
import json
import os
import pwd
import secrets
import signal

from http1 import HttpError
from kernels import BashKernel, DenoKernel, PythonKernel, Zygote
from process import KernelDied

OUTPUT_MAX = int(os.environ.get("CSB_CONTEXTS_OUTPUT_BYTES", 32 << 20))  # of one stream
KEEPALIVE_SECONDS = float(os.environ.get("CSB_CONTEXTS_KEEPALIVE_SECONDS", 5))
CONTEXTS_MAX = 64
INTERRUPT_SECONDS = (0, 0.5, 2, 5)  # after which an execution is told to end
KILL_SECONDS = 10  # after the last of these

ALIASES = {"py": "python", "python3": "python", "js": "javascript", "ts": "typescript",
           "sh": "bash"}
LANGUAGES = ("python", "javascript", "typescript", "bash")


def language_of(text):
    if text is None:
        return "python"
    if not isinstance(text, str):
        raise HttpError(400, "language is not a string")
    word = text.strip().lower()
    word = ALIASES.get(word, word)
    if word not in LANGUAGES:
        raise HttpError(400, f"Language {word[:40]!r} is not available; these are: "
                             f"{', '.join(LANGUAGES)}")
    return word


class Account:
    """Whom kernels run as: the sandbox's user when the server is root, else who the server is."""

    def __init__(self, name):
        entry = pwd.getpwnam(name) if os.getuid() == 0 else pwd.getpwuid(os.getuid())
        self.entry = entry
        self.home = entry.pw_dir
        self.null = os.open(os.devnull, os.O_RDWR)

    def environment(self):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("CSB_CONTEXTS_")}
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return {"PATH": path, "LANG": "C.UTF-8", **kept, "HOME": self.home,
                "USER": self.entry.pw_name, "LOGNAME": self.entry.pw_name}

    def popen_arguments(self):
        if os.getuid() != 0:
            return {}
        groups = os.getgrouplist(self.entry.pw_name, self.entry.pw_gid)
        return {"user": self.entry.pw_uid, "group": self.entry.pw_gid, "extra_groups": groups}

    def give(self, fd):
        if os.getuid() == 0:
            os.fchown(fd, self.entry.pw_uid, self.entry.pw_gid)


class SandboxVariables:
    """The sandbox's own variables, NAME=VALUE with a NUL after each, in a file that whoever sets
    the sandbox up writes at any time. The same object as long as the file is the same."""

    def __init__(self, path):
        self.path = path
        self.stamp = None
        self.values = {}

    def current(self):
        try:
            stat = os.stat(self.path)
        except OSError:
            return self.values
        stamp = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
        if stamp != self.stamp:
            try:
                with open(self.path, errors="surrogateescape") as file:
                    text = file.read(1 << 20)
            except OSError:
                return self.values
            self.stamp = stamp
            self.values = dict(v.split("=", 1) for v in text.split("\0") if "=" in v[1:])
        return self.values


class Execution:
    """One program and the client that waits for what it says."""

    def __init__(self, connection, code, variables):
        self.connection = connection
        self.code = code
        self.variables = variables
        self.count = 0
        self.kernel = None
        self.context = None
        self.decoders = {kind: codecs.getincrementaldecoder("utf-8")("replace")
                         for kind in ("stdout", "stderr")}
        self.left = dict.fromkeys(self.decoders, OUTPUT_MAX)
        self.sent = True  # something since the last keepalive
        self.timer = None
        self.ended = asyncio.get_running_loop().create_future()
        self.started = False
        connection.on_gone = self.abandon
        connection.on_room = self.room

    # Towards the client

    def line(self, **event):
        return json.dumps(event, ensure_ascii=False).encode(errors="replace") + b"\n"

    def send(self, data):
        self.sent = True
        self.connection.send(data)
        if self.connection.full and self.kernel:
            self.kernel.hold(True)

    def room(self):
        if self.kernel:
            self.kernel.hold(False)

    def output(self, kind, data, last=False):
        left = self.left[kind]
        if left <= 0 and not last:
            return
        self.left[kind] = left - len(data)
        text = self.decoders[kind].decode(data[:left] if left > 0 else b"", last)
        if text:
            now = datetime.datetime.now(datetime.timezone.utc).isoformat()
            self.send(self.line(type=kind, text=text, timestamp=now))
        if self.left[kind] <= 0 < left:
            self.note(f"[{kind} was cut after {OUTPUT_MAX} bytes]\n")

    def note(self, text):
        now = datetime.datetime.now(datetime.timezone.utc).isoformat()
        self.send(self.line(type="stderr", text=text, timestamp=now))

    def events(self, lines):
        self.send(lines)

    def error(self, name, value, traceback):
        self.send(self.line(type="error", name=name, value=value, traceback=traceback))

    def keep_alive(self):
        if not self.sent:
            self.connection.send(b'{"type":"keepalive"}\n')
        self.sent = False
        self.timer = asyncio.get_running_loop().call_later(KEEPALIVE_SECONDS, self.keep_alive)

    # Its end

    def done(self, error):
        """The kernel is through with it, or died."""
        if self.ended.done():
            return
        for kind in self.decoders:
            self.output(kind, b"", last=True)
        if error:
            self.error("ContextRestarting", f"The kernel of the context is gone: {error}. The next "
                       "execution gets a new one, without what was defined.", "")
        self.ended.set_result(None)

    def abandon(self):
        """The client is gone."""
        self.connection.on_gone = self.connection.on_room = None
        if self.started and not self.ended.done():
            self.room()
            asyncio.get_running_loop().create_task(self.context.interrupt(self))

    def finish(self):
        self.connection.on_gone = self.connection.on_room = None
        self.connection.send(b'{"type":"end_of_execution"}\n', last=True)


class Context:
    def __init__(self, table, language, cwd, number):
        self.table = table
        self.id = number
        self.language = language
        self.cwd = cwd
        self.kernel = None
        self.count = 0
        self.lock = asyncio.Lock()
        self.current = None
        self.remark = None  # for the next execution
        self.removed = False

    def as_json(self):
        return {"id": self.id, "language": self.language, "cwd": self.cwd}

    async def ready_kernel(self):
        if self.kernel and not self.kernel.dead:
            return self.kernel
        self.count = 0
        if self.language == "python":
            kernel = PythonKernel(self.table.account, self.table.zygote)
        else:
            kind = BashKernel if self.language == "bash" else DenoKernel
            kernel = kind(self.table.account)
        self.kernel = kernel
        try:
            await kernel.start(self.cwd)
        except (OSError, KernelDied) as error:
            kernel.dead = True
            raise HttpError(500, f"the kernel could not be started: {error}") from None
        return kernel

    async def execute(self, execution):
        """Sends the whole stream, whose headers are out already."""
        execution.sent = True
        execution.keep_alive()
        try:
            async with self.lock:
                if execution.connection.gone:
                    return
                if self.removed:
                    execution.error("ExecutionAborted", "The context was deleted", "")
                else:
                    await self.run(execution)
        finally:
            execution.timer.cancel()
        execution.finish()

    async def run(self, execution):
        try:
            kernel = await self.ready_kernel()
        except HttpError as error:
            execution.error("ContextRestarting", error.text, "")
            return
        if execution.connection.gone:
            return
        self.count += 1
        execution.count, execution.kernel, execution.context = self.count, kernel, self
        execution.started = True
        execution.send(execution.line(type="number_of_executions", execution_count=self.count))
        if self.remark:
            execution.note(self.remark)
            self.remark = None
        self.current = execution
        kernel.begin(execution.code, execution.variables, self.table.variables.current(), execution)
        try:
            await execution.ended
        finally:
            self.current = None

    async def interrupt(self, execution):
        """Makes an execution end, at first by asking."""
        kernel = execution.kernel
        if not isinstance(kernel, DenoKernel):
            passed = 0
            for attempt, moment in enumerate(INTERRUPT_SECONDS):
                await asyncio.wait([execution.ended], timeout=moment - passed)
                passed = moment
                if execution.ended.done():
                    return
                kernel.interrupt(attempt)
            await asyncio.wait([execution.ended], timeout=KILL_SECONDS)
        if not execution.ended.done():
            self.remark = ("[the context was restarted: an interrupted execution could not be "
                           "ended in another way]\n")
            kernel.kill()

    async def restart(self):
        self.stop("it was restarted")
        async with self.lock:
            self.remark = None
            await self.ready_kernel()

    def stop(self, why):
        kernel, self.kernel = self.kernel, None
        if kernel and not kernel.dead:
            kernel.exit_text = why
            kernel.kill()
            kernel.bury()


class Contexts:
    """All contexts, in the order in which they were made. Those of a language that is named without
    a context are made at its first use; Python's and JavaScript's are always there."""

    def __init__(self, account, variables_path):
        self.account = account
        self.zygote = Zygote(account)
        self.variables = SandboxVariables(variables_path)
        self.table = {}
        self.defaults = {}
        for language in ("python", "javascript"):
            self.default(language)

    def default(self, language):
        context = self.table.get(self.defaults.get(language))
        if context is None:
            context = self.create(language, self.account.home)
            self.defaults[language] = context.id
        return context

    def create(self, language, cwd):
        if len(self.table) >= CONTEXTS_MAX:
            raise HttpError(503, f"there are {CONTEXTS_MAX} contexts already")
        context = Context(self, language, cwd, secrets.token_hex(16))
        self.table[context.id] = context
        return context

    def find(self, number):
        context = self.table.get(number) if isinstance(number, str) else None
        if context is None:
            raise HttpError(404, f"Context {str(number)[:80]} not found")
        return context

    def remove(self, context):
        del self.table[context.id]
        context.removed = True
        context.stop("the context was deleted")

    async def warm(self, rehearsals):
        """Starts the kernels that are always there, of the languages there are rehearsals for, and
        lets a first one of each be used and thrown away, so that what they need is in memory."""
        for language, code in rehearsals.items():
            rehearsal = self.create(language, self.account.home)
            execution = Execution(Nobody(), code, {})
            await rehearsal.execute(execution)
            self.remove(rehearsal)
        for context in list(self.table.values()):
            if context.language in rehearsals:
                await context.ready_kernel()


class Nobody:
    """In place of a client's connection."""

    gone = full = False
    on_gone = on_room = None

    def send(self, data, last=False):
        pass


def ignore_pipe_signals():
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
