"""Wrong arguments get the TypeError that a Python function of the signature gives: the
loop's methods are Python functions in stock asyncio."""

import sys

import pytest

NAME = "BaseEventLoop." if sys.version_info >= (3, 10) else ""

# Method, positional, keywords.
CALLS = [
    ("call_soon", (), {}),
    ("call_soon", (), {"context": None}),
    ("call_soon", (), {"callbck": print}),
    ("call_soon", (print,), {"callback": print}),
    ("call_soon", (print,), {"self": 1}),
    ("call_soon", (print,), {"contxt": None}),
    ("call_soon", (print,), {"completely_else": None}),
    ("call_soon", (print,), {"k\u00e4se": None}),
    ("call_later", (), {}),
    ("call_later", (1,), {}),
    ("call_later", (), {"callback": print}),
    ("call_at", (), {}),
    ("call_at", (), {"when": 1}),
    ("call_at", (1, print), {"when": 1}),
    ("call_soon_threadsafe", (), {}),
    ("run_until_complete", (), {}),
    ("run_until_complete", (1, 2), {}),
    ("run_until_complete", (1, 2, 3), {"future": 4}),
    ("run_until_complete", (), {"fut": 4}),
    ("create_task", (), {}),
    ("set_exception_handler", (), {}),
    ("set_exception_handler", (1, 2), {}),
    ("set_task_factory", (), {}),
    ("set_debug", (), {}),
    ("set_debug", (True, False), {}),
    ("call_exception_handler", (), {}),
    ("run_forever", (1,), {}),
    ("stop", (1,), {}),
    ("close", (1, 2), {}),
    ("time", (1,), {}),
    ("is_running", (1,), {}),
    ("create_future", (1,), {}),
    ("run_in_executor", (), {}),
    ("add_reader", (), {}),
    ("add_reader", (1,), {}),
    ("add_writer", (), {"fd": 1}),
    ("add_writer", (), {"callback": 1}),
    ("remove_reader", (), {}),
    ("remove_writer", (1, 2), {}),
    ("add_signal_handler", (2,), {}),
    ("remove_signal_handler", (), {}),
]


def message(loop, method, args, kwargs):
    with pytest.raises(TypeError) as caught:
        getattr(loop, method)(*args, **kwargs)
    return str(caught.value)


def without_class(text):
    """Stock's classes are called otherwise: only the function's own name counts."""
    name, paren, rest = text.partition("()")
    return name.rpartition(".")[2] + paren + rest


@pytest.mark.parametrize(
    "call", CALLS, ids=lambda c: f"{c[0]}-{len(c[1])}-{'-'.join(c[2])}"
)
def test_messages_are_those_of_stock(call, request):
    import asyncio

    import cloop

    messages = []
    for make in (asyncio.SelectorEventLoop, cloop.new_event_loop):
        loop = make()
        try:
            messages.append(without_class(message(loop, *call)))
        finally:
            loop.close()
    stock, ours = messages
    if call[0] in (
        "run_forever",
        "stop",
        "close",
        "time",
        "is_running",
        "create_future",
    ):
        # METH_NOARGS: CPython words these itself.
        assert "takes no arguments" in ours or ours == stock
    else:
        assert ours == stock


def test_class_stands_in_the_message(loop, impl):
    text = message(loop, "call_soon", (), {})
    prefix = NAME.replace("BaseEventLoop", "Loop") if impl.is_cloop else NAME
    assert (
        text == f"{prefix}call_soon() missing 1 required positional argument: "
        "'callback'"
    )


@pytest.mark.parametrize("key", ["callback", "c" * 1000])
def test_keywords_that_are_not_interned(loop, key):
    key = "".join(list(key))
    if key == "callback":
        loop.call_soon(**{key: loop.stop})
        loop.run_forever()
    else:
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            loop.call_soon(print, **{key: 1})


def test_keyword_subclass_of_str(loop):
    class Name(str):
        pass

    loop.call_soon(**{Name("callback"): loop.stop})
    loop.run_forever()


def test_keyword_with_a_nul(loop):
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        loop.call_soon(print, **{"context\0": 1})


def test_keywords_must_be_strings(loop):
    with pytest.raises(TypeError, match="keywords must be strings"):
        loop.call_soon(print, **{1: 2})


def test_many_arguments_reach_the_callback(loop):
    got = []

    def callback(*args):
        got.append(args)
        loop.stop()

    loop.call_soon(callback, *range(300))
    loop.run_forever()
    assert got == [tuple(range(300))]
