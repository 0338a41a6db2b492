"""Charts of a saved run; needs matplotlib.

python -m benchmarks.plots benchmarks/results/NAME.json [FOLDER]
"""

from __future__ import annotations

import json
import os
import sys

_COLOURS = {
    "stock": "#7b8794",
    "uvloop": "#e8871e",
    "rloop": "#b5446e",
    "zuvloop": "#6d4c9f",
    "rsloop": "#8d6e63",
    "aiofastnet": "#2a9d6f",
    "c": "#222222",
}
_MARKS = {"stock": "s", "uvloop": "o", "c": "D"}


def _families(data):
    """{family: rows} of the scenarios that have ratios."""
    families = {}
    for row in data["scenarios"].values():
        if any(row["ratios"].values()):
            families.setdefault(row["family"], []).append(row)
    return families


def _chart(data, title, rows, path):
    """Writes one chart to path: a line a scenario, a mark a contestant."""
    from matplotlib import pyplot, ticker

    loops = [n for n in data["loops"] if any(r["ratios"].get(n) for r in rows)]
    figure, axes = pyplot.subplots(figsize=(10, 1.4 + 0.26 * len(rows)))
    for loop in loops:
        shown = [
            (y, r["ratios"][loop]) for y, r in enumerate(rows) if r["ratios"].get(loop)
        ]
        axes.errorbar(
            [s["median"] for _, s in shown],
            [y for y, _ in shown],
            xerr=[
                [s["median"] - s["min"] for _, s in shown],
                [s["max"] - s["median"] for _, s in shown],
            ],
            fmt=_MARKS.get(loop, "^"),
            markersize=5,
            elinewidth=1,
            alpha=0.85,
            color=_COLOURS.get(loop, "#4477aa"),
            label=f"{loop} {data['loops'][loop] or ''}",
        )
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.set_yticks(range(len(rows)), [r["title"] for r in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="both", linewidth=0.3)
    subject = data["subject"]
    axes.set_xlabel(
        f"how many times {subject}'s cost the other's is "
        f"(right of 1: {subject} is faster or smaller)",
        fontsize=8,
    )
    machine = data["machine"]
    axes.set_title(
        f"{title}; Python {machine['python']}, {data['when'][:10]}", fontsize=10
    )
    axes.legend(
        fontsize=8,
        ncols=len(loops),
        loc="upper left",
        bbox_to_anchor=(0, -0.5 / figure.get_figheight()),
        frameon=False,
    )
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    pyplot.close(figure)


def draw(data, folder, stem):
    """One SVG a family, and one of all scenarios that have a target: the paths."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = stem  # the same run gives the same file
    os.makedirs(folder, exist_ok=True)
    families = _families(data)
    charts = {
        f"{stem}-{family}.svg": (family, rows) for family, rows in families.items()
    }
    aimed = [r for rows in families.values() for r in rows if r["targets"]]
    if aimed:
        charts[f"{stem}.svg"] = (f"{data['subject']} beside other loops", aimed)
    paths = []
    for name, (title, rows) in charts.items():
        paths.append(os.path.join(folder, name))
        _chart(data, title, rows, paths[-1])
    return paths


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    if not 1 <= len(argv) <= 2:
        print(__doc__, file=sys.stderr)
        return 2
    with open(argv[0]) as file:
        data = json.load(file)
    folder = argv[1] if len(argv) == 2 else os.path.dirname(argv[0]) or os.curdir
    stem = os.path.splitext(os.path.basename(argv[0]))[0]
    try:
        paths = draw(data, folder, stem)
    except ImportError:
        print("plots need matplotlib: pip install matplotlib", file=sys.stderr)
        return 1
    print("\n".join(paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
