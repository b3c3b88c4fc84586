# SPDX-License-Identifier: Apache-2.0
"""What a row of the abuse list is, and the words in which its expected outcome is said.

A row is one attempt: programs to run and, or, an action against the service. What is expected is a
function over the typed result, `expect(run)`, which raises Wrong. See test_security.py for what else
must hold around every row.
"""
import dataclasses
import pathlib
import typing

MIB = 1 << 20

STATUSES = {"ok", "error", "killed", "timeout", "memory", "output_limit", "disk", "processes",
            "compile_error"}
REASONS = {"exit", "signal", "timeout", "cpu", "cpu_timeout", "memory", "output_limit", "disk",
           "processes"}
FIELDS = {"request_id": str, "success": bool, "output": str, "execution_time": (int, float),
          "language": str, "version": str, "status": str, "phase": str, "stdout": str, "stderr": str,
          "exit_code": (int, type(None)), "signal": (str, type(None)), "reason": str,
          "truncated": bool, "lossy": bool, "stdout_bytes": int, "stderr_bytes": int,
          "compile": (dict, type(None)), "usage": dict, "timing": dict, "isolation": str,
          "accel": str}


class Wrong(Exception):
    """An expectation that does not hold."""


def want(condition, text, shown=""):
    if not condition:
        raise Wrong(f"{text}: {str(shown)[:1500]}" if shown != "" else text)


@dataclasses.dataclass
class World:
    """Where the rows run, as /health has it."""
    isolation: str      # microvm or process
    emulated: bool      # computing about 14 times slower
    root: bool          # the service was started by root
    confinement: dict
    secrets: tuple      # texts of the host that no answer may hold
    weaker: set = dataclasses.field(default_factory=set)    # what is not enforced here

    @property
    def grace(self):
        """Seconds that an answer may come after its limit."""
        return 1.0

    @property
    def cgroups(self):
        """Programs have control groups: always in a guest of ours, on the host where there are some."""
        return self.isolation == "microvm" or bool(self.confinement.get("cgroup"))


@dataclasses.dataclass
class Run:
    """One program's answer."""
    world: World
    request: dict
    answer: dict
    elapsed: float

    @property
    def out(self):
        return self.answer["stdout"]

    @property
    def err(self):
        return self.answer["stderr"]

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def wall(self):
        return self.answer["usage"]["wall_ms"] / 1000


# A busy machine may be slow, and stand still for a while.
STALL_S = 10
PATIENT_S = 200.0   # for a program that ends by itself

Expect = typing.Callable[[Run], None]


@dataclasses.dataclass
class Program:
    language: str
    code: str
    expect: Expect
    fields: dict
    shared: bool = False    # one run of it serves all rows that look at it


@dataclasses.dataclass
class Row:
    number: int
    title: str
    programs: typing.Sequence[Program] = ()
    action: typing.Callable = None      # action(rig): raises Wrong
    session: typing.Callable = None     # the same against a long-lived sandbox (rows_sessions.py)
    later: str = ""                     # what the part that cannot be tested yet needs
    neighbour: typing.Callable = None   # says whether an answer of the neighbour is allowed


def program(language, code, expect, timeout=PATIENT_S, limits=None, **fields):
    fields["timeout"] = timeout
    if limits:
        fields["limits"] = limits
    return Program(language, code, expect, fields)


def py(code, expect, **more):
    return program("python", code, expect, **more)


def source(name):
    return (pathlib.Path(__file__).resolve().parent / "programs" / name).read_text()


ABUSE = {"typescript": source("abuse.ts"), "rust": source("abuse.rs")}


def others(attempt, expect, **more):
    """The same attempt in TypeScript and in Rust."""
    return [program(language, code, expect, args=[attempt], **more) for language, code in ABUSE.items()]


def probed(**values):
    """Lines of the probe that TypeScript and Rust programs make. A value is what the line must say, a
    tuple of such, or None: anything but "0", for 0 means that the attempt worked."""
    def check(run):
        OK(run)
        lines = dict(line.partition(" ")[::2] for line in run.lines)
        for name, value in values.items():
            said = lines.get(name)
            allowed = value if isinstance(value, tuple) else (value,)
            want(said is not None and (said != "0" if value is None else said in allowed),
                 f"{name} {value}", run.answer)
    return [Program(language, code, check, {"timeout": PATIENT_S, "args": ["probe"]}, True)
            for language, code in ABUSE.items()]


# Expectations. Each makes a function over a Run; `every` puts several together.

def every(*expects):
    def check(run):
        for expect in expects:
            expect(run)
    return check


