"""The static embedding beside scikit-learn's hashed counts and truncated SVD, on one thread: the text, the sizes and the passes alike."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.data import Data
from benchmarks.harness import Result, child
from benchmarks.job import Run, steps

DIMENSION, BUCKETS = 256, 65_536
POWER_PASSES, OVERSAMPLING = 2, 32
N_COMPARED = 3000
FLOOR_ROW_BYTES = 400
"""Of the primitive that adds rows."""


def _chosen(batch: pa.RecordBatch, n_bytes: int, seed: int) -> pa.RecordBatch:
    """Documents of about so many bytes; the corpus lies domain by domain."""
    sizes = np.array([len(text.encode()) for text in batch["text"].to_pylist()])
    order = np.random.default_rng(seed).permutation(len(sizes))
    return batch.take(pa.array(order[np.cumsum(sizes[order]) <= n_bytes]))


def _near(vectors: np.ndarray, domains: np.ndarray) -> float:
    """How often the nearest other document has the same domain."""
    likeness = vectors.astype(np.float32) @ vectors.astype(np.float32).T
    np.fill_diagonal(likeness, -1)
    return float((domains[likeness.argmax(axis=1)] == domains).mean())


def compare(folder: str | None, n_bytes: int, n_train: int, repeats: int) -> dict[str, Any]:
    """Both sides by turns in this process: learning, then text to vectors."""
    from scipy.sparse import csr_array
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer

    from curate.documents import read_only, text_bytes
    from curate.scorers.static_embedding import StaticEmbedding
    from curate.static_vectors.features import count
    from curate.static_vectors.model import VECTORS
    from curate.static_vectors.pooling import count_weights

    everything = Data(Path(folder) if folder else None).documents(2 * max(n_bytes, n_train))
    scored, sample = _chosen(everything, n_bytes, 1), _chosen(everything, n_train, 2)
    texts, train = scored["text"].to_pylist(), sample["text"].to_pylist()
    ours = StaticEmbedding(dimension=DIMENSION, buckets=BUCKETS)
    svd = TruncatedSVD(DIMENSION, n_iter=POWER_PASSES, n_oversamples=OVERSAMPLING, random_state=0)
    hashed = HashingVectorizer(n_features=BUCKETS, norm=None, alternate_sign=False, dtype=np.float32)
    theirs = make_pipeline(hashed, TfidfTransformer(sublinear_tf=True), svd, Normalizer(copy=False))
    data, offsets = map(read_only, text_bytes(scored["text"]))
    with TemporaryDirectory() as state:
        fits = {
            "curate, learn": lambda: ours.fit(pa.table(sample), Path(state)),
            "scikit-learn, learn": lambda: theirs.fit(train),
        }
        learned = in_turns(fits, 1)
        ours.load(Path(state))
        vectors = np.load(Path(state) / VECTORS).astype(np.float32)
    counts = count(data, offsets, ngram=1, n_buckets=BUCKETS)
    product = csr_array((count_weights(counts.counts), counts.buckets, counts.bounds), (len(texts), BUCKETS))
    works = {
        "curate, text to vectors": lambda: ours.score(scored),
        "curate, counts only": lambda: count(data, offsets, ngram=1, n_buckets=BUCKETS),
        "scipy, weighted counts times vectors only": lambda: product @ vectors,
        "scikit-learn, text to vectors": lambda: theirs.transform(texts),
    }
    readings = in_turns(works, repeats)
    some = scored.slice(0, N_COMPARED)
    made = ours.score(some)["vector"]
    kept = np.flatnonzero(made.is_valid().to_numpy(zero_copy_only=False))
    domains = np.array(some["domain"].to_pylist())[kept]
    mine = np.array(made.take(pa.array(kept)).flatten()).reshape(-1, DIMENSION)
    return {
        "learned": learned,
        "readings": readings,
        "bytes": sum(len(text.encode()) for text in texts),
        "documents": len(texts),
        "train_bytes": sum(len(text.encode()) for text in train),
        "rows": len(counts.buckets),
        "near": [_near(mine, domains), _near(theirs.transform([texts[i] for i in kept]), domains)],
    }


def run(run: Run) -> Result:
    """See the module."""
    found = child(
        __name__,
        "compare",
        folder=str(run.data.folder) if run.data.folder else None,
        n_bytes=run.megabytes(24, 2),
        n_train=run.megabytes(50, 4),
        repeats=run.repeats(3),
    )
    facts = found.facts
    size = facts["bytes"] / 1e6
    learn, peer_learn = harness.rows_in_turns(facts["learned"], facts["train_bytes"] / 1e6, "MB", found.peak_bytes)
    embed, counted, product, peer = harness.rows_in_turns(facts["readings"], size, "MB", found.peak_bytes)
    parts = counted.seconds + product.seconds
    floor = run.seconds(copy=size, floats=facts["rows"] / 1e6 * 4 * DIMENSION / FLOOR_ROW_BYTES)
    return Result(
        "static_embedding",
        "Static embedding",
        "Text becomes vectors at the speed of hashing its words and adding up rows, several times sooner than in scikit-learn.",
        f"{size:.1f} MB of text of all domains in {facts['documents']:,} documents, with {facts['rows'] / 1e6:.2f} M distinct "
        f"(document, bucket) pairs; {BUCKETS:,} buckets, {DIMENSION} dimensions, learned from {facts['train_bytes'] / 1e6:.0f} MB",
        [
            f"text to vectors: reading the text once and adding a row of {DIMENSION} float32 for every pair, at the speed of the "
            f"primitive, which finds no row in a cache: {steps(floor)}; counting the buckets, and a library's product of the counts "
            f"with the vectors, each alone, as measured beside it: {parts:.2f} s"
        ],
        [embed, counted, product, peer, learn, peer_learn],
        [
            harness.ratio("curate / scikit-learn, text to vectors", embed, peer, 4),
            harness.Ratio("text to vectors, time over that of counting and of scipy's product", embed.seconds / parts, 1.3, most=True),
            harness.ratio("curate / scikit-learn, learning", learn, peer_learn, 1),
        ],
        f"the nearest other document has the same domain for {facts['near'][0]:.1%} of {N_COMPARED:,} documents, with scikit-learn's "
        f"vectors for {facts['near'][1]:.1%}",
        [
            f"scikit-learn: HashingVectorizer, TfidfTransformer (sublinear), TruncatedSVD with the same oversampling ({OVERSAMPLING}) and "
            f"power iterations ({POWER_PASSES}), Normalizer. Learning was measured once each, after a first run.",
            "Both sides run in one process by turns, one thread; memory is that process's.",
        ],
        harness.loads([found]),
    )
