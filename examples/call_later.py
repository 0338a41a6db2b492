"""call_later: callbacks run by their delay, not in the order in which they were asked
for; a cancelled one never runs; what is due at once waits for its turn."""

import asyncio


async def main():
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_later(0.09, done.set_result, None)
    loop.call_later(0.06, print, "third")
    loop.call_later(0.03, print, "second")
    never = loop.call_later(0.01, print, "never")
    loop.call_soon(print, "first")
    never.cancel()
    await done
    print(f"cancelled: {never.cancelled()}")


asyncio.run(main())

# prints:
#   first
#   second
#   third
#   cancelled: True
