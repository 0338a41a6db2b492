"""wait: a set of tasks, until the first, until the first that fails, or until all have
ended; and no longer than a timeout."""

import asyncio


async def run(name, seconds, fails=False):
    await asyncio.sleep(seconds)
    if fails:
        raise ValueError(name)
    return name


def show(what, tasks):
    print(f"{what}: {sorted(task.get_name() for task in tasks)}")


def start():
    return [
        asyncio.create_task(run("fast", 0.05), name="fast"),
        asyncio.create_task(run("wrong", 0.15, fails=True), name="wrong"),
        asyncio.create_task(run("slow", 0.25), name="slow"),
    ]


async def main():
    tasks = start()
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    show("first", done)
    show("still running", pending)
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    show("when one failed", done)
    done, pending = await asyncio.wait(tasks)
    show("all", done)
    failed = [task.get_name() for task in tasks if task.exception()]
    print(f"left: {len(pending)}, failed: {failed}")

    patient = asyncio.create_task(asyncio.sleep(30), name="patient")
    done, pending = await asyncio.wait([patient], timeout=0.01)
    show("after the timeout", pending)
    patient.cancel()


asyncio.run(main())

# prints:
#   first: ['fast']
#   still running: ['slow', 'wrong']
#   when one failed: ['fast', 'wrong']
#   all: ['fast', 'slow', 'wrong']
#   left: 0, failed: ['wrong']
#   after the timeout: ['patient']