def ended(status, reason=None, exit_code=None, signal=None):
    """How it ended, exactly."""
    def check(run):
        a = run.answer
        want(a["status"] == status, f"status {status}", a)
        want(reason is None or a["reason"] in (reason if isinstance(reason, tuple) else (reason,)),
             f"reason {reason}", a)
        want(exit_code is None or a["exit_code"] == exit_code, f"exit code {exit_code}", a)
        want(signal is None or a["signal"] == signal, f"signal {signal}", a)
    return check


def any_of(*expects):
    """One of few outcomes that are all right, each itself exact."""
    def check(run):
        said = []
        for expect in expects:
            try:
                expect(run)
                return
            except Wrong as wrong:
                said.append(str(wrong))
        raise Wrong(" -- and not ".join(said))
    return check


def bounded(strict, weak, what):
    """Where programs have no control group (`confinement` of /health says so), `weak` is what can be had,
    and the test says that it is."""
    def check(run):
        if not run.world.cgroups:
            run.world.weaker.add(what)
        (strict if run.world.cgroups else weak)(run)
    return check


def says(text):
    """Standard output, to the byte."""
    return lambda run: want(run.out == text, f"stdout {text!r}", run.answer)


def says_nothing(run):
    want(run.out == "" and run.err == "", "no output", run.answer)


def never_says(*words):
    def check(run):
        for word in words:
            want(word not in run.out and word not in run.err, f"no {word!r}", run.answer)
    return check


def complains(*words):
    """One of these is on standard error."""
    return lambda run: want(any(w in run.err for w in words), f"stderr has one of {words}", run.answer)


def hit(name):
    """The limit is named as one that was reached."""
    def check(run):
        want("limits_hit" not in run.answer or name in run.answer["limits_hit"],
             f"limits_hit names {name}", run.answer)
    return check


def within(seconds):
    """The program ended by itself in time: it failed fast and did not hang; three times under
    emulation."""
    def check(run):
        limit = seconds * (3 if run.world.emulated else 1) + STALL_S
        want(run.wall <= limit, f"ends within {limit} s", run.answer["usage"])
    return check


OK = ended("ok", "exit", 0)
TIMEOUT = ended("timeout", "timeout")
FLOOD = every(ended("output_limit", "output_limit"),
              lambda run: want(run.answer["truncated"] is True, "truncated", run.answer["truncated"]))


def check_result(run):
    """What every answer of every run is: well formed, consistent, in time, and without host secrets."""
    a, limits = run.answer, run.request.get("limits") or {}
    for name, kind in FIELDS.items():
        want(name in a and isinstance(a[name], kind), f"field {name} of the documented type", a.get(name))
    want(a["status"] in STATUSES, "a known status", a["status"])
    want(a["reason"] in REASONS, "a known reason", a["reason"])
    want(a["isolation"] == run.world.isolation, "the isolation that was asked for", a["isolation"])
    want(a["success"] == (a["status"] == "ok"), "success only when ok", a)
    want((a["status"] == "ok") == (a["exit_code"] == 0 and a["phase"] == "run"
                                   and a["reason"] == "exit"), "ok means exit code 0", a)
    want(a["exit_code"] is None or a["signal"] is None, "not both an exit code and a signal", a)
    for name in ("wall_ms", "cpu_ms", "memory_peak_bytes"):
        want(isinstance(a["usage"].get(name), (int, float)) and a["usage"][name] >= 0,
             f"usage.{name}", a["usage"])
    output = limits.get("output_bytes", MIB)
    want(a["stdout_bytes"] + a["stderr_bytes"] <= output, "no more output than the limit", a)
    memory = limits.get("memory_bytes", 512 * MIB)
    want(not run.world.cgroups or a["phase"] == "compile"
         or a["usage"]["memory_peak_bytes"] <= memory + 4 * MIB, "memory peak within the limit",
         a["usage"])
    check_time(run)
    for secret in run.world.secrets:
        want(secret not in str(a), "nothing secret of the host in the answer", secret)


def check_time(run):
    limit = run.request["timeout"] + run.world.grace + STALL_S
    compiling = (run.answer["compile"] or {}).get("wall_ms", 0) / 1000
    want(run.answer["phase"] == "compile" or run.wall <= limit, f"ended within {limit} s",
         run.answer["usage"])
    waited = run.answer["timing"]["queue_ms"] / 1000 + compiling
    # Beyond the run: handing over and the answer's way back, on a machine that is busy on purpose.
    slack = 3.0 if run.world.emulated else 1.0
    want(run.elapsed <= limit + waited + slack, f"answered within {limit + waited + slack:.1f} s",
         run.elapsed)
