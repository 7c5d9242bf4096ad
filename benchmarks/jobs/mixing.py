"""The arithmetic of mixing: copies of N documents, beside one fused numpy pass over them."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.harness import Result, child
from benchmarks.job import Run
from curate import sampling

N_DOMAINS = 16
PER_SHARD = 100_000


def compare(n_documents: int, repeats: int) -> dict[str, Any]:
    """Systematic sampling over shards, and independent draws over everything at once."""
    random = np.random.default_rng(0)
    domain = random.integers(0, N_DOMAINS, n_documents)
    length = np.rint(random.lognormal(6.5, 1.2, n_documents)).astype(np.int64)
    key = random.integers(0, 2**64, n_documents, dtype=np.uint64)
    fixed = sampling.fixed_point(random.uniform(0.3, 3.0, N_DOMAINS))[domain]
    names = [f"domain {d}" for d in range(N_DOMAINS)]
    shards = [slice(a, min(a + PER_SHARD, n_documents)) for a in range(0, n_documents, PER_SHARD)]

    def systematic() -> np.ndarray:
        groups = [sampling.length_groups(domain[s], length[s], fixed[s]) for s in shards]
        starts = sampling.walk_starts(groups, names, 7)
        return np.concatenate([sampling.copies(domain[s], length[s], key[s], fixed[s], g) for s, g in zip(shards, starts, strict=True)])

    def independent() -> np.ndarray:
        return (fixed + (key >> np.uint64(32)).astype(np.int64)) >> 32

    works = {"curate, systematic sampling over shards": systematic, "one numpy pass, independent draws": independent}
    readings = in_turns(works, repeats)
    asked = np.bincount(domain, fixed / sampling.ONE * length, N_DOMAINS)
    misses = {}
    for name, work in works.items():
        made = np.bincount(domain, work() * length, N_DOMAINS)
        misses[name] = {"documents": float(np.abs(made - asked).max() / length.max()), "share": float((np.abs(made - asked) / asked).max())}
    return {"readings": readings, "misses": misses}


def run(run: Run) -> Result:
    """See the module."""
    n = 300_000 if run.quick else 5_000_000
    found = child(__name__, "compare", n_documents=n, repeats=run.repeats(3))
    rows = harness.rows_in_turns(found.facts["readings"], n / 1e6, "M documents", found.peak_bytes)
    (_, ours), (_, theirs) = found.facts["misses"].items()
    moved = 5 * 8 * n / 1e6
    return Result(
        "mixing",
        "Mixing arithmetic",
        "nothing; it tells what exactness costs. Systematic sampling sorts every shard by domain and length; independent draws sort "
        "nothing.",
        f"{n:,} documents in {N_DOMAINS} domains, shards of {PER_SHARD:,}; nothing is read or written",
        [f"five columns of eight bytes, {moved:.0f} MB, touched once: {moved / run.speeds['copy']:.3f} s"],
        rows,
        [harness.ratio("curate / one numpy pass", rows[0], rows[1])],
        f"a domain's length misses what was asked by at most {ours['documents']:.2f} of the longest document ({ours['share']:.1e} of it); "
        f"independent draws by {theirs['documents']:.1f} longest documents ({theirs['share']:.1e})",
        ["Emitting the same documents takes far longer than either, so exactness is nearly free in a run."],
        harness.loads([found]),
    )
