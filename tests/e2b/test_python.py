#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main calls of E2B's published Python SDK, plain and async, against a service of its own.

The SDK is pinned in requirements.txt and installed into CSB_E2B_PYTHON, by default build/e2b-python, when
it is not there yet: without pip, PyPI, or files for this machine and its Python the test is skipped and says so. CSB_TEST_ISOLATION as in tests/service; CSB_E2B_ONLY names groups, with commas."""
import asyncio
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "service"))
from service import IMAGE, ISOLATION, Service, small_table, wait_until  # noqa: E402
from tap import Tap  # noqa: E402

KEY = "e2b_" + 40 * "0"
INSTALL_S = 120
PLACE = pathlib.Path(os.environ.get("CSB_E2B_PYTHON", IMAGE.parent / "e2b-python"))


def skip(why):
    print(f"ok 1 - the Python SDK # SKIP {why}\n1..1")
    sys.exit(0)


def install():
    """Makes the pinned SDK importable. Its files are those whose digests requirements.txt has, no code of a
    package is run for it, and PLACE is there whole or not at all."""
    wanted = HERE / "requirements.txt"
    mark = PLACE / f"of-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]}"
    if not mark.exists():
        fresh = PLACE.with_name(f"{PLACE.name}.{os.getpid()}")
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps",
                   "--require-hashes", "--only-binary=:all:", "--no-compile", "--retries=1", "--timeout=15",
                   "--root-user-action=ignore", f"--target={fresh}", f"--requirement={wanted}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=INSTALL_S)
            said, code = done.stderr + done.stdout, done.returncode
        except subprocess.TimeoutExpired:
            said, code = f"pip did not end within {INSTALL_S} s", 1
        if code != 0:
            shutil.rmtree(fresh, ignore_errors=True)
            skip("pip cannot install it: " + (" ".join(said.split())[-200:] or "it says nothing"))
        (fresh / mark.name).touch()
        shutil.rmtree(PLACE, ignore_errors=True)
        fresh.rename(PLACE)
    sys.path.insert(0, str(PLACE))


def thrown(work):
    """The class's name of what `work` throws, "nothing" when it throws nothing."""
    try:
        work()
    except Exception as error:  # which one is what is asked
        return type(error).__name__
    return "nothing"


def everything(paginator):
    found = []
    while paginator.has_next:
        found += paginator.next_items()
    return found


class Box:
    """A sandbox for a group, ended with it."""

    def __init__(self, **options):
        from e2b import Sandbox

        self.made = Sandbox.create(timeout=600, **options)

    def __enter__(self):
        return self.made

    def __exit__(self, *_):
        self.made.kill()


def life(t):
    from e2b import Sandbox, SandboxQuery, SandboxState

    box = Sandbox.create(metadata={"test": "life", "a b": "c&d=e %"}, envs={"A": "eins"}, timeout=300)
    t.check(box.is_running(), "Sandbox.create, is_running")
    info = box.get_info()
    t.check((info.state, info.template_id, info.metadata["a b"]) == (SandboxState.RUNNING, "base", "c&d=e %"),
            "get_info", info)
    t.check((info.end_at - info.started_at).total_seconds() == 300, "end_at is started_at and the timeout", info)
    mine = everything(Sandbox.list(query=SandboxQuery(metadata={"test": "life", "a b": "c&d=e %"})))
    t.check([m.sandbox_id for m in mine] == [box.sandbox_id], "Sandbox.list by metadata", mine)
    box.set_timeout(500)
    t.check(box.get_info().end_at > info.end_at, "set_timeout")
    t.check(Sandbox.connect(box.sandbox_id).commands.run("echo $A").stdout == "eins\n", "Sandbox.connect; its variables")
    t.check(len(box.get_metrics()) <= 1, "get_metrics")
    t.check(box.get_host(3000).startswith(f"3000-{box.sandbox_id}."), "get_host", box.get_host(3000))
    t.check(box.kill() and not box.kill() and not Sandbox.kill(box.sandbox_id), "kill, once")
    t.check(not box.is_running() and thrown(box.get_info) == "SandboxNotFoundException", "it is gone", thrown(box.get_info))
    told = thrown(lambda: box.commands.run("true"))
    t.check(told == "SandboxNotRunningException", "for commands, too", told)
    t.check(thrown(lambda: Sandbox.create(template="none")) == "SandboxException", "there is no such template",
            thrown(lambda: Sandbox.create(template="none")))


