"""Weights to copies to slices of output shards. Pure: integers in, integers out.

A weight is the expected number of copies of a document. Copies are its floor, plus
*systematic* sampling of the fraction along each domain's documents in order of length:
walk the cumulative fractions from a random start and take a copy at each whole number
passed. Every document keeps its exact probability. Because length is monotone along the
walk, a domain's realised length differs from its expectation by at most one document,
the longest.

Fractions are integers in units of 2^-32, so sums are exact and nothing depends on the
order of shards, batches or workers.

Suffixes: D domains, N documents of one shard, G (domain, length) groups of one shard.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curate.errors import InfeasibleMixtureError
from curate.hashing import seed_of
from curate.kernels.length_walk import by_length, by_length_and_key, group_fractions, group_starts, walk_copies

FRACTION_BITS = 32
ONE = 1 << FRACTION_BITS


@dataclass(frozen=True)
class Allocation:
    """How many copies each domain's documents get on average.

    Args:
        weights_D: expected copies of every document of a domain.
        budget: the budget the weights realise, in the unit of ``amount_D``.
        proportions_D: the shares they realise; differs from what was asked only where caps moved mass.
    """

    weights_D: np.ndarray
    budget: float
    proportions_D: np.ndarray


def allocate(
    domains: Sequence[str],
    proportions_D: np.ndarray,
    amount_D: np.ndarray,
    budget: float | None,
    max_epochs: float,
    redistribute: bool,
    unit: str,
) -> Allocation:
    """Weights that realise proportions within repetition caps.

    Args:
        domains: names, for messages.
        proportions_D: asked-for shares; sum to 1.
        amount_D: what there is of each domain, in the budget's unit.
        budget: what to emit in that unit; None takes the most that repeats no document.
        max_epochs: most copies of a document on average; 1.0 repeats nothing.
        redistribute: pour what a capped domain cannot hold over the others (water-filling) instead of raising.
        unit: ``tokens`` or ``bytes``, for messages.

    Raises:
        InfeasibleMixtureError: naming the domain, what it needs, what it has, and the knob.
    """
    p_D = np.asarray(proportions_D, dtype=np.float64)
    amount_D = np.asarray(amount_D, dtype=np.float64)
    wanted = p_D > 0
    for d in np.flatnonzero(wanted & (amount_D <= 0)).tolist():
        raise InfeasibleMixtureError(
            f"domain {domains[d]!r} has share {p_D[d]:.4g} but no {unit} left after selection",
            where="mix",
            expected="a positive share only where documents are",
            fix=f"give {domains[d]!r} the share 0, or relax `select:` for it",
        )
    if budget is None:
        budget = float(np.min(amount_D[wanted] / p_D[wanted]))
    need_D = p_D * budget
    cap_D = amount_D * max_epochs
    over = need_D > cap_D * (1 + 1e-9)
    if over.any():
        if not redistribute:
            raise _infeasible(domains, p_D, need_D, amount_D, cap_D, budget, max_epochs, unit)
        need_D = water_fill(need_D, cap_D, domains, unit, max_epochs)
    weights_D = np.divide(need_D, amount_D, out=np.zeros_like(need_D), where=amount_D > 0)
    return Allocation(weights_D, budget, need_D / need_D.sum())


def _infeasible(
    domains: Sequence[str],
    p_D: np.ndarray,
    need_D: np.ndarray,
    amount_D: np.ndarray,
    cap_D: np.ndarray,
    budget: float,
    max_epochs: float,
    unit: str,
) -> InfeasibleMixtureError:
    """The message that carries the answer: the worst domain and the settings that would do."""
    worst = int(np.argmax(np.divide(need_D, cap_D, out=np.zeros_like(need_D), where=cap_D > 0)))
    epochs = need_D[worst] / amount_D[worst]
    reachable = int(np.min(cap_D[p_D > 0] / p_D[p_D > 0]))
    return InfeasibleMixtureError(
        f"domain {domains[worst]!r} cannot supply its share: needs {need_D[worst]:,.0f} {unit}, has {amount_D[worst]:,.0f}",
        where=f"mix: share {p_D[worst]:.4g} of a budget of {budget:,.0f} {unit} is {epochs:.2f} epochs of {domains[worst]!r}",
        expected=f"at most max_epochs = {max_epochs:g} for every domain",
        fix=f"lower the budget to {reachable:,} {unit}, or raise max_epochs to {np.ceil(epochs * 100) / 100:g}, "
        f"or lower the share to {cap_D[worst] / budget:.4g}, or set on_shortage: redistribute",
    )


def water_fill(need_D: np.ndarray, cap_D: np.ndarray, domains: Sequence[str], unit: str, max_epochs: float) -> np.ndarray:
    """The least-changed amounts under the caps: min(cap, λ·need) with λ such that the sum is kept.

    Domains with need 0 stay at 0. Exact: the breakpoints of λ are cap/need, met one by one.
    """
    total, wanted = need_D.sum(), need_D > 0
    if cap_D[wanted].sum() < total * (1 - 1e-12):
        raise InfeasibleMixtureError(
            f"all domains of the mixture together cannot supply {total:,.0f} {unit}: "
            f"they have {cap_D[wanted].sum():,.0f} at max_epochs = {max_epochs:g}",
            where="mix: " + ", ".join(f"{domains[d]} {cap_D[d]:,.0f}" for d in np.flatnonzero(wanted).tolist()),
            expected="budget <= max_epochs x what there is",
            fix=f"lower the budget to {int(cap_D[wanted].sum()):,} {unit} or raise max_epochs",
        )
    out_D = np.zeros_like(need_D)
    order = np.flatnonzero(wanted)
    order = order[np.argsort(cap_D[order] / need_D[order], kind="stable")]
    left_mass = total
    # What is still to be met, summed from the end: subtracting large needs would leave only rounding of the small ones.
    left_need = np.cumsum(need_D[order][::-1])[::-1]
    for d, left in zip(order, left_need, strict=True):
        out_D[d] = min(cap_D[d], left_mass / left * need_D[d])
        left_mass -= out_D[d]
    return out_D


def fixed_point(weights: np.ndarray) -> np.ndarray:
    """Weights as int64 in units of 2^-32 copies (weights below 2^30)."""
    return np.rint(np.asarray(weights, dtype=np.float64) * ONE).astype(np.int64)


@dataclass(frozen=True)
class LengthGroups:
    """Documents of one shard grouped by (domain, length): what the driver needs to place a shard in the walk.

    Args:
        domain_G: domain index.
        length_G: length in the budget's unit.
        fraction_G: sum of the documents' fractions, in 2^-32 copies.
    """

    domain_G: np.ndarray
    length_G: np.ndarray
    fraction_G: np.ndarray


def length_groups(domain_N: np.ndarray, length_N: np.ndarray, fixed_N: np.ndarray) -> LengthGroups:
    """Group one shard's documents; ``fixed_N`` are fixed-point weights, 0 for documents not kept."""
    order = by_length(domain_N, length_N)
    starts = group_starts(domain_N, length_N, order)
    first = order[starts[:-1]]
    return LengthGroups(domain_N[first], length_N[first], group_fractions(fixed_N, order, starts, ONE - 1))


