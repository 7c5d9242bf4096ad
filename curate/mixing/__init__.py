"""The mix stage's work on parts: sums of what is kept, facts for mixers of documents, weights, integer copies.

Passes over small columns, shard by shard: sums per domain; for mixers of documents what they
ask of them; lengths of fractions, once the weights are known; copies, once every shard knows
where it stands in the walk.
"""

from curate.mixing.copies import MOST_COPIES, domain_sums, extremes_of, part_groups, write_copies
from curate.mixing.documents import learn_documents, statistics_table
from curate.mixing.outcome import expected
from curate.mixing.rules import ByDocument, ByDomain
from curate.mixing.task import MixTask

__all__ = [
    "MOST_COPIES",
    "ByDocument",
    "ByDomain",
    "MixTask",
    "domain_sums",
    "expected",
    "extremes_of",
    "learn_documents",
    "part_groups",
    "statistics_table",
    "write_copies",
]