def commands(t):
    with Box() as box:
        done = box.commands.run("echo out; echo err >&2", envs={"X": "y"})
        t.check((done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 0), "commands.run", done)
        try:
            box.commands.run("echo no; exit 3")
            t.check(False, "a command that fails is thrown")
        except Exception as error:
            t.check((type(error).__name__, error.exit_code, error.stdout) == ("CommandExitException", 3, "no\n"),
                    "a command that fails is thrown", error)
        seen = []
        box.commands.run("for i in 1 2 3; do echo $i; done", on_stdout=seen.append)
        t.check("".join(seen) == "1\n2\n3\n", "its output as it comes", seen)
        t.check(thrown(lambda: box.commands.run("sleep 60", timeout=1)) == "TimeoutException", "and its end in time")
        running = box.commands.run("cat; echo end", background=True, stdin=True)
        t.check(running.pid in [p.pid for p in box.commands.list()], "in the background, commands.list")
        box.commands.send_stdin(running.pid, "typed\n")
        box.commands.close_stdin(running.pid)
        t.check(running.wait().stdout == "typed\nend\n", "send_stdin, close_stdin, wait")
        loop = box.commands.run("sleep 600", background=True, timeout=0)
        loop.disconnect()
        again = box.commands.connect(loop.pid)
        t.check(box.commands.kill(loop.pid) and thrown(again.wait) == "CommandExitException", "connect, kill")
        t.check(not box.commands.kill(loop.pid), "once")


def files(t):
    with Box() as box:
        t.check(box.files.write("dir/a.txt", "grün").path == "/home/user/dir/a.txt" and box.files.read("dir/a.txt") == "grün",
                "files.write, read")
        data = bytes(range(256)) * 20000
        box.files.write("/tmp/bytes", data)
        t.check(bytes(box.files.read("/tmp/bytes", format="bytes")) == data, "bytes, five million")
        t.check(b"".join(box.files.read("/tmp/bytes", format="stream")) == data, "as a stream")
        box.files.write_files([{"path": "many/1", "data": "eins"}, {"path": "many/2", "data": b"zwei"}])
        t.check([e.name for e in box.files.list("many")] == ["1", "2"], "write_files, list")
        t.check(box.files.exists("many/1") and not box.files.exists("many/3"), "exists")
        t.check(box.files.get_info("many/2").size == 4, "get_info")
        t.check(box.files.make_dir("made/deep") and not box.files.make_dir("made/deep"), "make_dir")
        box.files.rename("many/1", "made/one")
        box.files.remove("many")
        t.check(box.files.read("made/one") == "eins" and not box.files.exists("many"), "rename, remove")
        t.check(thrown(lambda: box.files.read("nothing")) == "FileNotFoundException", "what is not there",
                thrown(lambda: box.files.read("nothing")))
        handle = box.files.watch_dir("made", recursive=True)
        box.files.write("made/deep/new", "x")
        seen = []
        t.check(wait_until(lambda: seen.extend(e.name for e in handle.get_new_events()) or "deep/new" in seen, 60), "watch_dir", seen)
        handle.stop()
        url = box.download_url("dir/a.txt")
        t.check(urllib.request.urlopen(url, timeout=60).read().decode() == "grün", "download_url")
        try:
            code = urllib.request.urlopen(url.replace("a.txt", "b.txt"), timeout=60).status
        except urllib.error.HTTPError as error:
            code = error.code
        t.check(code == 401, "which is of one file", code)


def terminal(t):
    from e2b import PtySize

    with Box() as box:
        handle = box.pty.create(PtySize(rows=30, cols=90), timeout=60)
        box.pty.send_stdin(handle.pid, b"stty size; exit\n")
        text = bytearray()
        thrown(lambda: handle.wait(on_pty=text.extend))
        t.check(b"30 90" in text, "pty.create, send_stdin", text)


