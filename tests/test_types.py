"""Three descriptions of each function must agree: the stub (_cloop.pyi), what
inspect.signature reads from the C docstring, and the standard library's own."""

import ast
import asyncio
import inspect
import sys
from pathlib import Path

import pytest

import cloop
from cloop import _cloop

STUB = Path(cloop.__file__).parent / "_cloop.pyi"
EMPTY = inspect.Parameter.empty
TYPES = ["Handle", "TimerHandle", "Future", "Task", "Loop"]
# These the loop makes; users meet them as what asyncio calls them.
INNER = [
    "StreamTransport",
    "DatagramTransport",
    "ReadPipeTransport",
    "WritePipeTransport",
    "Listener",
    "SSLTransport",
]
# Attributes of types that are no part of the interface.
DUNDERS = {"__init__", "__await__", "__iter__", "__class_getitem__"}

STOCK = {
    "Handle": asyncio.Handle,
    "TimerHandle": asyncio.TimerHandle,
    "Future": asyncio.Future,
    "Task": asyncio.Task,
    "Loop": asyncio.SelectorEventLoop,
}


def shape(signature, drop_self=False):
    """[(name, kind, default)] of a signature; None when there is none."""
    parameters = list(signature.parameters.values())
    if drop_self:
        parameters = parameters[1:]
    return [(p.name, p.kind.name, p.default) for p in parameters]


def runtime_shape(owner, name):
    raw = inspect.getattr_static(owner, name)
    bound = isinstance(raw, (classmethod, staticmethod)) or inspect.isbuiltin(
        getattr(owner, name)
    )
    try:
        signature = inspect.signature(getattr(owner, name))
    except ValueError:
        return None
    return shape(signature, drop_self=not bound)


# -- the stub --------------------------------------------------------------------------


def holds(test):
    """Evaluates the stub's `sys.version_info >= (3, x)`."""
    code = compile(ast.Expression(test), "stub", "eval")
    return eval(code, {"sys": sys})


def statements(body):
    for node in body:
        if isinstance(node, ast.If):
            yield from statements(node.body if holds(node.test) else node.orelse)
        else:
            yield node


def stub_shape(function):
    args = function.args
    positional = [*getattr(args, "posonlyargs", ()), *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + args.defaults
    only = len(getattr(args, "posonlyargs", ()))

    def value(node):
        return EMPTY if node is None else ast.literal_eval(node)

    found = []
    for i, (arg, default) in enumerate(zip(positional, defaults)):
        kind = "POSITIONAL_ONLY" if i < only else "POSITIONAL_OR_KEYWORD"
        found.append((arg.arg, kind, value(default)))
    if args.vararg:
        found.append((args.vararg.arg, "VAR_POSITIONAL", EMPTY))
    for arg, default in zip(args.kwonlyargs, args.kw_defaults):
        found.append((arg.arg, "KEYWORD_ONLY", value(default)))
    if args.kwarg:
        found.append((args.kwarg.arg, "VAR_KEYWORD", EMPTY))
    return found[1:]


def read_stub():
    """{class: {method: shape}}; attributes have the shape None."""
    classes = {}
    for node in statements(ast.parse(STUB.read_text()).body):
        if not isinstance(node, ast.ClassDef):
            continue
        members = classes.setdefault(node.name, {})
        for member in statements(node.body):
            if isinstance(member, ast.FunctionDef):
                members[member.name] = stub_shape(member)
            elif isinstance(member, ast.AnnAssign):
                members[member.target.id] = None
    return classes


STUBS = read_stub()


def public(cls):
    return {
        name for name in vars(cls) if not name.startswith("_") or name in DUNDERS
    } - DUNDERS


def members(stubs=STUBS):
    return [
        (cls, name)
        for cls in sorted(stubs)
        for name, found in sorted(stubs[cls].items())
        if found is not None and name not in DUNDERS
    ]


def test_stub_has_the_types():
    ours = {
        name
        for name, value in vars(_cloop).items()
        if isinstance(value, type) and not name.startswith("_")
    }
    assert set(STUBS) == ours
    assert set(STUBS) == {*TYPES, *INNER}


@pytest.mark.parametrize("cls", TYPES + INNER)
def test_stub_has_what_the_type_has(cls):
    documented = set(STUBS[cls]) - DUNDERS
    assert documented == public(getattr(_cloop, cls))


@pytest.mark.parametrize("cls, name", members())
def test_stub_agrees_with_the_docstring(cls, name):
    found = runtime_shape(getattr(_cloop, cls), name)
    assert found is not None, f"{cls}.{name} has no signature in its docstring"
    if name == "create_task" and sys.version_info[:2] == (3, 13):
        # A stub knows no patch releases: **kwargs came with 3.13.3.
        found = [parameter for parameter in found if parameter[0] != "kwargs"]
    assert found == STUBS[cls][name]


@pytest.mark.parametrize("cls", [c for c in TYPES if c != "Loop"])
def test_constructors_agree(cls):
    ours = shape(inspect.signature(getattr(_cloop, cls)))
    assert ours == shape(inspect.signature(STOCK[cls]))
    assert ours == STUBS[cls]["__init__"]


# -- the standard library --------------------------------------------------------------


def stock_methods():
    return list(find_stock_methods())


def find_stock_methods():
    for cls, stock in STOCK.items():
        ours = getattr(cloop, cls)
        for name in sorted(set(dir(stock)) | set(dir(asyncio.AbstractEventLoop))):
            if name.startswith("_") or not callable(getattr(stock, name, None)):
                continue
            if cls == "Loop" and not is_there(ours, name):
                continue
            yield cls, name


def is_there(loop_type, name):
    """False for what raises NotImplementedError as yet."""
    raw = inspect.getattr_static(loop_type, name, None)
    owner = getattr(raw, "__module__", None)
    return raw is not None and owner != "asyncio.events"


@pytest.mark.parametrize("cls, name", stock_methods())
def test_signatures_are_those_of_stock(cls, name):
    stock = runtime_shape(STOCK[cls], name)
    ours = runtime_shape(getattr(cloop, cls), name)
    if stock is None:
        # C code of older versions whose default inspect cannot read.
        assert ours is not None
        return
    assert ours == stock


@pytest.mark.parametrize("cls", TYPES)
def test_nothing_of_stock_is_missing(cls):
    """Public methods and attributes; what is inherited unchanged from stock counts as
    missing, because it would read the base's empty fields."""
    stock, ours = STOCK[cls], getattr(cloop, cls)
    for name in dir(stock):
        if name.startswith("_"):
            continue
        owner = next((base for base in ours.__mro__ if name in vars(base)), None)
        assert owner is not None, name
        # The two class methods of 3.8 read the registry, not the task.
        if cls != "Loop" and name not in ("all_tasks", "current_task"):
            assert owner.__module__ in ("cloop", "cloop._cloop"), name


@pytest.mark.parametrize("cls", TYPES + INNER)
def test_every_method_is_documented(cls):
    for name in public(getattr(_cloop, cls)):
        member = inspect.getattr_static(getattr(_cloop, cls), name)
        if callable(member):
            assert member.__doc__, f"{cls}.{name} has no docstring"


def test_package_is_typed():
    assert STUB.exists()
    assert (STUB.parent / "py.typed").exists()
