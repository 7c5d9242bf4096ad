"""Near duplicates end to end, beside datatrove, data-juicer and text-dedup; and the signature kernel beside its floor."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks import harness, minhash_floor, stage
from benchmarks.environments import python_of
from benchmarks.harness import Ratio, Reading, Result, Row, Side, child
from benchmarks.job import Run
from benchmarks.peers import documents, plants, verdicts
from benchmarks.peers.plants import Plant
from curate.dedup import probability

WORKERS = 2
NGRAM, BANDS, ROWS, THRESHOLD = 5, 14, 8, 0.8
NEAR = {"threshold": THRESHOLD, "ngram": NGRAM, "bands": BANDS, "rows": ROWS}
COLUMNS = ["source", "source_row", "dedup.keep", "dedup.cluster"]
# Name, environment, function, whether it is told the threshold, and the least ratio asked for.
PEERS: dict[str, tuple[str, str, bool, float]] = {
    "datatrove": ("datatrove", "datatrove_minhash.dedup", False, 50),
    "data-juicer": ("data_juicer", "data_juicer_run.dedup", True, 15),
    "text-dedup": ("text_dedup", "text_dedup_minhash.dedup", True, 10),
}


def sections(verify: bool) -> dict[str, Any]:
    """The pipeline, besides its sources."""
    return {"dedup": {"near": NEAR | {"verify": verify}}}


def run(run: Run) -> Result:
    """See the module."""
    everything = min(run.megabytes(10**6, 4), run.data.size())
    text, planted = plants.planted(run.data, everything, 20 if run.quick else 500, NGRAM)
    warm = documents.numbered(run.data, 1_000_000)
    held = documents.size(text)
    size = held["bytes"] / 1e6
    found = {name: run.scratch / f"dedup-{name}.tsv" for name in PEERS}
    tables = {name: run.scratch / f"dedup-{name}.parquet" for name in ("curate", "curate, verified")}
    readings = harness.by_turns(_ours(text, warm, tables), run.repeats(5), run.note)
    readings |= harness.by_turns({name: partial(_peer, run, name, text, found[name]) for name in PEERS}, 1, run.note)
    arguments: dict[str, Any] = {"folder": str(text), "n_permutations": BANDS * ROWS, "repeats": run.repeats(7)}
    bare = child("benchmarks.minhash_floor", "measure", **arguments)
    parts = {row.name: row for row in harness.rows_in_turns(bare.facts["readings"], bare.facts["bytes"] / 1e6, "MB", bare.peak_bytes)}
    rows = {name: harness.row(name, r, size) for name, r in readings.items()}
    rows["signature kernel, one core"] = replace(parts["kernel"], name="signature kernel, one core")
    mine = {name: documents_of(file) for name, file in tables.items()}
    kept = {name: {n for n, (keep, _) in table.items() if keep} for name, table in mine.items()}
    kept |= {name: verdicts.kept(file) for name, file in found.items()}
    return Result(
        "dedup",
        "Near duplicates",
        "Reading, signatures, bands, clusters and verdicts, two workers: 50 times datatrove's four stages, 15 times data-juicer's, "
        "10 times text-dedup's; the signature kernel reaches half the speed of its floor.",
        f"{size:.0f} MB of text in {held['rows']:,} documents, Parquet, {sum(p.kind != plants.ALONE for p in planted):,} of them planted "
        f"copies; {NGRAM}-grams, {BANDS} bands of {ROWS}",
        [_kernel_floor(bare.facts, parts)],
        list(rows.values()),
        [*_ratios(rows), _kernel_ratio(parts)],
        _agreement(mine["curate"], kept, held["rows"]),
        [*_recalls(planted, kept), *_notes(readings)],
        harness.loads(*readings.values()),
    )


def _ours(text: Path, warm: Path, tables: dict[str, Path]) -> dict[str, Side]:
    plain, verified = (stage.Sides(text, sections(verify), "dedup", warm, COLUMNS) for verify in (False, True))
    return {
        "curate, in process": plain.side(0, tables["curate"]),
        "curate, Ray, 2 workers": plain.side(WORKERS),
        "curate, Ray, 2 workers, start-up included": plain.side(WORKERS, cold=True),
        "curate, Ray, 2 workers, candidates verified": verified.side(WORKERS, tables["curate, verified"]),
    }


def _peer(run: Run, name: str, folder: Path, found: Path) -> Reading:
    environment, function, has_threshold, _ = PEERS[name]
    module, _, called = function.partition(".")
    arguments: dict[str, Any] = {"ngram": NGRAM, "bands": BANDS, "rows": ROWS} | ({"threshold": THRESHOLD} if has_threshold else {})
    arguments |= {"folder": str(folder), "out": str(run.scratch / f"dedup-{environment}"), "workers": WORKERS, "found": str(found)}
    return child(f"benchmarks.peers.{module}", called, python=python_of(environment), **arguments)


def documents_of(file: Path) -> dict[int, tuple[bool, bytes | None]]:
    """Whether a document is kept, and its cluster, by number."""
    table = pq.read_table(file)
    numbers = documents.numbers(table["source"], table["source_row"])
    verdict = zip(table["dedup.keep"].to_pylist(), table["dedup.cluster"].to_pylist(), strict=True)
    return dict(zip(numbers.tolist(), verdict, strict=True))


def _kernel_floor(facts: dict[str, Any], parts: dict[str, Row]) -> str:
    loops = " + ".join(f"{what} {parts[part].seconds:.3f} s" for part, what in minhash_floor.PARTS.items())
    least = sum(parts[part].seconds for part in minhash_floor.PARTS)
    return (
        f"signatures of {facts['bytes'] / 1e6:.1f} MB, {facts['shingles'] / 1e6:.1f} M shingles under {BANDS * ROWS} permutations, as bare "
        f"loops on one core that know ASCII alone and fold nothing: {loops} = {least:.3f} s; the kernel {parts['kernel'].seconds:.3f} s"
    )


def _kernel_ratio(parts: dict[str, Row]) -> Ratio:
    wall, cpu = (sum(getattr(parts[part], what) for part in minhash_floor.PARTS) for what in ("seconds", "cpu_seconds"))
    return Ratio("signature kernel / its floor", wall / parts["kernel"].seconds, 0.5, by_cpu=cpu / parts["kernel"].cpu_seconds)


def _ratios(rows: dict[str, Row]) -> list[Ratio]:
    ours, cold = rows["curate, Ray, 2 workers"], rows["curate, Ray, 2 workers, start-up included"]
    found = [harness.ratio(f"curate, Ray, 2 workers / {name}", ours, rows[name], bar) for name, (*_, bar) in PEERS.items()]
    return found + [harness.ratio(f"curate, start-up included / {name}", cold, rows[name]) for name in PEERS]


def _agreement(mine: dict[int, tuple[bool, bytes | None]], kept: dict[str, set[int]], n: int) -> str:
    """Who removed how many, and how far removals are the same: whichever document of a cluster is kept, and document by document."""
    sizes = Counter(cluster for _, cluster in mine.values() if cluster is not None)
    removed = {name: mine.keys() - keeps for name, keeps in kept.items()}
    said = [f"removed of {n:,} documents: " + ", ".join(f"{name} {len(gone):,}" for name, gone in removed.items())]
    for name in PEERS:
        theirs = Counter(mine[number][1] or number for number in removed[name])
        both = sum(min(count, sizes.get(group, 1) - 1) for group, count in theirs.items() if isinstance(group, bytes))
        either = sum(len(removed[which]) for which in ("curate", name)) - both
        alike = len(removed["curate"] & removed[name]) / max(1, len(removed["curate"] | removed[name]))
        said.append(
            f"{name}: Jaccard with curate's removals {both / max(1, either):.3f} counted by curate's clusters, {alike:.3f} by document"
        )
    return "; ".join(said)


def _recalls(planted: list[Plant], kept: dict[str, set[int]]) -> list[str]:
    """The loss beside the speed."""
    by_side = {name: plants.recall(planted, keeps) for name, keeps in kept.items()}
    lines = []
    for kind, (_, similar, n) in by_side["curate"].items():
        shares = ", ".join(f"{name} {100 * found[kind][0]:.1f}" for name, found in by_side.items())
        if kind == plants.ALONE:
            lines.append(f"Removed of {n} originals without a copy, %: {shares}: so much of the recall above is none.")
            continue
        expected = np.mean([probability(p.jaccard, BANDS, ROWS) for p in planted if p.kind == kind])
        lines.append(
            f"Planted, {kind} ({n} pairs, mean Jaccard {similar:.2f}): found, %: {shares}; theory without verification {expected:.1%}."
        )
    return lines


def _notes(readings: dict[str, list[Reading]]) -> list[str]:
    stages = readings["datatrove"][0].facts["stages"]
    ours = sorted(r.facts["startup"] for r in readings["curate, Ray, 2 workers"])
    return [
        "All sides read the same Parquet files (curate: its documents, already ingested). curate writes "
        "verdicts, datatrove the numbers of kept documents, data-juicer and text-dedup the kept documents with their text.",
        "Words differ: datatrove splits with spaCy after simplifying, data-juicer at spaces, text-dedup at what is no word character; "
        "curate folds case, accents and width and takes letters and digits. For data-juicer, documents of fewer than five words are one.",
        "datatrove by stage: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in stages.items()) + ".",
        f"Peers ran once, {WORKERS} workers each. Starting Ray took {ours[len(ours) // 2]:.1f} s (median), not counted where the row does "
        "not say so. Warm rows ran the same stages over 1 MB first.",
        "The kernel and the loops of its floor ran in one process by turns, on one of the files.",
    ]
