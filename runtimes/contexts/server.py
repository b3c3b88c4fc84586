#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The code interpreter of a sandbox, as E2B's SDKs expect it on port 49999: README.md."""
import argparse
import asyncio
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from contexts import Account, Contexts, Execution, ignore_pipe_signals, language_of  # noqa: E402
from http1 import Connection, HttpError  # noqa: E402
from process import memory_shortage_score  # noqa: E402

REHEARSALS = {
    "python": "import sys\nprint(sys.version)\n1+1",
    "typescript": "const x: number = 1; console.log(x); await Promise.resolve({ x })",
    "bash": "echo $BASH_VERSION",
}


def text_map(value, name):
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(
            isinstance(v, str) and k and "=" not in k and "\0" not in k + v
            for k, v in value.items()):
        raise HttpError(400, f"{name} is not an object of strings")
    return value


class Service:
    def __init__(self, contexts):
        self.contexts = contexts

    async def handle(self, request, connection):
        method, parts = request.method, request.path.strip("/").split("/")
        if parts == ["execute"]:
            self.only(method, "POST")
            await self.execute(request.json(), connection)
        elif parts == ["health"]:
            self.only(method, "GET")
            connection.reply(200, "OK")
        elif parts == ["contexts"]:
            self.only(method, "GET", "POST")
            connection.reply(200, self.create(request.json()) if method == "POST" else
                             [c.as_json() for c in self.contexts.table.values()])
        elif len(parts) == 2 and parts[0] == "contexts":
            self.only(method, "DELETE")
            self.contexts.remove(self.contexts.find(parts[1]))
            connection.reply(200, None)
        elif len(parts) == 3 and parts[0] == "contexts" and parts[2] == "restart":
            self.only(method, "POST")
            await self.contexts.find(parts[1]).restart()
            connection.reply(200, None)
        else:
            raise HttpError(404, "Not found")

    @staticmethod
    def only(method, *allowed):
        if method not in allowed:
            raise HttpError(405, "Method not allowed")

    def create(self, asked):
        cwd = asked.get("cwd") or self.contexts.account.home
        if not isinstance(cwd, str) or "\0" in cwd:
            raise HttpError(400, "cwd is not a path")
        cwd = os.path.join(self.contexts.account.home, cwd)
        if not os.path.isdir(cwd):
            raise HttpError(400, f"cwd {cwd[:200]!r} is not a directory")
        return self.contexts.create(language_of(asked.get("language")), cwd).as_json()

    async def execute(self, asked, connection):
        code, number, language = (asked.get(k) for k in ("code", "context_id", "language"))
        if not isinstance(code, str):
            raise HttpError(400, "code is not a string")
        if number is not None and language is not None:
            raise HttpError(400, "Only one of context_id and language may be given")
        variables = text_map(asked.get("env_vars"), "env_vars")
        if number is not None:
            context = self.contexts.find(number)
        else:
            context = self.contexts.default(language_of(language))
        connection.start_stream("application/x-ndjson")
        await context.execute(Execution(connection, code, variables))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=49999)
    parser.add_argument("--user", default="user", help="whom the code runs as, for root")
    parser.add_argument("--variables", default="/run/csb.variables",
                        help="file of the sandbox's variables, NUL after each")
    parser.add_argument("--warm", nargs="?", const="all", choices=("all", *REHEARSALS),
                        help="start and rehearse the kernels, or that of one language, before the port is opened")
    parser.add_argument("--background", action="store_true",
                        help="return when the port is open, and go on")
    return parser.parse_args()


async def main(asked, ready):
    ignore_pipe_signals()
    memory_shortage_score(-900)
    contexts = Contexts(Account(asked.user), asked.variables)
    service = Service(contexts)
    if asked.warm:
        await contexts.warm({k: v for k, v in REHEARSALS.items() if asked.warm in ("all", k)})
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(service.handle), asked.host, asked.port,
                                      backlog=128)
    ready()
    await server.serve_forever()


def say_ready():
    print("ready", flush=True)


def go_on_alone():
    """Forks, and returns in the child alone, with what it calls when it can be used. Then the parent
    exits with 0; with 1 when the child ended before, having said why on stderr."""
    told, tell = os.pipe()
    if os.fork() > 0:
        os.close(tell)
        os._exit(0 if os.read(told, 1) else 1)
    os.close(told)
    os.setsid()

    def ready():
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.close(null)
        os.write(tell, b"r")
        os.close(tell)

    return ready


if __name__ == "__main__":
    ASKED = arguments()
    asyncio.run(main(ASKED, go_on_alone() if ASKED.background else say_ready))