def walk_starts(shards: Sequence[LengthGroups], domains: Sequence[str], seed: int) -> list[np.ndarray]:
    """Where each shard's groups start in the walk of their domain, modulo one copy.

    The walk visits lengths in ascending order and, within a length, shards in order. The
    start of a domain is random by seed and name.

    Returns:
        Per shard, for each of its G groups, the position in units of 2^-32, in [0, 2^32).
    """
    sizes = [len(g.domain_G) for g in shards]
    if not sum(sizes):
        return [np.empty(0, np.int64) for _ in shards]
    domain = np.concatenate([g.domain_G for g in shards])
    length = np.concatenate([g.length_G for g in shards])
    fraction = np.concatenate([g.fraction_G for g in shards])
    shard = np.repeat(np.arange(len(shards)), sizes)
    order = np.lexsort((shard, length, domain))
    # Sums are taken modulo 2^32: only the crossing of whole copies matters.
    walked = np.zeros(len(order), np.int64)
    walked[1:] = np.cumsum(fraction[order][:-1])
    d = domain[order]
    first_of_domain = np.searchsorted(d, d, side="left")
    random_start = np.array([seed_of(seed, f"copies/{name}") % ONE for name in domains], dtype=np.int64)
    position = np.empty(len(order), np.int64)
    position[order] = (walked - walked[first_of_domain] + random_start[d]) % ONE
    return np.split(position, np.cumsum(sizes)[:-1])


