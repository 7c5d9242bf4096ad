"""Ten million documents from band keys to verdicts: seconds and memory, beside sorting their keys and beside scipy's components."""

from __future__ import annotations

import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from benchmarks import harness
from benchmarks.child import timed
from benchmarks.harness import Ratio, Reading, Result, child
from benchmarks.job import Run
from curate import dedup
from curate.hashing import mix64, unit_interval

N_BANDS = 14
IN_CLUSTERS = 0.3
SHARES_KEY = 0.8
"""Probability that a member of a cluster has the cluster's key in a band; otherwise it has one of its own."""
PER_SHARD = 100_000
BUDGET_BYTES = 1 << 30
MOST_GIB = 12.0


def prepare(folder: str, n: int) -> dict[str, Any]:
    """Write one array of keys a band, and what tells documents apart.

    Clusters take three tenths of the documents: one of n / 100, the others of 2 and more with a tail like 1 / size^2.
    In the first band, n / 10 documents that are in no cluster share one key.
    """
    random = np.random.default_rng(0)
    sizes = np.minimum(2 / np.sqrt(random.random(n // 10)), n // 1000).astype(np.int64)
    sizes = np.r_[n // 100, sizes[: np.searchsorted(np.cumsum(sizes), n * IN_CLUSTERS - n // 100)]]
    members = int(sizes.sum())
    place = random.permutation(n)
    family = np.arange(len(sizes), len(sizes) + n)
    family[place[:members]] = np.repeat(np.arange(len(sizes)), sizes)
    rows, path = np.arange(n, dtype=np.uint64), Path(folder)
    copy = unit_interval(mix64(rows ^ np.uint64(1 << 60))) < 0.1
    text = mix64(np.where(copy, family.astype(np.uint64), rows + np.uint64(2 * n)))
    arrays = {"ids": np.stack([text, mix64(text)], axis=1), "source": mix64(rows % np.uint64(64)), "source_row": rows.view(np.int64)}
    arrays |= {"n_bytes": np.rint(random.lognormal(7.5, 1.2, n)).astype(np.int64), "family": family}
    for name, array in arrays.items():
        np.save(path / f"{name}.npy", array)
    for band in range(N_BANDS):
        own = unit_interval(mix64(rows + np.uint64(band << 40))) >= SHARES_KEY
        keys = np.where(own, rows + np.uint64(2 * n), family.astype(np.uint64))
        if band == 0:
            keys[place[-(n // 10) :]] = 4 * n
        np.save(path / f"band-{band:02d}.npy", mix64(keys + np.uint64(band << 40)))
    return {"members": members, "clusters": len(sizes), "largest": int(sizes[0]), "one_key": n // 10}


def bands(folder: str) -> list[Path]:
    """The files of keys, in order."""
    return sorted(Path(folder).glob("band-*.npy"))


def curate(folder: str, verify: bool) -> dict[str, Any]:
    """Exact join, band join, clusters, representatives, and the verdict columns of one shard after another."""
    load = {path.stem: np.load(path) for path in Path(folder).glob("[!b]*.npy")}
    sketches = sketches_of(load["family"]) if verify else None
    warm()
    reading: dict[str, Any] = {}
    with timed(reading):
        start = time.perf_counter()
        rows = dedup.Rows(load["ids"], load["source"], load["source_row"])
        n = len(rows.source)
        parts, numbers, family = dedup.Components(n), np.arange(n), load["family"]

        def alike(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return np.where(family[left] == family[right], 0.9, 0.2)

        copies = dedup.exact_edges(rows.id_halves, numbers)
        parts.join(copies)
        verifier = dedup.Verifier(0.8, N_BANDS, rows.places(numbers, []), sketches, alike) if sketches is not None else None
        first = np.ones(n, dtype=bool)
        first[copies[:, 1]] = not verify
        ranges = dedup.n_ranges(n, BUDGET_BYTES)
        for band, path in enumerate(bands(folder)):
            keys = np.load(path)
            for i in range(ranges):
                some = numbers if ranges == 1 else np.flatnonzero(dedup.in_range(keys, i, ranges))
                some = some[first[some]] if verify else some
                stars = dedup.edges(keys[some], some)
                if verifier:
                    verifier.add(band, stars)
                else:
                    parts.join(stars)
        if verifier:
            parts.join(verifier.finish())
        labels = parts.labels()
        joined = time.perf_counter()
        decision = dedup.decide(labels, rows, dedup.longest(load["n_bytes"]), alike)
        decided = time.perf_counter()
        kept = sum(table["keep"].to_numpy().sum() for table in (decision.table(a, a + PER_SHARD) for a in range(0, n, PER_SHARD)))
        ended = time.perf_counter()
    phases = {"join": joined - start, "decide": decided - joined, "columns": ended - decided}
    compared = {name: getattr(verifier, f"n_{name}") for name in ("estimated", "compared", "left_apart")} if verifier else {}
    return reading | {"phases": phases, "kept": int(kept), "labels": digest(labels), **compared}


def sketches_of(family: np.ndarray) -> np.ndarray:
    """A sketch of each document (N, 112 uint8): of one family, nine bytes of ten are equal; of two, one of 256."""
    sketches = np.empty((len(family), N_BANDS), dtype=np.uint64)
    for word in range(N_BANDS):
        sketches[:, word] = mix64(family.astype(np.uint64) + np.uint64(word << 40))
    bytes_of = sketches.view(np.uint8)
    rows = np.arange(len(family), dtype=np.uint64)
    for place in range(0, bytes_of.shape[1], 10):
        bytes_of[:, place] = mix64(rows + np.uint64(place << 40)).view(np.uint8)[::8]
    return bytes_of


def warm() -> None:
    """Compile, or fetch, what is compiled: not the work."""
    keys, numbers = np.zeros(3, dtype=np.uint64), np.arange(3)
    parts, rows = dedup.Components(3), dedup.Rows(np.zeros((3, 2), dtype=np.uint64), keys, numbers)
    dedup.in_range(keys, 0, 2)
    many = np.arange(dedup.ALL_PAIRS + 1)
    places, alike = many[:, None].astype(np.uint64), np.zeros((len(many), 8 * N_BANDS), dtype=np.uint8)
    verifier = dedup.Verifier(0.5, 2, places, alike, lambda a, b: np.ones(len(a)))
    verifier.add(0, dedup.edges(np.zeros_like(places[:, 0]), many))
    verifier.add(1, dedup.edges(places[:, 0] // np.uint64(2), many))
    verifier.finish()
    parts.join(dedup.edges(keys, numbers))
    dedup.exact_edges(rows.id_halves, numbers)
    dedup.decide(parts.labels(), rows, dedup.longest(numbers), None).table()


def floor(folder: str) -> dict[str, Any]:
    """Every band's keys read and sorted: what a join by sorting cannot do without, and from which no row can be told."""
    reading: dict[str, Any] = {}
    with timed(reading):
        for path in bands(folder):
            np.load(path).sort()
    return reading


def scipy(folder: str) -> dict[str, Any]:
    """The same clusters as a numerical script finds them: argsort every band, link runs, ``connected_components``; no verdicts."""
    from scipy.sparse import coo_array  # type: ignore[import-untyped]
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    reading: dict[str, Any] = {}
    with timed(reading):
        ids = np.load(Path(folder) / "ids.npy")
        n, linked = len(ids), []
        for keys in [ids[:, 0], *map(np.load, bands(folder))]:
            order = np.argsort(keys)
            same = keys[order[1:]] == keys[order[:-1]]
            linked.append(np.stack([order[:-1][same], order[1:][same]]).astype(np.int32))
        left, right = np.concatenate(linked, axis=1)
        del linked
        _, component = connected_components(coo_array((np.ones(len(left), dtype=bool), (left, right)), shape=(n, n)), directed=False)
        smallest = np.full(n, n)
        np.minimum.at(smallest, component, np.arange(n))
        labels = smallest[component]
    return reading | {"labels": digest(labels)}


def digest(labels: np.ndarray) -> str:
    """A hash of labels."""
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(labels, dtype=np.int64).data)


def run(run: Run) -> Result:
    """See the module."""
    n = 200_000 if run.quick else 10_000_000
    folder = run.scratch / "clusters"
    folder.mkdir(exist_ok=True)
    planted = child(__name__, "prepare", folder=str(folder), n=n).facts

    def side(function: str, **options: Any) -> Reading:
        return child(__name__, function, folder=str(folder), **options)

    sides = {
        "floor: keys read and sorted": partial(side, "floor"),
        "curate, joins, clusters, verdicts": partial(side, "curate", verify=False),
        "curate, candidates verified": partial(side, "curate", verify=True),
        "numpy argsort, scipy components": partial(side, "scipy"),
    }
    readings = harness.by_turns(sides, run.repeats(3), run.note)
    shutil.rmtree(folder)
    return summary(n, planted, readings)


def summary(n: int, planted: dict[str, Any], readings: dict[str, list[Reading]]) -> Result:
    """Tables and ratios."""
    rows = [harness.row(name, found, n / 1e6, "M documents") for name, found in readings.items()]
    floor_row, ours, verified, theirs = rows
    facts, checked, other = (found[0].facts for found in list(readings.values())[1:])
    phases, one_key = facts["phases"], planted["one_key"]
    same = "the same clusters" if facts["labels"] == other["labels"] else "**other clusters**"
    return Result(
        "clusters",
        "Ten million documents from band keys to verdicts",
        f"Joining, clustering and choosing {n / 1e6:g} million documents takes at most {MOST_GIB:g} GiB, though {planted['largest']:,} of "
        f"them are one cluster and {one_key:,} share one key; and no longer than argsort and scipy take to the clusters alone.",
        f"{n:,} synthetic documents with {N_BANDS} band keys each in {N_BANDS + 5} numpy files; {planted['clusters']:,} planted clusters "
        f"of {planted['members']:,} documents, sizes with a tail like 1 / size^2, the largest of {planted['largest']:,}; one key of the "
        f"first band shared by {one_key:,} documents of none",
        [f"{N_BANDS} arrays of {n * 8 / 1e6:.0f} MB read from the disk cache and sorted by numpy: {floor_row.seconds:.2f} s"],
        rows,
        [
            Ratio("most memory, GiB", ours.peak_mb * 1e6 / 2**30, MOST_GIB, most=True),
            Ratio("most memory with candidates verified, GiB", verified.peak_mb * 1e6 / 2**30, MOST_GIB, most=True),
            harness.ratio("curate to verdicts / its keys sorted", ours, floor_row),
            harness.ratio("curate to verdicts / argsort and scipy to clusters", ours, theirs, 1),
        ],
        f"curate and scipy find {same}; {facts['kept']:,} documents kept, {checked['kept']:,} with candidates verified",
        [
            f"Of curate's time {phases['join']:.2f} s are joins and clusters, {phases['decide']:.2f} s the choice of representatives, "
            f"{phases['columns']:.2f} s verdict columns.",
            f"Verification looked at the sketches of {checked['estimated']:,} pairs and compared {checked['compared']:,}; "
            f"{checked['left_apart']:,} documents stay alone without having been compared with all of their run. "
            f"A run of {one_key:,} has {one_key * (one_key - 1) // 2:,} pairs. Similarities are looked up here, not computed from text.",
        ],
        harness.loads(*readings.values()),
    )
