"""Selection: rules on columns become a keep-or-reason verdict for every document.

    rules = resolve(parse_rules(yaml["select"]), schema, tokens="tokens.n_tokens")    no data read
    cuts = find_cuts(rules, map_shards)                        a few passes over score columns
    verdict = verdicts(rules, cuts, table)                     one shard at a time, alone
    found = composition(rules, cuts, map_shards)               what windows did, two more passes

Pure functions of column tables: no file is opened here and no engine imported. Nothing
depends on how documents are spread over shards.
"""

from curate.selection.composition import check_composition, composition
from curate.selection.cuts import Cut, GroupCut
from curate.selection.rule_list import columns, parse_rules, resolve
from curate.selection.rules import Rule
from curate.selection.search import MapShards, find_cut, find_cuts
from curate.selection.verdicts import REASON, TALLY, VERDICTS, check_conservation, merge_tallies, tally, verdicts

__all__ = [
    "REASON",
    "TALLY",
    "VERDICTS",
    "Cut",
    "GroupCut",
    "MapShards",
    "Rule",
    "check_composition",
    "check_conservation",
    "columns",
    "composition",
    "find_cut",
    "find_cuts",
    "merge_tallies",
    "parse_rules",
    "resolve",
    "tally",
    "verdicts",
]
