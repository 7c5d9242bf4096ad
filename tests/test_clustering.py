"""Assignment, K-means and separation beside brute force, exact arithmetic and scikit-learn."""

from __future__ import annotations

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from curate.clustering import Centroids, Nearest, assign, learn, require_faiss, separation, vectors
from curate.clustering import assignment as module
from curate.clustering.vectors import widen
from curate.errors import ConfigError, InputError


def brute_force(vectors_ND: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """All distances in float64, one dimension after the other."""
    x_ND, mu_KD = vectors_ND.astype(np.float64), centroids_KD.astype(np.float64)
    squares_NK = np.zeros((len(x_ND), len(mu_KD)))
    for d in range(x_ND.shape[1]):
        squares_NK += (x_ND[:, d, None] - mu_KD[None, :, d]) ** 2
    return np.sqrt(squares_NK)


def exact(vectors_ND: np.ndarray, centroids_KD: np.ndarray) -> np.ndarray:
    """The nearest centroid in rational arithmetic, the first of equals."""
    x_ND, mu_KD = ([[Fraction(float(v)) for v in row] for row in m] for m in (vectors_ND, centroids_KD))
    squares_NK = [[sum((a - b) ** 2 for a, b in zip(x, mu, strict=True)) for mu in mu_KD] for x in x_ND]
    return np.array([row.index(min(row)) for row in squares_NK])


def blobs(n: int, d: int, k: int, seed: int = 0, spread: float = 0.3) -> np.ndarray:
    """N points around K places, (N, D) float32."""
    random = np.random.default_rng(seed)
    places_KD = random.normal(size=(k, d))
    return (places_KD[random.integers(0, k, n)] + spread * random.normal(size=(n, d))).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.sampled_from([1, 2, 5, 33, 64]), st.integers(1, 9), st.sampled_from([1, 3, 1000]))
def test_assignment_is_brute_force_with_ties_to_the_first(seed: int, n: int, d: int, k: int, most: int):
    """Small whole numbers, on which float64 is exact: ties are real, and many."""
    random = np.random.default_rng(seed)
    x_ND, mu_KD = (random.integers(-most, most + 1, (rows, d)).astype(np.float32) for rows in (n, k))
    cluster_N, distance_N = assign(x_ND, mu_KD)
    distances_NK = brute_force(x_ND, mu_KD)
    assert cluster_N.dtype == np.int32
    assert np.array_equal(cluster_N, distances_NK.argmin(1))
    assert np.array_equal(distance_N, distances_NK.min(1))


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 5))
def test_assignment_is_right_at_any_scale(data: st.DataObject, n: int, d: int, k: int):
    """Denormal, huge and mixed numbers: the distance is the smallest to the last digits, and the index exact where it is clear."""
    x_ND, mu_KD = data.draw(arrays(np.float32, (n, d), elements=floats)), data.draw(arrays(np.float32, (k, d), elements=floats))
    cluster_N, distance_N = assign(x_ND, mu_KD)
    distances_NK, best_N = brute_force(x_ND, mu_KD), exact(x_ND, mu_KD)
    rows = np.arange(n)
    assert np.all(distances_NK[rows, cluster_N] <= distances_NK[rows, best_N] * (1 + 1e-14))
    assert np.allclose(distance_N, distances_NK[rows, cluster_N], rtol=1e-14, atol=0)


