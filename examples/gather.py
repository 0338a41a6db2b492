"""gather: coroutines run side by side, results come in the order of the arguments."""

import asyncio


async def cook(dish, seconds):
    print(f"{dish}: on the stove")
    await asyncio.sleep(seconds)
    print(f"{dish}: done")
    return dish.upper()


async def burn():
    await asyncio.sleep(0.01)
    raise RuntimeError("smoke")


async def main():
    print(
        await asyncio.gather(cook("rice", 0.06), cook("tea", 0.02), cook("egg", 0.04))
    )
    print(await asyncio.gather(cook("soup", 0.03), burn(), return_exceptions=True))
    try:
        await asyncio.gather(burn())
    except RuntimeError as exc:
        print(f"gather raised: {exc}")


asyncio.run(main())

# prints:
#   rice: on the stove
#   tea: on the stove
#   egg: on the stove
#   tea: done
#   egg: done
#   rice: done
#   ['RICE', 'TEA', 'EGG']
#   soup: on the stove
#   soup: done
#   ['SOUP', RuntimeError('smoke')]
#   gather raised: smoke
