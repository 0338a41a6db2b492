"""Asynchronous generators: yield inside a coroutine function. One that is left early is
closed, by hand or at the latest when the loop ends."""

import asyncio


async def countdown(start):
    try:
        while start:
            yield start
            await asyncio.sleep(0.01)
            start -= 1
    finally:
        await asyncio.sleep(0)
        print(f"countdown closed at {start}")


async def squares(numbers):
    async for number in numbers:
        yield number * number


async def echo():
    heard = None
    while True:
        heard = yield heard


async def main():
    async for square in squares(countdown(3)):
        print(square)

    early = countdown(5)
    async for number in early:
        if number == 4:
            break
    await early.aclose()

    voice = echo()
    await voice.asend(None)
    print(await voice.asend("hello"), await voice.asend("again"))

    global abandoned
    abandoned = countdown(9)
    print(await abandoned.__anext__())


asyncio.run(main())

# prints:
#   9
#   4
#   1
#   countdown closed at 0
#   countdown closed at 4
#   hello again
#   9
#   countdown closed at 9
