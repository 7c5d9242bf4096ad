"""What every percentile rule did to the composition of a corpus: who was ranked, who was kept, and what decided at the edges.

    found = composition(rules, cuts, map_shards, tokens)    two passes over narrow columns, for all rules together
    check_composition(found, rules, cuts, counted)          against the cuts and the tally

Pruning by a score changes the shares of domains and the lengths of documents, and a proxy run
on what it kept cannot tell these from the effect of the score unless they are written down.
*Before* are the documents a rule ranked, *after* those of them it kept. All sums are of integers
over documents, so they do not depend on shards or their order. R is the ranked rows of a shard,
G the groups among them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import IntegrityError
from curate.hashing import U64
from curate.selection.cuts import Cut, GroupCut, Ranked, apply, edges_of, fallen, judged
from curate.selection.histograms import N_BINS, at_quantile, length_buckets, length_of, score_bins, score_edges, sketch
from curate.selection.ordering import END, HIGHEST, START, numbers, told_value_of
from curate.selection.rules import Rule
from curate.selection.search import MapShards
from curate.selection.thresholds import coded
from curate.selection.within import parts_of, text_of

AMOUNTS = ("n_documents", "n_bytes", "n_tokens")
_SIDES = [f"{amount}_{when}" for amount in AMOUNTS for when in ("before", "after")]
_TIES = ("below", "above", "copies_below", "copies_above")
_LENGTHS = ["domain", "bucket", "before", "after"]
_QUANTILES = tuple(Fraction(q, 10) for q in (1, 5, 9))
# Groups whose cuts are written down, those with the most documents; a rule within a column of many values has too many to read.
_MOST_GROUPS = 1000


@dataclass(frozen=True)
class Measured:
    """One rule on one shard; everything here adds up over shards.

    Args:
        amounts: per domain what was ranked and kept: (domain, ``_SIDES`` int64).
        lengths: per domain and bucket of n_bytes the documents ranked and kept: (``_LENGTHS``), sparse and narrow, since
            the driver holds those of all shards.
        bins: documents ranked and kept per bin of the score, int64 (2, N_BINS).
        edges: per group and edge that bounds it (0 lower, 1 upper) the lowest key at or above the edge, and the documents
            with exactly the score at the edge, and those of them with the doc_id at the edge too, below it and above:
            (group, edge, first uint64, ``_TIES`` int64).
    """

    amounts: pa.Table
    lengths: pa.Table
    bins: np.ndarray
    edges: pa.Table


def composition(
    rules: Sequence[Rule], cuts: Sequence[Cut | None], map_shards: MapShards[Any], tokens: str | None = None
) -> list[dict[str, Any]]:
    """One dict for every rule that ranks, as documented in docs/pipelines.md.

    Args:
        rules: resolved rules, in order.
        cuts: one entry per rule, from ``find_cuts``.
        map_shards: applies a function to every shard's table: ``columns(rules)``, ``domain``, ``n_bytes`` and ``tokens``.
        tokens: name of the token-count column; null counts as 0. Without it amounts of tokens are None.
    """
    ranking = [i for i, rule in enumerate(rules) if rule.ranks]
    if not ranking:
        return []
    sketches = map_shards(partial(sketches_of, rules=rules, cuts=cuts))
    scales = [score_edges([shard[k] for shard in sketches]) for k in range(len(ranking))] if sketches else []
    edges = [found for _, found in scales]
    measured = map_shards(partial(measure, rules=rules, cuts=cuts, edges=edges, tokens=tokens)) if sketches else []
    told = []
    for k, (index, (scale, bins)) in enumerate(zip(ranking, scales, strict=False)):
        shards, cut = [shard[k] for shard in measured], cuts[index]
        assert cut is not None
        before, after = np.sum([m.bins for m in shards], axis=0).tolist()
        histogram = {"scale": scale, "edges": bins.tolist(), "before": before, "after": after}
        told.append(
            _head(index, rules[index], cut)
            | _amounts(shards, tokens is not None)
            | {"score_histogram": histogram}
            | _cuts(rules[index], cut, shards)
        )
    return told


def sketches_of(table: pa.Table, rules: Sequence[Rule], cuts: Sequence[Cut | None]) -> list[pa.Table]:
    """The sketch of the scores that each ranking rule ranks in one shard."""
    return [sketch(_scores(rule, table, shard)) for rule, _, shard, _ in _walk(table, rules, cuts)]


def measure(
    table: pa.Table, rules: Sequence[Rule], cuts: Sequence[Cut | None], edges: Sequence[np.ndarray], tokens: str | None
) -> list[Measured]:
    """What each ranking rule did in one shard; ``edges``: of the bins of its scores."""
    found = []
    codes, names = coded(table["domain"])
    domains = pa.array(names, pa.string())
    n_bytes = numbers(table["n_bytes"])[0].astype(np.int64)
    n_tokens = numbers(table[tokens])[0].astype(np.int64) if tokens else np.zeros(len(table), dtype=np.int64)
    for (rule, cut, shard, kept), bins in zip(_walk(table, rules, cuts), edges, strict=True):
        domain = codes[shard.rows]
        amounts = []
        for amount in (np.ones(len(shard.rows), dtype=np.int64), n_bytes[shard.rows], n_tokens[shard.rows]):
            amounts += [_summed(domain, amount, len(names)), _summed(domain[kept], amount[kept], len(names))]
        present = np.flatnonzero(amounts[0])
        bucket = length_buckets(n_bytes[shard.rows])
        width = int(bucket.max(initial=0)) + 1
        cell, where = np.unique(domain * width + bucket, return_inverse=True)
        lengths = [np.bincount(rows, minlength=len(cell)).astype(np.int32) for rows in (where, where[kept])]
        binned = score_bins(_scores(rule, table, shard), bins)
        found.append(
            Measured(
                pa.table([domains.take(pa.array(present)), *(a[present] for a in amounts)], names=["domain", *_SIDES]),
                pa.table([domains.take(pa.array(cell // width)), (cell % width).astype(np.int16), *lengths], names=_LENGTHS),
                np.stack([np.bincount(rows, minlength=N_BINS) for rows in (binned, binned[kept])]),
                _edges(cut, shard),
            )
        )
    return found


def _walk(table: pa.Table, rules: Sequence[Rule], cuts: Sequence[Cut | None]) -> Iterator[tuple[Rule, Cut, Ranked, np.ndarray]]:
    """Every rule that ranks with its cut, the rows of the shard that it ranks, and which of them it keeps: bool (R)."""
    alive = np.ones(len(table), dtype=bool)
    for rule, cut in zip(rules, cuts, strict=True):
        if cut is None:
            alive = apply(rule, cut, table, alive)
            continue
        shard, kept = judged(rule, cut, table, alive)
        yield rule, cut, shard, kept
        failed, missing = fallen(rule, table, alive, shard, kept)
        alive = alive & ~failed & ~missing


def _scores(rule: Rule, table: pa.Table, shard: Ranked) -> np.ndarray:
    """The scores of the ranked rows as float64 (R), for a picture of them only; a random window has them too."""
    return numbers(table[rule.column])[0][shard.rows].astype(np.float64)


def _summed(cell: np.ndarray, amount: np.ndarray, n_cells: int) -> np.ndarray:
    """Amounts added up per cell, in exact integers."""
    total = np.zeros(n_cells, dtype=np.int64)
    np.add.at(total, cell, amount)
    return total


def _edges(cut: Cut, shard: Ranked) -> pa.Table:
    """What one shard has at the edges of its groups; see ``Measured``."""
    found: list[tuple[Any, ...]] = []
    keys = shard.places.part(0)
    for side, edges in enumerate(edges_of(cut, shard.labels)):
        bounds = ~(edges == np.array(START, dtype=U64)).all(axis=1) & ~(edges == np.array(END, dtype=U64)).all(axis=1)
        above = ~shard.places.below(edges, shard.group)
        first = np.full(len(edges), HIGHEST, dtype=U64)
        np.minimum.at(first, shard.group[above], keys[above])
        some = np.bincount(shard.group[above], minlength=len(edges)) > 0
        counts = np.zeros((len(edges), len(_TIES)), dtype=np.int64)
        tied = np.flatnonzero(keys == edges[shard.group, 0])
        if len(tied):
            group, side_of = shard.group[tied], above[tied].astype(np.int64)
            copies = np.all([shard.places.part(i)[tied] == edges[group, i] for i in (1, 2)], axis=0)
            np.add.at(counts, (group, side_of), 1)
            np.add.at(counts, (group[copies], 2 + side_of[copies]), 1)
        found += [(shard.labels[i], side, int(first[i]) if some[i] else None, *counts[i].tolist()) for i in np.flatnonzero(bounds).tolist()]
    schema = pa.schema([("group", pa.string()), ("edge", pa.int64()), ("first", pa.uint64()), *((name, pa.int64()) for name in _TIES)])
    return pa.Table.from_arrays([pa.array([row[i] for row in found], field.type) for i, field in enumerate(schema)], schema=schema)


def _head(index: int, rule: Rule, cut: Cut) -> dict[str, Any]:
    """Which rule it is; for an amount also what there was of it."""
    keys = ("column", "window", "rate", "by", "within")
    said = rule.model_dump(mode="json", include=set(keys))
    asked = {} if rule.amount is None else {"amount": rule.amount, "available": sum(group.weight for group in cut.groups)}
    return {"rule": index, "code": rule.code, **{key: said[key] for key in keys}, **asked}


def _amounts(shards: Sequence[Measured], counted: bool) -> dict[str, Any]:
    """``domains`` and ``all``: amounts and quantiles of length before and after."""
    amounts = pa.concat_tables([m.amounts for m in shards]).group_by("domain").aggregate([(name, "sum") for name in _SIDES])
    lengths = pa.concat_tables([m.lengths for m in shards]).group_by(["domain", "bucket"]).aggregate([("before", "sum"), ("after", "sum")])
    lengths = lengths.sort_by([("bucket", "ascending")])
    rows = sorted(amounts.to_pylist(), key=lambda row: row["domain"])
    of_rows = lengths["domain"].to_numpy(zero_copy_only=False)
    domains = []
    for row in rows:
        sums = {name: row[f"{name}_sum"] for name in _SIDES}
        domains.append({"domain": row["domain"], **_told(sums, lengths.filter(pa.array(of_rows == row["domain"])), counted)})
    everything = {name: sum(row[f"{name}_sum"] for row in rows) for name in _SIDES}
    return {"domains": domains, "all": _told(everything, lengths, counted)}


def _told(sums: dict[str, int], lengths: pa.Table, counted: bool) -> dict[str, Any]:
    """One line of the composition; ``lengths`` is sorted by bucket."""
    told: dict[str, Any] = {name: sums[name] if counted or not name.startswith("n_tokens") else None for name in _SIDES}
    bucket = lengths["bucket"].to_numpy()
    for when in ("before", "after"):
        counts = lengths[f"{when}_sum"].to_numpy()
        some = bool(sums[f"n_documents_{when}"])
        told[f"length_{when}"] = [length_of(int(bucket[at_quantile(counts, q)])) if some else None for q in _QUANTILES]
    return told


def _cuts(rule: Rule, cut: Cut, shards: Sequence[Measured]) -> dict[str, Any]:
    """``cuts``: the scores at the edges and how many documents share them; and the copies that edges part.

    An edge is told by the first document at or above it. The edge itself is a place between two documents,
    and where exactly between them the search has put it depends on the number of shards.
    """
    sums = [("first", "min"), *((name, "sum") for name in _TIES)]
    found = pa.concat_tables([m.edges for m in shards]).group_by(["group", "edge"]).aggregate(sums)
    at_edges = {(row["group"], row["edge"]): row for row in found.to_pylist()}
    told: list[tuple[GroupCut, dict[str, Any]]] = []
    # By group and score, by group and doc_id: both edges of a narrow window may lie in one tie, or among the copies of one text.
    tied: dict[tuple[Any, ...], int] = {}
    parted: dict[tuple[Any, ...], int] = {}
    for group in cut.groups:
        line: dict[str, Any] = {"group": text_of(rule.within, group.group), "n_documents": group.n_documents}
        ties = {}
        for side, (name, edge) in enumerate((("lower", group.lower), ("upper", group.upper))):
            row = at_edges.get((group.group, side), {})
            first = row.get("first_min")
            line[name] = told_value_of(first, cut.kind) if first is not None else None
            below, above, copies_below, copies_above = (row.get(f"{count}_sum", 0) for count in _TIES)
            ties[f"n_tied_{name}"] = below + above if below and above else 0
            if below and above:
                tied[group.group, edge[0]] = below + above
            if copies_below and copies_above:
                parted[group.group, edge[1:3]] = copies_below + copies_above
        told.append((group, line | ties))
    largest = sorted(told, key=lambda item: -item[0].n_documents)[:_MOST_GROUPS]
    largest.sort(key=lambda item: [(part is not None, part) for part in parts_of(rule.within, item[0].group)])
    return {
        "n_groups": len(told),
        "cuts": [line for _, line in largest],
        "n_tied": sum(tied.values()),
        "n_copies_split": len(parted),
        "n_copies_at_cut": sum(parted.values()),
    }


def check_composition(found: Sequence[dict[str, Any]], rules: Sequence[Rule], cuts: Sequence[Cut | None], counted: pa.Table) -> None:
    """What rules ranked is what their cuts were found on, and what they dropped is what the tally says.

    Args:
        found: from ``composition``.
        rules: resolved rules, in order.
        cuts: one entry per rule.
        counted: the tally of all shards.

    Raises:
        IntegrityError: naming the first rule and domain that does not add up.
    """
    dropped: dict[tuple[str, str], list[int]] = {}
    for told in found:
        cut = cuts[told["rule"]]
        assert cut is not None
        ranked = sum(g.n_documents for g in cut.groups)
        if not ranked == told["all"]["n_documents_before"] == sum(told["score_histogram"]["before"]):
            raise _lost(told["code"], f"{ranked} documents ranked; counted {told['all']['n_documents_before']}")
        for line in told["domains"]:
            sums = dropped.setdefault((told["code"], line["domain"]), [0, 0, 0])
            for i, name in enumerate(AMOUNTS):
                sums[i] += (line[f"{name}_before"] or 0) - (line[f"{name}_after"] or 0)
    # A reason that a rule which does not rank gives too, or a missing value, says nothing about windows alone.
    shared = {code for rule in rules for code in ((*rule.codes, rule.null_code) if not rule.ranks else (rule.null_code,))}
    codes = {told["code"] for told in found} - shared
    tallied = {(r["reason"], r["domain"]): [r[name] or 0 for name in AMOUNTS] for r in counted.to_pylist() if r["reason"] in codes}
    for code, domain in sorted({*tallied, *(key for key in dropped if key[0] in codes)}):
        ours, theirs = dropped.get((code, domain), [0, 0, 0]), tallied.get((code, domain), [0, 0, 0])
        if ours != theirs:
            raise _lost(code, f"documents, bytes and tokens of {domain!r} dropped: {theirs}; counted {ours}")


def _lost(code: str, expected: str) -> IntegrityError:
    return IntegrityError(
        "what a percentile rule did to the composition does not add up",
        where=f"composition of selection, rule {code}",
        expected=expected,
        fix="run the selection again; if it repeats, report it with this message",
    )
