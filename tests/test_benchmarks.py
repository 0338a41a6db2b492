"""The benchmarks: every scenario runs for a moment, and the arithmetic is right.

What is measured here says nothing about speed; that is for `python -m benchmarks`.
"""

import glob
import json
import os
import shutil
import socket
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if ROOT not in sys.path:
    sys.path.append(ROOT)

from benchmarks import (  # noqa: E402
    isolate,
    loops,
    net,
    report,
    results,
    run,
    scenario,
    worker,
)

SCENARIOS = scenario.load()
CORE = [s for s in SCENARIOS.values() if isinstance(s, scenario.CoreScenario)]
NET = [s for s in SCENARIOS.values() if isinstance(s, net.NetScenario)]
LIGHT = {s.name for s in CORE if not s.heavy}

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CC", "cc").split()[0]) is None,
    reason="the load generator needs a C compiler",
)


def command(*args, timeout=50):
    """Run a module of this package: (returncode, stdout, stderr)."""
    done = subprocess.run(
        isolate.python(*args),
        cwd=ROOT,
        env=isolate.environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return done.returncode, done.stdout, done.stderr


# ---- every scenario runs ----


@pytest.mark.parametrize("loop", ["stock", "cloop"])
def test_core_scenarios_run(loop):
    code, out, err = command(
        "benchmarks.worker",
        *("--loop", loop, "--scenario", "*", "--light"),
        *("--min-time", "0.0001", "--samples", "1"),
    )
    assert code == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert {line["scenario"] for line in lines} == LIGHT
    assert [line for line in lines if line["status"] == "failed"] == []
    for line in lines:
        assert line["loop"] == loop
        if line["status"] == "ok":
            assert 0 < line["value"] <= line["worst"]
            assert line["n"] >= 1
        else:
            newer = not scenario.supported_here(SCENARIOS[line["scenario"]])
            assert newer or (loop == "cloop" and line["message"])


def kinds_once():
    """One scenario of each kind, transport, mode, and lock-step or pipelined."""
    seen = {}
    for item in NET:
        seen.setdefault((item.kind, item.transport, item.mode, item.depth > 1), item)
    return list(seen.values())


@needs_compiler
@pytest.mark.parametrize("loop", ["stock", "cloop", "c"])
@pytest.mark.parametrize("item", kinds_once(), ids=lambda item: item.name)
def test_net_scenario_runs(item, loop):
    settings = scenario.Settings(quick=True)
    settings.warmup_s, settings.duration_s = 0.01, 0.05
    try:
        sample = item.measure(loops.CONTESTANTS[loop], settings)
    except scenario.NotSupported as exc:
        pytest.skip(str(exc))
    if item.mode == "hold":
        assert sample["connections"] == 100
    else:
        assert sample["value"] >= 0
        assert sample["requests"] > 0
        assert sample["errors"] == 0
        assert sample["latency_us"]["p50"] <= sample["latency_us"]["max"]


@needs_compiler
@pytest.mark.parametrize("loop", ["stock", "cloop", "c"])
@pytest.mark.parametrize(
    "kind, transport",
    [
        ("protocol", "tcp"),
        ("buffered", "tcp"),
        ("streams_read", "tcp"),
        ("sock", "tcp"),
        ("protocol", "tls"),
        ("buffered", "tls"),
        ("streams_read", "tls"),
    ],
)
def test_echo_is_exact(kind, transport, loop):
    """The generator compares every byte; requests are larger than socket buffers."""
    item = net.NetScenario(
        "exact",
        "echo",
        "",
        kind,
        transport=transport,
        request=300_001,
        connections=3,
        depth=3,
    )
    settings = scenario.Settings(quick=True)
    argv = item._load_argv
    item._load_argv = lambda *args: [*argv(*args), "--verify"]
    try:
        assert item.measure(loops.CONTESTANTS[loop], settings)["requests"] > 0
    except scenario.NotSupported as exc:
        pytest.skip(str(exc))


@needs_compiler
@pytest.mark.parametrize(
    "address", ["tcp:192.0.2.1:80", "udp:192.0.2.1:9", "tcp:localhost:1"]
)
def test_load_goes_to_loopback_addresses_only(address):
    done = subprocess.run(
        [net.program("loadgen"), "--to", address],
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 2
    assert "loopback" in done.stderr or "bad address" in done.stderr


@needs_compiler
def test_load_ends_when_nobody_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = subprocess.run(
            [net.program("loadgen"), "--to", f"tcp:127.0.0.1:{port}"]
            + ["--warmup", "0.01", "--duration", "0.1"],
            capture_output=True,
            text=True,
            timeout=20,
        )
    assert done.returncode == 0
    assert json.loads(done.stdout)["requests"] == 0


@needs_compiler
def test_without_openssl_tls_is_not_supported(monkeypatch, tmp_path):
    """A machine that has no libssl-dev says so, and measures the rest."""
    (tmp_path / "openssl").mkdir()
    for header in ("ssl.h", "err.h"):
        (tmp_path / "openssl" / header).write_text("#error no openssl/ssl.h here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CPATH", str(tmp_path))
    net.program.cache_clear()
    try:
        assert os.path.exists(net.program("loadgen"))
        for contestant in ("cloop", "c"):
            with pytest.raises(scenario.NotSupported, match="libssl-dev"):
                SCENARIOS["tls_protocol_1k"].measure(
                    loops.CONTESTANTS[contestant], scenario.Settings(quick=True)
                )
    finally:
        net.program.cache_clear()


@needs_compiler
def test_resumed_handshakes_are_counted():
    """A server that gives no tickets is no contestant in resumption."""
    item = SCENARIOS["tls_handshake_resumed"]
    settings = scenario.Settings(quick=True)
    try:
        sample = item.measure(loops.CONTESTANTS["stock"], settings)
    except scenario.NotSupported as exc:
        pytest.skip(str(exc))
    assert sample["requests"] > 0
    full = SCENARIOS["tls_handshake_full"]
    full.resume, argv = True, full._load_argv
    full._load_argv = lambda *args: [a for a in argv(*args) if a != "--resume"]
    try:
        with pytest.raises(scenario.Failed, match=r"0 of .* resumed"):
            full.measure(loops.CONTESTANTS["stock"], settings)
    finally:
        full.resume = False
        del full._load_argv


# ---- the register ----


def test_targets_are_about_known_contestants():
    targets = [t for s in SCENARIOS.values() for t in s.targets.items()]
    assert {loop for loop, _ in targets} <= set(loops.CONTESTANTS) - {"cloop"}
    assert all(ratio > 0 for _, ratio in targets)


def test_growth_claims_name_scenarios():
    assert scenario.GROWTHS
    for claim in scenario.GROWTHS:
        assert all(name in SCENARIOS for name in claim.names)
        assert len(claim.names) > 2


def test_scenario_names_are_unique():
    with pytest.raises(ValueError, match="two scenarios"):
        scenario.core("x", "x", name="spawn")(lambda loop, n: 0.0)


def test_select():
    def names(**kwargs):
        return [s.name for s in run.select(SCENARIOS.values(), **kwargs)]

    assert names(only=["spawn"]) == ["spawn"]
    assert set(names(families=["sockets"])) == {
        s.name for s in SCENARIOS.values() if s.family == "sockets"
    }
    assert "timers_cancel_100k" in names()
    assert "timers_cancel_100k" not in names(quick=True)
    assert "echo_buffered_64_c10" not in names()
    assert "echo_buffered_64_c10" in names(everything=True)
    assert names(only=["nothing like this"]) == []


def test_unknown_loop():
    with pytest.raises(SystemExit, match="unknown loop 'nope'"):
        loops.choose(["nope"])


# ---- arithmetic ----


class Fake(scenario.Scenario):
    """Gives prepared figures; None is a failure, a string is "not supported"."""

    def __init__(self, figures, targets, name="fake"):
        super().__init__(name, "family", "title", "ns", targets)
        self.figures = {loop: iter(values) for loop, values in figures.items()}

    def measure(self, contestant, settings):
        value = next(self.figures[contestant.name])
        if isinstance(value, str):
            raise scenario.NotSupported(value)
        if value is None:
            raise scenario.Failed("broken")
        return {"value": value, "wait_share": 0.01}


def fake_run(figures, targets, rounds):
    settings = scenario.Settings(quick=True)
    present = [loops.CONTESTANTS[name] for name in figures]
    rows = run.measure([Fake(figures, targets)], present, rounds, settings)
    return results.collect(
        rows,
        [],
        subject="cloop",
        loops={name: "1" for name in figures},
        absent={},
        rounds=rounds,
        settings=settings,
    )


def test_ratios_are_taken_within_rounds():
    data = fake_run(
        {"stock": [100.0, 900.0, 40.0], "cloop": [50.0, 300.0, 10.0]},
        {"stock": 3.0, "uvloop": 2.0},
        3,
    )
    row = data["scenarios"]["fake"]
    ratios = row["ratios"]["stock"]
    assert ratios == {"median": 3.0, "min": 2.0, "max": 4.0, "rounds": 3}
    assert row["cost"]["cloop"]["median"] == 50.0
    # uvloop took no part: its target is neither met nor missed.
    assert row["verdicts"] == [
        {"against": "stock", "target": 3.0, "median": 3.0, "met": True}
    ]
    assert results.misses(data) == []
    assert json.loads(json.dumps(data)) == data


def test_a_missed_target_is_reported():
    data = fake_run({"stock": [29.0], "cloop": [10.0]}, {"stock": 3.0}, 1)
    assert results.misses(data) == ["fake: 2.90x stock, target 3x"]
    assert "2.90 (2.90-2.90) ✗ 3" in report.markdown(data)


def test_a_failed_round_leaves_the_others():
    data = fake_run(
        {"stock": [20.0, 20.0, 20.0], "cloop": [10.0, None, 5.0]}, {"stock": 2.0}, 3
    )
    row = data["scenarios"]["fake"]
    assert row["ratios"]["stock"]["rounds"] == 2
    assert row["ratios"]["stock"]["median"] == 3.0
    assert row["samples"]["cloop"][1] is None
    assert row["status"] == {}


def test_a_contestant_that_always_fails_is_not_asked_again():
    data = fake_run({"stock": [20.0, 20.0], "cloop": [None]}, {"stock": 2.0}, 2)
    assert data["scenarios"]["fake"]["status"] == {"cloop": "failed: broken"}
    assert results.misses(data) == ["fake: failed: broken (target 2x stock)"]
    assert "fake, cloop: failed: broken" in report.markdown(data)


def test_not_supported_by_the_subject_is_a_miss():
    data = fake_run(
        {"stock": [1.0], "cloop": ["not yet"], "uvloop": ["never"]},
        {"stock": 2.0, "uvloop": 2.0},
        1,
    )
    assert results.misses(data) == [
        "fake: not supported: not yet (target 2x stock)",
        "fake: not supported: not yet (target 2x uvloop)",
    ]


def test_not_supported_by_the_other_is_no_miss():
    data = fake_run({"uvloop": ["never"], "cloop": [1.0]}, {"uvloop": 2.0}, 1)
    assert results.misses(data) == []
    assert "not supported" in report.markdown(data)


def test_growth():
    claim = scenario.Growth("cost", ["a", "b"], 2.0)
    rows = {}
    for name, values in (("a", [10.0, 20.0, 10.0]), ("b", [15.0, 20.0, 40.0])):
        rows[name] = results.Row(Fake({}, {}, name))
        for value in values:
            rows[name].add("cloop", {"value": value})
    found = results.growth(claim, rows, "cloop")
    assert found == {"median": 1.5, "min": 1.0, "max": 4.0, "rounds": 3, "added": 5.0}
    assert results.growth_to_json(claim, rows, ["cloop"], "cloop")["met"] is True
    assert results.growth(claim, {"a": rows["a"]}, "cloop") is None


def test_growth_may_add_what_it_adds_to_others():
    claim = scenario.Growth("cost", ["a", "b"], 2.0)

    def met(**costs):
        rows = {name: results.Row(Fake({}, {}, name)) for name in "ab"}
        for loop, (small, large) in costs.items():
            rows["a"].add(loop, {"value": small})
            rows["b"].add(loop, {"value": large})
        return results.growth_to_json(claim, rows, list(costs), "cloop")["met"]

    assert met(cloop=(10.0, 30.0)) is False
    assert met(cloop=(10.0, 30.0), stock=(100.0, 119.0)) is False
    assert met(cloop=(10.0, 30.0), stock=(100.0, 121.0)) is True
    assert met(stock=(100.0, 900.0)) is None


def test_calibration_reaches_the_wanted_time():
    asked = []

    def measure(n):
        asked.append(n)
        return n * 1e-3

    n, elapsed = worker.calibrate(measure, 0.1)
    assert elapsed >= 0.1
    assert n == asked[-1] < 1000
    assert asked[0] == 1
    assert all(b <= a * 8 + 1 for a, b in zip(asked, asked[1:]))


@pytest.mark.parametrize(
    "value, unit, text",
    [
        (12.3, "ns", "12.3 ns"),
        (1234.0, "CPU ns", "1.23 us"),
        (2.5e6, "ns", "2.5 ms"),
        (2048, "bytes", "2.00 KiB"),
    ],
)
def test_cost_text(value, unit, text):
    assert report.cost_text(value, unit) == text


# ---- the command ----


def test_the_command(tmp_path):
    saved = tmp_path / "run.json"
    code, out, err = command(
        "benchmarks",
        *("--quick", "--rounds", "2", "--only", "call_soon_batch,future_done"),
        *("--loops", "stock,cloop", "--json", saved),
    )
    assert code == 0, err
    assert "| callbacks | cloop | x stock | waited |" in out
    data = json.loads(saved.read_text())
    assert data["schema"] == results.SCHEMA
    assert data["settings"]["rounds"] == 2
    assert set(data["loops"]) == {"stock", "cloop"}
    assert set(data["scenarios"]) == {"call_soon_batch", "future_done"}
    row = data["scenarios"]["call_soon_batch"]
    assert row["targets"] == {"stock": 4.0, "uvloop": 1.8}
    assert [len(samples) for samples in row["samples"].values()] == [2, 2]
    assert row["ratios"]["stock"]["rounds"] == 2


def test_the_command_refuses():
    assert command("benchmarks", "--only", "no_such")[0] == 2
    assert command("benchmarks", "--loops", "stock", "--only", "spawn")[0] == 2


def test_the_command_lists():
    code, out, _ = command("benchmarks", "--list")
    assert code == 0
    assert "call_soon_chain" in out
    assert "[6x stock, 2.5x uvloop]" in out


def test_committed_results_are_readable():
    for path in glob.glob(os.path.join(ROOT, "benchmarks", "results", "*.json")):
        with open(path) as file:
            data = json.load(file)
        assert data["schema"] == results.SCHEMA
        assert report.markdown(data)
