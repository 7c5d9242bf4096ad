"""Two histograms that add up over shards: lengths in fixed buckets, scores in bins fixed by a sketch of them.

*Lengths.* Each length below 64 has a bucket of its own; above, every doubling is cut into
32 buckets of equal width, so that a quantile read off as the middle of its bucket is at most
1.6 % from the exact one. Buckets know nothing of the data, so sums over shards are the
histogram of the corpus.

*Scores.* A first pass counts scores by sign, exponent and the five highest bits of the
mantissa, with the lowest and highest score of each such bucket. The sum gives the range
between the quantiles 0.005 and 0.995, to within a bucket, and so the bins; a second pass
counts exactly in them. Both depend on the set of scores alone.
N is the number of values.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import pyarrow as pa

from curate.hashing import U64
from curate.selection.ordering import keys_of

N_BINS = 60
_EXACT_BITS = 6
_SUB_BITS = 5
_SKETCH_SHIFT = U64(52 - _SUB_BITS)
_TAIL = Fraction(1, 200)
# From this ratio of highest to lowest on, positive scores are shown on a logarithmic scale.
_LOG_FROM = 20.0
Scale = Literal["linear", "log"]


def length_buckets(n_bytes: np.ndarray) -> np.ndarray:
    """The bucket of each length (N, int64, 0 or more) as int64 (N), in the order of lengths."""
    exponent = np.maximum(np.frexp(n_bytes.astype(np.float64))[1].astype(np.int64) - 1, _EXACT_BITS)
    octave = exponent - _EXACT_BITS
    above = (1 << _EXACT_BITS) + (octave << _SUB_BITS) + (n_bytes >> (exponent - _SUB_BITS)) - (1 << _SUB_BITS)
    return np.where(n_bytes < 1 << _EXACT_BITS, n_bytes, above)


def length_of(bucket: int) -> int:
    """The middle of a bucket in bytes, rounded down."""
    if bucket < 1 << _EXACT_BITS:
        return bucket
    octave, sub = divmod(bucket - (1 << _EXACT_BITS), 1 << _SUB_BITS)
    width = 1 << (octave + _EXACT_BITS - _SUB_BITS)
    return (sub + (1 << _SUB_BITS)) * width + (width - 1) // 2


def at_quantile(counts: np.ndarray, quantile: Fraction) -> int:
    """The index of the bucket that holds the document of rank ceil(quantile · n), counting from 1; there is at least one document."""
    reached = np.cumsum(counts)
    rank = max(1, -(-quantile.numerator * int(reached[-1]) // quantile.denominator))
    return int(np.searchsorted(reached, rank))


def sketch(scores: np.ndarray) -> pa.Table:
    """Finite scores (N, float64) in coarse buckets: (bucket uint64, n int64, low float64, high float64), sorted, sparse."""
    scores = np.sort(scores[np.isfinite(scores)])
    bucket, starts, n = np.unique(keys_of(scores) >> _SKETCH_SHIFT, return_index=True, return_counts=True)
    return pa.table({"bucket": bucket, "n": n.astype(np.int64), "low": scores[starts], "high": scores[starts + n - 1]})


def score_edges(sketches: Sequence[pa.Table]) -> tuple[Scale, np.ndarray]:
    """The scale and the edges (N_BINS + 1, float64) of the bins for the scores of all sketches.

    The outermost bins hold what lies beyond the edges too.
    """
    merged = pa.concat_tables(sketches).group_by("bucket").aggregate([("n", "sum"), ("low", "min"), ("high", "max")]).sort_by("bucket")
    if not len(merged):
        return "linear", np.arange(N_BINS + 1) / N_BINS
    counts = merged["n_sum"].to_numpy()
    low = float(merged["low_min"][at_quantile(counts, _TAIL)].as_py())
    high = float(merged["high_max"][at_quantile(counts, 1 - _TAIL)].as_py())
    if low == high:
        low, high = (low - 0.5, high + 0.5) if abs(low) < 1 else (low - abs(low) / 2, high + abs(high) / 2)
    # Weighing both ends instead of adding steps cannot overflow.
    part = np.arange(N_BINS + 1) / N_BINS
    if low > 0 and high / low >= _LOG_FROM:
        edges = np.exp(np.log(low) * (1 - part) + np.log(high) * part)
        edges[0], edges[-1] = low, high
        return "log", edges
    # Rounding may exchange edges that are neighbours among floats.
    return "linear", np.maximum.accumulate(low * (1 - part) + high * part)


def score_bins(scores: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """The bin of each score (N): int64 (N) from 0 to N_BINS - 1; bin i begins at ``edges[i]``."""
    return np.clip(np.searchsorted(edges, scores, side="right") - 1, 0, N_BINS - 1)
