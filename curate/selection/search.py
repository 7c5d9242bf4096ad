"""Finding the cut of a percentile rule over a corpus that does not fit in memory.

    survey      per group: documents, weight, lowest and highest score key    one pass
    histogram   per open edge: up to 4,096 buckets across its interval       one pass a round
    narrow      each interval shrinks to the bucket with the boundary
    candidates  the rows inside the intervals, once they are few              one pass
    settle      sort those, and read off the exact boundary

A rule with strata is searched twice: their edges first, by the same passes over their column,
then the edges of its window inside each of them.

A pass is a function of one shard's column table, given to ``map_shards``; the functions
here are pure and pickle with their arguments (``functools.partial`` of module functions).
A round reads only score columns. The driver holds one round of histograms, at most 4 million
rows of 32 bytes (the more shards and edges there are, the fewer buckets each gets, down to 8),
and at most ``limit`` gathered rows of 56 bytes. A tie of more documents than the limit is
narrowed through the next part of the order, the doc_id. R is the ranked rows of a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import numpy as np
import pyarrow as pa

from curate.errors import IntegrityError
from curate.hashing import U64
from curate.selection.cuts import Cut, GroupCut, Ranked, ranked, stratified, survivors
from curate.selection.groups import StrataCut
from curate.selection.ordering import END, HIGHEST, START, WIDTH, Kind, Place, successor
from curate.selection.rules import Rule
from curate.selection.windows import strata_targets

T = TypeVar("T")
MapShards = Callable[[Callable[[pa.Table], T]], list[T]]

BUCKET_BITS = 12
_FEWEST_BITS = 3
_HISTOGRAM_ROWS = 1 << 22
CANDIDATES = 100_000
_PARTS = tuple(f"place_{i}" for i in range(WIDTH))


@dataclass(frozen=True)
class Sought:
    """What a search looks for: the edges of rule ``len(cuts)``, or those of its strata while they are not known.

    Args:
        rules: resolved rules, in order.
        cuts: one entry per earlier rule: its cut, or None where it does not rank.
        strata: those of the rule; None before they are found.
    """

    rules: tuple[Rule, ...]
    cuts: tuple[Cut | None, ...]
    strata: tuple[StrataCut, ...] | None = None

    @property
    def rule(self) -> Rule:
        """The rule whose turn it is."""
        return self.rules[len(self.cuts)]

    def shard(self, table: pa.Table) -> Ranked:
        """The rows of one shard among which the edges lie."""
        alive = survivors(self.rules, self.cuts, table)
        if self.rule.strata is not None and self.strata is None:
            return stratified(self.rule, table, alive)
        return ranked(self.rule, table, alive, self.strata or ())

    def targets(self, n_documents: int, weight: int) -> tuple[int | None, ...]:
        """The targets of a group's edges (see ``Slot``), None where an edge bounds nothing."""
        if self.rule.strata is not None and self.strata is None:
            return strata_targets(self.rule.strata.quantiles, n_documents)
        return self.rule.targets(n_documents, weight)


@dataclass(frozen=True)
class Group:
    """One group of a search: what it holds, and its edges as far as they are known. Fields as in ``GroupCut``."""

    label: str | None
    n_documents: int
    weight: int
    edges: tuple[Place | None, ...]


@dataclass(frozen=True)
class Slot:
    """The interval in which one edge of one group is known to lie.

    All its places share ``prefix``; the part after the prefix lies in [low, high].

    Args:
        group: the group's label.
        edge: which of the group's edges, in order.
        target: documents with 2·(weight before) + (own weight) <= target lie below the edge.
        before: weight of the group's documents before the interval.
        n_documents: documents inside.
        bits: how finely the interval is cut in a round.
    """

    group: str | None
    edge: int
    target: int
    before: int
    n_documents: int
    low: int
    high: int
    prefix: tuple[int, ...] = ()
    bits: int = BUCKET_BITS

    @property
    def shift(self) -> int:
        """Bits dropped from (part - low) to give one of 2^bits buckets."""
        return max(0, (self.high - self.low).bit_length() - self.bits)


