"""Callbacks and coroutines on one loop that runs until it is stopped: a callback arms
itself again, another starts a coroutine, a coroutine stops the loop."""

import asyncio


def beat(loop, count):
    print(f"callback {count}")
    if count < 3:
        loop.call_later(0.1, beat, loop, count + 1)


async def walk(name, steps):
    for step in range(steps):
        print(f"{name} {step}")
        await asyncio.sleep(0.1)
    return name


def start_another(loop):
    task = loop.create_task(walk("late walker", 2))
    task.add_done_callback(lambda task: print(f"{task.result()} has arrived"))


async def stop_after(loop, seconds):
    await asyncio.sleep(seconds)
    print("stopping")
    loop.stop()


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
loop.call_soon(beat, loop, 0)
walker = loop.create_task(walk("walker", 2))
loop.call_later(0.05, start_another, loop)
stopper = loop.create_task(stop_after(loop, 0.4))
loop.run_forever()
print(f"running: {loop.is_running()}, walker done: {walker.done()}")
asyncio.set_event_loop(None)
loop.close()

# prints:
#   callback 0
#   walker 0
#   late walker 0
#   callback 1
#   walker 1
#   late walker 1
#   callback 2
#   late walker has arrived
#   callback 3
#   stopping
#   running: False, walker done: True
