"""Counting what rounds of something leave behind.

Each round runs a few times to warm up, then in batches; the counts after the batches
must be flat. Counted are allocated blocks (all builds), references (debug builds of
CPython: sys.gettotalrefcount) and descriptors.
"""

import gc
import os
import sys

# CPython's cache of attributes keeps up to 4,096 names, each as often as it was made.
_clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache


def counts():
    _clear_caches()
    gc.collect()
    gc.collect()
    return (
        sys.getallocatedblocks(),
        getattr(sys, "gettotalrefcount", int)(),
        len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0,
    )


def grows(loop, one_round, rounds, batches=5):
    """What grew in every batch: (blocks, references, descriptors) a batch, or None."""
    history = []
    for _ in range(batches):
        for _ in range(rounds):
            one_round(loop)
        history.append(counts())
    steps = [
        tuple(b - a for a, b in zip(before, after))
        for before, after in zip(history, history[1:])
    ]
    # less than one in each round is noise of CPython's caches
    least = tuple(min(column) for column in zip(*steps))
    if least[2] > 0 or any(step >= rounds for step in least[:2]):
        return least
    return None
