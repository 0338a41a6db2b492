"""Plain functions as callbacks: call_soon runs them in order, functools.partial brings
the keyword arguments that call_soon does not pass on."""

import asyncio
import functools


def greet(name, greeting="hello"):
    print(f"{greeting}, {name}")


async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(greet, "Ada")
    loop.call_soon(functools.partial(greet, greeting="good evening"), "Grace")
    loop.call_soon(functools.partial(greet, "Edsger", greeting="hi"))
    loop.call_soon(done.set_result, "all greeted")
    print("nobody greeted yet")
    print(await done)


asyncio.run(main())

# prints:
#   nobody greeted yet
#   hello, Ada
#   good evening, Grace
#   hi, Edsger
#   all greeted
