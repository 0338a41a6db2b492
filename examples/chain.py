"""Coroutines that wait for coroutines: each takes what the one before it returned."""

import asyncio


async def fetch(name):
    print(f"fetching {name}")
    await asyncio.sleep(0.01)
    return ["3", "1", "2"]


async def parse(lines):
    print(f"parsing {len(lines)} lines")
    await asyncio.sleep(0)
    return [int(line) for line in lines]


async def report(name):
    lines = await fetch(name)
    numbers = await parse(lines)
    return f"{name}: {sorted(numbers)}, in all {sum(numbers)}"


print(asyncio.run(report("sales")))

# prints:
#   fetching sales
#   parsing 3 lines
#   sales: [1, 2, 3], in all 6
