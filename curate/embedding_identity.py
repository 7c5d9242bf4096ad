"""Which model made an embedding: centroids and weights learned on one mean nothing to another.

A column of embeddings states its model's identity in its field. One learned in the same pipeline cannot know it before it is
learned, and states ``LEARNED``; what was learned on it elsewhere finds its files in the folder beside, as runs leave them.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from curate.static_vectors.model import identity_of

LEARNED = "learned"
"""What an embedding learned in the same pipeline states as its model."""


def model_of(field: pa.Field) -> str | None:
    """The identity of the model that a column of embeddings states."""
    found = (field.metadata or {}).get(b"model")
    return found if found is None else found.decode()


def model_behind(folder: Path, model: str | None, embedding: str) -> str | None:
    """The identity of the embedding that something was learned on.

    Args:
        folder: what was learned, ``models/<scorer>`` of a run.
        model: identity that its facts state.
        embedding: column that its facts state, ``scorer.column``.

    Returns:
        ``model``; for ``LEARNED`` the identity of the embedding in the folder beside, or ``LEARNED`` where there is none.
    """
    if model != LEARNED:
        return model
    try:
        return identity_of(folder.resolve().parent / embedding.rpartition(".")[0]).decode()
    except (OSError, ValueError):
        return LEARNED
