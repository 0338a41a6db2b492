"""Bar charts of a saved run; needs matplotlib.

python -m benchmarks.plots benchmarks/results/NAME.json [FOLDER]
"""

from __future__ import annotations

import json
import os
import sys

_COLOURS = {
    "stock": "#9aa5b1",
    "uvloop": "#f0a23c",
    "rloop": "#b56576",
    "zuvloop": "#6d597a",
    "rsloop": "#8d6e63",
    "aiofastnet": "#5b8e7d",
    "c": "#333333",
}


def draw(data, folder, stem):
    """One SVG for each family that has ratios: the paths written."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    families = {}
    for row in data["scenarios"].values():
        if any(row["ratios"].values()):
            families.setdefault(row["family"], []).append(row)
    os.makedirs(folder, exist_ok=True)
    paths = []
    for family, rows in families.items():
        loops = [n for n in data["loops"] if any(r["ratios"].get(n) for r in rows)]
        rows = rows[::-1]  # barh draws upward
        height = 0.8 / len(loops)
        figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.45 * len(rows)))
        for i, loop in enumerate(loops):
            shown = [
                (y, r["ratios"][loop])
                for y, r in enumerate(rows)
                if r["ratios"].get(loop)
            ]
            medians = [s["median"] for _, s in shown]
            axes.barh(
                [y + 0.4 - (i + 0.5) * height for y, _ in shown],
                medians,
                height,
                xerr=[
                    [s["median"] - s["min"] for _, s in shown],
                    [s["max"] - s["median"] for _, s in shown],
                ],
                color=_COLOURS.get(loop, "#4477aa"),
                error_kw={"elinewidth": 0.7, "alpha": 0.6},
                label=f"{loop} {data['loops'][loop] or ''}",
            )
        axes.axvline(1.0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(rows)), [r["title"] for r in rows], fontsize=8)
        axes.set_xlabel(
            f"cost of the other / cost of {data['subject']} (more is better)"
        )
        axes.set_title(f"{family}, Python {data['machine']['python']}", fontsize=10)
        axes.legend(fontsize=8)
        figure.tight_layout()
        path = os.path.join(folder, f"{stem}-{family}.svg")
        figure.savefig(path, metadata={"Date": None})
        pyplot.close(figure)
        paths.append(path)
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
