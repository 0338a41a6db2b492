"""The results as markdown: one table a family, one for growth, and what was missed."""

from __future__ import annotations

from benchmarks.results import misses

_WAITED = 0.02  # mark rows in which a contestant waited this share for a core


def cost_text(value, unit):
    """1234.5 ns -> "1.23 us"; bytes -> "1.31 KiB"."""
    if unit == "bytes":
        return f"{value / 1024:.2f} KiB"
    for limit, factor, name in ((1e3, 1, "ns"), (1e6, 1e3, "us"), (1e9, 1e6, "ms")):
        if value < limit:
            return f"{value / factor:.3g} {name}"
    return f"{value / 1e9:.3g} s"


def ratio_text(spread, target, met):
    text = f"{spread['median']:.2f} ({spread['min']:.2f}-{spread['max']:.2f})"
    if target is not None:
        text += f" {'✓' if met else '✗'} {target:g}"
    return text


def _row(row, others, subject):
    cells = [row["title"]]
    own = row["cost"].get(subject)
    if own:
        cells.append(cost_text(own["median"], row["unit"]))
    else:
        cells.append(_why(row["status"].get(subject)))
    verdicts = {v["against"]: v for v in row["verdicts"]}
    for loop in others:
        spread = row["ratios"].get(loop)
        if spread:
            verdict = verdicts.get(loop, {})
            cells.append(ratio_text(spread, verdict.get("target"), verdict.get("met")))
        elif loop in row["status"]:
            cells.append(_why(row["status"][loop]))
        elif row["cost"].get(loop):
            cells.append(cost_text(row["cost"][loop]["median"], row["unit"]))
        else:
            cells.append("-")
    share = row["wait_share"]
    waited = "" if share is None else f"{share:.1%}" + (" !" if share > _WAITED else "")
    return cells + [waited]


def _why(status):
    if not status:
        return "-"
    return "not supported" if status.startswith("not supported") else "failed"


def _table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def markdown(data):
    """The report of one run, as text."""
    subject = data["subject"]
    machine, settings = data["machine"], data["settings"]
    versions = ", ".join(f"{n} {v or ''}".strip() for n, v in data["loops"].items())
    lines = [
        f"{versions}; {machine['cpu']}, {machine['cores']} cores, Linux "
        f"{machine['kernel']}; {settings['rounds']} rounds, interleaved; "
        f"{data['when']}.",
        "",
        f"Figures beside {subject}'s cost are how many times that the other's cost is: "
        "median (smallest-largest) of the rounds' ratios, then the target where there "
        "is one. The last column is the largest share of time that a contestant waited "
        "for a core.",
    ]
    families = {}
    for row in data["scenarios"].values():
        families.setdefault(row["family"], []).append(row)
    for family, rows in families.items():
        others = [
            loop
            for loop in data["loops"]
            if loop != subject
            and any(loop in r["samples"] or loop in r["status"] for r in rows)
        ]
        head = [family, subject, *(f"x {loop}" for loop in others), "waited"]
        lines += ["", *_table(head, (_row(r, others, subject) for r in rows))]
    if data["growth"]:
        loops = list(data["loops"])
        loops = [n for n in loops if any(g["growth"].get(n) for g in data["growth"])]
        rows = []
        for claim in data["growth"]:
            cells = [f"{claim['title']}, at most {claim['limit']:g}x"]
            for loop in loops:
                spread = claim["growth"].get(loop)
                cells.append(
                    f"{spread['median']:.2f} ({spread['added']:+.0f} ns)"
                    if spread
                    else "-"
                )
            rows.append(cells)
        lines += ["", *_table(["growth of the cost per operation", *loops], rows)]
    failed = [
        f"{name}, {loop}: {why}"
        for name, row in data["scenarios"].items()
        for loop, why in row["status"].items()
        if not why.startswith("not supported")
    ]
    for title, said in (("Failed", failed), ("Below target", misses(data))):
        if said:
            lines += ["", f"{title}:", "", *(f"* {line}" for line in said)]
    return "\n".join(lines) + "\n"