@pytest.mark.parametrize(("n", "d", "k"), [(700, 256, 300), (300, 384, 1000), (2000, 3, 70), (500, 1, 40)])
def test_assignment_of_embeddings_is_brute_force(n: int, d: int, k: int):
    x_ND = blobs(n, d, 20)
    x_ND /= np.linalg.norm(x_ND, axis=1, keepdims=True)
    mu_KD = np.concatenate([blobs(k // 2, d, 20, seed=1), x_ND[: k - k // 2]])
    cluster_N, distance_N = assign(x_ND, mu_KD)
    distances_NK = brute_force(x_ND, mu_KD)
    assert np.array_equal(cluster_N, distances_NK.argmin(1))
    assert np.allclose(distance_N, distances_NK.min(1), rtol=1e-13)


def test_centroids_too_close_for_float32_are_told_apart():
    """Far from the origin a float32 score has no digits left for the difference."""
    base_D = np.full(128, 1000, np.float32)
    mu_KD = np.stack([base_D, base_D, base_D])
    mu_KD[:2, 0] += [0.5, 0.25]
    off_N = np.random.default_rng(0).integers(-500, 500, 200) / 8192 + 2**-14
    x_ND = np.tile(base_D, (200, 1))
    x_ND[:, 0] += 0.375 + off_N
    scores_NK = x_ND @ mu_KD.T - np.square(mu_KD).sum(1) / 2
    assert not np.array_equal(scores_NK.argmax(1), np.where(off_N > 0, 0, 1)), "the case is too easy"
    cluster_N, distance_N = assign(x_ND, mu_KD)
    assert np.array_equal(cluster_N, np.where(off_N > 0, 0, 1))
    assert np.array_equal(distance_N, 0.125 - np.abs(off_N))


def test_copies_of_a_centroid_are_at_distance_zero_and_go_to_the_first_copy():
    mu_KD = blobs(60, 100, 10)
    mu_KD[40:] = mu_KD[:20]
    cluster_N, distance_N = assign(mu_KD, mu_KD)
    assert cluster_N.tolist() == [*range(40), *range(20)]
    assert not distance_N.any()
    assert assign(np.zeros((3, 100)), np.zeros((5, 100)))[0].tolist() == [0, 0, 0]


def test_a_vector_that_is_no_number_belongs_nowhere():
    x_ND = np.ones((6, 8), np.float32)
    x_ND[1, 3], x_ND[2, 7], x_ND[4, 0] = np.nan, np.inf, -np.inf
    for kind in (np.float16, np.float32):
        cluster_N, distance_N = assign(x_ND.astype(kind), np.stack([np.zeros(8), np.ones(8)]))
        assert cluster_N.tolist() == [1, -1, -1, 1, -1, 1]
        assert np.isnan(distance_N).tolist() == [False, True, True, False, True, False]


@pytest.mark.parametrize("rows", [1, 7, 64, 4096])
def test_neither_blocks_nor_order_nor_device_change_a_bit(rows: int, monkeypatch: pytest.MonkeyPatch):
    x_ND, mu_KD = blobs(500, 48, 30).astype(np.float16), blobs(90, 48, 30, seed=2)
    mu_KD[50:] = x_ND[:40]
    expected = assign(x_ND, mu_KD)
    monkeypatch.setattr(module, "BLOCK_ROWS", (rows, rows))
    monkeypatch.setattr(module, "DEVICE_ROWS", (rows, rows))
    order = np.random.default_rng(1).permutation(500)
    on_device = Nearest(mu_KD, "cpu:0")  # by torch, which is how a GPU is used
    for found in (assign(x_ND, mu_KD), on_device(x_ND)):
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    shuffled = assign(x_ND[order], mu_KD)
    assert all(np.array_equal(a, b[order]) for a, b in zip(shuffled, expected, strict=True))
    numbers_K = np.random.default_rng(2).permutation(90)
    renamed = assign(x_ND, mu_KD[numbers_K])
    clear = np.sort(brute_force(x_ND, mu_KD), 1)[:, :2].T
    assert np.array_equal(renamed[1], expected[1])
    assert np.array_equal(numbers_K[renamed[0]][clear[0] < clear[1]], expected[0][clear[0] < clear[1]])


def test_no_vectors_have_no_clusters():
    cluster_N, distance_N = assign(np.empty((0, 4), np.float16), np.ones((2, 4)))
    assert (cluster_N.shape, cluster_N.dtype, distance_N.shape) == ((0,), np.int32, (0,))


def test_every_half_float_is_widened_to_the_same_number():
    halves_ND = np.arange(65536, dtype=np.uint16).view(np.float16).reshape(64, 1024)
    into_NE = np.full((64, 1026), 7, np.float32)
    widen(halves_ND, into_NE)
    expected_ND = halves_ND.astype(np.float32)
    assert np.array_equal(into_NE[:, :1024], expected_ND, equal_nan=True)
    assert np.array_equal(np.signbit(into_NE[:, :1024]), np.signbit(expected_ND))
    assert (into_NE[:, 1024:] == 7).all()


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32()])
def test_columns_become_matrices_whatever_their_slice(kind: pa.DataType):
    rows = [[1.0, 2.0], None, [3.0, None], [5.0, 6.0], None]
    column = pa.array([None if row is None else [None if v is None else np.float16(v) for v in row] for row in rows], pa.list_(kind, 2))
    values_ND, known_N = vectors(column)
    assert known_N.tolist() == [True, False, True, True, False]
    assert np.array_equal(values_ND[[0, 2, 3]], [[1, 2], [3, np.nan], [5, 6]], equal_nan=True)
    values_ND, known_N = vectors(column.slice(2, 2))
    assert known_N.tolist() == [True, True]
    assert np.array_equal(values_ND, [[3, np.nan], [5, 6]], equal_nan=True)
    plain = pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8).astype(kind.to_pandas_dtype()), kind), 2)
    view_ND, _ = vectors(plain.slice(1))
    assert view_ND.tolist() == [[2, 3], [4, 5], [6, 7]]
    assert not view_ND.flags.owndata, "a copy of every embedding"


