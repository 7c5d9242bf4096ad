"""Whether losses and benchmark results are of the same models.

Names are matched exactly: a near miss is worth a hint, never a guess, as ``pythia-1.4b`` and ``pythia-1b`` are near
each other, too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Sequence

from curate.errors import InputError
from curate.evidence.loss_table import counted, first_of
from curate.evidence.settings import Missing


def in_one_only(
    in_losses: Sequence[str],
    in_results: Sequence[str],
    missing: Missing,
    where: str,
    groups: Collection[str] = (),
    benchmarks: Collection[str] = (),
) -> dict[str, str]:
    """Models that one of the tables lacks, with what they lack.

    Args:
        in_losses: models of the losses.
        in_results: models of the benchmark results.
        missing: the policy; only ``refuse`` minds.
        where: the tables, for messages.
        groups: of the losses, and ``benchmarks``: to see whether a table lies the other way.

    Raises:
        InputError: there are such models and the policy is to refuse, or no model is in both.
    """
    shared = set(in_losses) & set(in_results)
    lacks_results, lacks_losses = sorted(set(in_losses) - shared), sorted(set(in_results) - shared)
    mapping = _mapping(lacks_results, lacks_losses)
    if not shared:
        turned = "losses" if set(in_results) & set(groups) else "results" if set(benchmarks) & set(in_losses) else ""
        raise InputError(
            f"no model is in both tables: losses are of {first_of(in_losses, 3)}, results of {first_of(in_results, 3)}",
            where=where, expected="models called alike in both",
            fix=f"turn the table of {turned} around: its models are not where models are expected" if turned else mapping,
        )  # fmt: skip
    if missing == "refuse" and (lacks_results or lacks_losses):
        parts = [(lacks_results, "losses and no results"), (lacks_losses, "results and no losses")]
        told = "; ".join(f"{counted(len(names), 'model')} with {what}: {first_of(names)}" for names, what in parts if names)
        raise InputError(
            told, where=where, expected=f"the same models in both tables; {len(shared)} are",
            fix=f"{mapping}, or leave them out with `missing: drop_models`",
        )  # fmt: skip
    return dict.fromkeys(lacks_results, "no results") | dict.fromkeys(lacks_losses, "no losses")


def _mapping(lacks_results: Sequence[str], lacks_losses: Sequence[str]) -> str:
    """How names might be brought together."""
    near = near_misses(lacks_results, lacks_losses)
    shown = ", ".join(f"{there}: {here}" for there, here in list(near.items())[:3]) or "name in the results: name in the losses"
    return f"map names with `models: {{{shown}}}`"


def near_misses(in_losses: Sequence[str], in_results: Sequence[str]) -> dict[str, str]:
    """Names in the results -> names in the losses that may mean the same: alike, and with the same digits."""
    plain = {_plain(name): name for name in in_losses}
    found = {}
    for name in in_results:
        close = difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.8) if len(plain) <= 2000 else []
        same = [near for near in close if re.findall(r"\d+", near) == re.findall(r"\d+", _plain(name))]
        if same:
            found[name] = plain[same[0]]
    return found


def _plain(name: str) -> str:
    """A name without its owner, its case, and how its parts are joined."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower().rpartition("/")[2])
