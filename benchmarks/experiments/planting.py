"""Documents broken on purpose: their words shuffled, or boilerplate repeated in their place."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.hashing import id_keys, mix64, unit_interval

KINDS = ("", "shuffled", "boilerplate")
BOILERPLATE = (
    "All rights reserved. Please read our terms of use and privacy policy before you continue to the page you asked for.",
    "Sign up for our newsletter today and never miss an offer! Enter your address below and press the button to subscribe.",
    "This page uses cookies to give you the best experience. By going on you agree to their use. Accept all or manage settings.",
    "Home | About | Products | Services | Contact | Site map | Back to top | Print this page | Send this page to a friend",
    "You must be logged in to post a comment. Forgot your password? Click here to set a new one. Not a member yet? Join now.",
    "The item you are looking for is currently out of stock. Add it to your list and we will tell you when it is back.",
)


def plant(table: pa.Table, seed: int, share: float) -> pa.Table:
    """``share`` of the documents broken, half in each way, chosen by a keyed hash; adds the column ``planted``.

    A broken document keeps its domain and about its length. Word order is permuted over the whole document; boilerplate
    is one of six lines, numbered, again and again.
    """
    keys = id_keys(seed, "plant", table["doc_id"])
    chosen = unit_interval(keys)
    kinds = np.where(chosen < share / 2, 1, np.where(chosen < share, 2, 0))
    texts = table["text"].to_pylist()
    for row in np.flatnonzero(kinds == 1):
        words = texts[row].split()
        order = np.argsort(mix64(np.arange(len(words), dtype=np.uint64) ^ keys[row]), kind="stable")
        texts[row] = " ".join(words[i] for i in order)
    for row in np.flatnonzero(kinds == 2):
        line, wanted, made = BOILERPLATE[int(keys[row]) % len(BOILERPLATE)], len(texts[row].encode()), []
        while sum(len(m) + 1 for m in made) < wanted:
            made.append(f"{line} ({len(made) + 1})")
        texts[row] = "\n".join(made)
    planted = pa.array([KINDS[k] for k in kinds.tolist()])
    return pa.table({"text": pa.array(texts, pa.large_string()), "domain": table["domain"], "planted": planted})
