"""The command line: which scenarios and loops, how many rounds, what becomes of it."""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
import time

from benchmarks import loops, report, results, scenario


def select(items, *, only=None, families=None, quick=False, everything=False):
    """The scenarios that a run measures, in the order of the register."""
    chosen = []
    for item in items:
        if only and not any(fnmatch.fnmatchcase(item.name, g) for g in only):
            continue
        if families and item.family not in families:
            continue
        if not scenario.supported_here(item) or (quick and item.heavy):
            continue
        if getattr(item, "extra", False) and not (everything or only):
            continue
        chosen.append(item)
    return chosen


def takes_part(contestant, item):
    """Contestants that differ from their base in transports only sit out the rest."""
    return item.network or not contestant.network_only


def one_round(row, contestants, settings, tell):
    """One sample of each contestant, one after another: A B C."""
    item = row.scenario
    for contestant in contestants:
        name = contestant.name
        if name in row.status:
            continue
        tell(f"{item.name} {name}")
        try:
            row.add(name, item.measure(contestant, settings))
        except scenario.NotSupported as exc:
            row.status[name] = f"not supported: {exc}"
        except (scenario.Failed, OSError) as exc:
            row.add(name, None)
            if not any(row.samples[name][:-1]):
                row.status[name] = f"failed: {exc}"


def measure(items, contestants, rounds, settings, tell=lambda text: None):
    """All rounds of all scenarios: {name: Row}."""
    rows = {}
    for i, item in enumerate(items, 1):
        row = rows[item.name] = results.Row(item)
        mine = [c for c in contestants if takes_part(c, item)]
        for number in range(1, rounds + 1):
            place = f"[{i}/{len(items)}] round {number}/{rounds}"
            one_round(row, mine, settings, lambda text, at=place: tell(f"{at} {text}"))
    return rows


def teller(stream):
    """A function that shows progress on a terminal and is silent elsewhere."""
    if not stream.isatty():
        return lambda text: None

    def tell(text):
        stream.write(f"\r\x1b[K{text[:100]}")
        stream.flush()

    return tell


def parse(argv):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure asyncio event loops against each other, interleaved.",
    )
    parser.add_argument("--rounds", type=int, help="default 7, with --quick 1")
    parser.add_argument(
        "--quick", action="store_true", help="a moment each: a smoke test"
    )
    parser.add_argument("--only", metavar="GLOB,..", help="scenarios by name")
    parser.add_argument("--family", metavar="NAME,..", help="scenarios by family")
    parser.add_argument("--all", action="store_true", help="the whole echo matrix too")
    parser.add_argument("--loops", metavar="NAME,..", help="default: all installed")
    parser.add_argument("--subject", default="cloop", help="whom ratios are about")
    parser.add_argument("--no-gc", action="store_true", help="collector off, for all")
    parser.add_argument(
        "--no-pin", action="store_true", help="leave cores to the kernel"
    )
    parser.add_argument("--json", metavar="FILE", help="save the run")
    parser.add_argument("--markdown", metavar="FILE", help="save the report")
    parser.add_argument("--plots", metavar="FOLDER", help="draw charts (matplotlib)")
    parser.add_argument("--check", action="store_true", help="exit 1 below a target")
    parser.add_argument(
        "--list", action="store_true", help="list scenarios and targets"
    )
    return parser.parse_args(argv)


def names(text):
    return [part for part in text.split(",") if part] if text else None


def show(items):
    for item in items:
        wanted = ", ".join(f"{t:g}x {loop}" for loop, t in item.targets.items())
        print(
            f"{item.name:30} {item.family:12} {item.title}"
            + f"  [{wanted}]" * bool(wanted)
        )


def save(path, text):
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(path, "w") as file:
        file.write(text)


def main(argv=None):
    args = parse(argv)
    items = select(
        scenario.load().values(),
        only=names(args.only),
        families=names(args.family),
        quick=args.quick,
        everything=args.all,
    )
    if args.list:
        show(items)
        return 0
    if not items:
        print("no scenario is called so; see --list", file=sys.stderr)
        return 2
    present, absent = loops.choose(names(args.loops))
    for why in absent.values():
        print(f"left out: {why}", file=sys.stderr)
    if args.subject not in {c.name for c in present}:
        print(f"{args.subject} is not among the loops of this run", file=sys.stderr)
        return 2
    settings = scenario.Settings(
        quick=args.quick, gc=not args.no_gc, pin=not args.no_pin
    )
    rounds = args.rounds or (1 if args.quick else 7)
    tell = teller(sys.stderr)
    began = time.monotonic()
    rows = measure(items, present, rounds, settings, tell)
    tell("")
    data = results.collect(
        rows,
        scenario.GROWTHS,
        subject=args.subject,
        loops={c.name: c.version() for c in present},
        absent=absent,
        rounds=rounds,
        settings=settings,
    )
    text = report.markdown(data)
    print(text)
    print(f"{len(rows)} scenarios in {time.monotonic() - began:.0f} s", file=sys.stderr)
    if args.json:
        save(args.json, json.dumps(data, indent=1) + "\n")
    if args.markdown:
        save(args.markdown, text)
    if args.plots:
        from benchmarks import plots

        stem = os.path.splitext(os.path.basename(args.json or "run"))[0]
        try:
            plots.draw(data, args.plots, stem)
        except ImportError:
            print("no plots: matplotlib is not installed", file=sys.stderr)
    if args.check:
        missed = results.misses(data)
        failed = [n for n, r in rows.items() if args.subject in r.status]
        return 1 if missed or failed else 0
    return 0
