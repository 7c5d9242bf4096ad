"""Sums of float64 that are exact, and so the same in any order and any grouping.

A sum is held as whole numbers of 2^-1074 in limbs of 32 bits (Neal 2015, arXiv 1505.05571,
the small superaccumulator): adding a term touches three limbs. Terms must be finite and 0 or
more; up to 2^30 of them fit into one array of limbs, any number into ``total``.
"""

from __future__ import annotations

import numba
import numpy as np

from curate.kernels.unicode_classes import inlined

compiled = numba.njit(cache=True, nogil=True)

LIMBS = 68
_LOW = np.int64(0xFFFFFFFF)
_ONE = np.int64(1)


def empty_sum() -> np.ndarray:
    """A sum of nothing: int64 (LIMBS)."""
    return np.zeros(LIMBS, np.int64)


@inlined
def add_bits(bits, limbs):  # type: ignore[no-untyped-def]
    """Add the float64 with these bits (int64)."""
    exponent = (bits >> 52) & 0x7FF
    mantissa = bits & ((_ONE << 52) - 1)
    if exponent > 0:
        mantissa |= _ONE << 52
        exponent -= 1
    limb, shift = exponent >> 5, exponent & 31
    low = (mantissa & _LOW) << shift
    high = (mantissa >> 32) << shift
    limbs[limb] += low & _LOW
    limbs[limb + 1] += ((low >> 32) & _LOW) + (high & _LOW)
    limbs[limb + 2] += high >> 32


@compiled
def add_all(values, limbs):  # type: ignore[no-untyped-def]
    """Add every value to the sum."""
    bits = values.view(np.int64)
    for i in range(bits.size):
        add_bits(bits[i], limbs)


def total(*sums: np.ndarray) -> float:
    """The sum of these sums (``empty_sum`` and what was added), rounded once."""
    whole = sum(int(limb) << (32 * i) for limbs in sums for i, limb in enumerate(limbs.tolist()) if limb)
    return whole / (1 << 1074)
