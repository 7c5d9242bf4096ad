"""What the manifest and the learned state hold ready to be drawn: shares of domains, rules, agreement, training."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.corpus import INGEST, Corpus
from curate.errors import InputError, nearest
from curate.plots.distributions import MOST_DOMAINS, OTHERS, shown_domains

AGREEMENT = "agreement.json"
LOSSES = "losses.parquet"
BEFORE, AFTER, ASKED, REALISED = "before selection", "after selection", "asked", "realised"


def mixed(corpus: Corpus) -> dict[str, Any]:
    """The mix stage's sums; empty where there is no mix."""
    entry = corpus.manifest.stages.get(f"mix/{corpus.mix}")
    return entry.totals if entry else {}


def tally(corpus: Corpus) -> list[dict[str, Any]]:
    """Documents, bytes and tokens by domain and reason; reason None is kept. Empty without a selection."""
    found: list[dict[str, Any]] = corpus.manifest.stages["select"].totals["tally"] if corpus.is_selected else []
    return found


def unit(corpus: Corpus) -> str:
    """What shares of selection are shares of: tokens where they were counted, else bytes."""
    counted = tally(corpus)
    return "tokens" if counted and counted[0]["n_tokens"] is not None else "bytes"


def shares(corpus: Corpus) -> dict[str, dict[str, float]]:
    """BEFORE, AFTER, ASKED and REALISED, as far as they exist, each domain -> share; small domains together."""
    groups = shown_domains(corpus)
    counted = tally(corpus)
    found: dict[str, dict[str, float]] = {}
    if counted:
        key = f"n_{unit(corpus)}"
        found[BEFORE] = _shares(groups, [(row["domain"], row[key]) for row in counted])
        found[AFTER] = _shares(groups, [(row["domain"], row[key]) for row in counted if row["reason"] is None])
    else:
        held = corpus.manifest.stages[INGEST].totals["domains"]
        found[BEFORE] = _shares(groups, [(domain, sums["bytes"]) for domain, sums in held.items()])
    if plan := mixed(corpus).get("plan"):
        found[ASKED] = _shares(groups, [(line["domain"], line["asked"]) for line in plan])
    if emit := corpus.manifest.stages.get(f"emit/{corpus.mix}"):
        found[REALISED] = _shares(groups, [(line["domain"], line["realised_share"]) for line in emit.totals["domains"]])
    return found


def _shares(groups: Mapping[str, str], amounts: list[tuple[str, float]]) -> dict[str, float]:
    """Amounts of domains as shares of the groups they are shown in."""
    sums = dict.fromkeys(sorted(groups.values()), 0.0)
    for domain, amount in amounts:
        sums[groups[domain]] += amount
    total = sum(sums.values())
    return {domain: amount / total if total else 0.0 for domain, amount in sums.items()}


def compositions(corpus: Corpus) -> list[dict[str, Any]]:
    """What each ranking rule did to the composition; empty where none ranks, or an older run did not write it down."""
    found: list[dict[str, Any]] = (corpus.manifest.stages["select"].totals.get("composition") or []) if corpus.is_selected else []
    return found


def composition_shares(rule: Mapping[str, Any]) -> tuple[str, dict[str, float], dict[str, float]]:
    """Tokens or, where nothing counted them, bytes: the share of every domain before and after a rule."""
    counted = "tokens" if rule["all"]["n_tokens_before"] is not None else "bytes"
    found = []
    for when in ("before", "after"):
        amounts = {line["domain"]: float(line[f"n_{counted}_{when}"]) for line in rule["domains"]}
        total = sum(amounts.values())
        found.append({domain: amount / total if total else 0.0 for domain, amount in amounts.items()})
    return counted, found[0], found[1]


def largest(shares: Mapping[str, float], beside: Mapping[str, float], most: int = MOST_DOMAINS) -> dict[str, float]:
    """The shares of the domains that are largest in either of two compositions, the rest together."""
    by_size = sorted(shares, key=lambda d: (-max(shares[d], beside.get(d, 0.0)), d))
    found = {domain: shares[domain] for domain in by_size[:most]}
    return found | ({OTHERS: sum(shares[domain] for domain in by_size[most:])} if by_size[most:] else {})


def windows(rule: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The windows of a rule as bounds of its score; none for a random one, which has no bounds of a score."""
    found: list[dict[str, Any]] = [] if rule["window"] == "random" else rule["cuts"]
    return found


def agreement(corpus: Corpus, name: str) -> dict[str, Any]:
    """The figures that an ``agreement`` scorer wrote down.

    Raises:
        InputError: no such scorer has run.
    """
    found: dict[str, Any] = json.loads(_learned(corpus, name, AGREEMENT))
    return found


def training(corpus: Corpus, name: str) -> pa.Table:
    """The losses of a learned language model.

    Raises:
        InputError: no such model was learned here.
    """
    return pq.read_table(io.BytesIO(_learned(corpus, name, LOSSES)))


def _learned(corpus: Corpus, name: str, file: str) -> bytes:
    known = corpus.learned(file)
    if name not in known:
        raise InputError(
            f"{name!r} has left no {file}",
            where=corpus.folder.url,
            expected=f"a scorer that wrote models/<name>/{file}",
            fix=nearest(name, known) if known else "add such a scorer to the pipeline, and run it",
        )
    return corpus.folder.read(f"models/{name}/{file}")