def test_separation_of_three_places():
    """A 3-4-5 triangle, moved far away."""
    places_KD = np.array([[0, 0], [3, 0], [0, 4]], np.float32) + np.float32(4096)
    assert separation(places_KD) == pytest.approx([3.5, 4, 4.5], rel=1e-12)
    assert separation(np.ones((1, 5))).tolist() == [0.0]
    assert separation(np.ones((3, 5))).tolist() == [0, 0, 0]


def test_separation_is_the_mean_of_all_distances_to_others():
    mu_KD = blobs(130, 17, 9)
    distances_KK = brute_force(mu_KD, mu_KD)
    assert separation(mu_KD) == pytest.approx(distances_KK.sum(1) / 129, rel=1e-12)


def test_inertia_never_rises_and_the_history_ends_at_it():
    learned = learn(blobs(3000, 12, 40), 25, iterations=20)
    history = np.array(learned.history)
    assert 2 <= len(history) < 20, "faiss stops when nothing changes"
    assert (np.diff(history) <= 1e-6 * history[0]).all()
    assert learned.inertia == history[-1]
    assert learned.sizes_K.sum() == 3000


def test_centroids_are_means_of_their_vectors_at_the_end_of_convergence():
    points_ND = blobs(800, 5, 6, spread=0.05)
    learned = learn(points_ND, 6, iterations=60)
    cluster_N, distance_N = assign(points_ND, learned.centroids_KD)
    means_KD = np.stack([points_ND[cluster_N == k].astype(np.float64).mean(0) for k in range(6)])
    assert np.allclose(learned.centroids_KD, means_KD, atol=1e-5)
    assert learned.inertia == pytest.approx(np.square(distance_N).mean())


def test_inertia_is_that_of_scikit_learn_from_the_same_beginning():
    cluster = pytest.importorskip("sklearn.cluster")
    points_ND = blobs(4000, 16, 30)
    learned = learn(points_ND, 30, iterations=100)
    peer = cluster.KMeans(30, init=points_ND[:30], n_init=1, max_iter=100, tol=0).fit(points_ND)
    assert learned.inertia <= peer.inertia_ / len(points_ND) * 1.01


def test_threads_and_repeats_give_the_same_bytes():
    points_ND = blobs(2000, 24, 30)
    found = [learn(points_ND, 40, iterations=8, threads=threads).centroids_KD.tobytes() for threads in (2, 2, 1)]
    assert found[0] == found[1] == found[2]


