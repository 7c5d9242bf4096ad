"""Clusters: which of K groups of like documents one belongs to, and how near it lies to the middle of it.

    - clusters: {embedding: embedding.vector, k: 1000}

K-means over the pooled corpus, whatever the domains: learned from a bounded sample, then one pass that gives every document
its nearest centroid. The mean ``distance`` of a cluster is its compactness, ``separation`` how far it lies from the others:
the two that SampleMix (Xi et al. 2025) calls diversity, after Abbas et al. 2024.

Suffixes: N documents, K centroids, D dimensions.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.clustering import Centroids, Learned, Nearest, learn, require_faiss, separation, vectors
from curate.clustering.centroids import CENTROIDS, FACTS, SEPARATION
from curate.clustering.vectors import FLOATS, widen
from curate.embedding_identity import LEARNED, model_behind, model_of
from curate.errors import ConfigError
from curate.hashing import id_halves, id_keys
from curate.scorers.scorer import PickledAsBuilt, Sample, Scorer, columns

TYPICAL_BYTES = 4096  # of a document, for a sample that is likely to hold enough of them
BLOCK_ROWS = 1024  # embeddings converted together
REHEARSED = 16  # clusters of a trial, at most
MANY = 8192  # clusters from which on a GPU pays for the way there

_OUTPUTS = columns(
    cluster=(pa.int32(), "number of the cluster, from 0", "none"),
    distance=(pa.float32(), "Euclidean distance to the centroid", "none"),
    separation=(pa.float32(), "mean Euclidean distance of the centroid to all others", "none"),
)


@dataclass
class Clusters(PickledAsBuilt, Scorer):
    """The nearest centroid of every document's embedding, exactly as float64 arithmetic finds it.

    ``separation`` is the same for all documents of a cluster. All three are null where there is no embedding, or one that
    is not finite. ``clusters.json`` in the learned state tells of the sample: documents, different embeddings, inertia
    (mean squared distance) at the end and by iteration, and how large clusters are.

    Args:
        embedding: the column of embeddings, fixed-size lists of float16 or float32.
        k: clusters.
        iterations: of K-means.
        sample_per_cluster: documents to learn from, at most, for each cluster.
        sample_bytes: bytes of text that the documents of the sample have, of which only embeddings are read; the
            default is 4096 for each document wanted.
        seed: of the choice of the sample and of the first centroids.
        threads: that learning uses; part of the result, since sums may differ by it in the last bit.
        centroids: a folder that another run learned clusters in (``models/<scorer>``), of the same embedding; then
            nothing is learned, and the options above but ``embedding`` say nothing. Where that run learned its
            embedding too, this pipeline's has that one as its ``model``.
    """

    embedding: str = "embedding.vector"
    k: int = 1000
    iterations: int = 25
    sample_per_cluster: int = 256
    sample_bytes: int | None = None
    seed: int = 0
    threads: int = 2
    centroids: str | None = None

    outputs = _OUTPUTS

    def __post_init__(self) -> None:
        self._device, self._rehearses = "cpu", False
        self._nearest: Nearest | None = None
        self._separation_K = np.empty(0, np.float32)

    @property
    def inputs(self) -> tuple[str, ...]:  # type: ignore[override]
        """The embedding alone."""
        return (self.embedding,)

    @property
    def accelerated(self) -> bool:  # type: ignore[override]
        """For thousands of clusters; the product with fewer takes no longer than bringing the embeddings to a GPU."""
        return self.centroids is None and self.k >= MANY

    @property
    def fit_accelerated(self) -> bool:
        """Never: faiss computes on CPUs."""
        return False

    @property
    def fit_cpus(self) -> int:
        """The threads of faiss."""
        return self.threads

    def check(self) -> None:
        """Check hyper-parameters, and read supplied centroids once."""
        for name in ("k", "iterations", "sample_per_cluster", "threads"):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        _require(self.sample_bytes is None or self.sample_bytes > 0, "sample_bytes", self.sample_bytes, "more than 0")
        _require(0 <= self.seed < 1 << 31, "seed", self.seed, "0 to 2147483647")
        if self.centroids is not None:
            Centroids.load(Path(self.centroids))
        else:
            require_faiss()

    def artifacts(self) -> tuple[Path, ...]:
        """The supplied clusters' files."""
        return () if self.centroids is None else tuple(Path(self.centroids) / name for name in (CENTROIDS, FACTS, SEPARATION))

    def sample(self) -> Sample | None:
        """Documents in natural proportion, without their text."""
        if self.centroids is not None:
            return None
        return Sample(self.sample_bytes or self.k * self.sample_per_cluster * TYPICAL_BYTES, columns=(self.embedding,))

    def reads(self, fields: Mapping[str, pa.Field]) -> None:
        """The column holds embeddings, and those that supplied clusters were made of."""
        field = fields[self.embedding]
        if not _is_embedding(field.type):
            raise ConfigError(
                f"{self.embedding!r} holds {field.type}",
                where="clusters.embedding",
                expected="embeddings: fixed-size lists of float16 or float32",
                fix="name the `vector` column of an embedding scorer, as `embedding: embedding.vector`",
            )
        if self.centroids is not None:
            self._check_same(field, Centroids.load(Path(self.centroids)), self.centroids)

    def _check_same(self, field: pa.Field, known: Centroids, folder: str) -> None:
        """Distances between vectors of different embeddings mean nothing."""
        width, here = known.centroids_KD.shape[1], model_of(field)
        there = model_behind(Path(folder), known.facts.get("model"), str(known.facts.get("embedding")))
        if field.type.list_size != width:
            raise ConfigError(
                f"{self.embedding!r} has {field.type.list_size} dimensions, the clusters were made of {width}",
                where="clusters.centroids",
                expected=f"the embedding that {folder} was made with",
                fix="use that embedding, or leave out `centroids` to learn clusters of this one",
            )
        if here == LEARNED or there == LEARNED:
            whose = "of this pipeline is learned" if here == LEARNED else f"of {folder} was learned"
            raise ConfigError(
                f"the embedding {whose} from its own corpus, and cannot be told to be that of the clusters",
                where="clusters.centroids",
                expected="documents embedded by the model that the clusters were made with",
                fix="give the embedding `model:`, the folder beside the clusters' that it was learned in, or leave out `centroids`",
            )
        if here != there:
            raise ConfigError(
                f"{self.embedding!r} is made by the model {here}, the clusters by {there}",
                where="clusters.centroids",
                expected=f"the embedding that {folder} was made with",
                fix="give the embedding the same `model:`, or leave out `centroids` to learn clusters of this one",
            )

    def fit(self, sample: pa.Table, state: Path) -> None:
        """Learn the centroids.

        Raises:
            ConfigError: the column holds no embeddings.
            InputError: fewer documents, or fewer different embeddings, than clusters.
        """
        field = sample.schema.field(self.embedding)
        self.reads({self.embedding: field})
        began = time.perf_counter()
        chosen_ND, n_offered = self._chosen(sample)
        if self._rehearses and not len(chosen_ND):  # a trial's few documents may have no embedding, and the corpus many
            chosen_ND = np.zeros((1, field.type.list_size), np.float32)
        # A trial's few documents cannot make as many clusters: time is then told for all of them.
        k = min(self.k, len(np.unique(chosen_ND, axis=0)), REHEARSED) if self._rehearses else self.k
        reached = time.perf_counter()
        learned = learn(chosen_ND, k, iterations=self.iterations, seed=self.seed, threads=self.threads)
        spent = time.perf_counter() - reached
        self.longer = 1.0 + (self.k / k - 1) * spent / (reached - began + spent) if self._rehearses else 1.0
        separation_K = separation(learned.centroids_KD).astype(np.float32)
        facts = self._facts(learned) | {"embedding": self.embedding, "model": model_of(field), "n_offered": n_offered, "n": len(chosen_ND)}
        Centroids(learned.centroids_KD, separation_K, facts).save(state)

    def rehearsal(self) -> Clusters:
        """As many clusters as few documents make."""
        found = replace(self)
        found._rehearses = True
        return found

    def _chosen(self, sample: pa.Table) -> tuple[np.ndarray, int]:
        """Embeddings in a random order of documents, not more than are wanted, (N, D) float32; and how many there were."""
        parts = [vectors(chunk) for chunk in sample[self.embedding].chunks if len(chunk)]
        width = sample.schema.field(self.embedding).type.list_size
        known_N = np.concatenate([known for _, known in parts] or [np.empty(0, bool)])
        ids_N = id_halves(sample["doc_id"])
        order_N = np.lexsort((ids_N[:, 1], ids_N[:, 0], id_keys(self.seed, "clusters", sample["doc_id"])))
        rows = order_N[known_N[order_N]][: self.k * self.sample_per_cluster]
        found_ND, block_ND = np.empty((len(rows), width), np.float32), np.empty((BLOCK_ROWS, width), np.float32)
        finite_N = np.empty(len(rows), bool)
        place = 0
        for values, _ in parts:
            inside = np.flatnonzero((rows >= place) & (rows < place + len(values)))
            for some in np.split(inside, range(BLOCK_ROWS, len(inside), BLOCK_ROWS)):
                widen(values[rows[some] - place], block_ND[: len(some)])
                found_ND[some] = block_ND[: len(some)]
                finite_N[some] = np.isfinite(block_ND[: len(some)]).all(1)
            place += len(values)
        return found_ND if finite_N.all() else found_ND[finite_N], int(known_N.sum())

    def _facts(self, learned: Learned) -> dict[str, Any]:
        """What ``clusters.json`` says of the learning."""
        sizes_K = learned.sizes_K
        return {
            "k": len(learned.centroids_KD),
            "dimension": learned.centroids_KD.shape[1],
            "iterations": self.iterations,
            "seed": self.seed,
            "n_distinct": learned.n_distinct,
            "inertia": learned.inertia,
            "inertia_by_iteration": list(learned.history),
            "sizes": {"min": int(sizes_K.min()), "max": int(sizes_K.max()), "empty": int((sizes_K == 0).sum())},
        }

    def place(self, device: str) -> None:
        """Where the products are computed."""
        self._device = device

    def load(self, state: Path | None) -> None:
        """Read the centroids."""
        folder = Path(self.centroids) if self.centroids is not None else state
        if folder is not None:
            known = Centroids.load(folder)
            self._nearest, self._separation_K = Nearest(known.centroids_KD, self._device), known.separation_K

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The cluster of every document; null where there is no finite embedding."""
        if self._nearest is None:
            raise ConfigError("no centroids are loaded", where="clusters", expected="`load` before `score`", fix="call load(state)")
        values_ND, known_N = vectors(batch[self.embedding])
        cluster_N, distance_N = self._nearest(values_ND)
        lost_N = ~known_N | (cluster_N < 0)
        apart_N = self._separation_K[np.maximum(cluster_N, 0)]
        made = [pa.array(column, mask=lost_N) for column in (cluster_N, distance_N.astype(np.float32), apart_N)]
        return pa.record_batch(made, schema=self.outputs)


def _is_embedding(kind: pa.DataType) -> bool:
    return pa.types.is_fixed_size_list(kind) and kind.value_type in FLOATS and kind.list_size > 0


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise ConfigError(f"{name} cannot be {value!r}", where=f"clusters.{name}", expected=expected, fix=f"change `{name}`")
