"""What SampleMix does to every document, one pass each.

Compiled, because a corpus goes through them whole: in numpy each step would write another
array of its length. N documents, K clusters, S steps of quality.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from curate.kernels.exact_sums import add_bits

compiled = numba.njit(cache=True, nogil=True)


@compiled
def value_range(values_N):  # type: ignore[no-untyped-def]
    """How many values are finite, and the least and greatest of those (+inf and -inf where none is)."""
    n, low, high = 0, np.inf, -np.inf
    for value in values_N:
        if math.isfinite(value):
            n += 1
            low = min(low, value)
            high = max(high, value)
    return n, low, high


@compiled
def place_range(values_N, low, high, place_N):  # type: ignore[no-untyped-def]
    """Values between ``low`` and ``high`` (finite, not equal) to [0, 1], beyond them to the ends; NaN where not finite."""
    # Halved first: the distance of float64 extremes may itself overflow.
    width = high / 2 - low / 2
    for i in range(values_N.size):
        value = values_N[i]
        place = (value / 2 - low / 2) / width
        place_N[i] = min(max(place, 0.0), 1.0) if math.isfinite(value) else np.nan


@compiled
def cluster_sums(cluster_N, distance_N, scale, n_K, distance_K):  # type: ignore[no-untyped-def]
    """Documents, and distances as whole numbers of 1 / scale, of every cluster; negative clusters are none."""
    for i in range(cluster_N.size):
        cluster = cluster_N[i]
        if cluster >= 0:
            n_K[cluster] += 1
            distance_K[cluster] += np.int64(np.rint(distance_N[i] * scale))


@compiled
def preferences(quality_N, cluster_N, diversity_K, alpha, drop, preference_N):  # type: ignore[no-untyped-def]
    """alpha * diversity + (1 - alpha) * quality of every document, in [0, 1].

    Args:
        quality_N: in [0, 1], NaN where it is missing.
        cluster_N: negative where it is missing.
        drop: whether a document that misses one has no preference (NaN); else what it misses is 0.
    """
    for i in range(quality_N.size):
        quality, cluster = quality_N[i], cluster_N[i]
        missing = math.isnan(quality)
        if drop and (missing or cluster < 0):
            preference_N[i] = np.nan
            continue
        diversity = diversity_K[cluster] if cluster >= 0 else 0.0
        preference_N[i] = alpha * diversity + (0.0 if missing else (1.0 - alpha) * quality)


@compiled
def weigh_preferences(preference_N, temperature, factor, cap, weight_N):  # type: ignore[no-untyped-def]
    """min(cap, exp((preference - 1) / temperature + factor)) of every document; NaN where it has no preference.

    Args:
        factor: logarithm; +inf puts every document at the cap.
    """
    most = math.log(cap)
    for i in range(preference_N.size):
        log_weight = (preference_N[i] - 1.0) / temperature + factor
        weight_N[i] = cap if log_weight >= most else math.exp(log_weight)


@compiled
def measure_preferences(preference_N, length_N, by_documents, temperature, threshold, limbs, buckets, sums, edges):  # type: ignore[no-untyped-def]
    """What the budget's equation needs of a part.

    Args:
        by_documents: whether a document's mass is 1 instead of its length.
        threshold: preferences from here on are at the cap.
        limbs: exact sum of mass * exp((preference - min(threshold, 1)) / temperature) below the threshold, added to.
        buckets: mass of equal intervals of [0, 1], added to.
        sums: documents, amount, and mass from the threshold on (int64), added to.
        edges: greatest preference below the threshold, least from it on, and least and greatest of all; updated.
    """
    n_buckets = buckets.size
    reference = min(threshold, 1.0)
    one = np.empty(1)
    bits = one.view(np.int64)
    for i in range(preference_N.size):
        preference = preference_N[i]
        if math.isnan(preference):
            continue
        mass = np.int64(1) if by_documents else length_N[i]
        sums[0] += 1
        sums[1] += length_N[i]
        buckets[min(np.int64(preference * n_buckets), n_buckets - 1)] += mass
        edges[2] = min(edges[2], preference)
        edges[3] = max(edges[3], preference)
        if preference >= threshold:
            sums[2] += mass
            edges[1] = min(edges[1], preference)
        else:
            edges[0] = max(edges[0], preference)
            one[0] = mass * math.exp((preference - reference) / temperature)
            add_bits(bits[0], limbs)


@compiled
def step_counts(quality_N, counts):  # type: ignore[no-untyped-def]
    """Count qualities in [0, 1] to their nearest step, of ``counts.size`` from 0 to 1; NaN counts as 0."""
    steps = counts.size - 1
    for quality in quality_N:
        counts[0 if math.isnan(quality) else np.int64(np.rint(quality * steps))] += 1
