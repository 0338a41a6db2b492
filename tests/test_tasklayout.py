"""What debuggers see of a program's tasks, from Python 3.14 on: `python -m asyncio ps`
and `pstree` read another process's memory, asyncio.format_call_graph its own."""

import asyncio
import re
import subprocess
import sys

import pytest
from support import program_command, program_env, run_program

import cloop

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="new in 3.14")

TREE = """
async def leaf(event):
    await event.wait()

async def work(event):
    await leaf(event)

async def group(event, named):
    async with asyncio.TaskGroup() as tasks:
        for name in named:
            tasks.create_task(work(event), name=name)

async def nothing():
    pass

async def renamed(event):
    task = asyncio.current_task()
    task.get_name()
    task.set_name("renamed")
    await event.wait()

async def main():
    loop = asyncio.get_running_loop()
    event = asyncio.Event()
    tasks = [
        asyncio.create_task(group(event, ["one", None, "two"]), name="group"),
        asyncio.create_task(renamed(event)),
        asyncio.create_task(nothing()),
        asyncio.Task(leaf(event), loop=loop, eager_start=True, name="eager"),
        asyncio.Task(nothing(), loop=loop, eager_start=True, name="eager and done"),
    ]
    tasks.append(asyncio.create_task(asyncio.wait([tasks[0]]), name="waits"))
    for _ in range(5):
        await asyncio.sleep(0)
    await AFTER(tasks, event)
    event.set()
    await asyncio.gather(*tasks)

loop = new_event_loop()
loop.run_until_complete(main())
"""

WAIT_FOR_STDIN = """
async def AFTER(tasks, event):
    print("ready", flush=True)
    sys.stdin.readline()
"""

FORMAT = """
async def AFTER(tasks, event):
    for task in sorted(asyncio.all_tasks(), key=asyncio.Task.get_name):
        print(asyncio.format_call_graph(task))

"""


def without_numbers(text):
    """Addresses and thread numbers go; what has no number of its own comes in order."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    return re.sub(r"^\d+ +", "tid ", text, flags=re.MULTILINE)


def seen_from_outside(impl, capsys):
    from asyncio import tools

    process = subprocess.Popen(
        program_command(impl, WAIT_FOR_STDIN + TREE),
        env=program_env(impl),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            capsys.readouterr()
            tools.display_awaited_by_tasks_table(process.pid)
            table = capsys.readouterr().out
            tools.display_awaited_by_tasks_tree(process.pid)
            tree = capsys.readouterr().out
            process.communicate("\n", timeout=30)
        finally:
            process.kill()
    assert process.returncode == 0
    return [re.split(r" {2,}", line.strip()) for line in table.splitlines()], tree


def test_ps_and_pstree(impl, capsys):
    table, tree = seen_from_outside(impl, capsys)
    names = [row[2] for row in table[2:] if len(row) > 2]
    numbered = [name for name in names if re.fullmatch(r"Task-\d+", name)]
    assert sorted(set(names) - set(numbered)) == [
        "eager",
        "group",
        "one",
        "renamed",
        "two",
        "waits",
    ]
    assert len(numbered) == 2 and "Task-1" in numbered
    stacks = {row[2]: row[3] for row in table[2:] if len(row) > 3}
    assert stacks["one"] == "Event.wait -> leaf -> work"
    assert stacks["eager"] == "Event.wait -> leaf"
    awaiters = {row[2]: row[5] for row in table[2:] if len(row) > 5}
    assert awaiters["one"] == awaiters["two"] == "group"
    flat = re.sub(r"[\s│├└─]+", " ", tree)
    assert re.search(
        r"\(T\) group group \S+ TaskGroup.__aexit__ .*\(T\) one work", flat
    )


def test_ps_and_pstree_show_what_they_show_on_stock(capsys):
    from impls import Cloop, Stock

    seen = [seen_from_outside(impl, capsys) for impl in (Stock(), Cloop())]
    (stock_table, stock_tree), (table, tree) = (
        ([without_numbers(" ".join(row)) for row in table], without_numbers(tree))
        for table, tree in seen
    )
    assert table == stock_table
    assert tree == stock_tree


def test_the_call_graph_is_stocks():
    from impls import Cloop, Stock

    graphs = [
        without_numbers(run_program(impl, FORMAT + TREE).stdout)
        for impl in (Stock(), Cloop())
    ]
    assert "Awaited by:\n    * Task(name='group'" in graphs[0]
    assert graphs[1] == graphs[0]


def test_awaiters_are_noted(loop):
    async def wait(future):
        await future

    async def main():
        future = loop.create_future()
        tasks = [loop.create_task(wait(future)) for _ in range(3)]
        outer = loop.create_task(wait(tasks[0]))
        await asyncio.sleep(0)
        awaiters = asyncio.capture_call_graph(future).awaited_by
        assert {entry.future for entry in awaiters} == set(tasks)
        graph = asyncio.capture_call_graph(tasks[0])
        assert [entry.future for entry in graph.awaited_by] == [outer]
        future.set_result(None)
        await outer
        assert asyncio.capture_call_graph(future).awaited_by == ()
        assert asyncio.capture_call_graph(tasks[0]).awaited_by == ()

    loop.run_until_complete(main())


def test_awaiters_noted_by_hand(impl, loop):
    a, b = (impl.Future(loop=loop) for _ in range(2))
    asyncio.future_add_to_awaited_by(a, b)
    assert a._asyncio_awaited_by == {b}
    asyncio.future_discard_from_awaited_by(a, b)
    assert not a._asyncio_awaited_by


def test_an_unknown_layout_is_left_alone():
    from cloop import _cloop

    class Nowhere:
        def get_debug(self):
            return False

        def call_soon(self, callback, *args, context):
            pass

    async def nothing():
        pass

    def learn(coro, name):
        return _cloop._learn_task_layout(task, future, coro, name)

    coro = nothing()
    loop = Nowhere()
    task = asyncio.Task(coro, loop=loop, name="name")
    task._log_destroy_pending = False
    future = asyncio.Future(loop=loop)
    other = asyncio.Future(loop=Nowhere())
    try:
        assert learn(coro, task.get_name()) is True
        assert learn(object(), task.get_name()) is False  # not found
        assert _cloop._learn_task_layout(task, other, coro, task.get_name()) is False
        with pytest.raises(TypeError):
            _cloop._learn_task_layout(future, future, coro, "name")
        assert learn(coro, task.get_name()) is True
    finally:
        coro.close()
    assert cloop.Task is not asyncio.Task
