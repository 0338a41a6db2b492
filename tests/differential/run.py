"""Compares stock and cloop over seeds, outside pytest; see test_differential.py."""

import argparse
import asyncio
import difflib
import logging
import sys
import time

from program import run_seed

import cloop

STOCK = {"Future": asyncio.Future, "Task": asyncio.Task}
CLOOP = {"Future": cloop.Future, "Task": cloop.Task}


def traces(seed, debug):
    return (
        run_seed(asyncio.SelectorEventLoop, seed, STOCK, debug),
        run_seed(cloop.new_event_loop, seed, CLOOP, debug),
    )


def show(seed, debug):
    stock, ours = traces(seed, debug)
    if stock == ours:
        print("\n".join(stock))
        print("seed %d: the same, %d lines" % (seed, len(stock)))
        return 0
    print("\n".join(difflib.unified_diff(stock, ours, "stock", "cloop", lineterm="")))
    return 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0-1000", metavar="FIRST-END")
    parser.add_argument("--seed", type=int, help="one seed, with its trace")
    parser.add_argument("--debug", action="store_true", help="loops in debug mode")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    if options.seed is not None:
        return show(options.seed, options.debug)
    first, end = map(int, options.seeds.split("-"))
    different = []
    began = time.monotonic()
    for seed in range(first, end):
        stock, ours = traces(seed, options.debug)
        if stock != ours:
            different.append(seed)
            print("seed %d differs" % seed, flush=True)
    print(
        "%d seeds, %d differ, %.1f s"
        % (end - first, len(different), time.monotonic() - began)
    )
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
