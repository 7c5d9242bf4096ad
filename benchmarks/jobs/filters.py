"""Rule filters: all presets in one pass, beside datatrove, dolma, data-juicer and NeMo Curator."""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numba import njit

from benchmarks import harness, stage
from benchmarks.child import in_turns
from benchmarks.data import jsonl_source
from benchmarks.environments import python_of
from benchmarks.harness import Ratio, Reading, Result, Row, Side, child
from benchmarks.job import Run
from benchmarks.peers import documents, verdicts

WORKERS = 2
PRESETS = ["gopher@datatrove", "fineweb@datatrove", "c4@datatrove"]
SECTIONS: dict[str, Any] = {"score": [{"heuristics": {"preset": PRESETS}}]}
STAGE, COLUMNS = "score/heuristics", ["source", "source_row", "heuristics.keep", "heuristics.reason"]
# Name, environment, function, whether it reads .jsonl.gz, and the least ratio asked for.
PEERS: dict[str, tuple[str, str, bool, float]] = {
    "datatrove": ("datatrove", "datatrove_filters.filters", False, 50),
    "dolma": ("dolma", "dolma_tag.tag", True, 30),
    "data-juicer": ("data_juicer", "data_juicer_run.filters", False, 25),
    "NeMo Curator": ("nemo_curator", "nemo_curator_filters.filters", False, 8),
}
N_GRAM_SIZES = 9
"""Gopher counts the n-grams of 2 to 10 words."""
SLOTS = 1 << 14


def from_raw(output: str, sources: list[dict[str, Any]], workers: int) -> dict[str, Any]:
    """Ingest and rules, from nothing."""
    shutil.rmtree(output, ignore_errors=True)
    return stage.run(output, sources, SECTIONS, STAGE, workers, "", "", [])


@njit
def _insert(words: np.ndarray, table: np.ndarray) -> int:
    """Look every n-gram of 2 to 10 words up in a table that fits the second cache, and put it there."""
    seen = 0
    for i in range(10, words.size):
        key = words[i]
        for k in range(1, 10):
            key = (key * np.uint64(0x9E3779B97F4A7C15)) ^ words[i - k]
            slot = key >> np.uint64(50)
            seen += table[slot] == key
            table[slot] = key
    return seen


def floor(n_words: int, repeats: int) -> dict[str, Any]:
    """Seconds of ``n_words`` words' n-grams in a table, words hashed and ready."""
    words = np.random.default_rng(0).integers(0, 1 << 62, n_words).astype(np.uint64)
    table = np.zeros(SLOTS, np.uint64)
    return {"readings": in_turns({"n-grams": lambda: _insert(words, table)}, repeats)}


def run(run: Run) -> Result:
    """See the module."""
    everything = min(run.megabytes(10**6, 4), run.data.size())
    text = documents.numbered(run.data, everything)
    sample_bytes = min(run.megabytes(64, 4), everything)
    sample = documents.numbered(run.data, sample_bytes)
    warm = documents.numbered(run.data, 1_000_000)
    size, sample_size = documents.size(text)["bytes"] / 1e6, documents.size(sample)["bytes"] / 1e6
    raw = run.data.jsonl_gz(everything, documents.N_FILES)
    readings = harness.by_turns(_ours(run, text, raw, warm), run.repeats(5), run.note)
    found = {name: run.scratch / f"filters-{name.replace(' ', '-')}.tsv" for name in PEERS}
    peers = {name: partial(_peer, run, name, _files(run, name, text, sample, sample_bytes), found[name]) for name in PEERS}
    readings |= harness.by_turns(peers, 1, run.note)
    judged = stage.Sides(sample, SECTIONS, STAGE, warm, COLUMNS)
    ours = run.scratch / "filters-curate.parquet"
    judged.side(0, ours)()
    amounts = {"NeMo Curator": size}
    rows = {n: harness.row(n, r, amounts.get(n, sample_size if n in PEERS else size)) for n, r in readings.items()}
    n_words = _n_words(sample) * size / sample_size
    bare = child(__name__, "floor", n_words=int(n_words), repeats=run.repeats(3)).facts["readings"]["n-grams"]
    bare_seconds = float(np.median([r["seconds"] for r in bare]))
    reading = run.seconds(parquet_read=size)["parquet_read"]
    return Result(
        "filters",
        "Rule filters",
        "All presets in one pass, two workers: 50 times datatrove's filters, 30 times dolma's taggers, 25 times data-juicer's "
        "filters, 8 times NeMo Curator's, its start-up and ours included.",
        f"{size:.0f} MB of text in {documents.size(text)['rows']:,} documents, Parquet; peers other than NeMo Curator: "
        f"{sample_size:.0f} MB of it, a prefix of each domain",
        [
            f"Parquet read {reading:.2f} s; {n_words / 1e6:.1f} M words, nine n-grams of each looked up in a table in cache, words "
            f"hashed and ready: {bare_seconds:.2f} s; together {reading + bare_seconds:.2f} s on one core"
        ],
        list(rows.values()),
        _ratios(rows, (reading + bare_seconds)),
        _agreement(ours, found),
        _notes(readings),
        harness.loads(*readings.values()),
    )


