"""Coroutines as generators, in the style of Python 3.4: "yield from" is the waiting.

From Python 3.11 on asyncio has no such coroutines; there this needs
python -m cloop --legacy.
"""

import asyncio


@asyncio.coroutine
def half(number):
    yield from asyncio.sleep(0.01)
    return number / 2


@asyncio.coroutine
def pause():
    print("a turn of the loop passes")
    yield


@asyncio.coroutine
def work():
    first = yield from half(10)
    print(f"half of ten: {first}")
    yield from pause()
    second = yield from half(first)
    print(f"half of that: {second}")
    return first + second


loop = asyncio.get_event_loop()
print(f"together: {loop.run_until_complete(work())}")
loop.close()

# prints:
#   half of ten: 5.0
#   a turn of the loop passes
#   half of that: 2.5
#   together: 7.5
