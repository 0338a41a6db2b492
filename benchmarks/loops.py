"""The contestants: what each is called, how to make its loop, whether it is here."""

from __future__ import annotations

import asyncio
import importlib
import importlib.machinery
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class NotInstalled(Exception):
    """The contestant's package is not installed for this interpreter."""


class Contestant:
    """A loop that takes part; `make` imports what it needs and gives a factory."""

    def __init__(self, name, make, version, *, network_only=False, binary=False):
        self.name = name
        self._make = make
        self._version = version
        self.network_only = network_only  # differs from its base in transports only
        self.binary = binary  # not a Python loop: the plain C server

    def factory(self):
        """The callable that makes a new loop; NotInstalled when it cannot."""
        try:
            return self._make()
        except ImportError as exc:
            raise NotInstalled(f"{self.name}: {exc}") from exc

    def version(self):
        """A version to write beside the results, or None."""
        try:
            return self._version()
        except Exception:
            return None


def _import_cloop():
    """Import cloop from this tree if it was built here, else the installed one.

    In a fresh clone after `pip install .` the tree's cloop/ has no extension
    module, and would hide the installed package that has it.
    """
    if "cloop" in sys.modules:
        return sys.modules["cloop"]
    tree = os.path.join(ROOT, "cloop")
    built = any(
        os.path.exists(os.path.join(tree, "_cloop" + suffix))
        for suffix in importlib.machinery.EXTENSION_SUFFIXES
    )
    if built:
        return importlib.import_module("cloop")
    saved = sys.path[:]
    sys.path[:] = [p for p in saved if os.path.abspath(p or os.curdir) != ROOT]
    try:
        return importlib.import_module("cloop")
    finally:
        sys.path[:] = saved


def _stock():
    return asyncio.SelectorEventLoop


def _cloop():
    return _import_cloop().new_event_loop


def _factory_of(module):
    def make():
        return importlib.import_module(module).new_event_loop

    return make


def _aiofastnet():
    """aiofastnet replaces the transports of another loop: uvloop if it is here."""
    patch = importlib.import_module("aiofastnet").loop_factory
    try:
        base = importlib.import_module("uvloop").new_event_loop
    except ImportError:
        base = asyncio.SelectorEventLoop
    return patch(base)


def _c_server():
    raise ImportError("the plain C server is no event loop")


def _version_of(distribution):
    def version():
        from importlib import metadata

        return metadata.version(distribution)

    return version


def _cloop_version():
    return _import_cloop().__version__


CONTESTANTS = {
    c.name: c
    for c in (
        Contestant("stock", _stock, lambda: sys.version.split()[0]),
        Contestant("cloop", _cloop, _cloop_version),
        Contestant("uvloop", _factory_of("uvloop"), _version_of("uvloop")),
        Contestant("rloop", _factory_of("rloop"), _version_of("rloop")),
        Contestant("zuvloop", _factory_of("zuvloop"), _version_of("zuvloop")),
        Contestant("rsloop", _factory_of("rsloop"), _version_of("rsloop")),
        Contestant(
            "aiofastnet",
            _aiofastnet,
            _version_of("aiofastnet"),
            network_only=True,
        ),
        Contestant("c", _c_server, lambda: "epoll", network_only=True, binary=True),
    )
}


def choose(names):
    """(present, absent): contestants to run, and {name: why not} for the others.

    `names` is a list, or None for all that are installed.
    """
    unknown = [n for n in names or () if n not in CONTESTANTS]
    if unknown:
        raise SystemExit(
            f"unknown loop {unknown[0]!r}; known are {', '.join(CONTESTANTS)}"
        )
    present, absent = [], {}
    for name in names or CONTESTANTS:
        contestant = CONTESTANTS[name]
        if not contestant.binary:
            try:
                contestant.factory()
            except NotInstalled as exc:
                absent[name] = str(exc)
                continue
        present.append(contestant)
    return present, absent
