#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every command of csb against a service of its own: csb run, sandbox, template and top; terminals by a
pseudo-terminal of this test's. What needs virtual machines is driven in tests/integration/test_csb.py.
"""
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from service import CSB, Service, small_table

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from tap import Tap  # noqa: E402

SECONDS = 60


class Csb:
    def __init__(self, port):
        self.env = {**os.environ, "CSB_URL": f"http://127.0.0.1:{port}", "TERM": "xterm"}
        self.env.pop("NO_COLOR", None)

    def __call__(self, *args, given=b"", **env):
        """(exit code, standard output, standard error)"""
        done = subprocess.run([str(CSB), *args], input=given, capture_output=True, timeout=SECONDS, check=False,
                              env={**self.env, **env})
        return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")

    def terminal(self, *args, **env):
        """The command on a terminal: (pid, descriptor)."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve(str(CSB), [str(CSB), *args], {**self.env, **env})
        return pid, fd


def read_until(fd, pattern, seconds=SECONDS):
    """What a terminal shows until the pattern is there, or it is closed."""
    seen, until = b"", time.monotonic() + seconds
    while not (pattern and re.search(pattern, seen)) and time.monotonic() < until:
        if select.select([fd], [], [], 1)[0]:
            try:
                more = os.read(fd, 65536)
            except OSError:
                break
            if not more:
                break
            seen += more
    return seen.decode(errors="replace")


def ended(pid, fd):
    shown = read_until(fd, None)
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown


def run(t, csb, work):
    program = work / "program.py"
    program.write_text("import sys\nprint('hi', sys.argv[1], sys.stdin.read())\nsys.exit(3)\n")
    got = csb("run", str(program), "there", given=b"input")
    t.check(got[:2] == (3, "hi there input\n"), "run", got)
    code, out, _ = csb("run", "--json", str(program), "there", given=b"x")
    t.check(code == 3 and json.loads(out)["stdout"] == "hi there x\n", "run --json", out)
    t.check(csb("run", "-l", "bash", "-", given=b"kill -9 $$")[0] == 137, "a signal is an exit code")
    got = csb("run", str(program), "there", given=bytes((8 << 20) + 1))
    t.check(got[:2] == (2, "") and "standard input" in got[2], "input that is too much is not left out", got)
    script = work / "dies.sh"
    script.write_text("echo it; kill -9 $$")
    got = csb("job", "submit", "--wait", str(script))
    t.check(got[:2] == (137, "it\n"), "a job's signal, too", got)
    t.check(csb("run", "--language", "nothing", str(program))[0] == 2, "what is refused is a usage error")
    got = csb("run", str(program), CSB_URL="http://127.0.0.1:1")
    t.check(got[0] == 125 and "connect" in got[2].lower(), "no service is 125", got)


def life(t, csb):
    code, out, _ = csb("sandbox", "create", "-m", "who=me", "-e", "A=1", "-t", "100")
    name = out.strip()
    t.check(code == 0 and re.fullmatch(r"i[a-z0-9]{20}", name), "sandbox create", out)
    made = json.loads(csb("sandbox", "create", "--json")[1])
    t.check(made["templateID"] == "base" and "envdAccessToken" in made, "sandbox create --json", made)
    rows = csb("sandbox", "list")[1].splitlines()
    t.check(len(rows) == 2 and rows[0].startswith(name) and '{"who":"me"}' in rows[0], "sandbox list", rows)
    listed = json.loads(csb("sandbox", "list", "--json")[1])
    t.check([o["sandboxID"] for o in listed] == [name, made["sandboxID"]], "sandbox list --json", listed)
    t.check(csb("sandbox", "list", "-q")[1].split() == [name, made["sandboxID"]], "sandbox list -q")
    out = csb("sandbox", "info", name)[1]
    t.check(re.search(r"^state +running$", out, re.M) and "Token" not in out, "sandbox info", out)
    t.check(json.loads(csb("sandbox", "info", "--json", name)[1])["metadata"] == {"who": "me"}, "sandbox info --json")
    t.check(csb("sandbox", "logs", name)[0] == 0, "sandbox logs")
    t.check(json.loads(csb("sandbox", "logs", "--json", name)[1]) == {"logs": []}, "sandbox logs --json")
    t.check(csb("sandbox", "resume", "-t", "200", name)[0] == 0, "sandbox resume gives a running one time")
    for word in ("pause", "fork"):
        code, _, err = csb("sandbox", word, name)
        t.check(code == 125 and "isolation" in err, f"sandbox {word} is refused here, with the reason", err)
    t.check(csb("sandbox", "kill", made["sandboxID"])[:2] == (0, ""), "sandbox kill")
    code, _, err = csb("sandbox", "kill", made["sandboxID"])
    t.check(code == 1 and made["sandboxID"] in err, "one that is not there", err)
    for args in (("create", "extra"), ("kill",), ("exec", name), ("cp", name), ("ls",), ("rm", name), ("nothing",), (),
                 ("info", "../x"), ("create", "-t", "0"), ("create", "-m", "x"), ("fork", "-n", "0", name)):
        t.check(csb("sandbox", *args)[0] == 2, f"sandbox {' '.join(args)[:30]} is a usage error")
    return name


