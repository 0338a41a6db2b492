"""A pytest plugin for upstream.py: puts the loop under test in asyncio's place and
writes down what each test did, in a file that survives a crash.

UPSTREAM_LOOP is stock or cloop, UPSTREAM_RECORD the file: a JSON line when a test
starts and one when it has ended. Tests that the file already has are not run again.
"""

import asyncio
import collections
import json
import logging
import os
from asyncio import base_events, unix_events

import pytest

RECORD = os.environ["UPSTREAM_RECORD"]
made = collections.Counter()  # loops, by implementation


def count_loops(kind, name):
    init = kind.__init__

    def __init__(self, *args, **kwargs):
        made[name] += 1
        init(self, *args, **kwargs)

    kind.__init__ = __init__


def install_cloop():
    import cloop

    class Loop(cloop.Loop):
        """Counted; nothing else is overridden."""

        def __init__(self, *args, **kwargs):
            made["cloop"] += 1
            super().__init__(*args, **kwargs)

    cloop.install()
    cloop.EventLoopPolicy._loop_factory = Loop
    # The ways in which tests name stock's loop and policy themselves.
    asyncio.SelectorEventLoop = unix_events.SelectorEventLoop = Loop
    if hasattr(asyncio, "EventLoop"):
        asyncio.EventLoop = Loop
    unix_events._UnixDefaultEventLoopPolicy._loop_factory = Loop


if os.environ["UPSTREAM_LOOP"] == "cloop":
    install_cloop()
if os.environ["UPSTREAM_QUIET_LOGGER"]:
    logging.getLogger(os.environ["UPSTREAM_QUIET_LOGGER"]).setLevel(logging.CRITICAL)
count_loops(base_events.BaseEventLoop, "stock")


def write(**record):
    with open(RECORD, "a") as file:
        file.write(json.dumps(record) + "\n")


def read():
    if not os.path.exists(RECORD):
        return []
    with open(RECORD) as file:
        return [json.loads(line) for line in file]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    done = {record["test"] for record in read() if "test" in record}
    left = [item for item in items if item.nodeid not in done]
    gone = [item for item in items if item.nodeid in done]
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = left


running = {}
WORST = ["passed", "skipped", "xfailed", "failed"]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(nodeid, location):
    running[nodeid] = ("passed", "")
    made.clear()
    write(started=nodeid)


def pytest_runtest_logreport(report):
    outcome = report.outcome
    why = ""
    if hasattr(report, "wasxfail"):
        outcome = "xfailed" if outcome == "skipped" else outcome
    elif outcome == "skipped" and isinstance(report.longrepr, tuple):
        why = str(report.longrepr[2])
    elif outcome == "failed":
        why = str(report.longrepr)[-3000:]
    before = running.get(report.nodeid, ("passed", ""))
    if WORST.index(outcome) > WORST.index(before[0]):
        running[report.nodeid] = (outcome, why)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish(nodeid, location):
    outcome, why = running.pop(nodeid, ("failed", "no report"))
    write(test=nodeid, outcome=outcome, why=why, loops=dict(made))


def pytest_collectreport(report):
    if report.failed:
        write(test=report.nodeid, outcome="failed", why=str(report.longrepr)[-3000:])