def pause(t):
    from e2b import Sandbox, SandboxState

    with Box(lifecycle={"on_timeout": "pause", "auto_resume": True}) as box:
        box.files.write("kept", "kept")
        t.check(box.get_info().lifecycle == {"on_timeout": "pause", "auto_resume": True}, "lifecycle", box.get_info().lifecycle)
        t.check(box.pause() is not False and box.get_info().state == SandboxState.PAUSED, "pause")
        t.check(not box.pause(), "once")
        t.check(Sandbox.connect(box.sandbox_id).files.read("kept") == "kept", "connect resumes it")
        box.pause()
        t.check(box.commands.run("cat kept").stdout == "kept", "and so does a command, where auto_resume is on")
        copies = box.fork(count=2, timeout=300)
        t.check([c.files.read("kept") for c in copies] == ["kept", "kept"], "fork", copies)
        snapshot = box.create_snapshot()
        begun = Sandbox.create(snapshot.snapshot_id, timeout=300)
        t.check(begun.files.read("kept") == "kept", "create_snapshot, and a sandbox that begins as it")
        t.check(snapshot.snapshot_id in [s.snapshot_id for s in everything(box.list_snapshots())], "list_snapshots")
        t.check(Sandbox.delete_snapshot(snapshot.snapshot_id), "delete_snapshot")
        t.check(all(one.kill() for one in [begun, *copies]), "all are ended")


def code(t):
    from e2b_code_interpreter import Sandbox

    box = Sandbox.create(timeout=600)
    done = box.run_code("x = 6\nprint('out')\nx * 7")
    t.check((done.text, done.logs.stdout) == ("42", ["out\n"]) and done.error is None, "run_code", done)
    t.check(box.run_code("x + 1").text == "7", "its state is kept")
    t.check(box.run_code("1 / 0").error.name == "ZeroDivisionError", "an error is told")
    context = box.create_code_context(language="bash")
    t.check(box.run_code("echo hello", context=context).logs.stdout == ["hello\n"], "create_code_context of bash")
    t.check(context.id in [c.id for c in box.list_code_contexts()], "list_code_contexts")
    box.remove_code_context(context)
    t.check(context.id not in [c.id for c in box.list_code_contexts()], "remove_code_context")
    t.check(box.kill(), "it is ended")


async def asynchronous(t):
    from e2b import AsyncSandbox

    box = await AsyncSandbox.create(timeout=600)
    try:
        done = await asyncio.gather(*(box.commands.run(f"echo {i}") for i in range(8)))
        t.check([d.stdout for d in done] == [f"{i}\n" for i in range(8)], "AsyncSandbox: eight commands at once", done)
        await box.files.make_dir("w")
        seen, there = [], asyncio.Event()

        def tell(event):
            seen.append(event.name)
            if event.name == "new":
                there.set()

        handle = await box.files.watch_dir("w", tell)
        await box.files.write("w/new", "x")
        try:
            await asyncio.wait_for(there.wait(), 60)
        except asyncio.TimeoutError:
            pass
        t.check("new" in seen, "watch_dir as a stream", seen)
        await handle.stop()
        t.check(await box.files.read("w/new") == "x", "files.write, read")
    finally:
        t.check(await box.kill(), "kill")


def together(t):
    asyncio.run(asynchronous(t))


def main():
    install()
    # What there is without virtual machines; with them the interpreter's template would be built for this alone.
    groups = [life, commands, files, terminal, together, code if ISOLATION == "process" else pause]
    only = os.environ.get("CSB_E2B_ONLY")
    t = Tap()
    service = Service(RUNTIMES_DIR=small_table(), POOL_SIZE=1 if ISOLATION == "process" else 0, SANDBOX_READY=2,
                      DRAIN_MS=3000)
    service.start()
    try:
        url = f"http://127.0.0.1:{service.port}"
        os.environ.pop("E2B_DEBUG", None)
        os.environ.update(E2B_API_KEY=KEY, E2B_API_URL=url, E2B_SANDBOX_URL=url)
        for group in groups:
            if not only or group.__name__ in only.split(","):
                start = time.monotonic()
                t.group(group)
                print(f"# {group.__name__}: {(time.monotonic() - start) * 1000:.0f} ms", flush=True)
        if t.failed:
            print("# " + service.log_tail().replace("\n", "\n# "), flush=True)
    finally:
        service.stop()
    t.finish()


main()
