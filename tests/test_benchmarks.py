"""The benchmark harness: its arithmetic, the processes it watches, and the page it writes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import child, harness, report
from benchmarks.harness import Ratio, Reading, Result, Row


def readings(*walls: float) -> list[Reading]:
    return [Reading(wall, 2 * wall, int(wall * 1e6), load=wall) for wall in walls]


def test_a_row_is_the_median_with_the_spread_of_its_readings():
    row = harness.row("side", readings(4.0, 1.0, 2.0), amount=10)
    assert (row.seconds, row.cpu_seconds, row.peak_mb, row.spread, row.repeats) == (2.0, 4.0, 4.0, 4.0, 3)
    assert row.speed == 5.0


def test_a_ratio_compares_speeds_per_amount_not_times():
    ours, other = harness.row("a", readings(2.0), 100), harness.row("b", readings(1.0), 10)
    found = harness.ratio("a / b", ours, other, 5)
    assert found.value == pytest.approx(5.0)
    assert found.by_cpu == pytest.approx(5.0)
    assert found.verdict == "met"


@pytest.mark.parametrize(
    ("value", "bar", "most", "verdict"),
    [
        (0.49, 0.5, False, "**missed**"),
        (0.5, 0.5, False, "met"),
        (1.1, 1.1, True, "met"),
        (1.2, 1.1, True, "**missed**"),
        (9.0, None, False, "informative"),
    ],
)
def test_a_bar_is_met_or_missed(value: float, bar: float | None, most: bool, verdict: str):
    assert Ratio("claim", value, bar, most).verdict == verdict


def test_turns_alternate_and_the_first_round_is_not_timed():
    seen: list[str] = []
    found = child.in_turns({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, 2)
    assert seen == ["a", "b", "a", "b", "a", "b"]
    assert {name: len(values) for name, values in found.items()} == {"a": 2, "b": 2}


def test_a_child_reports_what_its_function_returns_and_its_memory_is_seen():
    reading = harness.child("tests.test_benchmarks", "hold", n_bytes=100 << 20, seconds=0.5)
    assert reading.facts == {"held": 100 << 20}
    assert reading.peak_bytes > 100 << 20
    assert reading.seconds >= 0.5


def test_a_child_that_fails_ends_the_run_with_its_traceback():
    with pytest.raises(SystemExit, match="not a number of bytes"):
        harness.child("tests.test_benchmarks", "hold", n_bytes="x", seconds=0)


def hold(n_bytes: int, seconds: float) -> dict[str, object]:
    """What the children above run."""
    import time

    if not isinstance(n_bytes, int):
        raise TypeError("not a number of bytes")
    reading: dict[str, object] = {"held": n_bytes}
    block = bytearray(b"x") * n_bytes
    with child.timed(reading):
        time.sleep(seconds)
    del block
    return reading


def test_results_survive_json_and_show_on_the_page():
    row = Row("curate", 2.0, 1.0, 10.0, "MB", 50.0, 1.1, 3)
    result = Result(
        "ingest", "Ingest", "Fast.", "10 MB", ["a floor"], [row], [Ratio("a / b", 0.4, 0.5)], "equal rows", ["a note"], (0.1, 0.2)
    )
    assert Result.from_json(result.to_json()) == result
    text = report.section(result)
    assert "| a / b | 0.40 |  | ≥ 0.5 | **missed** |" in text
    assert "| curate | 2.000 | 1.000 | 5.0 MB/s | 50 | 1.10 | 3 |" in text


@pytest.mark.skipif(not report.PAGE.exists(), reason="docs/benchmarks.md has not been written yet")
def test_the_page_is_what_the_stored_results_give():
    assert report.PAGE.read_text() == report.page(report.stored())
