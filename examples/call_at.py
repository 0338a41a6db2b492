"""call_at: the loop has its own clock, and never calls before the time asked for."""

import asyncio


async def main():
    loop = asyncio.get_running_loop()
    start = loop.time()
    done = loop.create_future()

    def ring(number, when):
        early = loop.time() < when
        print(f"bell {number}, {'too early' if early else 'in time'}")

    for number, delay in ((3, 0.06), (1, 0.02), (2, 0.04)):
        when = start + delay
        handle = loop.call_at(when, ring, number, when)
        assert handle.when() == when
    loop.call_at(start + 0.08, done.set_result, None)
    await done
    print(f"at least 0.08 s passed: {loop.time() - start >= 0.08}")


asyncio.run(main())

# prints:
#   bell 1, in time
#   bell 2, in time
#   bell 3, in time
#   at least 0.08 s passed: True
