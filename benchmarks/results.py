"""Samples to medians and ratios, and the JSON that is kept.

A ratio is (the other's cost) / (the subject's cost) of the same round, so above 1 means
that the subject is better; the medians, smallest and largest are over the rounds.
"""

from __future__ import annotations

import datetime
import os
import platform
import statistics
import sys

SCHEMA = 1


def spread(values):
    """{"median", "min", "max", "rounds"} of some numbers, or None if there are none."""
    if not values:
        return None
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


class Row:
    """What one scenario gave: a sample or nothing for each loop in each round."""

    def __init__(self, scenario):
        self.scenario = scenario
        self.samples = {}  # loop -> [sample or None for each round]
        self.status = {}  # loop -> why there is no figure

    def add(self, loop, sample):
        self.samples.setdefault(loop, []).append(sample)

    def values(self, loop, key="value"):
        return [
            s[key] for s in self.samples.get(loop, ()) if s and s.get(key) is not None
        ]

    def ratios(self, subject, other, key="value"):
        """One ratio for each round in which both were measured."""
        pairs = zip(self.samples.get(subject, ()), self.samples.get(other, ()))
        return [
            b[key] / a[key] for a, b in pairs if a and b and a.get(key) and b.get(key)
        ]

    def wait_share(self):
        """The largest median share of time that a contestant waited for a core."""
        shares = [self.values(loop, "wait_share") for loop in self.samples]
        return max((statistics.median(s) for s in shares if s), default=None)

    def verdicts(self, subject, present):
        """(loop, target, median, met) for each target against a loop that took part."""
        found = []
        for loop, target in self.scenario.targets.items():
            if loop not in present or loop == subject:
                continue
            ratios = self.ratios(subject, loop)
            if ratios:
                median = statistics.median(ratios)
                found.append((loop, target, median, median >= target))
            elif not (loop in self.status and subject not in self.status):
                # The subject gave no figure: not met. That the other cannot do it at
                # all is no fault of the subject's.
                found.append((loop, target, None, False))
        return found

    def to_json(self, subject, present):
        item = self.scenario
        return {
            "family": item.family,
            "title": item.title,
            "unit": item.unit,
            "targets": item.targets,
            "samples": self.samples,
            "status": self.status,
            "cost": {loop: spread(self.values(loop)) for loop in self.samples},
            "ratios": {
                loop: spread(self.ratios(subject, loop))
                for loop in self.samples
                if loop != subject
            },
            "wait_share": self.wait_share(),
            "verdicts": [
                {"against": loop, "target": target, "median": median, "met": met}
                for loop, target, median, met in self.verdicts(subject, present)
            ],
        }


def growth(claim, rows, loop):
    """How cost(last) stands to cost(first) over the rounds of a Growth, or None.

    The spread of the quotients, and under "added" the median of the differences.
    """
    names = [name for name in claim.names if name in rows]
    if len(names) < len(claim.names):
        return None
    first, last = rows[names[0]], rows[names[-1]]
    pairs = zip(first.samples.get(loop, ()), last.samples.get(loop, ()))
    pairs = [(a["value"], b["value"]) for a, b in pairs if a and b and a["value"]]
    found = spread([large / small for small, large in pairs])
    if found:
        found["added"] = statistics.median(large - small for small, large in pairs)
    return found


def growth_to_json(claim, rows, present, subject):
    """A Growth with its verdict: within the limit, or no more ns than another loop.

    Larger populations miss the caches. That adds about the same time to every loop's
    operation, and so multiplies the cost of the fastest by most.
    """
    costs = {loop: growth(claim, rows, loop) for loop in present}
    mine = costs.get(subject)
    others = [c["added"] for loop, c in costs.items() if c and loop != subject]
    return {
        "title": claim.title,
        "scenarios": claim.names,
        "limit": claim.limit,
        "growth": costs,
        "met": None
        if mine is None
        else mine["median"] <= claim.limit or mine["added"] <= max(others, default=0),
    }


def machine():
    """What a reader must know of the machine."""
    model = ""
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    model = line.partition(":")[2].strip()
                    break
    except OSError:
        pass
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": sys.version.split()[0],
        "load": list(os.getloadavg()),
    }


def collect(rows, growths, *, subject, loops, absent, rounds, settings):
    """The whole run as JSON."""
    present = list(loops)
    return {
        "schema": SCHEMA,
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat("T", "seconds"),
        "subject": subject,
        "loops": loops,
        "absent": absent,
        "machine": machine(),
        "settings": {
            "rounds": rounds,
            "quick": settings.quick,
            "gc": settings.gc,
            "min_time_s": settings.min_time_s,
            "duration_s": settings.duration_s,
        },
        "scenarios": {n: row.to_json(subject, present) for n, row in rows.items()},
        "growth": [
            found
            for found in (growth_to_json(g, rows, present, subject) for g in growths)
            if any(found["growth"].values())
        ],
    }


def misses(data):
    """Sentences for every stated target of this run that was not met."""
    said = []
    for name, row in data["scenarios"].items():
        for verdict in row["verdicts"]:
            if verdict["met"]:
                continue
            against, target = verdict["against"], verdict["target"]
            if verdict["median"] is None:
                why = row["status"].get(data["subject"], "no figure")
                said.append(f"{name}: {why} (target {target:g}x {against})")
            else:
                median = verdict["median"]
                said.append(f"{name}: {median:.2f}x {against}, target {target:g}x")
    for claim in data["growth"]:
        if claim["met"] is False:
            grown = claim["growth"][data["subject"]]["median"]
            said.append(
                f"{claim['title']}: cost grew {grown:.2f}x, limit {claim['limit']:g}x"
            )
    return said
