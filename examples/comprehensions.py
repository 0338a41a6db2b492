"""The four asynchronous comprehensions, and await inside ordinary ones."""

import asyncio


async def words():
    for word in ("loop", "task", "future", "task"):
        await asyncio.sleep(0)
        yield word


async def size(word):
    await asyncio.sleep(0)
    return len(word)


async def is_short(word):
    return await size(word) < 5


async def main():
    print([word async for word in words()])
    print(sorted({word async for word in words()}))
    print({word: len(word) async for word in words()})
    lengths = (len(word) async for word in words())
    print(type(lengths).__name__, [length async for length in lengths])

    print([await size(word) for word in ("a", "bb", "ccc")])
    print({word: await size(word) for word in ("a", "bb")})
    print([word async for word in words() if await is_short(word)])


asyncio.run(main())

# prints:
#   ['loop', 'task', 'future', 'task']
#   ['future', 'loop', 'task']
#   {'loop': 4, 'task': 4, 'future': 6}
#   async_generator [4, 4, 6, 4]
#   [1, 2, 3]
#   {'a': 1, 'bb': 2}
#   ['loop', 'task', 'task']