def test_first_centroids_are_all_different():
    """Nine tenths of the vectors are one: drawn blindly, most of the first centroids would be the same."""
    points_ND = blobs(1000, 8, 1000)
    points_ND[np.random.default_rng(0).permutation(1000)[:900]] = 0
    learned = learn(points_ND, 90, iterations=1)
    assert learned.n_distinct == 101
    assert (learned.sizes_K > 0).all()
    assert sorted(learned.sizes_K)[-1] >= 900


@pytest.mark.parametrize(("distinct", "message"), [(4, "4 different embeddings in 50 documents"), (50, "50 documents with an embedding")])
def test_more_clusters_than_vectors_are_refused_with_numbers(distinct: int, message: str):
    places_ND = blobs(distinct, 3, distinct)
    places_ND[0] = 0
    points_ND = places_ND[np.arange(50) % distinct]
    points_ND[0] = -0.0  # the other zero is no other vector
    with pytest.raises(InputError, match=message) as error:
        learn(points_ND, distinct + 1, iterations=2)
    assert f"at least {distinct + 1}" in error.value.expected
    assert "lower `k`" in error.value.fix


def test_without_faiss_the_package_is_named(monkeypatch: pytest.MonkeyPatch):
    require_faiss()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="faiss") as error:
        require_faiss()
    assert "pip install 'curate[clusters]'" in error.value.fix


def test_a_wide_blob_is_less_compact_than_a_tight_one_and_copies_make_it_compact():
    random = np.random.default_rng(3)
    wide_ND, tight_ND = random.normal(0, 1, (500, 10)), random.normal(0, 0.1, (500, 10)) + 20
    points_ND = np.concatenate([wide_ND, tight_ND])[random.permutation(1000)]
    learned = learn(points_ND, 2, iterations=10)
    cluster_N, distance_N = assign(points_ND, learned.centroids_KD)
    wide = int(assign(np.zeros((1, 10)), learned.centroids_KD)[0][0])
    spread = [distance_N[cluster_N == k].mean() for k in (wide, 1 - wide)]
    assert spread[0] > 5 * spread[1]
    copies_ND = np.concatenate([points_ND, wide_ND[:1] * 0.05 + random.normal(0, 1e-3, (400, 10))])
    again = learn(copies_ND[random.permutation(1400)], 2, iterations=10)
    cluster_N, distance_N = assign(copies_ND, again.centroids_KD)
    assert distance_N[cluster_N == cluster_N[-1]].mean() < 0.8 * spread[0]


@settings(max_examples=20, deadline=None)
@given(st.integers(-6, 6))
def test_scaling_embeddings_scales_distances_and_separation(exponent: int):
    points_ND, factor = blobs(600, 6, 12), 2.0**exponent
    plain, scaled = learn(points_ND, 9, iterations=6), learn(points_ND * factor, 9, iterations=6)
    of_plain, of_scaled = assign(points_ND, plain.centroids_KD), assign(points_ND * factor, scaled.centroids_KD)
    assert np.array_equal(of_plain[0], of_scaled[0])
    assert np.allclose(of_plain[1] * factor, of_scaled[1], rtol=1e-6)
    assert np.allclose(separation(plain.centroids_KD) * factor, separation(scaled.centroids_KD), rtol=1e-6)


def test_centroids_are_read_as_they_were_written(tmp_path: Path):
    mu_KD = blobs(5, 3, 5)
    Centroids(mu_KD, separation(mu_KD).astype(np.float32), {"k": 5, "dimension": 3, "model": "ab"}).save(tmp_path)
    found = Centroids.load(tmp_path)
    assert np.array_equal(found.centroids_KD, mu_KD)
    assert found.facts["model"] == "ab"
    for name, harm in {"centroids.npy": mu_KD[:4], "separation.npy": np.zeros(5)}.items():
        good = (tmp_path / name).read_bytes()
        np.save(tmp_path / name, harm)
        with pytest.raises(InputError, match=f"no learned clusters: {name} holds"):
            Centroids.load(tmp_path)
        (tmp_path / name).write_bytes(good)
    (tmp_path / "clusters.json").write_text("{}")
    with pytest.raises(InputError, match="no learned clusters"):
        Centroids.load(tmp_path)
