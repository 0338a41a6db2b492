"""async for: an iterator whose next item may have to be waited for."""

import asyncio


class Ticker:
    """Counts up to a limit, an item every so many seconds."""

    def __init__(self, limit, seconds):
        self.limit = limit
        self.seconds = seconds
        self.count = 0

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.count >= self.limit:
            raise StopAsyncIteration
        await asyncio.sleep(self.seconds)
        self.count += 1
        return self.count


async def watch(name, ticker):
    async for tick in ticker:
        print(f"{name} {tick}")
        if tick == 3:
            break
    else:
        print(f"{name} ran out")


async def main():
    await asyncio.gather(watch("tick", Ticker(2, 0.12)), watch("tock", Ticker(9, 0.09)))


asyncio.run(main())

# prints:
#   tock 1
#   tick 1
#   tock 2
#   tick 2
#   tick ran out
#   tock 3
