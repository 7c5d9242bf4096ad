"""SampleMix on N documents in memory: ranges, cells, factor, weights and copies, beside one fused numpy pass; and sweeps."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.harness import Ratio, Result, child
from benchmarks.job import Run
from curate import sampling
from curate.hashing import mix64
from curate.mixers.document_mixer import Budget, learn_all
from curate.mixers.samplemix import SampleMix
from curate.mixers.samplemix_sweep import grid, sweep

PER_PART = 100_000
N_CLUSTERS = 1000
MIXER = SampleMix("rater.rating", "clusters")


def _documents(n: int) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Columns of scorers, lengths, and keys; 20 bytes a document and 16."""
    random = np.random.default_rng(0)
    cluster = random.integers(0, N_CLUSTERS, n, dtype=np.int32)
    spread, apart = random.random(N_CLUSTERS, np.float32), random.random(N_CLUSTERS, np.float32)
    distance = random.random(n, np.float32)
    distance *= spread[cluster]
    columns = {"rater.rating": 9 * random.random(n, np.float32), "clusters.cluster": cluster, "clusters.distance": distance}
    table = pa.table({**columns, "clusters.separation": apart[cluster]})
    length = np.rint(random.lognormal(6.5, 1.2, n)).astype(np.int64)
    return table, length, mix64(np.arange(n, dtype=np.uint64))


def _parts(table: pa.Table, *arrays: np.ndarray) -> list[tuple[Any, ...]]:
    n = table.num_rows
    return [(table.slice(a, PER_PART), *(array[a : a + PER_PART] for array in arrays)) for a in range(0, n, PER_PART)]


def _curate(table: pa.Table, length: np.ndarray, key: np.ndarray, made: np.ndarray) -> None:
    """What the mix stage does with parts, but for reading and writing them; copies (uint8) into ``made``."""
    parts = _parts(table, length, key)
    tables, lengths = [part for part, _, _ in parts], [own for _, own, _ in parts]
    learned = learn_all(MIXER, tables, lengths, Budget(0.5 * float(length.sum()), 4.0))
    walk = np.zeros(PER_PART, np.int64)

    def fixed(part: pa.Table) -> np.ndarray:
        return sampling.fixed_point(MIXER.weights(part, learned))

    groups = [sampling.length_groups(walk[: len(own)], own, fixed(part)) for part, own, _ in parts]
    starts = sampling.walk_starts(groups, [""], 7)
    for i, (part, own, keys) in enumerate(parts):
        made[i * PER_PART : i * PER_PART + len(own)] = sampling.copies(walk[: len(own)], own, keys, fixed(part), starts[i])


def _numpy(quality: np.ndarray, cluster: np.ndarray, length: np.ndarray, diversity_K: np.ndarray, made: np.ndarray) -> None:
    """The paper's arithmetic on whole arrays, diversity of clusters given; independent draws."""
    scaled = (quality - quality.min()) * np.float32(1 / (quality.max() - quality.min()))
    weight = np.exp((0.8 * diversity_K[cluster] + 0.2 * scaled) / 0.2)
    weight *= 0.5 * length.sum() / (weight @ length)
    floor = np.floor(weight)
    made[:] = floor + (np.random.default_rng(7).random(len(weight), np.float32) < weight - floor)


def compare(n_documents: int, repeats: int) -> dict[str, Any]:
    """Both sides by turns in this process."""
    table, length, key = _documents(n_documents)
    quality, cluster = table["rater.rating"].to_numpy(), table["clusters.cluster"].to_numpy()
    budget = 0.5 * float(length.sum())
    diversity_K = learn_all(MIXER, [table], [length], Budget(budget, 4.0)).clusters.diversity_K
    ours, theirs = np.empty(n_documents, np.uint8), np.empty(n_documents, np.uint8)
    works = {
        "curate, ranges to copies over parts": lambda: _curate(table, length, key, ours),
        "one numpy pass, independent draws": lambda: _numpy(quality, cluster, length, diversity_K, theirs),
    }
    readings = in_turns(works, repeats)
    misses = [abs(float((made.astype(np.int64) * length).sum()) - budget) / float(length.max()) for made in (ours, theirs)]
    return {"readings": readings, "misses": misses, "same_share": float((ours == theirs).mean())}


