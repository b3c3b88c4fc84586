#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Start, drain, second instance, killed parts, and the command line of codesandboxd."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
from daemon import PROGRAM, Daemon, children, ended  # noqa: E402
from tap import Tap  # noqa: E402

SOURCE = pathlib.Path(__file__).resolve().parents[2]


class Background(threading.Thread):
    def __init__(self, d, code):
        super().__init__(daemon=True)
        self.d, self.code, self.answer, self.error = d, code, None, None
        self.start()

    def run(self):
        try:
            self.answer = self.d.execute(self.code)
        except (OSError, http.client.HTTPException) as error:
            self.error = error


def drain(t):
    with Daemon() as d:
        run = Background(d, "sleep 5000\nout finished")
        kept = d.connect()
        kept.request("GET", "/health")
        kept.getresponse().read()
        d.wait(lambda: d.running() == 1, "running")
        d.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        try:
            d.connect(2).request("GET", "/health")
            refused = False
        except OSError:
            refused = True
        t.check(refused, "after SIGTERM new connections are refused")
        try:
            kept.request("GET", "/health")
            answer = kept.getresponse()
            told = answer.status == 503 and json.loads(answer.read())["error"] == "draining"
        except (OSError, http.client.HTTPException):
            told = False
        t.check(told, "an open connection is told 503 draining")
        run.join(60)
        t.check(run.answer and run.answer[0] == 200 and run.answer[2]["output"] == "finished\n",
                "the run under way ends well", run.answer or run.error)
        t.check(d.stop() == 0, "and the exit code is 0", d.log)


def cut(t):
    for name, settings, again in (("the drain limit", {"DRAIN_MS": 500}, False),
                                  ("a second SIGTERM", {}, True)):
        with Daemon(**settings) as d:
            run = Background(d, "sleep 60000")
            with contextlib.closing(d.connect()) as stream:
                stream.request("POST", "/execute", json.dumps({"language": "python", "code": ended("sleep 60000")}),
                               {"Accept": "text/event-stream"})
                d.wait(lambda: d.running() == 2, "running")
                began = time.monotonic()
                d.process.send_signal(signal.SIGTERM)
                if again:
                    time.sleep(0.3)
                    d.process.send_signal(signal.SIGTERM)
                streamed = stream.getresponse().read().decode()
            code = d.stop(signal.SIGCONT)
            run.join(60)
            t.check(code == 0 and time.monotonic() - began < 25, f"{name} cuts what runs", d.log)
            t.check(run.answer and run.answer[0] == 503 and run.answer[2]["error"] == "cancelled"
                    and "shutting down" in run.answer[2]["message"],
                    "its client is told, and that it was not its own doing", run.answer or run.error)
            t.check("event: error" in streamed and '"cancelled"' in streamed and "shutting down" in streamed,
                    "in a stream, too", streamed)


def unfinished(t):
    """A request that is still arriving when the service stops will not be served."""
    start = (b"POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n", b"GET /hea")
    with Daemon() as d:
        socks = [d.socket() for _ in start]
        for sock, text in zip(socks, start):
            sock.sendall(text)
        time.sleep(0.3)
        began = time.monotonic()
        code = d.stop()
        took = time.monotonic() - began
        t.check(code == 0 and took < 25, "half a request holds the end up for seconds, not DRAIN_MS",
                f"{took} s\n" + "".join(d.log))
        for sock in socks:
            sock.close()
    with Daemon() as d:
        run = Background(d, "sleep 60000")
        d.wait(lambda: d.running() == 1, "running")
        with d.socket() as sock:
            sock.sendall(start[0])
            time.sleep(0.3)
            began = time.monotonic()
            d.process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            d.process.send_signal(signal.SIGTERM)
            code = d.stop(signal.SIGCONT)
            took = time.monotonic() - began
        run.join(60)
        t.check(code == 0 and took < 25, "nor does it when what runs is cut", took)


def one_per_directory(t):
    with tempfile.TemporaryDirectory(prefix="csb-test-") as state:
        with Daemon(state) as d:
            second = subprocess.run([PROGRAM], env={"ISOLATION": "fake", "API_PORT": "0",
                                                    "STATE_DIR": state + "/state"},
                                    capture_output=True, text=True, timeout=60, check=False)
            t.check(second.returncode == 1 and f"pid {d.process.pid}" in second.stderr and
                    "STATE_DIR" in second.stderr, "a second one is refused, with the reason",
                    second.stderr)
            t.check(d.get("/health")[0] == 200, "the first is not disturbed")


