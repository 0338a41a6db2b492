"""run_in_executor: blocking functions in threads. It passes on positional arguments
only; functools.partial brings the others."""

import asyncio
import functools
import threading
import time


def read_slowly(name, *, seconds=0.0, encoding="ascii"):
    time.sleep(seconds)
    other = threading.current_thread() is not threading.main_thread()
    return f"{name} as {encoding}, in a thread of its own: {other}"


def fail():
    raise OSError("disk on fire")


async def main():
    loop = asyncio.get_running_loop()
    print(await loop.run_in_executor(None, read_slowly, "a.txt"))
    call = functools.partial(read_slowly, "b.txt", seconds=0.03, encoding="utf-8")
    future = loop.run_in_executor(None, call)
    print("the loop goes on meanwhile")
    print(await future)
    try:
        await loop.run_in_executor(None, fail)
    except OSError as exc:
        print(f"it raised: {exc}")


asyncio.run(main())

# prints:
#   a.txt as ascii, in a thread of its own: True
#   the loop goes on meanwhile
#   b.txt as utf-8, in a thread of its own: True
#   it raised: disk on fire