def execute(t, csb, name):
    def execute(*args, **more):
        return csb("sandbox", "exec", *args, **more)
    t.check(execute(name, "echo", "a b", "$HOME;") == (0, "a b $HOME;\n", ""), "exec takes arguments as they are")
    t.check(execute(name, "sh", "-c", "echo out; echo err >&2; exit 7") == (7, "out\n", "err\n"),
            "exec has both outputs and the exit code")
    t.check(execute("-i", name, "wc", "-c", given=b"x" * 300000)[1].strip() == "300000", "exec -i sends input")
    t.check(execute(name, "cat", given=b"not for it")[1] == "", "without -i there is none")
    t.check(execute("-C", "/tmp", "-e", "X=1", "-u", "root", name, "sh", "-c", "id -un; pwd; echo $X $A")[1]
            == "root\n/tmp\n1 1\n", "exec with user, directory and variables")
    got = execute("--json", name, "sh", "-c", "echo out; exit 7")
    t.check(got[0] == 7 and json.loads(got[1]) == {"stdout": "out\n", "stderr": "", "exitCode": 7}, "exec --json", got)
    got = execute("--json", name, "sh", "-c", r"printf '\303'; sleep 0.5; printf '\251\351\0x'")
    t.check(json.loads(got[1])["stdout"] == "\u00e9\ufffd\0x", "a character cut in two is whole in it, what is none is replaced", got)
    t.check(execute("-t", "1", name, "sleep", "60")[0] == 124, "exec -t ends it")
    t.check(execute(name, "sh", "-c", "kill -11 $$")[0] == 139, "a signal is an exit code")
    t.check(execute(name, "nosuchcommand")[0] == 127 and execute("inothing", "true")[0] == 1, "what is not there")
    waits = subprocess.Popen([str(CSB), "sandbox", "exec", name, "sh", "-c", "trap 'exit 9' TERM; echo on; "
                              "while :; do sleep 0.1; done"], env=csb.env, stdout=subprocess.PIPE)
    waits.stdout.readline()
    waits.send_signal(signal.SIGINT)
    t.check(waits.wait(SECONDS) == 9, "an interrupt goes to the command")
    waits.stdout.close()


