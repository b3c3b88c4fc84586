#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A bit of a stored template is wrong: the next start notices it by the checksum, says so, builds the template again
and keeps that; programs run as if nothing had been. tests/unit/test_template_store.c has every file and every kind of
damage; this is the service."""
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "service"))
from service import STATE, Service, small_table  # noqa: E402
from scratch import Scratch  # noqa: E402
from tap import Tap  # noqa: E402

AGAIN = "it is built again"


def ram_of(state):
    return next((state / "templates/templates").glob("*/ram.zst"))


def one_start(t, service, what, made, told):
    """Starts, runs a program, stops. `made`: how the template came to be; `told`: that it was damaged."""
    log = pathlib.Path(STATE.parent / f"service-{pathlib.Path(sys.argv[0]).stem}.log")
    before = log.stat().st_size if Service.started else 0
    with service:
        answer = service.run("bash", "echo $((6 * 7))")
        t.check(answer["output"] == "42\n", f"{what}: programs run", answer)
    said = log.read_bytes()[before:].decode(errors="replace")
    t.check(f" {made} in " in said, f"{what}: the template is {made}", said)
    t.check((AGAIN in said) == told, f"{what}: " + ("it is told" if told else "nothing is wrong"), said)


def flip(path):
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))


def main():
    t = Tap()
    STATE.parent.mkdir(parents=True, exist_ok=True)
    table = small_table()
    for path in table.glob("*.runtime"):
        if path.stem != "bash":
            path.unlink()
    with Scratch("template", STATE.parent) as top:
        top.chmod(0o755)
        state = top / "state"
        service = Service(RUNTIMES_DIR=table, STATE_DIR=state, POOL_SIZE=0, SANDBOX_READY=0, VM_MEMORY_MB=256,
                          LIMIT_MEMORY_BYTES=64 << 20, LIMIT_MEMORY_BYTES_MAX=64 << 20)
        t.group(one_start, service, "first start", "built", False)
        if not t.failed:
            flip(ram_of(state))
            t.group(one_start, service, "a bit is wrong", "built", True)
            t.group(one_start, service, "next start", "loaded", False)
    t.finish()


if __name__ == "__main__":
    main()
