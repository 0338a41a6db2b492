"""The register of scenarios, and how one in-process scenario is measured.

A scenario's cost is always "smaller is better" (ns per operation, CPU ns per request,
bytes per connection), so the ratio of another contestant's cost to cloop's says how
many times better cloop is. The targets stand beside each scenario, in the decorator.
"""

from __future__ import annotations

import importlib
import json
import sys

from benchmarks import isolate

MODULES = (
    "bench_callbacks",
    "bench_timers",
    "bench_tasks",
    "bench_trees",
    "bench_sync",
    "bench_lifecycle",
    "bench_sockops",
    "bench_flat",
    "bench_spawn",
    "bench_echo",
    "bench_streams",
    "bench_datagrams",
    "bench_bulk",
    "bench_connections",
    "bench_http",
    "bench_tls",
)

SCENARIOS = {}  # name -> Scenario, in the order of the report
GROWTHS = []  # Growth


class NotSupported(Exception):
    """The contestant (or this Python) has no such function: no fault, no figure."""


class Failed(Exception):
    """The measurement went wrong; the message says how."""


class Settings:
    """How long and how often to measure, and with which cores."""

    def __init__(self, *, quick=False, gc=True, pin=True):
        self.quick = quick
        self.gc = gc
        self.min_time_s = 0.005 if quick else 0.15
        self.samples = 1 if quick else 3
        self.warmup_s = 0.05 if quick else 0.3
        self.duration_s = 0.15 if quick else 1.0
        self.timeout_s = 120.0
        self.server_core, self.load_core = isolate.cores() if pin else (None, None)


class Scenario:
    """One thing measured: a name, a unit, and the ratios that must be reached."""

    network = False  # needs transports, so contestants that differ there take part

    def __init__(self, name, family, title, unit, targets, *, heavy=False, since=None):
        self.name = name
        self.family = family
        self.title = title
        self.unit = unit
        self.targets = targets
        self.heavy = heavy  # left out of --quick
        self.since = since  # the first Python version that has it

    def measure(self, contestant, settings):
        """One sample as a dict with at least "value"; NotSupported or Failed else."""
        raise NotImplementedError


class CoreScenario(Scenario):
    """Measured inside one fresh interpreter, by `benchmarks.worker`."""

    def __init__(self, function, ops, *, bare=False, **kwargs):
        super().__init__(unit="ns", **kwargs)
        self.function = function
        self.ops = ops
        self.bare = bare  # takes the loop's factory instead of a loop

    def measure(self, contestant, settings):
        argv = isolate.python(
            "benchmarks.worker",
            "--loop", contestant.name,
            "--scenario", self.name,
            "--min-time", settings.min_time_s,
            "--samples", settings.samples,
            "--gc", "on" if settings.gc else "off",
        )  # fmt: skip
        code, out, err = isolate.run(
            argv, core=settings.server_core, timeout_s=settings.timeout_s
        )
        if code is None:
            raise Failed(f"no answer in {settings.timeout_s:.0f} s")
        try:
            sample = json.loads(out.strip().rpartition("\n")[2])
        except ValueError:
            tail = err.strip().rpartition("\n")[2]
            raise Failed(f"worker ended with {code}: {tail}") from None
        if sample["status"] == "not supported":
            raise NotSupported(sample["message"])
        if sample["status"] != "ok":
            raise Failed(sample["message"])
        return sample


class Growth:
    """A claim about how the cost per operation grows over a row of scenarios."""

    def __init__(self, title, names, limit):
        self.title = title
        self.names = names  # smallest first
        self.limit = limit  # cost of the last over cost of the first, at most


def add(scenario):
    """Enter a scenario in the register."""
    if scenario.name in SCENARIOS:
        raise ValueError(f"two scenarios are called {scenario.name}")
    SCENARIOS[scenario.name] = scenario


def core(family, title, *, ops=1, name=None, heavy=False, since=None, bare=False,
         **targets):  # fmt: skip
    """Decorator: enter `function(loop, n)` as a scenario.

    It does n times `ops` operations and returns the seconds they took. A plain
    function gets a loop that does not run; a coroutine function runs on it; with
    `bare` the function gets the loop's factory instead. `targets` are the ratios that
    cloop must reach against the contestants so named.
    """

    def enter(function):
        add(
            CoreScenario(
                function,
                ops,
                bare=bare,
                name=name or function.__name__,
                family=family,
                title=title,
                targets=targets,
                heavy=heavy,
                since=since,
            )
        )
        return function

    return enter


def load():
    """Import every bench_*.py, and return the register."""
    for module in MODULES:
        importlib.import_module("benchmarks." + module)
    return SCENARIOS


def supported_here(scenario):
    return scenario.since is None or sys.version_info >= scenario.since