def survey(table: pa.Table, sought: Sought) -> pa.Table:
    """What one shard has among which edges are sought: one row (group, n_documents, weight, low, high, kind) per group."""
    shard = sought.shard(table)
    order = np.argsort(shard.group, kind="stable")
    present, starts, counts = np.unique(shard.group[order], return_index=True, return_counts=True)
    keys, weights = shard.places.part(0)[order], shard.weights[order]
    reduced = [f.reduceat(a, starts) if len(starts) else a for f, a in ((np.add, weights), (np.minimum, keys), (np.maximum, keys))]
    labels = pa.array([shard.labels[i] for i in present.tolist()], pa.string())
    columns = dict(zip(("weight", "low", "high"), map(pa.array, reduced), strict=True))
    return pa.table(
        {
            "group": labels,
            "n_documents": pa.array(counts.astype(np.int64)),
            **columns,
            "kind": pa.array([shard.kind] * len(present), pa.string()),
        }
    )


def open_slots(sought: Sought, surveys: Sequence[pa.Table]) -> tuple[Kind, tuple[Group, ...], tuple[Slot, ...]]:
    """The kind of the keys, the groups found with those edges that need no search, and a slot for every edge that does."""
    if not surveys:
        return "float", (), ()
    found = pa.concat_tables(surveys)
    rows = found.group_by("group").aggregate([("n_documents", "sum"), ("weight", "sum"), ("low", "min"), ("high", "max")]).to_pylist()
    rows.sort(key=lambda row: (row["group"] is not None, row["group"]))
    groups, slots = [], []
    for row in rows:
        label, n_documents, weight = row["group"], row["n_documents_sum"], row["weight_sum"]
        targets = sought.targets(n_documents, weight)
        # Where even the last document lies below an edge: the lower one empties the window, the upper one bounds nothing.
        edges = tuple(END if t is not None and t >= 2 * weight else None for t in targets)
        groups.append(Group(label, n_documents, weight, edges))
        slots += [
            Slot(label, i, t, 0, n_documents, row["low_min"], row["high_max"])
            for i, t in enumerate(targets)
            if t is not None and edges[i] is None
        ]
    return found["kind"][0].as_py() if len(found) else "float", tuple(groups), tuple(slots)


def histogram(table: pa.Table, sought: Sought, slots: Sequence[Slot]) -> pa.Table:
    """One shard's rows inside the slots: (slot int64, bucket int64, n_documents int64, weight int64), sorted, sparse."""
    shard = sought.shard(table)
    low = np.array([s.low for s in slots], dtype=U64)
    shift = np.array([s.shift for s in slots], dtype=U64)
    cells, weights = [], []
    for inside, slot, part in _members(shard, slots):
        bucket = (part - low[slot]) >> shift[slot]
        cells.append(slot << BUCKET_BITS | bucket.astype(np.int64))
        weights.append(shard.weights[inside])
    return _summed(np.concatenate(cells), np.ones(sum(map(len, cells)), dtype=np.int64), np.concatenate(weights))


def narrow(slots: Sequence[Slot], histograms: Sequence[pa.Table]) -> tuple[Slot, ...]:
    """Every slot shrunk to the first bucket whose documents reach beyond its target.

    All documents of earlier buckets lie below the edge, and if all of this one do too, the next is above it.
    """
    merged = pa.concat_tables(histograms)
    cells = merged["slot"].to_numpy() << BUCKET_BITS | merged["bucket"].to_numpy()
    total = _summed(cells, merged["n_documents"].to_numpy(), merged["weight"].to_numpy())
    owner, bucket, count, weight = (total[name].to_numpy() for name in ("slot", "bucket", "n_documents", "weight"))
    bounds = np.searchsorted(owner, np.arange(len(slots) + 1))
    return tuple(_narrowed(s, bucket[a:b], count[a:b], weight[a:b]) for s, a, b in zip(slots, bounds[:-1], bounds[1:], strict=True))


