"""async with: entering and leaving may wait, and leaving happens after an error too."""

import asyncio


class Connection:
    def __init__(self, name):
        self.name = name

    async def __aenter__(self):
        await asyncio.sleep(0.01)
        print(f"{self.name}: open")
        return self

    async def __aexit__(self, exc_type, exc, frames):
        await asyncio.sleep(0.01)
        print(
            f"{self.name}: closed after {exc_type.__name__ if exc_type else 'success'}"
        )
        return exc_type is ConnectionError

    async def ask(self, question):
        await asyncio.sleep(0)
        if not question:
            raise ConnectionError("nothing asked")
        return question[::-1]


async def main():
    async with Connection("one") as connection:
        print(await connection.ask("abc"))
    async with Connection("two") as outer, Connection("three") as inner:
        print(await inner.ask(await outer.ask("level")))
        await inner.ask("")
    print("the error stayed inside")


asyncio.run(main())

# prints:
#   one: open
#   cba
#   one: closed after success
#   two: open
#   three: open
#   level
#   three: closed after ConnectionError
#   two: closed after success
#   the error stayed inside
