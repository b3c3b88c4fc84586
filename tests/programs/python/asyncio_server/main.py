# SPDX-License-Identifier: Apache-2.0
"""An echo protocol over loopback TCP with several clients at once."""
import asyncio
import json


async def handle(reader, writer):
    while line := await reader.readline():
        request = json.loads(line)
        match request:
            case {"op": "add", "args": [int(a), int(b)]}:
                answer = {"ok": a + b}
            case {"op": "echo", "text": str(text)}:
                answer = {"ok": text[::-1]}
            case {"op": "bytes", "n": int(n)} if n <= 100_000:
                answer = {"ok": "x" * n}
            case _:
                answer = {"error": "bad request"}
        writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def client(port, requests):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    got = []
    for r in requests:
        writer.write(json.dumps(r).encode() + b"\n")
        got.append(json.loads(await reader.readline()))
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    return got


async def main():
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        answers = await asyncio.gather(
            *(client(port, [{"op": "add", "args": [i, i * i]}]) for i in range(5)),
            client(port, [{"op": "echo", "text": "süß 🙂"}, {"op": "nope"}, {"op": "add"}]),
            client(port, [{"op": "bytes", "n": 100_000}]))
    for a in answers[:-1]:
        print(a)
    print(len(answers[-1][0]["ok"]))


asyncio.run(main())