def copies(domain_N: np.ndarray, length_N: np.ndarray, key_N: np.ndarray, fixed_N: np.ndarray, starts_G: np.ndarray) -> np.ndarray:
    """Integer copies of one shard's documents.

    Args:
        key_N: uint64 keyed hashes that order documents of equal length.
        starts_G: this shard's part of ``walk_starts``.

    Returns:
        copies_N int64: the floor of the weight, plus one where the walk passes a whole number.
    """
    order = by_length_and_key(domain_N, length_N, key_N)
    copies_N = np.empty(len(order), np.int64)
    walk_copies(fixed_N, order, group_starts(domain_N, length_N, order), starts_G, FRACTION_BITS, copies_N)
    return copies_N


@dataclass(frozen=True)
class Run:
    """Copies number ``copy`` of a domain's documents inside one part: ``n_bytes`` in part order."""

    domain: str
    copy: int
    part: int
    n_bytes: int


@dataclass(frozen=True)
class Slice:
    """The stretch [low, high) of a run, in half bytes, that goes to one output shard.

    A document belongs to the stretch that holds its middle, so no document is cut or lost.
    """

    domain: str
    copy: int
    part: int
    low: int
    high: int


def slices(runs: Sequence[Run], n_shards: int, seed: int) -> list[list[Slice]]:
    """Deal every domain's stream evenly over output shards.

    A domain's stream is all its first copies in corpus order, then all second copies, and
    so on; ingest has already permuted documents within a domain. Every output shard takes
    one equal stretch of every stream, so each holds the mixture's proportions, copies of a
    document lie far apart, and a shard reads a few contiguous ranges instead of everything.
    Streams start at a random phase so that their ends do not coincide.
    """
    out: list[list[Slice]] = [[] for _ in range(n_shards)]
    streams: dict[str, list[Run]] = {}
    for run in sorted(runs, key=lambda r: (r.domain, r.copy, r.part)):
        streams.setdefault(run.domain, []).append(run)
    for domain, stream in streams.items():
        # Half bytes make a document's middle an integer.
        cuts, shard_at = _stretches(2 * sum(run.n_bytes for run in stream), n_shards, seed_of(seed, f"phase/{domain}"))
        offset = 0
        for run in stream:
            end = offset + 2 * run.n_bytes
            at = bisect_right(cuts, offset) - 1
            while at < len(shard_at) and cuts[at] < end:
                low, high = max(cuts[at], offset), min(cuts[at + 1], end)
                out[shard_at[at]].append(Slice(domain, run.copy, run.part, low - offset, high - offset))
                at += 1
            offset = end
    return out


def _stretches(total: int, n_shards: int, random: int) -> tuple[list[int], list[int]]:
    """Cut a circle of length ``total`` into equal stretches from a random start.

    Returns:
        The cuts from 0 to ``total`` in order, and for each interval between them its shard.
    """
    if total == 0:
        return [0], []
    phase = random * total >> 64
    begins = {(k * total // n_shards + phase) % total: k for k in range(n_shards)}
    cuts = sorted(begins)
    # What lies before the first cut belongs to the stretch that wraps around the end.
    if cuts[0] != 0:
        begins[0] = begins[cuts[-1]]
        cuts = [0, *cuts]
    return [*cuts, total], [begins[cut] for cut in cuts]


def rows_in_slice(size_N: np.ndarray, low: int, high: int) -> np.ndarray:
    """Positions, among a run's documents of byte sizes ``size_N``, whose middle lies in [low, high) half bytes."""
    end = np.cumsum(2 * size_N)
    middle = end - size_N
    return np.flatnonzero((middle >= low) & (middle < high))