def killed(t):
    with tempfile.TemporaryDirectory(prefix="csb-test-") as state:
        d = Daemon(state)
        server = children(d.process.pid)
        d.process.kill()
        d.stop()
        until = time.monotonic() + 60
        while any(os.path.exists(f"/proc/{p}") for p in server) and time.monotonic() < until:
            time.sleep(0.02)
        t.check(not any(os.path.exists(f"/proc/{p}") for p in server),
                "kill -9 of the supervisor takes the server along", server)
        with Daemon(state) as d:
            t.check(d.get("/health")[0] == 200, "and the next start is clean")
            os.kill(children(d.process.pid)[0], signal.SIGKILL)
            code = d.process.wait(60)
            t.check(code == 128 + 9, "a killed server ends the supervisor with 137", code)
        with Daemon(state) as d:
            d.process.send_signal(signal.SIGINT)
            t.check(d.process.wait(60) == 0, "SIGINT ends it as SIGTERM does")


def unprivileged(t):
    with Daemon() as d:
        status = pathlib.Path(f"/proc/{children(d.process.pid)[0]}/status").read_text()
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        t.check(int(fields["CapEff"], 16) == 0 and int(fields["CapPrm"], 16) == 0 and
                fields["NoNewPrivs"] == "1", "the server has no capability", status)
        if os.geteuid() == 0:
            t.check("0" not in fields["Uid"].split() + fields["Gid"].split() and
                    not fields["Groups"].split(), "nor any id of root", status)


def run(*args, **env):
    return subprocess.run([PROGRAM, *args], env={"PATH": os.environ["PATH"], **env},
                          capture_output=True, text=True, timeout=60, check=False)


def not_started(t):
    """What keeps it from starting is said in one line that names the setting."""
    with tempfile.TemporaryDirectory(prefix="csb-test-") as state, Daemon() as d:
        os.chmod(state, 0o755)
        plain = pathlib.Path(state) / "file"
        plain.touch()
        for env, name in (({"API_PORT": str(d.port)}, "API_PORT"),
                          ({"API_HOST": "192.0.2.1", "ALLOW_UNAUTHENTICATED": "1"}, "API_HOST"),
                          ({"STATE_DIR": str(plain)}, "STATE_DIR"),
                          ({"STATE_DIR": "/proc/no"}, "STATE_DIR"),
                          ({"RUNTIMES_DIR": "/nonexistent"}, "RUNTIMES_DIR")):
            r = run(**{"ISOLATION": "fake", "API_PORT": "0", "STATE_DIR": state + "/state",
                       "RUNTIMES_DIR": str(SOURCE / "tests/integration/runtimes"), **env})
            t.check(r.returncode == 1 and name in r.stderr and len(r.stderr.splitlines()) == 1,
                    f"{env} does not start, in one line naming {name}", r.stderr)
        os.mkdir(state + "/none")
        r = run(ISOLATION="fake", API_PORT="0", STATE_DIR=state + "/state", RUNTIMES_DIR=state + "/none")
        t.check(r.returncode == 1 and f"RUNTIMES_DIR: {state}/none: " in r.stderr, "a directory without languages", r.stderr)
        r = run(ISOLATION="fake", API_PORT="0", STATE_DIR=state + "/state", WEBHOOK_CA_FILE=state + "/ca",
                RUNTIMES_DIR=str(SOURCE / "tests/integration/runtimes"))
        t.check(r.returncode == 1 and "WEBHOOK_CA_FILE: " in r.stderr, "certificates that are not there", r.stderr)
        none = state + "/none"
        # A build with a sanitizer has no agent.
        files = {name: __file__ for name in ("AGENT_PATH", "KERNEL_PATH", "INITRD_PATH", "QEMU_PATH")}
        for env, told in (({"ISOLATION": "process", "ROOTFS_TREE": "/nonexistent"}, "ROOTFS_TREE: cannot open /nonexistent"),
                          ({"ISOLATION": "process", "ROOTFS_TREE": str(plain)}, f"ROOTFS_TREE: cannot open {plain}"),
                          ({"ISOLATION": "process", "ROOTFS_TREE": none}, f"ROOTFS_TREE: {none} is no root file system"),
                          ({"ISOLATION": "microvm", "ROOTFS_PATH": none}, f"ROOTFS_PATH: {none} is not a file")):
            r = run(API_PORT="0", STATE_DIR=state + "/real", RUNTIMES_DIR=str(SOURCE / "runtimes"), **files, **env)
            t.check(r.returncode == 1 and told in r.stderr and "again" not in r.stderr,
                    f"{told}, without a word of trying again", r.stderr)


