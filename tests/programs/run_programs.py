#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs every program of the corpus twice, natively and through the service, and compares.

The native run is what the interpreter does outside a sandbox: `python3 main.py`, `deno run
--allow-all main.ts`, `rustc --edition 2024 -o main main.rs && ./main`, `bash main.sh`, with the
program's own directory as the working directory. With --chroot the interpreters come out of the
very root tree the image is made of, so versions are the same; without it, from the host by flags.
The service run is one POST /execute. stdout, stderr, exit code and signal must be equal.

Output is TAP, a line per program. --native-only needs no service: it runs everything natively
twice and demands that both agree, which is how a new program is checked before it is added.

A program is a directory <language>/<name>/ with main.<ext> and, each optional: other files of the
program, `stdin`, `args` (one per line), `env` (KEY=VALUE per line), `wrap` (Rust without fn main:
the service makes it the body of one), `expect.json` (what cannot be had natively, see check()).
"""

import argparse
import concurrent.futures
import difflib
import hashlib
import http.client
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
EXTENSIONS = {"python": "py", "typescript": "ts", "javascript": "js", "rust": "rs", "bash": "sh"}
SPECIAL = {"stdin", "args", "env", "wrap", "expect.json"}
NATIVE_LIMIT_S = 200
REQUEST_LIMIT_S = 200
DIFF_LINES = 24

# Runs as root in a mount namespace of its own: the tree stays untouched, writes go to a tmpfs.
# No pid namespace: the program would be its init, and an init ignores SIGTERM from itself.
CHROOT_SCRIPT = r"""
set -e
tree=$1 scratch=$2 work=$3; shift 3
old_path=$PATH PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t tmpfs -o mode=0755 scratch "$scratch"
mkdir "$scratch/up" "$scratch/wk" "$scratch/root"
mount -t overlay -o "lowerdir=$tree,upperdir=$scratch/up,workdir=$scratch/wk" overlay \
    "$scratch/root"
cd "$scratch/root"
mkdir -p work proc dev tmp
mount --bind "$work" work
mount --rbind /proc proc
mount --rbind /dev dev
mount -t tmpfs -o mode=1777 tmpfs tmp
exec chroot --userspec=1000:1000 --groups=1000 . /usr/bin/env PATH="$old_path" \
    /bin/sh -c 'cd /work && exec "$@"' sh "$@"
