"""A coroutine and its return value: the loop runs it and hands over the result."""

import asyncio


async def brew(cups):
    print(f"brewing {cups} cups")
    await asyncio.sleep(0.01)
    return cups * 0.25


loop = asyncio.new_event_loop()
try:
    coroutine = brew(4)
    print("nothing brewed so far")
    litres = loop.run_until_complete(coroutine)
    print(f"{litres} litres are ready")
finally:
    loop.close()

# prints:
#   nothing brewed so far
#   brewing 4 cups
#   1.0 litres are ready
