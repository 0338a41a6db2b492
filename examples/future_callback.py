"""A Future that a callback completes: the loop runs until it has a result, and its
done-callbacks are called with it."""

import asyncio


def deliver(future, letter):
    print(f"delivering {letter!r}")
    future.set_result(letter)


loop = asyncio.new_event_loop()
asyncio.set_event_loop(loop)
try:
    mailbox = loop.create_future()
    mailbox.add_done_callback(lambda future: print(f"flag up: {future.result()!r}"))
    loop.call_soon(deliver, mailbox, "greetings")
    print(f"letter there: {mailbox.done()}")
    print(f"read: {loop.run_until_complete(mailbox)!r}")
    print(f"letter there: {mailbox.done()}")
finally:
    asyncio.set_event_loop(None)
    loop.close()

# prints:
#   letter there: False
#   delivering 'greetings'
#   flag up: 'greetings'
#   read: 'greetings'
#   letter there: True
