"""One measurement in one fresh process; prints a line of JSON for each scenario.

python -m benchmarks.worker --loop cloop --scenario call_soon_chain
"""

from __future__ import annotations

import argparse
import asyncio
import fnmatch
import gc
import inspect
import json
import sys

from benchmarks import isolate, loops, scenario

_MAX_GROWTH = 8  # a calibration step multiplies n by this at most
_MAX_N = 1 << 40


def _close(loop):
    """Close as asyncio.run does, so that no task or executor thread is left."""
    try:
        tasks = [t for t in asyncio.all_tasks(loop) if not t.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        if hasattr(loop, "shutdown_default_executor"):
            loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()


def once(factory, item, n):
    """One run of a scenario on a loop of its own: the seconds it says it took."""
    function = item.function
    if item.bare:
        return function(factory, n)
    loop = factory()
    try:
        if inspect.iscoroutinefunction(function):
            return loop.run_until_complete(function(loop, n))
        return function(loop, n)
    finally:
        _close(loop)


def calibrate(measure, min_time_s):
    """The smallest n found whose run lasts at least `min_time_s`, and that run."""
    n = 1
    while True:
        elapsed = measure(n)
        if elapsed >= min_time_s or n >= _MAX_N:
            return n, elapsed
        wanted = min_time_s * 1.2 / max(elapsed, 1e-9)
        n = max(n + 1, int(n * min(wanted, _MAX_GROWTH)))


def measure(contestant, item, *, min_time_s, samples, with_gc=True):
    """Calibrate, then take the best of `samples` runs: noise only ever adds."""
    factory = contestant.factory()

    def run(n):
        gc.collect()
        return once(factory, item, n)

    isolate.prime()
    (gc.enable if with_gc else gc.disable)()
    n, first = calibrate(run, min_time_s)
    clock = isolate.Clock()
    runs = [run(n) for _ in range(samples)] or [first]
    wait_share = clock.wait_share()
    per_op = 1e9 / (n * item.ops)
    return {
        "value": min(runs) * per_op,
        "worst": max(runs) * per_op,
        "n": n,
        "ops": item.ops,
        "wait_share": wait_share,
    }


def answer(contestant, item, **kwargs):
    """The line printed for one scenario: as `measure`, with a status; never raises."""
    line = {"loop": contestant.name, "scenario": item.name, "status": "ok"}
    try:
        if not scenario.supported_here(item):
            raise scenario.NotSupported(
                "needs Python " + ".".join(map(str, item.since))
            )
        line.update(measure(contestant, item, **kwargs))
    except (NotImplementedError, scenario.NotSupported, loops.NotInstalled) as exc:
        line.update(status="not supported", message=str(exc) or type(exc).__name__)
    except Exception as exc:
        line.update(status="failed", message=f"{type(exc).__name__}: {exc}")
    return line


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.worker")
    parser.add_argument("--loop", required=True, choices=list(loops.CONTESTANTS))
    parser.add_argument("--scenario", required=True, metavar="GLOB")
    parser.add_argument("--min-time", type=float, default=0.15)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--gc", choices=["on", "off"], default="on")
    parser.add_argument("--light", action="store_true", help="leave out heavy ones")
    args = parser.parse_args(argv)

    items = [
        item
        for item in scenario.load().values()
        if isinstance(item, scenario.CoreScenario)
        and fnmatch.fnmatchcase(item.name, args.scenario)
        and not (args.light and item.heavy)
    ]
    for item in items:
        line = answer(
            loops.CONTESTANTS[args.loop],
            item,
            min_time_s=args.min_time,
            samples=args.samples,
            with_gc=args.gc == "on",
        )
        print(json.dumps(line), flush=True)
    return 0 if items else 2


if __name__ == "__main__":
    sys.exit(main())