def _narrowed(slot: Slot, bucket: np.ndarray, count: np.ndarray, weight: np.ndarray) -> Slot:
    """One slot shrunk, given its sorted non-empty buckets."""
    reached = slot.before + np.cumsum(weight)
    at = int(np.searchsorted(reached, slot.target // 2, side="right"))
    low = slot.low + (int(bucket[at]) << slot.shift)
    high = min(slot.high, low + (1 << slot.shift) - 1)
    slot = replace(slot, before=int(reached[at] - weight[at]), n_documents=int(count[at]), low=low, high=high)
    if low < high:
        return slot
    if len(slot.prefix) + 1 < WIDTH:
        return replace(slot, prefix=(*slot.prefix, low), low=0, high=HIGHEST)
    if slot.n_documents > 1:
        raise IntegrityError(
            f"{slot.n_documents} documents share one source and source_row",
            where=f"source_row {low - (1 << 63)}",
            expected="(source, source_row) unique in a corpus",
            fix="ingest again: the same file was read twice under one name",
        )
    return slot


def candidates(table: pa.Table, sought: Sought, slots: Sequence[Slot]) -> pa.Table:
    """One shard's rows inside the slots, whole: (slot int64, place_0 … place_4 uint64, weight int64)."""
    shard = sought.shard(table)
    found = list(_members(shard, slots))
    inside = np.concatenate([rows for rows, _, _ in found])
    places = shard.places.at(inside)
    columns = {name: pa.array(places[:, i]) for i, name in enumerate(_PARTS)}
    return pa.table(
        {"slot": pa.array(np.concatenate([slot for _, slot, _ in found])), **columns, "weight": pa.array(shard.weights[inside])}
    )


def settle(groups: Sequence[Group], slots: Sequence[Slot], gathered: Sequence[pa.Table]) -> tuple[Group, ...]:
    """The groups with every searched edge in its exact place."""
    rows = pa.concat_tables(gathered).sort_by([(name, "ascending") for name in ("slot", *_PARTS)])
    owner, weights = rows["slot"].to_numpy(), rows["weight"].to_numpy()
    places = np.stack([rows[name].to_numpy() for name in _PARTS], axis=1)
    bounds = np.searchsorted(owner, np.arange(len(slots) + 1)).tolist()
    found: dict[tuple[str | None, int], Place] = {}
    for slot, a, b in zip(slots, bounds[:-1], bounds[1:], strict=True):
        found[slot.group, slot.edge] = _edge(slot, places[a:b], weights[a:b])
    return tuple(replace(g, edges=tuple(found.get((g.label, i), edge) for i, edge in enumerate(g.edges))) for g in groups)


def _edge(slot: Slot, places: np.ndarray, weights: np.ndarray) -> Place:
    """The first place not below the edge, from the slot's documents in order; just after the last if all are below."""
    after = slot.before + np.cumsum(weights)
    n_below = int(np.count_nonzero(2 * after - weights <= slot.target))
    a, b, c, d, e = places[min(n_below, len(places) - 1)].tolist()
    return (a, b, c, d, e) if n_below < len(places) else successor((a, b, c, d, e))


def find_cut(rules: Sequence[Rule], cuts: Sequence[Cut | None], map_shards: MapShards, limit: int = CANDIDATES) -> Cut:
    """The cut of rule ``len(cuts)``, given those of the rules before it.

    Args:
        rules: resolved rules, in order.
        cuts: one entry per earlier rule: its cut, or None where it does not rank.
        map_shards: applies a function to every shard's table (``columns(rules)``) and returns the results.
        limit: rows to gather in the driver at most (one per open edge if that is more).
    """
    sought = Sought(tuple(rules), tuple(cuts))
    if sought.rule.strata is not None:
        _, groups = _search(sought, map_shards, limit)
        # Strata have no bound at either end, so every edge between them was searched for.
        sought = replace(sought, strata=tuple(StrataCut(g.label, tuple(e for e in g.edges if e is not None)) for g in groups))
    kind, groups = _search(sought, map_shards, limit)
    windows = tuple(GroupCut(g.label, g.n_documents, g.weight, g.edges[0] or START, g.edges[1] or END) for g in groups)
    return Cut(kind, windows, sought.strata or ())


def _search(sought: Sought, map_shards: MapShards, limit: int) -> tuple[Kind, tuple[Group, ...]]:
    """The passes over all shards: the kind of the keys, and the groups with all their edges; None where one bounds nothing."""
    surveys = map_shards(partial(survey, sought=sought))
    kind, groups, slots = open_slots(sought, surveys)
    quota = max(1, limit // max(1, len(slots)))
    while wide := [s for s in slots if s.n_documents > quota]:
        room = _HISTOGRAM_ROWS // (len(wide) * len(surveys))
        bits = min(BUCKET_BITS, max(_FEWEST_BITS, room.bit_length() - 1))
        wide = [replace(s, bits=bits) for s in wide]
        shrunk = narrow(wide, map_shards(partial(histogram, sought=sought, slots=wide)))
        slots = tuple(s for s in slots if s.n_documents <= quota) + shrunk
    return kind, settle(groups, slots, map_shards(partial(candidates, sought=sought, slots=slots))) if slots else groups


def find_cuts(rules: Sequence[Rule], map_shards: MapShards, limit: int = CANDIDATES) -> tuple[Cut | None, ...]:
    """One entry per rule: its cut, or None where the rule does not rank. Arguments as for ``find_cut``."""
    cuts: tuple[Cut | None, ...] = ()
    for rule in rules:
        cuts = (*cuts, find_cut(rules, cuts, map_shards, limit) if rule.ranks else None)
    return cuts


def _members(shard: Ranked, slots: Sequence[Slot]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows inside the slots, a triple for each edge in order: equally long (row in R, slot index, current part)."""
    numbers: dict[int, list[int]] = {}
    for i, s in enumerate(slots):
        numbers.setdefault(s.edge, []).append(i)
    found = []
    for edge in sorted(numbers):
        # A group has one slot of each edge at most, so a row is looked up once.
        own = [slots[i] for i in numbers[edge]]
        rows, slot, part = _members_of_edge(shard, own)
        found.append((rows, np.array(numbers[edge], dtype=np.int64)[slot], part))
    return found


def _members_of_edge(shard: Ranked, slots: Sequence[Slot]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same for slots of different groups."""
    index = {s.group: i for i, s in enumerate(slots)}
    slot = np.array([index.get(name, -1) for name in shard.labels], dtype=np.int64)[shard.group]
    rows = np.flatnonzero(slot >= 0)
    slot = slot[rows]
    depths = np.array([len(s.prefix) for s in slots], dtype=np.int64)
    for depth in range(int(depths.max(initial=0))):
        fixed = np.array([s.prefix[depth] if len(s.prefix) > depth else 0 for s in slots], dtype=U64)
        same = (depths <= depth)[slot] | (shard.places.part(depth)[rows] == fixed[slot])
        rows, slot = rows[same], slot[same]
    part = np.empty(len(rows), dtype=U64)
    for depth in np.unique(depths[slot]).tolist():
        here = depths[slot] == depth
        part[here] = shard.places.part(depth)[rows[here]]
    low, high = np.array([s.low for s in slots], dtype=U64), np.array([s.high for s in slots], dtype=U64)
    within = (part >= low[slot]) & (part <= high[slot])
    return rows[within], slot[within], part[within]


def _summed(cells: np.ndarray, counts: np.ndarray, weights: np.ndarray) -> pa.Table:
    """Counts and weights added up per cell (slot · 4096 + bucket), in exact integers."""
    order = np.argsort(cells, kind="stable")
    cells = cells[order]
    starts = np.flatnonzero(np.diff(cells, prepend=-1))
    distinct = cells[starts]
    n, w = (np.add.reduceat(a[order], starts) if len(starts) else a for a in (counts, weights))
    return pa.table({"slot": distinct >> BUCKET_BITS, "bucket": distinct & ((1 << BUCKET_BITS) - 1), "n_documents": n, "weight": w})