def _ours(run: Run, text: Path, raw: Path, warm: Path) -> dict[str, Side]:
    sides = stage.Sides(text, SECTIONS, STAGE, warm, COLUMNS)
    out = str(run.scratch / "filters-raw")
    return {
        "curate, in process": sides.side(0),
        "curate, Ray, 2 workers": sides.side(WORKERS),
        "curate, Ray, 2 workers, start-up included": sides.side(WORKERS, cold=True),
        "curate, .jsonl.gz to verdicts, Ray, start-up included": partial(
            child, __name__, "from_raw", output=out, sources=jsonl_source(raw), workers=WORKERS
        ),
    }


def _files(run: Run, name: str, text: Path, sample: Path, sample_bytes: int) -> Path:
    """What a peer reads: NeMo Curator is quick enough for all of it, and its start-up would count for too much otherwise."""
    if PEERS[name][2]:
        return run.data.jsonl_gz(sample_bytes, documents.N_FILES)
    return text if name == "NeMo Curator" else sample


def _peer(run: Run, name: str, folder: Path, found: Path) -> Reading:
    environment, function, _, _ = PEERS[name]
    module, _, called = function.partition(".")
    out = run.scratch / f"filters-{environment}"
    python = python_of(environment)
    return child(f"benchmarks.peers.{module}", called, python=python, folder=str(folder), out=str(out), workers=WORKERS, found=str(found))


def _n_words(folder: Path) -> int:
    """Words between spaces."""
    tables = [pq.read_table(file, columns=["text"])["text"] for file in sorted(folder.glob("*.parquet"))]
    return sum(int(pc.sum(pc.count_substring_regex(column, r"\S+")).as_py()) for column in tables)


def _ratios(rows: dict[str, Row], floor_seconds: float) -> list[Ratio]:
    ours, cold = rows["curate, Ray, 2 workers"], rows["curate, Ray, 2 workers, start-up included"]
    found = [harness.ratio(f"curate, Ray, 2 workers / {n}", ours, rows[n], bar) for n, (*_, bar) in PEERS.items() if n != "NeMo Curator"]
    bar = PEERS["NeMo Curator"][3]
    found.append(harness.ratio("curate, Ray, 2 workers / NeMo Curator, start-up of both included", cold, rows["NeMo Curator"], bar))
    found += [harness.ratio(f"curate, start-up included / {n}", cold, rows[n]) for n in PEERS if n != "NeMo Curator"]
    inside = rows["curate, in process"]
    return [*found, Ratio("curate in process / the floor", floor_seconds / inside.seconds, by_cpu=floor_seconds / inside.cpu_seconds)]


def _agreement(ours: Path, found: dict[str, Path]) -> str:
    """Verdicts of curate beside those of every peer on the documents that all of them read."""
    table = pq.read_table(ours)
    numbers = documents.numbers(table["source"], table["source_row"])
    mine = dict(zip(numbers.tolist(), table["heuristics.reason"].to_pylist(), strict=True))
    said = []
    theirs = verdicts.read(found["datatrove"])
    both = [number for number in mine if number in theirs]
    verdict = sum((mine[n] is None) == (not theirs[n]) for n in both)
    reason = sum((mine[n] or "") == theirs[n] for n in both)
    differing = Counter(f"{theirs[n] or 'kept'} → {mine[n] or 'kept'}" for n in both if (mine[n] or "") != theirs[n])
    said.append(
        f"curate and datatrove give {verdict / len(both):.3%} of {len(both):,} documents the same verdict, {reason / len(both):.3%} "
        "the same verdict and reason"
    )
    if differing:
        said.append("most frequent differences (datatrove → curate): " + ", ".join(f"{k} {v}" for k, v in differing.most_common(4)))
    kept = {n for n, why in mine.items() if why is None}
    shares = [f"curate {len(kept) / len(mine):.1%}"]
    for name, file in found.items():
        other = verdicts.kept(file) & mine.keys()
        overlap = len(kept & other) / max(1, len(kept | other))
        shares.append(f"{name} {len(other) / len(mine):.1%} (Jaccard with curate's {overlap:.2f})")
    return "; ".join([*said, "kept: " + ", ".join(shares)])


def _notes(readings: dict[str, list[Reading]]) -> list[str]:
    nemo = readings["NeMo Curator"][0].facts["startup"]
    ours = sorted(r.facts["startup"] for r in readings["curate, Ray, 2 workers"])
    return [
        "curate: the presets gopher@datatrove, fineweb@datatrove and c4@datatrove, all signals of all documents to Parquet. datatrove: "
        "GopherRepetition, GopherQuality, FineWebQuality and C4Quality, C4 last since it rewrites the text: the same rules; its "
        "workers are forked with spaCy imported. A document that fails a filter is not seen by the next, in datatrove, data-juicer and "
        "NeMo Curator.",
        "dolma: `gopher_v1` and `c4_v2`, attributes only (Gopher's thresholds and C4's document rules were applied for the comparison, "
        "untimed), reading .jsonl.gz. data-juicer: word number, alphanumeric, special characters, average and longest line, stop words, "
        "character and word repetition, fused. NeMo Curator: the 28 filters of its English pipeline in one stage. Rules of these three "
        "are alike in kind, not equal.",
        f"Peers ran once, {WORKERS} workers each. They write numbers of kept documents; data-juicer exports their text too.",
        f"Starting Ray: curate {ours[len(ours) // 2]:.1f} s (median), not counted where the row does not say so; NeMo Curator "
        f"{nemo:.1f} s, counted. Warm rows ran the same stage over 1 MB first.",
    ]