def broken(t, csb, name):
    """Commands whose output nobody takes, and whose input they do not."""
    def running(word):
        return csb("sandbox", "exec", name, "pgrep", "-c", "-x", word)[1].strip()
    for out in ("| head -n 1", "> /dev/full"):
        done = subprocess.run(["bash", "-c", f"\"$1\" sandbox exec {name} yes {out}; echo ${{PIPESTATUS[0]}}", "bash", str(CSB)],
                              env=csb.env, capture_output=True, text=True, timeout=SECONDS, check=False)
        want = "y\n141\n" if "head" in out else "125\n"
        t.check(done.stdout == want and (out[0] == "|" or "No space" in done.stderr), f"exec {out} says how it ended", done)
        until = time.monotonic() + 10
        while running("yes") != "0" and time.monotonic() < until:
            time.sleep(0.2)
        t.check(running("yes") == "0", "and the command does not run on")
    with open("/dev/zero", "rb") as zero, subprocess.Popen(
            [str(CSB), "sandbox", "exec", "-i", name, "sh", "-c", "echo on; exec sleep 1000"], env=csb.env, stdin=zero,
            stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        try:
            code = process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            code = "none"
        t.check(code == 143, "an interrupt goes to a command that does not read its input", code)


def shell(t, csb, name):
    pid, fd = csb.terminal("sandbox", "shell", name)
    seen = read_until(fd, rb"\$ ")
    os.write(fd, b"tty && stty size && echo got-$((40 + 2))\n")
    seen += read_until(fd, rb"got-42")
    t.check("/dev/pts/" in seen and "24 80" in seen, "shell is a terminal with a size", seen)
    os.write(fd, b"cat\n")
    read_until(fd, rb"cat")
    os.write(fd, b"word\n")
    seen = read_until(fd, rb"word\s+word")
    os.write(fd, b"\x03")
    seen += read_until(fd, rb"\$ ", 10)
    os.write(fd, b"echo still-$((1 + 1))\n")
    seen += read_until(fd, rb"still-2", 10)
    t.check("still-2" in seen, "Ctrl-C ends what the shell runs, not the shell", seen)
    os.write(fd, b"exit 5\n")
    code, _ = ended(pid, fd)
    t.check(code == 5, "its exit code is csb's", code)
    pid, fd = csb.terminal("sandbox", "shell", name, "sh", "-c", "test -t 0 && echo yes-$((2 * 2))")
    code, seen = ended(pid, fd)
    t.check(code == 0 and "yes-4" in seen, "shell with a command", seen)
    got = csb("sandbox", "shell", name)
    t.check(got[0] == 2 and "terminal" in got[2], "without a terminal it is refused", got)


def files(t, csb, name, work):
    data = os.urandom(3 << 20)
    here, back = work / "data", work / "back"
    here.write_bytes(data)
    t.check(csb("sandbox", "cp", str(here), f"{name}:/home/user/dir/a b&c")[0] == 0, "cp up")
    t.check(csb("sandbox", "cp", f"{name}:dir/a b&c", str(back))[0] == 0 and back.read_bytes() == data,
            "cp down gives the same bytes")
    t.check(csb("sandbox", "cp", "-", f"{name}:note", given=b"hello")[0] == 0
            and csb("sandbox", "cp", f"{name}:note", "-")[1] == "hello", "cp of streams")
    t.check(csb("sandbox", "cp", "-", f"{name}:empty")[0] == 0
            and csb("sandbox", "exec", name, "wc", "-c", "empty")[1] == "0 empty\n", "an empty one")
    got = json.loads(csb("sandbox", "cp", "--json", str(here), f"{name}:data")[1])
    t.check(got == {"sandboxID": name, "path": "data", "bytes": len(data)}, "cp --json", got)
    back.write_bytes(b"mine")
    t.check(csb("sandbox", "cp", f"{name}:nothing", str(back))[0] == 1 and back.read_bytes() == b"mine",
            "what is not there overwrites nothing")
    t.check(csb("sandbox", "cp", f"{name}:dir", str(back))[0] == 2 and csb("sandbox", "cp", str(work), f"{name}:x")[0]
            == 2 and csb("sandbox", "cp", "a", "b")[0] == 2, "directories, and two files here, are refused")
    tree = work / "tree"
    (tree / "below").mkdir(parents=True)
    (tree / "below" / "a file").write_text("text")
    (tree / "link").symlink_to("below/a file")
    for line in (f"cd {work} && tar -c tree | {CSB} sandbox exec -i {name} tar -x",
                 f"mkdir {work}/again && cd {work}/again && {CSB} sandbox exec {name} tar -c tree | tar -x"):
        done = subprocess.run(["bash", "-o", "pipefail", "-c", line], env=csb.env, check=False, timeout=SECONDS)
        t.check(done.returncode == 0, line.split(" && ")[-1].replace(str(CSB), "csb"), done)
    t.check((work / "again/tree/link").is_symlink() and (work / "again/tree/link").read_text() == "text",
            "a directory goes both ways by tar", sorted((work / "again").rglob("*")))
    for args, command in (((str(tree), f"{name}:x"), f"sandbox exec -i {name} tar -x"),
                          ((f"{name}:tree", str(work / "x")), f"sandbox exec {name} tar -c tree")):
        got = csb("sandbox", "cp", *args)
        t.check(got[0] == 2 and command in got[2], "as cp says of one", got)
    csb("sandbox", "rm", name, "tree")
    rows = csb("sandbox", "ls", name)[1]
    t.check(re.search(rf"^-rw-r--r-- user +user +{len(data)} .* data$", rows, re.M) and re.search(r" dir/$", rows, re.M),
            "ls", rows)
    csb("sandbox", "exec", name, "sh", "-c", "mkdir odd; : >\"$(printf 'odd/a\\033[31m\\nb')\"; : >odd/caf\u00e9")
    rows = csb("sandbox", "ls", name, "odd")[1]
    t.check("\033" not in rows and len(rows.splitlines()) == 2 and r" a\x1b[31m\x0ab" in rows and " caf\u00e9" in rows,
            "a name of the sandbox's shows no control characters", rows)
    entries = json.loads(csb("sandbox", "ls", "--json", name, "odd")[1])
    t.check({e["name"] for e in entries} == {"a\033[31m\nb", "caf\u00e9"}, "and is as it is in JSON", entries)
    entries = json.loads(csb("sandbox", "ls", "--json", name, "dir")[1])
    t.check([e["name"] for e in entries] == ["a b&c"], "ls --json", entries)
    t.check(csb("sandbox", "rm", name, "dir", "data")[0] == 0 and csb("sandbox", "ls", name, "dir")[0] == 1, "rm")
    t.check(csb("sandbox", "rm", name, "dir")[0] == 1 and csb("sandbox", "rm", "-f", name, "dir")[0] == 0, "rm -f")


def shown(t, csb, name):
    code, out, _ = csb("top")
    t.check(code == 0 and name in out and "\033" not in out, "top prints once where no terminal is", out)
    rows = csb("top", "--json", "-n", "2", "-d", "1")[1].splitlines()
    t.check(len(rows) == 2 and json.loads(rows[1])["sandboxes"][0]["metrics"]["memTotal"] > 0, "top --json", rows)
    pid, fd = csb.terminal("top")
    seen = read_until(fd, re.escape(name).encode())
    os.write(fd, b"\n")
    code, more = ended(pid, fd)
    t.check(code == 0 and "\033[" in seen, "top on a terminal goes on until a key", seen + more)
    for env, colored in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        code, seen = ended(*csb.terminal("sandbox", "list", **env))
        t.check(code == 0 and name in seen and ("\033[" in seen) == colored, f"colours with {env}", seen)
    t.check("\033" not in csb("sandbox", "list")[1], "and none where no terminal is")
    t.check("base" in csb("template", "ls")[1], "template ls")
    names = [o["name"] for o in json.loads(csb("template", "ls", "--json")[1])]
    t.check(names[:2] == ["base", "code-interpreter-v1"], "template ls --json", names)
    checks = json.loads(csb("doctor", "--json")[1])
    t.check({"name", "verdict", "text", "advice"} == set(checks[0]), "doctor --json", checks)
    t.check("csb " in csb("version")[1] and "sandbox" in csb("help")[1], "version, help")


def main():
    tap = Tap()
    with tempfile.TemporaryDirectory() as work, Service(POOL_SIZE=1, RUNTIMES_DIR=str(small_table())) as service:
        csb = Csb(service.port)
        work = pathlib.Path(work)
        tap.group(lambda t: run(t, csb, work))
        names = []
        tap.group(lambda t: names.append(life(t, csb)))
        for test in (execute, broken, shell, lambda t, c, n: files(t, c, n, work), shown):
            tap.group(lambda t, test=test: test(t, csb, names[0]))
    shutil.rmtree(work, ignore_errors=True)
    tap.finish()


if __name__ == "__main__":
    main()