"""


class Program:
    """One directory of the corpus, read into memory."""

    def __init__(self, language, name):
        self.language = language
        self.name = name
        self.label = f"{language}/{name}"
        self.dir = os.path.join(HERE, language, name)
        self.main = "main." + EXTENSIONS[language]
        self.code = self._read(self.main)
        self.stdin = self._read("stdin") or ""
        self.args = (self._read("args") or "").splitlines()
        env_lines = (self._read("env") or "").splitlines()
        self.env = dict(line.split("=", 1) for line in env_lines if line)
        self.wrap = os.path.exists(os.path.join(self.dir, "wrap"))
        self.expect = json.loads(self._read("expect.json") or "{}")
        self.files = self._others()

    def _read(self, name):
        try:
            with open(os.path.join(self.dir, name), encoding="utf-8", newline="") as f:
                return f.read()
        except FileNotFoundError:
            return None

    def _others(self):
        found = {}
        for base, dirs, names in os.walk(self.dir):
            dirs[:] = sorted(d for d in dirs if d != "__pycache__")
            for name in sorted(names):
                rel = os.path.relpath(os.path.join(base, name), self.dir)
                if rel != self.main and rel not in SPECIAL:
                    found[rel] = self._read(rel)
        return found

    def native_code(self):
        return "fn main() {\n" + self.code + "\n}\n" if self.wrap else self.code

    def request(self):
        body = {"language": self.language, "code": self.code, "timeout": REQUEST_LIMIT_S}
        if self.files:
            body["files"] = self.files
        if self.stdin:
            body["stdin"] = self.stdin
        if self.args:
            body["args"] = self.args
        if self.env:
            body["env"] = self.env
        return body


def load(only, names, every):
    programs = []
    for language in EXTENSIONS:
        root = os.path.join(HERE, language)
        if (only and language not in only) or not os.path.isdir(root):
            continue
        for name in sorted(os.listdir(root))[::every]:
            if not names or any(n in f"{language}/{name}" for n in names):
                if os.path.isdir(os.path.join(root, name)):
                    programs.append(Program(language, name))
    return programs


def fresh_process():
    """In the child: nothing a program could see is left over from how this runner was started."""
    # A shell tells of dumped cores; the sandbox makes none.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A shell starts what it puts in the background with SIGINT and SIGQUIT ignored.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.umask(0o022)


class Native:
    """Runs programs with interpreters of this host or of a root tree."""

    def __init__(self, opts, scratch):
        self.chroot = opts.chroot and os.path.realpath(opts.chroot)
        self.scratch = scratch
        self.deno_dir = os.path.join(scratch, "deno-dir")
        os.makedirs(self.deno_dir, exist_ok=True)
        os.chmod(scratch, 0o755)
        self.python, self.deno, self.rustc, self.bash = (
            opts.python, opts.deno, opts.rustc, opts.bash)
        if opts.native_root:
            self._take_from(os.path.realpath(opts.native_root))
        if not self.chroot and not opts.native_root:
            self.rustc = self._real_rustc(self.rustc)
        self.rustc_flags = opts.rustc_flag or []
        self.extra_env = dict(pair.split("=", 1) for pair in opts.native_env or [])
        self.versions = {}
        self.lock = threading.Lock()

    def _take_from(self, root):
        """Uses the tree's interpreters without chroot: for those that run from where they lie."""
        for field, paths in (("python", ("usr/bin/python3",)),
                             ("deno", ("usr/local/bin/deno", "usr/bin/deno", "opt/deno/deno")),
                             ("rustc", ("usr/bin/rustc",)), ("bash", ("bin/bash",))):
            for path in paths:
                if os.path.exists(os.path.join(root, path)):
                    setattr(self, field, os.path.join(root, path))
                    break

    @staticmethod
    def _real_rustc(rustc):
        """rustup's proxy needs a HOME; the compiler behind it does not."""
        try:
            out = subprocess.run([rustc, "--print", "sysroot"], capture_output=True, text=True)
        except OSError:
            return rustc
        real = os.path.join(out.stdout.strip(), "bin", "rustc")
        return real if out.returncode == 0 and os.path.exists(real) else rustc

    def environment(self, extra):
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": "/tmp",
               "DENO_NO_UPDATE_CHECK": "1",
               # Deno colours its messages even for a pipe; a service's JSON wants none.
               "NO_COLOR": "1",
               "DENO_DIR": "/tmp/deno" if self.chroot else self.deno_dir}
        env.update(self.extra_env)
        env.update(extra)
        return env

    def spawn(self, work, argv, env, stdin):
        if self.chroot:
            mount_point = tempfile.mkdtemp(prefix="mnt-", dir=self.scratch)
            argv = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
                    CHROOT_SCRIPT, "sh", self.chroot, mount_point, work, *argv]
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        with out, err:
            proc = subprocess.Popen(
                argv, cwd=work, env=self.environment(env), stdin=subprocess.PIPE, stdout=out,
                stderr=err, start_new_session=True,
                preexec_fn=fresh_process)
            alarm = threading.Timer(NATIVE_LIMIT_S, proc.kill)
            alarm.start()
            try:
                proc.stdin.write(stdin.encode())
                proc.stdin.close()
            except BrokenPipeError:
                pass
            _, status, usage = os.wait4(proc.pid, 0)
            alarm.cancel()
            code = proc.returncode = os.waitstatus_to_exitcode(status)
            try:
                os.killpg(proc.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            out.seek(0)
            err.seek(0)
            return {"stdout": out.read().decode("utf-8", "replace"),
                    "stderr": err.read().decode("utf-8", "replace"),
                    "exit_code": code if code >= 0 else None,
                    "signal": signal.Signals(-code).name if code < 0 else None,
                    "cpu_s": usage.ru_utime + usage.ru_stime}

    def run(self, program):
        """The native result; `compile_failed` says that it never got to run."""
        work = tempfile.mkdtemp(prefix="work-", dir=self.scratch)
        try:
            self._write(program, work)
            argv = {"python": [self.python, program.main],
                    "typescript": [self.deno, "run", "--allow-all", program.main],
                    "javascript": [self.deno, "run", "--allow-all", program.main],
                    "bash": [self.bash, program.main], "rust": ["./main"]}[program.language]
            if program.language == "rust":
                compiled = self.spawn(work, [self.rustc, "--edition", "2024", *self.rustc_flags,
                                             "-o", "main", "main.rs"], {}, "")
                if compiled["exit_code"] != 0:
                    compiled["compile_failed"] = True
                    return compiled
            started = time.monotonic()
            result = self.spawn(work, argv + program.args, program.env, program.stdin)
            result["wall_s"] = time.monotonic() - started
            result["compile_failed"] = False
            for stream in ("stdout", "stderr"):
                result[stream] = result[stream].replace(work, "/work")
            return result
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _write(self, program, work):
        everything = dict(program.files)
        everything[program.main] = program.native_code()
        for rel, text in everything.items():
            path = os.path.join(work, rel)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8", newline="") as f:
                f.write(text)
        if self.chroot:
            for base, _, names in os.walk(work):
                os.chown(base, 1000, 1000)
                for name in names:
                    os.chown(os.path.join(base, name), 1000, 1000)

    def version(self, language):
        tool = {"python": self.python, "rust": self.rustc, "bash": self.bash}.get(
            language, self.deno)
        with self.lock:
            if tool not in self.versions:
                work = tempfile.mkdtemp(prefix="work-", dir=self.scratch)
                os.chmod(work, 0o755)
                said = self.spawn(work, [tool, "--version"], {}, "")
                if said["exit_code"] != 0:
                    raise RuntimeError(f"{tool} does not run natively: {said['stderr'].strip()}")
                self.versions[tool] = said["stdout"].splitlines()[0]
            return self.versions[tool]


class Cache:
    """Native results kept in a file between runs, by program and interpreter version."""

    def __init__(self, path):
        self.path = path
        self.lock = threading.Lock()
        self.known = {}
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                self.known = json.load(f)

    def run(self, native, program):
        if not self.path:
            return native.run(program)
        what = json.dumps([program.label, program.request(), program.wrap,
                           native.version(program.language)], sort_keys=True)
        key = hashlib.sha256(what.encode()).hexdigest()
        with self.lock:
            if key in self.known:
                return dict(self.known[key])
        result = native.run(program)
        with self.lock:
            self.known[key] = result
        return dict(result)

    def save(self):
        if self.path:
            with open(self.path + ".new", "w", encoding="utf-8") as f:
                json.dump(self.known, f)
            os.replace(self.path + ".new", self.path)


def execute(url, program):
    """The service's answer as a dict. A full queue is waited out, as a client would."""
    target = urllib.parse.urlsplit(url)
    body = json.dumps(program.request()).encode()
    for _ in range(40):
        conn = http.client.HTTPConnection(target.hostname, target.port,
                                          timeout=2 * REQUEST_LIMIT_S)
        try:
            conn.request("POST", "/execute", body, {"Content-Type": "application/json"})
            answer = conn.getresponse()
            text = answer.read()
        finally:
            conn.close()
        if answer.status != 429:
            break
        time.sleep(min(5.0, float(answer.getheader("Retry-After") or 1)))
    if answer.status != 200:
        return {"http_status": answer.status, "body": text.decode("utf-8", "replace")[:500]}
    return json.loads(text)


def normalise(program, stream, text):
    """Takes out what must differ between any two runs; the work directory is already /work."""
    if program.language == "rust" and stream == "stderr":
        # Since 1.91 a panic names the kernel's thread id: thread 'main' (4711) panicked at
        text = re.sub(r"^(thread '[^'\n]*') \(\d+\)", r"\1 (TID)", text, flags=re.M)
    return text


def diff(name, want, got):
    lines = list(difflib.unified_diff(want.splitlines(), got.splitlines(), "native " + name,
                                      "sandbox " + name, lineterm="", n=1))
    shown = [line[:160] for line in lines[:DIFF_LINES]]
    if not lines:
        shown = [f"{name} differs only in line ends: {want[-60:]!r} and {got[-60:]!r}"]
    if len(lines) > DIFF_LINES:
        shown.append(f"... {len(lines) - DIFF_LINES} more lines of diff")
    return shown


def check_compile_error(program, native, got):
    problems = []
    if not native["compile_failed"]:
        problems.append("the native compiler accepts this program")
    if got.get("status") != "compile_error" or got.get("success") is not False:
        problems.append(f"status {got.get('status')!r} success {got.get('success')!r}, "
                        "expected 'compile_error' and False")
    said = (got.get("stderr") or "") + str((got.get("compile") or {}).get("output") or "")
    said += got.get("output") or ""
    for piece in program.expect.get("compiler_says", []):
        if piece not in said:
            problems.append(f"the compiler's message lacks {piece!r}")
        if piece not in native["stderr"]:
            problems.append(f"the native compiler's message lacks {piece!r}")
    return problems


def check(program, native, got):
    """What differs, as printable lines; empty if nothing.

    expect.json may hold: `status` (only "compile_error" is known) and `compiler_says`, a list of
    strings the compiler's message has to contain.
    """
    if "http_status" in got:
        return [f"HTTP {got['http_status']}: {got['body']}"]
    if program.expect.get("status") == "compile_error":
        return check_compile_error(program, native, got)
    if native["compile_failed"]:
        return ["native compile failed:"] + native["stderr"].splitlines()[:DIFF_LINES]
    problems = []
    if native["signal"]:
        want_status = "killed"
    else:
        want_status = "ok" if native["exit_code"] == 0 else "error"
    want = {"status": want_status, "success": want_status == "ok",
            "exit_code": native["exit_code"], "signal": native["signal"]}
    for field, value in want.items():
        if field not in got:
            problems.append(f"{field} is missing, expected {value!r}")
        elif got[field] != value:
            problems.append(f"{field} is {got[field]!r}, expected {value!r}")
    for stream in ("stdout", "stderr"):
        wanted = normalise(program, stream, native[stream])
        given = normalise(program, stream, got.get(stream) or "")
        if wanted != given:
            problems += diff(stream, wanted, given)
    # With one stream silent, the order of the two in `output` is no question.
    streams = [got.get("stdout") or "", got.get("stderr") or ""]
    if not problems and "" in streams and got.get("output") != "".join(streams):
        problems.append("output is not what the one stream that spoke said")
    if want_status != "ok" and problems and got.get("status") == "compile_error":
        problems += str((got.get("compile") or {}).get("output")).splitlines()[:DIFF_LINES]
    return problems


def compare_native(program, first, second):
    """For --native-only: is the program fit for the corpus?"""
    problems = []
    if program.expect.get("status") == "compile_error":
        if not first["compile_failed"]:
            problems.append("compiles, but is said not to")
        problems += [f"compiler does not say {piece!r}"
                     for piece in program.expect.get("compiler_says", [])
                     if piece not in first["stderr"]]
        return problems
    if first["compile_failed"]:
        return ["does not compile:"] + first["stderr"].splitlines()[:60]
    for stream in ("stdout", "stderr"):
        a, b = (normalise(program, stream, run[stream]) for run in (first, second))
        if a != b:
            problems += diff(stream, a, b)
        if "\ufffd" in a:
            problems.append(f"{stream} is not valid UTF-8")
    for field in ("exit_code", "signal"):
        if first[field] != second[field]:
            problems.append(f"{field}: {first[field]} then {second[field]}")
    if not first["stdout"] and not first["stderr"]:
        problems.append("says nothing")
    return problems


def options():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--url", help="of the service, as http://127.0.0.1:8000")
    ap.add_argument("--chroot", metavar="DIR", help="root tree to run natively in (needs root)")
    ap.add_argument("--native-root", metavar="DIR",
                    help="root tree whose interpreters are run in place, without chroot")
    ap.add_argument("--python", default="/usr/bin/python3")
    ap.add_argument("--deno", default="deno")
    ap.add_argument("--rustc", default="rustc")
    ap.add_argument("--rustc-flag", action="append", metavar="FLAG",
                    help="for the native compiler, as --rustc-flag=-Clink-arg=-fuse-ld=mold")
    ap.add_argument("--bash", default="/bin/bash")
    ap.add_argument("--native-env", action="append", metavar="KEY=VALUE",
                    help="for native runs, where the runtime table sets one that shows")
    ap.add_argument("--only", action="append", metavar="LANG", choices=sorted(EXTENSIONS))
    ap.add_argument("--every", type=int, default=1, metavar="N",
                    help="only one in N programs of each language")
    ap.add_argument("--jobs", type=int, default=2)
    ap.add_argument("--cache", metavar="FILE", help="keep native results here between runs")
    ap.add_argument("--native-only", action="store_true",
                    help="no service: run natively twice and compare")
    ap.add_argument("--show", action="store_true", help="print native output too")
    ap.add_argument("names", nargs="*", help="parts of <language>/<name>; none means all")
    opts = ap.parse_args()
    if not opts.native_only and not opts.url:
        ap.error("--url or --native-only is needed")
    return opts


def run_one(opts, native, cache, program):
    """(problems, remark) of one program; a failure of the harness is a problem like any other."""
    try:
        if not opts.native_only:
            wanted = cache.run(native, program)
            started = time.monotonic()
            got = execute(opts.url, program)
            return (check(program, wanted, got), f"{time.monotonic() - started:.2f} s",
                    wanted)
        first, second = native.run(program), native.run(program)
        remark = (f"exit {first['signal'] or first['exit_code']}, cpu {first['cpu_s']:.3f} s, "
                  f"wall {first.get('wall_s', 0):.3f} s, {len(first['stdout'])} characters")
        return compare_native(program, first, second), remark, first
    except Exception as e:  # pylint: disable=broad-except
        return [f"{type(e).__name__}: {e}"], "", None


def main():
    opts = options()
    programs = load(opts.only, opts.names, opts.every)
    sys.stdout.reconfigure(encoding="utf-8", line_buffering=True)
    print("TAP version 13")
    print(f"1..{len(programs)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="csb-programs-") as scratch:
        native = Native(opts, scratch)
        cache = Cache(opts.cache)
        try:
            # Else two interpreters that are equally missing would agree on everything.
            for language in sorted({p.language for p in programs}):
                print(f"# {language}: {native.version(language)}")
        except (OSError, RuntimeError) as e:
            print(f"Bail out! {e}")
            return 1
        with concurrent.futures.ThreadPoolExecutor(max(1, opts.jobs)) as pool:
            jobs = [pool.submit(run_one, opts, native, cache, p) for p in programs]
            for number, (program, job) in enumerate(zip(programs, jobs), 1):
                problems, remark, wanted = job.result()
                failed += bool(problems)
                print(f"{'not ok' if problems else 'ok'} {number} - {program.label} # {remark}")
                for line in problems:
                    print("#   " + line.encode("unicode_escape").decode("ascii"))
                if opts.show and wanted:
                    print(wanted["stdout"][:3000] + "--- stderr\n" + wanted["stderr"][:3000])
        cache.save()
    print(f"# {len(programs) - failed} passed, {failed} failed")
    return 1 if failed or not programs else 0


if __name__ == "__main__":
    sys.exit(main())
