"""The benchmark harness: its arithmetic, the processes it watches, and the page it writes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks import child, harness, report
from benchmarks.harness import Ratio, Reading, Result, Row
from benchmarks.lm import material
from benchmarks.peers import documents, plants, verdicts
from benchmarks.peers.plants import Plant


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


def test_a_child_reports_what_its_function_returns_and_its_memory_is_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    reading = harness.child("test_benchmarks", "hold", n_bytes=100 << 20, seconds=0.5)
    assert reading.facts == {"held": 100 << 20}
    assert reading.peak_bytes > 100 << 20
    assert reading.seconds >= 0.5


def test_a_child_that_fails_ends_the_run_with_its_traceback(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    with pytest.raises(SystemExit, match="not a number of bytes"):
        harness.child("test_benchmarks", "hold", n_bytes="x", seconds=0)


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


def test_every_job_has_a_place_on_the_page():
    jobs = {path.stem for path in (Path(report.__file__).parent / "jobs").glob("[!_]*.py")}
    assert jobs == set(report.ORDER)


def test_a_document_number_says_in_which_file_and_row_it_lies(tmp_path: Path):
    texts = [f"text {i}" for i in range(2 * documents.N_FILES + 3)]
    tables = [pa.table({"text": pa.array(some, pa.large_string()), "domain": ["d"] * len(some)}) for some in (texts[:5], texts[5:])]
    documents.write(tmp_path / "set", tables)
    found: dict[int, str] = {}
    for file in sorted((tmp_path / "set").glob("*.parquet")):
        table = pq.read_table(file)
        sources, rows = pa.chunked_array([[str(file)] * len(table)]), pa.chunked_array([list(range(len(table)))])
        numbers = documents.numbers(sources, rows).tolist()
        assert [str(number) for number in numbers] == table["id"].to_pylist()
        found |= dict(zip(numbers, table["text"].to_pylist(), strict=True))
    assert found == dict(enumerate(texts))
    assert documents.size(tmp_path / "set") == {"rows": len(texts), "bytes": sum(map(len, texts))}


def test_verdicts_are_read_as_they_were_written(tmp_path: Path):
    file = tmp_path / "verdicts.tsv"
    verdicts.write(str(file), ["3", "1"], {"2": "too_short"})
    assert verdicts.read(file) == {1: "", 3: "", 2: "too_short"}
    assert verdicts.kept(file) == {1, 3}


def test_similarity_of_plants_counts_shared_runs_of_words():
    assert plants.jaccard("a b c d", "A b, c x", 2) == 0.5  # ab bc | cd cx
    assert plants.jaccard("a b", "a b", 5) == 0.0  # no run of five words in either


def test_edits_change_what_they_say():
    text, random = " ".join(f"w{i}" for i in range(200)), np.random.default_rng(0)
    altered = plants.KINDS["5% of words changed"](text, ["other"], random).split()
    assert sum(a != b for a, b in zip(text.split(), altered, strict=True)) == 10
    assert plants.KINDS["last tenth cut"](text, [], random).split() == text.split()[:180]
    assert plants.KINDS["upper case"](text, [], random) == text.upper()


def test_a_planted_pair_is_found_when_one_of_it_is_removed():
    pairs = [Plant("cut", 0, 10, 0.9), Plant("cut", 1, 11, 0.7), Plant(plants.ALONE, 2, 2, 1.0)]
    found = plants.recall(pairs, kept={0, 1, 11, 2})
    assert found["cut"] == (0.5, pytest.approx(0.8), 2)
    assert found[plants.ALONE] == (0.0, 1.0, 1)


def test_documents_are_cut_at_every_context_and_no_token_is_lost(tmp_path: Path):
    file = str(tmp_path / "layout.npz")
    np.savez(file, ids=np.arange(9, dtype=np.int32), offsets=np.array([0, 5, 5, 9]), doc_ids=np.array(["a", "b", "c"]))
    windows = material.Layout.read(file).windows(4)
    assert [(document, tokens.tolist()) for document, tokens in windows] == [(0, [0, 1, 2, 3]), (0, [4]), (2, [5, 6, 7, 8])]


def test_arithmetic_of_a_model_is_two_for_each_weight_and_attention_over_half_a_square(tmp_path: Path):
    (tmp_path / "config.json").write_text(
        '{"hidden_size": 2, "intermediate_size": 8, "num_hidden_layers": 3, "vocab_size": 10, "max_position_embeddings": 4}'
    )
    assert material.linear_parameters(str(tmp_path)) == 3 * 12 * 2 * 2 + 10 * 2
    # One window of four tokens: in each block 4 * 4 / 2 pairs, each 2 multiplications and 2 additions in two products of width 2.
    assert material.flops(str(tmp_path), 4, 16) == 2 * 4 * 164 + 3 * (4 * 4 / 2) * 2 * (2 * 2)
