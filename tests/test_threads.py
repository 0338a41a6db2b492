"""Loops in several threads at once. Builds of Python without a GIL run them side by
side; each loop's state is its own, and what crosses from one to another is exact.
"""

import asyncio
import concurrent.futures
import itertools
import threading

import pytest

pytestmark = pytest.mark.timeout(120)
THREADS = 4


def in_threads(new_loop, main):
    """main(number, loop) as a coroutine in THREADS threads, each on a loop of its own;
    what they return.
    """
    start = threading.Barrier(THREADS)

    def work(number):
        loop = new_loop()
        try:
            start.wait()
            return loop.run_until_complete(asyncio.wait_for(main(number, loop), 60))
        finally:
            loop.close()

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(THREADS)))


def test_tasks_futures_and_timers(new_loop):
    async def add(queue, number):
        for value in range(200):
            await queue.put(number * 1000 + value)
            await asyncio.sleep(0)

    async def wait(loop, number):
        future = loop.create_future()
        loop.call_later(0.001 * (number % 5), future.set_result, number)
        return await future

    async def main(number, loop):
        assert asyncio.get_running_loop() is loop
        queue = asyncio.Queue(8)
        tasks = [loop.create_task(add(queue, n)) for n in range(10)]
        values = [await queue.get() for _ in range(2000)]
        await asyncio.gather(*tasks)
        waited = await asyncio.gather(*(wait(loop, n) for n in range(500)))
        assert asyncio.current_task() in asyncio.all_tasks()
        return sorted(values), waited

    expected = sorted(n * 1000 + value for n in range(10) for value in range(200))
    assert in_threads(new_loop, main) == [(expected, list(range(500)))] * THREADS


def test_names_of_tasks_are_unique(new_loop):
    async def nothing():
        pass

    async def main(number, loop):
        tasks = [loop.create_task(nothing()) for _ in range(5000)]
        await asyncio.gather(*tasks)
        return [task.get_name() for task in tasks]

    names = list(itertools.chain(*in_threads(new_loop, main)))
    assert len(set(names)) == len(names) == 5000 * THREADS


def test_cancellation(new_loop):
    async def forever():
        await asyncio.Event().wait()

    async def main(number, loop):
        cancelled = 0
        for _ in range(300):
            task = loop.create_task(forever())
            await asyncio.sleep(0)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                cancelled += 1
        return cancelled

    assert in_threads(new_loop, main) == [300] * THREADS


def test_streams(new_loop):
    async def serve(reader, writer):
        while True:
            line = await reader.readline()
            if not line:
                break
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def ask(port, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for i in range(100):
            writer.write(b"line %d of %d\n" % (i, number))
            assert await reader.readline() == b"LINE %d OF %d\n" % (i, number)
        writer.close()
        await writer.wait_closed()
        return number

    async def main(number, loop):
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        answers = await asyncio.gather(*(ask(port, n) for n in range(10)))
        server.close()
        await server.wait_closed()
        return answers

    assert in_threads(new_loop, main) == [list(range(10))] * THREADS


def test_each_asks_the_next(new_loop):
    """run_coroutine_threadsafe round a ring of loops, all asking at once."""
    loops = {}
    ready, over = threading.Barrier(THREADS), threading.Barrier(THREADS)

    async def double(number):
        await asyncio.sleep(0)
        return number * 2

    async def main(number, loop):
        loops[number] = loop
        await loop.run_in_executor(None, ready.wait)
        following = loops[(number + 1) % THREADS]
        futures = [
            asyncio.wrap_future(asyncio.run_coroutine_threadsafe(double(n), following))
            for n in range(500)
        ]
        answers = await asyncio.gather(*futures)
        await loop.run_in_executor(None, over.wait)
        return answers

    assert in_threads(new_loop, main) == [[n * 2 for n in range(500)]] * THREADS


def test_posts_from_all_sides(new_loop):
    """What each thread posts to a loop arrives once and in that thread's order."""
    loop = new_loop()
    seen = []
    posts = 5000

    def post(number):
        for i in range(posts):
            loop.call_soon_threadsafe(seen.append, (number, i))
        loop.call_soon_threadsafe(finish.append, number)

    async def main():
        threads = [threading.Thread(target=post, args=(n,)) for n in range(THREADS)]
        for thread in threads:
            thread.start()
        while len(finish) < THREADS:
            await asyncio.sleep(0.001)
        for thread in threads:
            thread.join()

    finish = []
    loop.run_until_complete(asyncio.wait_for(main(), 60))
    assert len(seen) == THREADS * posts
    for number in range(THREADS):
        assert [i for n, i in seen if n == number] == list(range(posts))