def memory(n_documents: int) -> dict[str, Any]:
    """Most memory that mixing takes beyond the columns and the copies it fills."""
    import os

    table, length, key = _documents(n_documents)
    made = np.zeros(n_documents, np.uint8)
    small = [a[:PER_PART] for a in (length, key, made)]
    _curate(table.slice(0, PER_PART), small[0], small[1], small[2].copy())  # compiled kernels do not count
    before, peak, end = harness.tree_anonymous_bytes(os.getpid()), [0], threading.Event()

    def watch() -> None:
        while not end.wait(0.005):
            peak[0] = max(peak[0], harness.tree_anonymous_bytes(os.getpid()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    _curate(table, length, key, made)
    end.set()
    watcher.join()
    return {"bytes_a_document": (peak[0] - before) / n_documents}


def sweeps(n_settings: int, repeats: int) -> dict[str, Any]:
    """Settings tried on statistics of K clusters: ten classes of quality, and a continuous one in 48 bins."""
    random, works = np.random.default_rng(0), {}
    for name, bins in (("10 classes", 10), ("48 bins", 48)):
        n = random.integers(1, 100, 6 * N_CLUSTERS * bins)
        columns = {
            "domain": pa.array(np.tile([f"domain {d}" for d in range(6)], N_CLUSTERS * bins)).dictionary_encode(),
            "quality": np.tile(np.repeat(np.linspace(0, 1, bins), 6), N_CLUSTERS),
            "diversity": np.repeat(random.random(N_CLUSTERS), bins * 6),
            "n_documents": n,
            "amount": n * 700,
        }
        statistics = pa.table(columns)
        each = round(n_settings ** (1 / 3))
        tried = grid(np.linspace(0, 1, each), np.geomspace(0.05, 1, each), np.linspace(0.2, 3, each) * 700 * n.sum(), 4.0, "exact")
        works[f"{len(tried):,} settings, {name}"] = lambda s=statistics, t=tried: sweep(s, t)
    return {"readings": in_turns(works, repeats)}


def run(run: Run) -> Result:
    """See the module."""
    n = 1_000_000 if run.quick else 20_000_000
    n_settings = 64 if run.quick else 1000
    both = child(__name__, "compare", n_documents=n, repeats=run.repeats(3))
    held = child(__name__, "memory", n_documents=n)
    swept = child(__name__, "sweeps", n_settings=n_settings, repeats=run.repeats(3))
    rows = harness.rows_in_turns(both.facts["readings"], n / 1e6, "M documents", both.peak_bytes)
    tried = harness.rows_in_turns(swept.facts["readings"], n_settings, "settings", swept.peak_bytes)
    ours, theirs = both.facts["misses"]
    read = (4 + 4 + 4 + 4 + 8) * n / 1e6
    return Result(
        "samplemix",
        "SampleMix arithmetic",
        "weights and copies of 20 million documents in at most three times one fused numpy pass over the same arrays and at most 16 bytes "
        "a document; a thousand settings in under a second.",
        f"{n:,} documents (a continuous quality, {N_CLUSTERS:,} clusters, lengths) in parts of {PER_PART:,}; nothing is read or written",
        [f"the columns, {read:.0f} MB, read once: {read / run.speeds['copy']:.3f} s; an exponential and a draw a document come on top"],
        [*rows, *tried],
        [
            Ratio("time of curate / one numpy pass", rows[0].seconds / rows[1].seconds, 3, True, rows[0].cpu_seconds / rows[1].cpu_seconds),
            *(Ratio(f"seconds of {row.name}", row.seconds, 1, True, row.cpu_seconds) for row in tried),
            Ratio("bytes a document that mixing holds beyond columns and copies", held.facts["bytes_a_document"], 16, True),
        ],
        f"copies miss the budget by {ours:.2f} of the longest document, independent draws by {theirs:.1f}",
        [
            "curate's side learns compactness from distances, sorts every part by length and draws along it; the numpy side is given the "
            "diversity of clusters and draws independently."
        ],
        harness.loads([both, held, swept]),
    )
