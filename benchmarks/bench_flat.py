"""Does the cost of one operation stay what it was when there are many more of them?"""

from __future__ import annotations

from benchmarks.bench_tasks import switching
from benchmarks.bench_timers import churn, made_and_cancelled
from benchmarks.scenario import GROWTHS, Growth, core

_SIZES = {"10": 10, "1k": 1_000, "10k": 10_000, "100k": 100_000, "1m": 1_000_000}


def row(prefix, title, make, sizes, ops, limit):
    """Enter one scenario for each size, and the claim about the whole row."""
    names = []
    for label in sizes:
        name = f"{prefix}_{label}"
        size = _SIZES[label]
        core(
            "flatness",
            title.format(label),
            name=name,
            ops=ops or size,
            heavy=size > 1_000,
        )(make(size))
        names.append(name)
    GROWTHS.append(
        Growth(title.format("..".join(sizes[:1] + sizes[-1:])), names, limit)
    )


# log2(1M) / log2(1k) is 2: at most logarithmic.
row(
    "flat_cancel",
    "{} timers made and cancelled",
    made_and_cancelled,
    ["1k", "10k", "100k", "1m"],
    None,
    2.0,
)
row(
    "flat_churn",
    "timer churn among {}",
    churn,
    ["1k", "10k", "100k", "1m"],
    100,
    2.0,
)
# 100k tasks do not fit the caches that 10 tasks fit: every loop pays for those misses.
row(
    "flat_switch",
    "sleep(0) switching, {} tasks",
    switching,
    ["10", "1k", "10k", "100k"],
    None,
    5.0,
)