def another_uid(t):
    if os.geteuid() != 0:
        print("# not root: there is one uid")
        return
    with tempfile.TemporaryDirectory(prefix="csb-uid-") as state:
        with Daemon(state=state, UID_BASE=930000000) as d:
            t.check(d.execute()[0] == 200, "a service of one UID_BASE")
        env = {"ISOLATION": "fake", "API_PORT": "0", "STATE_DIR": state + "/state", "UID_BASE": "930200000",
               "RUNTIMES_DIR": str(SOURCE / "tests/integration/runtimes")}
        r = run(**env)
        t.check(r.returncode == 1 and "was used by uid 930000000, and UID_BASE is 930200000" in r.stderr
                and "chown -R 930200000:930200000" in r.stderr, "with another it says whose STATE_DIR is, and what to do", r)
        t.check(os.stat(state + "/state/store").st_uid == 930000000, "and leaves it as it was")
        with Daemon(state=state, UID_BASE=930000000) as d:
            t.check(d.execute()[0] == 200, "so the former one goes on")
        subprocess.run(["chown", "-R", "930200000:930200000", state + "/state/store", state + "/state/templates"], check=True)
        with Daemon(state=state, UID_BASE=930200000) as d:
            t.check(d.execute()[0] == 200, "what it said to do is enough")


