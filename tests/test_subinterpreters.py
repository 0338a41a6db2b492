"""Loops in subinterpreters: each has cloop's types of its own; on cloop and on stock.

They share the main interpreter's GIL: with one of their own, CPython 3.12 crashes at
the end of a program whose subinterpreters have imported stock asyncio, too.
"""

from support import run_program

WORK = """
async def echo(reader, writer):
    while True:
        data = await reader.read(100)
        if not data:
            break
        writer.write(data)
    writer.close()


async def main():
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    await writer.wait_closed()
    assert await asyncio.gather(*[asyncio.sleep(0.001, n) for n in range(20)])
    server.close()
    await asyncio.sleep(0.01)


loop = new_event_loop()
loop.run_until_complete(main())
loop.close()
"""

PROGRAM = """
import sys

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

if sys.version_info >= (3, 13):
    kind = ["legacy"], {{}}
elif sys.version_info >= (3, 9):
    kind = [], {{"isolated": False}}
else:
    kind = [], {{}}
work = {work!r}
path = "import sys; sys.path[:] = %r\\n" % sys.path
imports = "import asyncio\\nfrom {module} import new_event_loop\\n"
for _ in range(3):
    ids = [interpreters.create(*kind[0], **kind[1]) for _ in range(2)]
    for one in ids:
        assert not interpreters.run_string(one, path + imports + work)
        exec(work)
    for one in ids:
        interpreters.destroy(one)
print("done")
"""


def test_loops_in_several_interpreters(impl):
    module = "cloop" if impl.is_cloop else "asyncio"
    done = run_program(impl, PROGRAM.format(work=WORK, module=module))
    assert done.stdout == "done\n"
