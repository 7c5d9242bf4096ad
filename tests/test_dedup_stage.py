"""The dedup stage's bookkeeping: what is exact, what is counted once, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate import deduplication
from curate.dedup import best, verification
from curate.hashing import fingerprint
from curate.stages import dedup as stage
from pipelines import WORDS, configuration, lines, run


def near_copies(n: int, n_words: int = 60) -> list[str]:
    """Texts without a 5-gram in common, each followed by a near copy of it."""
    random = np.random.default_rng(8)
    texts = [" ".join(f"{WORDS[w]}q{chr(97 + i % 26)}" for w in random.integers(0, len(WORDS), n_words)) for i in range(n)]
    return [text for pair in ((t, f"{t} end") for t in texts) for text in pair]


def config(folder: Path, texts: list[str], **changes: Any) -> dict[str, Any]:
    (folder / "raw" / "web").mkdir(parents=True, exist_ok=True)
    (folder / "raw" / "web" / "a.jsonl").write_bytes(lines(texts))
    given = {"score": [], "select": [], "mix": {"use": "natural"}, "emit": {}, "dedup": {"near": True}} | changes
    return configuration(folder / "raw", folder / "out", **given)


# --- keep: best ---


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64(), pa.int32()])
@pytest.mark.parametrize("direction", ["higher", "lower"])
def test_integers_are_ordered_exactly_and_nulls_come_last(kind: pa.DataType, direction: str) -> None:
    bits = 31 if kind == pa.int32() else 53
    least, most = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1), "uint64": (0, 2**64 - 1)}[str(kind)]
    values = [2**bits - 2, None, 2**bits - 1, most, least, 5, None, 7]
    score, null = stage._numbers(pa.chunked_array([pa.array(values, kind)]))
    places = best(score, direction, null)
    order = np.lexsort([np.arange(len(values)), *places[::-1]])
    known = sorted((i for i, v in enumerate(values) if v is not None), key=lambda i: values[i], reverse=direction == "higher")
    assert order.tolist() == [*known, 1, 6]


def test_neighbours_beyond_the_floats() -> None:
    score, null = stage._numbers(pa.chunked_array([pa.array([2**53 + 1, 2**53 + 2, 2**53])]))
    for direction, wanted in [("higher", [1, 0, 2]), ("lower", [2, 0, 1])]:
        places = best(score, direction, null)
        assert np.lexsort(places[::-1]).tolist() == wanted
    floats, _ = stage._numbers(pa.chunked_array([pa.array([0.5, None, 2.0], pa.float32())]))
    assert np.argsort(best(floats, "higher")[0]).tolist() == [2, 0, 1]


def test_best_by_a_large_integer_column(tmp_path: Path) -> None:
    (tmp_path / "stamps.py").write_text(
        "import pyarrow as pa\nfrom dataclasses import dataclass\nfrom curate import Scorer, columns\n\n\n"
        "@dataclass\nclass Stamp(Scorer):\n    '''Which copy is later.'''\n"
        "    outputs = columns(at=(pa.int64(), 'nanoseconds', 'higher'))\n\n"
        "    def score(self, batch):\n"
        "        at = [2**53 + 1 if t.endswith('end') else 2**53 + 2 for t in batch['text'].to_pylist()]\n"
        "        return pa.record_batch([pa.array(at, pa.int64())], schema=self.outputs)\n"
    )
    changes = {"plugins": ["stamps"], "score": [{"stamps:Stamp": {"name": "stamp"}}], "dedup": {"near": True, "keep": "best stamp.at"}}
    found = run(config(tmp_path, near_copies(6), **changes), until="dedup").table(["text", "dedup.keep"]).to_pylist()
    assert [row["dedup.keep"] for row in sorted(found, key=lambda row: row["text"])] == [True, False] * 6


# --- what it counts ---


def test_left_apart_is_told_once_in_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of one template, all in large runs: those without a copy are counted once, however many bands they share."""
    monkeypatch.setattr(verification, "ALL_PAIRS", 4)
    monkeypatch.setattr(verification, "RARE", 4)
    common = near_copies(1, 150)[0]
    texts = [f"{common} {' '.join(5 * [word])}" for word in ("".join(chr(97 + (i // 26**k) % 26) for k in range(3)) for i in range(40))]
    output = run(config(tmp_path, texts, dedup={"near": {"threshold": 0.99, "bands": 40}}, ingest=cut(tmp_path)), until="dedup")
    dedup = output.manifest.stages["dedup"]
    assert len(output.parts) > 3
    assert dedup.totals["clusters"] == 0
    assert dedup.totals["left_apart"] == 40 - verification.ROUNDS


def cut(folder: Path) -> dict[str, Any]:
    return {"shard_bytes": 5_000, "sources": [{"path": str(folder / "raw"), "domain": {"directory": 0}}]}


# --- what it leaves ---


def test_scratch_goes_as_it_is_used_and_wholly_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, join = list[list[str]](), deduplication.one_file

    def watched(tasks: Any) -> Any:
        array = join(tasks)
        seen.append([name for name in tasks[0].corpus.names("spool") if "shingles" in name])
        return array

    monkeypatch.setattr(deduplication, "one_file", watched)
    corpus = run(config(tmp_path, near_copies(20), ingest=cut(tmp_path)), until="dedup")
    assert len(corpus.parts) > 1
    assert seen == [[]]
    assert not (tmp_path / "out" / "spool").exists()
    assert corpus.manifest.stages["dedup"].ledger.duplicate == 20


def test_a_verdict_without_a_record_goes(tmp_path: Path) -> None:
    given = config(tmp_path, near_copies(6))
    run(given, until="dedup")
    orphan = tmp_path / "out" / "dedup" / "part-00007-of-00009.parquet"
    orphan.write_bytes(b"of a run that was killed")
    run(given | {"dedup": {"near": True, "keep": "first"}}, until="dedup")
    assert not orphan.exists()


def test_first_names_its_sources_by_a_hash(tmp_path: Path) -> None:
    corpus = run(config(tmp_path, near_copies(3), dedup={"keep": "first"}), until="dedup")
    [source] = set(corpus.table(["source"])["source"].to_pylist())
    assert corpus.manifest.stages["dedup"].identity["sources"] == {"count": 1, "hash": fingerprint([source])}
