"""Seeded random programs give the same trace on stock and on the loop under test.

python -m pytest tests/differential                    the seeds of every run
python tests/differential/run.py --seeds 0-100000      as many as wanted
python tests/differential/run.py --seed 1234           one, with both traces
"""

import asyncio

import pytest
from program import run_seed

STOCK = {"Future": asyncio.Future, "Task": asyncio.Task}

SEEDS_PER_BLOCK = 100
BLOCKS = list(range(8)) + [
    pytest.param(block, marks=pytest.mark.slow) for block in range(8, 30)
]


def classes_of(impl):
    return {"Future": impl.Future, "Task": impl.Task}


@pytest.mark.parametrize("block", BLOCKS)
def test_same_trace(impl, block):
    if not impl.is_cloop and block > 1:
        pytest.skip("stock against itself needs no more")
    for seed in range(block * SEEDS_PER_BLOCK, (block + 1) * SEEDS_PER_BLOCK):
        expected = run_seed(asyncio.SelectorEventLoop, seed, STOCK)
        found = run_seed(impl.new_event_loop, seed, classes_of(impl))
        assert found == expected, "seed %d" % seed


def test_same_trace_in_debug_mode(impl):
    for seed in range(50):
        expected = run_seed(asyncio.SelectorEventLoop, seed, STOCK, debug=True)
        found = run_seed(impl.new_event_loop, seed, classes_of(impl), debug=True)
        assert found == expected, "seed %d" % seed


def test_traces_are_worth_comparing():
    lengths = [
        len(run_seed(asyncio.SelectorEventLoop, seed, STOCK)) for seed in range(20)
    ]
    assert sum(lengths) / len(lengths) > 50
