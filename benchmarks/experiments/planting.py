"""Documents spoiled on purpose: words shuffled, boilerplate in their place, or near copies of another document."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from curate.hashing import id_keys, mix64, unit_interval

KINDS = ("shuffled", "boilerplate", "copied")
BOILERPLATE = (
    "All rights reserved. Please read our terms of use and privacy policy before you continue to the page you asked for.",
    "Sign up for our newsletter today and never miss an offer! Enter your address below and press the button to subscribe.",
    "This page uses cookies to give you the best experience. By going on you agree to their use. Accept all or manage settings.",
    "Home | About | Products | Services | Contact | Site map | Back to top | Print this page | Send this page to a friend",
    "You must be logged in to post a comment. Forgot your password? Click here to set a new one. Not a member yet? Join now.",
    "The item you are looking for is currently out of stock. Add it to your list and we will tell you when it is back.",
)
COPIES = 20
"""Near copies made of one document, unless told otherwise."""
CHANGED = 0.03
"""Share of a copy's words that are others."""
_PLACES = np.uint64(0x9E3779B97F4A7C15)
_WORDS = np.uint64(0xC2B2AE3D27D4EB4F)


def plant(table: pa.Table, seed: int, shares: Mapping[str, float], copies: int = COPIES) -> pa.Table:
    """A share of the documents spoiled in each way, chosen by a keyed hash; adds the column ``planted``, empty for the others.

    A spoiled document keeps its domain. Shuffling permutes the words of the whole document; boilerplate is one of six
    lines, numbered, again and again, about as long as the document was. A copied one becomes a document of its
    domain that was let be, with 3 % of the words exchanged for words of the document it was; ``copies`` are made of one,
    of those nearest to the mean length, so that a domain's size stays what it was.

    Args:
        table: columns ``doc_id``, ``text`` and ``domain``.
        shares: of documents, by names of ``KINDS``.
        copies: near copies made of one document.
    """
    keys = id_keys(seed, "plant", table["doc_id"])
    chosen, kinds, low = unit_interval(keys), np.full(len(table), "", dtype=object), 0.0
    for kind in (kind for kind in KINDS if kind in shares):
        kinds[(chosen >= low) & (chosen < low + shares[kind])] = kind
        low += shares[kind]
    texts = table["text"].to_pylist()
    sources = _sources(texts, np.asarray(table["domain"].to_pylist(), dtype=object), kinds, keys, copies)
    for row, source in sources.items():
        texts[row] = near_copy(texts[source], texts[row], keys[row])
    for row in np.flatnonzero(kinds == "shuffled"):
        texts[row] = shuffled(texts[row], keys[row])
    for row in np.flatnonzero(kinds == "boilerplate"):
        line, wanted, made = BOILERPLATE[int(keys[row]) % len(BOILERPLATE)], len(texts[row].encode()), []
        while sum(len(m) + 1 for m in made) < wanted:
            made.append(f"{line} ({len(made) + 1})")
        texts[row] = "\n".join(made)
    return pa.table({"text": pa.array(texts, pa.large_string()), "domain": table["domain"], "planted": pa.array(kinds.tolist())})


def shuffled(text: str, key: np.uint64, share: float = 1.0) -> str:
    """The words of a text, a share of them permuted among their places; white space becomes single spaces."""
    words = text.split()
    ranks = mix64(np.arange(len(words), dtype=np.uint64) ^ key)
    moved = np.flatnonzero(unit_interval(mix64(ranks ^ _PLACES)) < share)
    order = moved[np.argsort(ranks[moved], kind="stable")]
    made = list(words)
    for place, word in zip(moved, order, strict=True):
        made[place] = words[word]
    return " ".join(made)


def near_copy(text: str, other: str, key: np.uint64) -> str:
    """A text with ``CHANGED`` of its words, chosen by a keyed hash, exchanged for words of another."""
    pieces, words = re.split(r"(\S+)", text), other.split()
    n_words = len(pieces) // 2
    ranks = mix64(np.arange(n_words, dtype=np.uint64) ^ key)
    for word in np.flatnonzero(unit_interval(mix64(ranks ^ _PLACES)) < CHANGED) if words else ():
        pieces[2 * word + 1] = words[int(mix64(ranks[word : word + 1] ^ _WORDS)[0] % np.uint64(len(words)))]
    return "".join(pieces)


def _sources(texts: list[str], domains: np.ndarray, kinds: np.ndarray, keys: np.ndarray, copies: int) -> dict[int, int]:
    """The row that each copied row becomes a copy of; a domain without a document that was let be has no copies."""
    found: dict[int, int] = {}
    for domain in sorted(set(domains[kinds == "copied"].tolist())):
        copied, clean = (np.flatnonzero((domains == domain) & (kinds == kind)) for kind in ("copied", ""))
        if not len(clean):
            kinds[copied] = ""
            continue
        sizes = np.array([len(texts[row]) for row in clean])
        nearest = clean[np.argsort(np.abs(sizes - sizes.mean()), kind="stable")][: -(-len(copied) // copies)]
        in_order = copied[np.argsort(keys[copied], kind="stable")]
        found |= {int(row): int(nearest[i % len(nearest)]) for i, row in enumerate(in_order)}
    return found
