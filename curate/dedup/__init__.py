"""Duplicates: equal doc_ids and equal band keys become clusters, and one document of each is kept.

A row is a document's number over all parts of a corpus, in their order.

    parts = Components(n)
    parts.join(exact_edges(id_halves, rows))                   equal texts
    for each band, for i in range(n_ranges(n, budget)):        equal band keys, a range of keys at a time
        some = in_range(keys, i, ranges)
        stars = edges(keys[some], rows[some])
        parts.join(stars)                                      with `verify`: verifier.add(band, stars)
    parts.join(verifier.finish())                              with `verify`
    decision = decide(parts.labels(), Rows(...), [preferred(...)[source], *longest(n_bytes)], similarity)
    decision.table(begin, end)                                 the verdicts of one part
    merge_tallies(tally(verdicts, domain) of every part)       the figures of all

Pure functions of arrays: no file is opened here. Nothing depends on the order of rows, on
shards, on ranges or on workers, but that ``first`` means the order of sources it is given.
"""

from curate.dedup.bands import edges, exact_edges, in_range, n_ranges
from curate.dedup.components import Components
from curate.dedup.representatives import VERDICTS, Decision, Rows, best, decide, first, longest, preferred
from curate.dedup.settings import Best, Dedup, Near, better_end, curve, inflection, probability
from curate.dedup.tallies import merge_tallies, tally
from curate.dedup.verification import ALL_PAIRS, Similarity, Verifier

__all__ = [
    "ALL_PAIRS",
    "VERDICTS",
    "Best",
    "Components",
    "Decision",
    "Dedup",
    "Near",
    "Rows",
    "Similarity",
    "Verifier",
    "best",
    "better_end",
    "curve",
    "decide",
    "edges",
    "exact_edges",
    "first",
    "in_range",
    "inflection",
    "longest",
    "merge_tallies",
    "n_ranges",
    "preferred",
    "probability",
    "tally",
]
