"""What SampleMix does to every document, one pass each.

Compiled, because a corpus goes through them whole: in numpy each step would write another
array of its length. N documents, K clusters, S steps of quality.
"""

from __future__ import annotations

import math

import numba
import numpy as np

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
def known_clusters(cluster_N, distance_N, separation_N, known_N):  # type: ignore[no-untyped-def]
    """The cluster of every document that has a finite distance and separation in it, else -1: int32 (N), written."""
    for i in range(cluster_N.size):
        known = cluster_N[i] >= 0 and math.isfinite(distance_N[i]) and math.isfinite(separation_N[i])
        known_N[i] = cluster_N[i] if known else -1


@compiled
def cluster_sums(cluster_N, distance_N, separation_N, scale, n_K, distance_K, separation_K):  # type: ignore[no-untyped-def]
    """Documents, distances as whole numbers of 1 / scale, and the greatest separation of every cluster; negative ones are none."""
    for i in range(cluster_N.size):
        cluster = cluster_N[i]
        if cluster >= 0:
            n_K[cluster] += 1
            distance_K[cluster] += np.int64(np.rint(distance_N[i] * scale))
            separation_K[cluster] = max(separation_K[cluster], separation_N[i])


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
def preference_histogram(preference_N, length_N, by_documents, temperature, units, rest_units, mass_B, weight_B, rest_B, sums, edges):  # type: ignore[no-untyped-def]
    """Mass and weight of equal intervals of preference; NaN preferences do not count.

    Args:
        by_documents: whether a document's mass is 1 instead of its length.
        units: weights are added as whole numbers of 1 / units, so that no order of summation shows; and what that
            rounds off as whole numbers of 1 / (units * rest_units).
        mass_B: int64, added to.
        weight_B: mass * exp((preference - upper end of the interval) / temperature) in units, int64, added to.
        rest_B: what remains of it, int64, added to.
        sums: documents and amount (int64), added to.
        edges: least and greatest preference, updated.
    """
    n_buckets = mass_B.size
    for i in range(preference_N.size):
        preference = preference_N[i]
        if math.isnan(preference):
            continue
        mass = np.int64(1) if by_documents else length_N[i]
        bucket = min(np.int64(preference * n_buckets), n_buckets - 1)
        mass_B[bucket] += mass
        weight = mass * units * math.exp((preference - (bucket + 1) / n_buckets) / temperature)
        whole = np.int64(weight)
        weight_B[bucket] += whole
        rest_B[bucket] += np.int64(np.rint((weight - whole) * rest_units))
        sums[0] += 1
        sums[1] += length_N[i]
        edges[0] = min(edges[0], preference)
        edges[1] = max(edges[1], preference)


@compiled
def step_counts(quality_N, counts):  # type: ignore[no-untyped-def]
    """Count qualities in [0, 1] to their nearest step, of ``counts.size`` from 0 to 1; NaN counts as 0."""
    steps = counts.size - 1
    for quality in quality_N:
        counts[0 if math.isnan(quality) else np.int64(np.rint(quality * steps))] += 1
