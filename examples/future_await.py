"""Awaiting a Future: the coroutine goes on with the result, or with the exception."""

import asyncio


async def main():
    loop = asyncio.get_running_loop()

    good = loop.create_future()
    loop.call_later(0.01, good.set_result, 42)
    print(f"the answer is {await good}")
    print(f"and stays {await good}")

    bad = loop.create_future()
    loop.call_soon(bad.set_exception, LookupError("no such question"))
    try:
        await bad
    except LookupError as exc:
        print(f"failed: {exc}")

    given_up = loop.create_future()
    loop.call_soon(given_up.cancel)
    try:
        await given_up
    except asyncio.CancelledError:
        print("cancelled")


asyncio.run(main())

# prints:
#   the answer is 42
#   and stays 42
#   failed: no such question
#   cancelled