def command_line(t):
    for args, env, name in (
            ([], {"API_PORT": "x"}, "API_PORT"), ([], {"API_PORT": "70000"}, "API_PORT"),
            (["--pool-size=-1"], {}, "POOL_SIZE"),
            ([], {"ISOLATION": "none"}, "ISOLATION"),
            ([], {"API_HOST": "example.com"}, "API_HOST"), ([], {"AGENT_PORT": "0"}, "AGENT_PORT"),
            (["--nonsense=1"], {}, "nonsense"), (["nonsense"], {}, "nonsense"),
            (["--pool-size"], {}, "POOL_SIZE: the value is missing"),
            ([], {"CGROUP_NAME": "../x"}, "CGROUP_NAME"), ([], {"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS"),
            ([], {"SANDBOX_DOMAIN": "http://x"}, "SANDBOX_DOMAIN"),
            (["--config=/nonexistent"], {}, "/nonexistent"), (["--serve"], {}, "--serve")):
        r = run(*args, **env)
        t.check(r.returncode in (1, 2) and name in r.stderr and len(r.stderr.splitlines()) == 1,
                f"{args} {env} is refused in one line naming {name}", r.stderr)
    with Daemon(options=["--log-level=info"] * 100) as d:
        t.check(d.execute()[0] == 200, "a hundred options are handed to the server")
    r = run("--check-config", API_HOST="0.0.0.0", ALLOW_UNAUTHENTICATED="1", POOL_SIZE="7")
    t.check(r.returncode == 0 and "pool_size = 7" in r.stdout, "--check-config prints the values", r)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write("# a comment\npool_size = 5\napi_port = 9000\n")
        file.flush()
        r = run("--check-config", f"--config={file.name}", "--api-port=9002", API_PORT="9001",
                POOL_SIZE="")
        t.check("pool_size = 5" in r.stdout and "api_port = 9002" in r.stdout,
                "file < environment < command line", r.stdout)
        file.write("pool_sise = 5\n")
        file.flush()
        r = run("--check-config", f"--config={file.name}")
        t.check(r.returncode == 1 and ":4: pool_sise: " in r.stderr,
                "an unknown key is refused with its line", r.stderr)
        file.write("queue_max = 700000\n")
        file.flush()
        r = run("--check-config", "--config", file.name, POOL_MAX="none")
        t.check(r.returncode == 1 and ":5: QUEUE_MAX: '700000' is not" in r.stderr and
                "environment: POOL_MAX: " in r.stderr and ":4: pool_sise: " in r.stderr and
                len(r.stderr.splitlines()) == 3, "all problems are told", r.stderr)
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(run("--print-config").stdout + "pool_size = 5\n")
        file.flush()
        r = run("--check-config", "--verbose", f"--config={file.name}")
        t.check(r.returncode == 0 and re.search(
            rf"# {file.name}:\d+\npool_size = 5\n", r.stdout) and "# default\napi_port" in r.stdout,
            "--print-config is a file to start from; --verbose tells where values come from", r)
    r = run("--help")
    t.check(r.returncode == 0 and "--api-port=8000" in r.stdout, "--help lists the settings")
    t.check(run("--version").stdout.startswith("codesandboxd "), "--version")
    docs = run("--print-config-docs").stdout
    t.check(docs == (SOURCE / "docs/CONFIGURATION.md").read_text(),
            "docs/CONFIGURATION.md is what --print-config-docs prints")


def logged(d, text):
    return any(text in line for line in d.log)


def reload(t):
    """SIGHUP: what can be changed is, the rest is named, and a mistake changes nothing."""
    with tempfile.NamedTemporaryFile("w+", suffix=".conf") as file, \
            Daemon(options=[f"--config={file.name}"], POOL_SIZE="") as d:
        def write(text):
            file.seek(0)
            file.truncate()
            file.write(text)
            file.flush()
            os.kill(d.process.pid, signal.SIGHUP)

        def execute():
            return d.execute("out hello", timeout=7)

        t.check(execute()[0] == 200, "a timeout below the maximum is accepted")
        write("max_timeout = 5\ndefault_timeout = 2\nlog_level = debug\nbody_max_bytes = 9000\n")
        d.wait(lambda: logged(d, "the configuration was reloaded"), "reloaded")
        status, _, answer = execute()
        t.check(status == 400 and "timeout" in json.dumps(answer), "and not after a reload", answer)
        t.check(logged(d, "MAX_TIMEOUT was changed"), "the log names what was changed")
        t.check(logged(d, "BODY_MAX_BYTES was changed; it needs a new start"), "and what waits")
        write("max_timeout = none\nmax_timeout = 500\npool_size = -1\n")
        d.wait(lambda: logged(d, "mistakes; the old one stays"), "refused")
        t.check(logged(d, ":1: MAX_TIMEOUT: 'none'") and logged(d, ":3: POOL_SIZE: '-1'"),
                "mistakes are named with their lines", d.log)
        t.check(execute()[0] == 400, "and nothing is changed by them")
        write("pool_max = 1\npool_size = 1\n")
        d.wait(lambda: d.get("/health")[2]["pool"]["target"] == 1, "the pool has its new size")
        t.check(execute()[0] == 200, "the maximum is back at its default")
        write("pool_max = 1\npool_size = 1\nbody_max_bytes = 9000\n")
        d.wait(lambda: logged(d, "reloaded: nothing that can be was changed"), "reloaded for nothing")
        t.check(execute()[0] == 200, "a reload that changes nothing replaces nothing")


def manager(t):
    """What a service manager is told through $NOTIFY_SOCKET."""
    with tempfile.TemporaryDirectory() as directory, \
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(directory + "/notify")
        told.settimeout(60)

        def heard():
            return told.recv(4096).decode().split("\n")

        def await_state(state):
            while True:
                lines = heard()
                if lines[0] == state:
                    return lines
                if lines[0] != "WATCHDOG=1":
                    return lines

        with Daemon(NOTIFY_SOCKET=directory + "/notify", WATCHDOG_USEC="200000",
                    wait_ready=False) as d:
            t.check(heard() == ["READY=1"], "READY=1 when it listens")
            t.check(heard() == ["WATCHDOG=1"] and heard() == ["WATCHDOG=1"], "WATCHDOG=1 at each beat")
            os.kill(d.process.pid, signal.SIGHUP)
            lines = await_state("RELOADING=1")
            t.check(lines[0] == "RELOADING=1" and lines[1].startswith("MONOTONIC_USEC="),
                    "RELOADING=1 at SIGHUP", lines)
            t.check(await_state("READY=1") == ["READY=1"], "READY=1 when it is reloaded")
            server = next(p for p in children(d.process.pid) if "--serve" in command_of(p))
            os.kill(server, signal.SIGSTOP)
            try:
                told.settimeout(3)  # as long as fifteen beats; some may have been under way
                for _ in range(200):
                    heard()
                t.check(False, "no WATCHDOG=1 from a server that hangs")
            except TimeoutError:
                t.check(True, "no WATCHDOG=1 from a server that hangs")
            told.settimeout(60)
            os.kill(server, signal.SIGCONT)
            t.check(heard() == ["WATCHDOG=1"], "and again when it goes on")
            d.process.terminate()
            t.check(await_state("STOPPING=1") == ["STOPPING=1"], "STOPPING=1 at SIGTERM")


def command_of(pid):
    return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


def main():
    t = Tap()
    for part in (reload, manager, drain, cut, unfinished, one_per_directory, killed, unprivileged, not_started,
                 another_uid, command_line):
        t.group(part)
    t.finish()


main()
