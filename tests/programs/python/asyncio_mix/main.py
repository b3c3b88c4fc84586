# SPDX-License-Identifier: Apache-2.0
"""Tasks, gather, timeouts, queues, semaphores, task groups, async generators, cancellation."""
import asyncio
import contextlib


@contextlib.asynccontextmanager
async def resource(name, log):
    log.append(f"open {name}")
    try:
        yield name.upper()
    finally:
        await asyncio.sleep(0)
        log.append(f"close {name}")


async def numbers(n):
    for i in range(n):
        await asyncio.sleep(0)
        yield i


async def producer(q, n):
    async for i in numbers(n):
        await q.put(i)
    await q.put(None)


async def consumer(q):
    total = 0
    while (item := await q.get()) is not None:
        total += item
    return total


async def fail(after, what):
    await asyncio.sleep(after)
    raise what


async def main():
    q, log = asyncio.Queue(2), []
    _, total = await asyncio.gather(producer(q, 50), consumer(q))
    print("sum", total)
    async with resource("db", log) as r:
        log.append(f"use {r}")
    print(log)
    try:
        await asyncio.wait_for(asyncio.sleep(30), 0.01)
    except asyncio.TimeoutError:
        print("timed out")
    try:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()
    except TimeoutError as e:
        print("timeout context", type(e).__name__)
    results = await asyncio.gather(fail(0, KeyError("k")), asyncio.sleep(0, "fine"),
                                   return_exceptions=True)
    print([repr(r) for r in results])
    try:
        async with asyncio.TaskGroup() as tg:
            tg.create_task(fail(0.001, ValueError("one")))
            sleeper = tg.create_task(asyncio.sleep(60))
    except* ValueError as group:
        print("group:", group.exceptions, sleeper.cancelled())
    gate, order = asyncio.Semaphore(2), []

    async def job(i):
        async with gate:
            order.append(i)
            await asyncio.sleep(0.001)
    await asyncio.gather(*(job(i) for i in range(6)))
    print(order)
    loop = asyncio.get_running_loop()
    print(await loop.run_in_executor(None, lambda: sum(range(1000))))
    print([x * x async for x in numbers(6) if x % 2])
    first = loop.create_future()
    loop.call_soon(first.set_result, "from callback")
    print(await first)


asyncio.run(main())
asyncio.run(fail(0, ArithmeticError("leaves through asyncio.run")))
