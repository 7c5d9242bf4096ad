"""The clusters scorer: contract, sample, what it refuses, and a run from text to clusters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.clustering import assign, separation
from curate.errors import ConfigError, InputError
from curate.scorers.clusters import MANY, Clusters
from curate.testing import check_scorer, sample_documents
from pipelines import configuration, run, write_corpus

COLUMN = "embedding.vector"


def table(vectors_ND: np.ndarray, missing: list[int] | None = None, model: str | None = "m1") -> pa.Table:
    """Documents with these embeddings, some without."""
    n, d = vectors_ND.shape
    mask = pa.array(np.isin(np.arange(n), missing or []))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors_ND.ravel()), d, mask=mask)
    field = pa.field(COLUMN, column.type, metadata={"model": model} if model else None)
    return sample_documents(n).append_column(field, column)


def embeddings(n: int = 48, d: int = 8, kind: type = np.float16, seed: int = 0) -> np.ndarray:
    vectors_ND = np.random.default_rng(seed).normal(size=(n, d))
    return (vectors_ND / np.linalg.norm(vectors_ND, axis=1, keepdims=True)).astype(kind)


def fitted(scorer: Clusters, sample: pa.Table, state: Path) -> dict[str, Any]:
    state.mkdir()
    scorer.fit(sample, state)
    facts: dict[str, Any] = json.loads((state / "clusters.json").read_text())
    return facts


def scored(scorer: Clusters, sample: pa.Table) -> dict[str, list[Any]]:
    (batch,) = sample.select([COLUMN]).combine_chunks().to_batches()
    found: dict[str, list[Any]] = scorer.score(batch).to_pydict()
    return found


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_the_contract_is_kept_to_the_bit(kind: type):
    check_scorer(Clusters(COLUMN, k=5), table(embeddings(kind=kind), missing=[0, 7, 47]))


def test_columns_are_those_of_the_centroids_and_null_without_an_embedding(tmp_path: Path):
    vectors_ND = embeddings()
    vectors_ND[3, 2] = np.inf
    documents, scorer = table(vectors_ND, missing=[7]), Clusters(COLUMN, k=4)
    facts = fitted(scorer, documents, tmp_path / "state")
    scorer.load(tmp_path / "state")
    found = scored(scorer, documents)
    known = [i for i in range(48) if i not in (3, 7)]
    for values in found.values():
        assert [i for i, value in enumerate(values) if value is None] == [3, 7]
    centroids_KD = np.load(tmp_path / "state" / "centroids.npy")
    cluster_N, distance_N = assign(vectors_ND[known], centroids_KD)
    assert [found["cluster"][i] for i in known] == cluster_N.tolist()
    assert [found["distance"][i] for i in known] == distance_N.astype(np.float32).tolist()
    assert [found["separation"][i] for i in known] == separation(centroids_KD).astype(np.float32)[cluster_N].tolist()
    assert (facts["n"], facts["n_offered"], facts["k"], facts["dimension"], facts["model"]) == (46, 47, 4, 8, "m1")
    assert facts["sizes"] == {"min": min(np.bincount(cluster_N)), "max": max(np.bincount(cluster_N)), "empty": 0}
    assert facts["inertia"] == pytest.approx(np.square(distance_N).mean())


def test_the_sample_is_bounded_and_the_order_of_its_rows_is_nothing(tmp_path: Path):
    documents = table(embeddings(2000, 6))
    documents = documents.set_column(0, "doc_id", pa.array([i.to_bytes(16, "big") for i in range(2000)], pa.binary(16)))
    shuffled = documents.take(np.random.default_rng(5).permutation(2000))
    pieces = pa.concat_tables([shuffled.slice(0, 700), shuffled.slice(700, 1), shuffled.slice(701)])
    scorer = Clusters(COLUMN, k=7, sample_per_cluster=50)
    facts = [fitted(scorer, sample, tmp_path / str(i)) for i, sample in enumerate((documents, pieces))]
    assert facts[0] == facts[1]
    assert (facts[0]["n"], facts[0]["n_offered"]) == (350, 2000)
    assert (tmp_path / "0" / "centroids.npy").read_bytes() == (tmp_path / "1" / "centroids.npy").read_bytes()
    other = fitted(Clusters(COLUMN, k=7, sample_per_cluster=50, seed=1), documents, tmp_path / "2")
    assert other["inertia"] != facts[0]["inertia"]


def test_the_default_sample_reads_no_text_and_grows_with_k():
    sample = Clusters(COLUMN, k=10, sample_per_cluster=100).sample()
    assert sample is not None
    assert sample.columns == (COLUMN,)
    assert sample.n_bytes == 10 * 100 * 4096
    given = Clusters(COLUMN, sample_bytes=99).sample()
    assert given is not None
    assert given.n_bytes == 99


@pytest.mark.parametrize(
    ("option", "value"), [("k", 0), ("iterations", 0), ("sample_per_cluster", 0), ("sample_bytes", 0), ("threads", 0), ("seed", -1)]
)
def test_options_that_cannot_be_are_refused(option: str, value: int):
    with pytest.raises(ConfigError, match=f"{option} cannot be {value}"):
        Clusters(COLUMN, **{option: value}).check()


def test_more_clusters_than_documents_or_different_embeddings_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="49 clusters cannot be made of 47 documents"):
        Clusters(COLUMN, k=49).fit(table(embeddings(), missing=[1]), tmp_path)
    few_ND = np.repeat(embeddings(6), 8, axis=0)
    with pytest.raises(InputError, match="7 clusters cannot be made of 6 different embeddings in 48 documents"):
        Clusters(COLUMN, k=7).fit(table(few_ND), tmp_path)
    with pytest.raises(InputError, match="1 clusters cannot be made of 0 documents"):
        Clusters(COLUMN, k=1).fit(table(embeddings(4), missing=[0, 1, 2, 3]), tmp_path)


def test_a_trial_without_a_single_embedding_goes_on(tmp_path: Path):
    nothing = table(embeddings(4), missing=[0, 1, 2, 3])
    trial = Clusters(COLUMN, k=5).rehearsal()
    assert fitted(trial, nothing, tmp_path / "state")["k"] == 1
    trial.load(tmp_path / "state")
    assert scored(trial, nothing)["cluster"] == [None] * 4
    assert trial.longer >= 1


@pytest.mark.parametrize("kind", [pa.float64(), pa.list_(pa.float32()), pa.list_(pa.float64(), 3), pa.string()])
def test_a_column_that_holds_no_embeddings_is_refused(kind: pa.DataType):
    with pytest.raises(ConfigError, match="holds") as error:
        Clusters(COLUMN).reads({COLUMN: pa.field(COLUMN, kind)})
    assert "fixed-size lists" in error.value.expected


def field(width: int = 8, model: str | None = "m1") -> dict[str, pa.Field]:
    kind = pa.list_(pa.float16(), width)
    return {COLUMN: pa.field(COLUMN, kind, metadata={"model": model} if model else None)}


def test_supplied_clusters_score_as_they_did_where_they_were_learned(tmp_path: Path):
    documents, learner = table(embeddings()), Clusters(COLUMN, k=4)
    fitted(learner, documents, tmp_path / "clusters")
    learner.load(tmp_path / "clusters")
    again = Clusters(COLUMN, centroids=str(tmp_path / "clusters"))
    again.check()
    again.reads(field())
    assert again.sample() is None
    assert {path.name for path in again.artifacts()} == {"centroids.npy", "separation.npy", "clusters.json"}
    (tmp_path / "clusters" / ".DS_Store").write_bytes(b"of a file manager")
    assert len(again.artifacts()) == 3
    again.load(None)
    assert scored(again, documents) == scored(learner, documents)
    check_scorer(again, documents)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (field(width=9), "has 9 dimensions, the clusters were made of 8"),
        (field(model="m2"), "made by the model m2, the clusters by m1"),
        (field(model=None), "made by the model None, the clusters by m1"),
        (field(model="learned"), "of this pipeline is learned from its own corpus"),
    ],
)
def test_clusters_of_another_embedding_are_refused(given: dict[str, pa.Field], message: str, tmp_path: Path):
    fitted(Clusters(COLUMN, k=4), table(embeddings()), tmp_path / "clusters")
    with pytest.raises(ConfigError, match=message) as error:
        Clusters(COLUMN, centroids=str(tmp_path / "clusters")).reads(given)
    assert error.value.fix


def test_a_folder_without_clusters_is_refused(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match="no learned clusters"):
            Clusters(COLUMN, centroids=str(folder)).check()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("clusters.json", {"k": 0}, "has k 0"),
        ("clusters.json", {"k": float("inf")}, "has k inf"),
        ("clusters.json", {"dimension": None}, "has dimension None"),
        ("clusters.json", {"model": ["m1"]}, "has model"),
        ("centroids.npy", np.full((4, 8), np.inf, np.float32), "not finite"),
        ("centroids.npy", np.zeros((4, 8)), "float64"),
        ("separation.npy", np.full(4, np.nan, np.float32), "not finite"),
        ("separation.npy", np.zeros((4, 1), np.float32), "holds"),
    ],
)
def test_damaged_clusters_are_refused_by_file(name: str, content: Any, said: str, tmp_path: Path):
    facts = fitted(Clusters(COLUMN, k=4), table(embeddings()), tmp_path / "clusters")
    path = tmp_path / "clusters" / name
    if isinstance(content, dict):
        path.write_text(json.dumps(facts | content))
    else:
        np.save(path, content)
    with pytest.raises(InputError, match=f"{name} .*{said}") as error:
        Clusters(COLUMN, centroids=str(tmp_path / "clusters")).check()
    assert error.value.where == str(path)


def test_a_gpu_is_taken_for_thousands_of_clusters_only():
    assert not Clusters(COLUMN).accelerated
    assert Clusters(COLUMN, k=MANY).accelerated


SCORES = [{"static_embedding": {"name": "embedding", "dimension": 16}}, {"clusters": {"embedding": COLUMN, "k": 12, "iterations": 6}}]


def test_from_text_to_clusters_and_reused_by_another_pipeline(tmp_path: Path):
    raw = write_corpus(tmp_path / "raw")
    parts = {"select": None, "mix": {"use": "natural"}, "emit": {"carry": ["clusters.cluster"]}}
    first = run(configuration(raw, tmp_path / "first", score=SCORES, **parts))
    columns = [COLUMN, *(f"clusters.{name}" for name in ("cluster", "distance", "separation"))]
    made = first.table(columns)
    models = tmp_path / "first" / "models"
    vectors_ND = np.array(made[COLUMN].to_pylist(), np.float16)
    cluster_N, distance_N = assign(vectors_ND, np.load(models / "clusters" / "centroids.npy"))
    assert made["clusters.cluster"].to_pylist() == cluster_N.tolist()
    assert made["clusters.distance"].to_pylist() == distance_N.astype(np.float32).tolist()
    facts = json.loads((models / "clusters" / "clusters.json").read_text())
    assert facts["model"] == "learned", "the embedding's field must reach fit with what it states"

    reused = [
        {"static_embedding": {"name": "embedding", "model": str(models / "embedding")}},
        {"clusters": {"embedding": COLUMN, "centroids": str(models / "clusters")}},
    ]
    second = run(configuration(raw, tmp_path / "second", score=reused, **parts))
    assert second.table(columns).equals(made)
    with pytest.raises(ConfigError, match="learned from its own corpus") as error:
        run(configuration(raw, tmp_path / "third", score=[SCORES[0], reused[1]], **parts))
    assert "score.clusters" in error.value.where
    other = [{"static_embedding": {"name": "embedding", "dimension": 16, "seed": 1}}]
    run(configuration(raw, tmp_path / "fourth", score=other, **parts | {"emit": {}}))
    mixed = [{"static_embedding": {"name": "embedding", "model": str(tmp_path / "fourth" / "models" / "embedding")}}, reused[1]]
    with pytest.raises(ConfigError, match="the clusters by"):
        run(configuration(raw, tmp_path / "fifth", score=mixed, **parts))
