"""The learned table: one vector for each bucket of hashed words, and the file it is kept in."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from curate.errors import InputError
from curate.hashing import doc_id
from curate.learned_folder import LearnedFolder, short
from curate.static_vectors.decomposition import SparseRows, truncated_svd
from curate.static_vectors.features import Counts, count
from curate.static_vectors.pooling import count_weights, pooled

FACTS, VECTORS = "static_embedding.json", "vectors.npy"
MOST_BUCKETS = 1 << 24
EVENING = 0.25
"""Power of a component's singular value that it is divided by: 0 leaves LSI's weights, 1 makes all components equal."""
LEAST_VALUE = 1e-4
"""Singular values below this share of the largest are rounding."""


@dataclass(frozen=True)
class StaticModel:
    """Document vectors without a network.

    Args:
        vectors: (H, d) float16: what a bucket that occurs once adds to a document.
        ngram: 1 for words, 2 for words and pairs of neighbours.
    """

    vectors: np.ndarray
    ngram: int

    @cached_property
    def _working(self) -> np.ndarray:
        """As float32, which is added up faster."""
        return np.ascontiguousarray(self.vectors, np.float32)

    def embed(self, data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(vectors, n_words): (N, d) float16 of L2 norm 1, zero where no word is known; (N,) int64."""
        embeddings, n_words = pooled(data, offsets, self._working, self.ngram)
        return embeddings.astype(np.float16), n_words

    def save(self, folder: Path) -> None:
        """Write the two files of a model."""
        np.save(folder / VECTORS, self.vectors, allow_pickle=False)
        facts = {"buckets": self.vectors.shape[0], "dimension": self.vectors.shape[1], "ngram": self.ngram}
        (folder / FACTS).write_text(json.dumps(facts, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> StaticModel:
        """Read a model back.

        Raises:
            InputError: the folder has no such model.
        """
        facts = facts_of(folder)
        return cls(_files(folder).array(VECTORS, (facts["buckets"], facts["dimension"]), np.float16), facts["ngram"])


def facts_of(folder: Path) -> dict[str, int]:
    """``buckets``, ``dimension`` and ``ngram`` of a model in a folder.

    Raises:
        InputError: the folder has no such model, or sizes that no model can have.
    """
    files, names = _files(folder), ("buckets", "dimension", "ngram")
    found = files.facts(FACTS, names)
    buckets, dimension, ngram = (found[name] for name in names)
    if not (2 <= buckets <= MOST_BUCKETS and buckets & (buckets - 1) == 0):
        raise files.wrong(FACTS, f"has buckets {short(buckets)}", f"a power of two from 2 to {MOST_BUCKETS}")
    if dimension >= buckets:
        raise files.wrong(FACTS, f"has dimension {short(dimension)}", f"fewer than the {buckets} buckets")
    if ngram > 2:
        raise files.wrong(FACTS, f"has ngram {short(ngram)}", "1 or 2")
    if not (folder / VECTORS).is_file():
        raise files.wrong(VECTORS, "is missing", "an array")
    return {"buckets": buckets, "dimension": dimension, "ngram": ngram}


def _files(folder: Path) -> LearnedFolder:
    return LearnedFolder(folder, "learned static embedding", "model")


def identity_of(folder: Path) -> bytes:
    """32 hex digits naming the content of a model's files."""
    return doc_id(b"".join(doc_id((folder / name).read_bytes()) for name in (FACTS, VECTORS))).hex().encode()


def weighted(counts: Counts) -> tuple[SparseRows, np.ndarray]:
    """What is decomposed: rows (1 + ln count) * idf, each of L2 norm 1; and idf = ln((1 + N) / (1 + df)), (H,) float32.

    df is in how many of the N documents a bucket occurs; idf is 0 where it is in none, or in all.
    """
    n_documents = counts.bounds.size - 1
    df = np.bincount(counts.buckets, minlength=counts.n_buckets)
    idf = np.where(df > 0, np.log((1 + n_documents) / (1 + df)), 0.0).astype(np.float32)
    values = count_weights(counts.counts) * idf[counts.buckets]
    rows = np.repeat(np.arange(n_documents), np.diff(counts.bounds))
    squares = np.bincount(rows, weights=values.astype(np.float64) ** 2, minlength=n_documents)
    scale = 1 / np.sqrt(np.where(squares > 0, squares, 1.0))
    return SparseRows(counts.bounds, counts.buckets, (values * scale[rows]).astype(np.float32), counts.n_buckets), idf


def learn(
    data: np.ndarray, offsets: np.ndarray, *, dimension: int, n_buckets: int, ngram: int, seed: int, pad: bool = False
) -> StaticModel:
    """Learn the vectors from a sample of documents.

    A bucket's vector is its row of the right singular vectors times idf, every component divided by the fourth root of
    its singular value. A document's sum of them is then its row of the decomposed matrix in the coordinates of the SVD,
    with the first components, which all documents share, held down.

    Args:
        data: uint8, UTF-8 of all documents.
        offsets: (N + 1,) int64 into ``data`` (``documents.text_bytes``).
        dimension: d.
        n_buckets: H, a power of two.
        ngram: 1 for words, 2 for words and pairs of neighbours.
        seed: of the decomposition's start.
        pad: make up missing dimensions with zeros, where no result depends on them.

    Raises:
        InputError: the documents differ in fewer than ``dimension`` ways.
    """
    matrix, idf = weighted(count(data, offsets, ngram=ngram, n_buckets=n_buckets))
    rank = min(dimension, offsets.size - 1, n_buckets)
    values, components = truncated_svd(matrix, rank, seed=seed) if rank else (np.zeros(0), np.zeros((n_buckets, 0)))
    n_directions = int((values > LEAST_VALUE * values.max(initial=0.0)).sum())
    if n_directions < dimension and not pad:
        raise _too_alike(n_directions, dimension, offsets.size - 1)
    vectors = np.zeros((n_buckets, dimension), np.float16)
    vectors[:, :n_directions] = components[:, :n_directions] * idf[:, None] * (values[:n_directions] ** -EVENING).astype(np.float32)
    return StaticModel(vectors, ngram)


def _too_alike(n_directions: int, dimension: int, n_documents: int) -> InputError:
    if n_directions == 0:
        said, fix = f"the {n_documents:,} documents of the sample do not differ in their words", "raise `sample_bytes`, or supply a `model`"
    else:
        said = f"the sample's words tell documents apart in {n_directions} dimensions only"
        fix = f"set `dimension` to {n_directions}{' or less' if n_directions > 1 else ''}, or raise `sample_bytes`"
    expected = f"{dimension} documents or more, that differ in as many words"
    return InputError(said, where="static_embedding.dimension", expected=expected, fix=fix)
