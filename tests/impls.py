"""The two implementations that the same tests run on; see conftest.py."""

import asyncio


class Impl:
    """One implementation: its classes under the names that cloop gives them."""

    name = None
    is_cloop = False

    def __repr__(self):
        return f"<impl {self.name}>"


class Stock(Impl):
    name = "stock"
    Loop = asyncio.SelectorEventLoop
    Future = asyncio.Future
    Task = asyncio.Task
    Handle = asyncio.Handle
    TimerHandle = asyncio.TimerHandle
    run = staticmethod(asyncio.run)

    @staticmethod
    def new_event_loop():
        return asyncio.SelectorEventLoop()


class Cloop(Impl):
    name = "cloop"
    is_cloop = True

    def __init__(self):
        import cloop

        self.Loop = cloop.Loop
        self.Future = cloop.Future
        self.Task = cloop.Task
        self.Handle = cloop.Handle
        self.TimerHandle = cloop.TimerHandle
        self.run = cloop.run
        self.new_event_loop = cloop.new_event_loop
