"""Pages of a template: copies are found among pages nearly as similar as copies, and no run costs a square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from curate.dedup import ALL_PAIRS, Verifier, edges, pairs, verification
from curate.documents import text_bytes
from curate.hashing import mix64
from curate.kernels import minhash
from curate.kernels.shingles import jaccard, shingle_sets

THRESHOLD, NGRAM, BANDS, ROWS = 0.8, 5, 14, 8


@dataclass
class Pages:
    """2 n pages; page i and page i + n are an original and its copy."""

    keys: np.ndarray
    sketches: np.ndarray
    bounds: np.ndarray
    hashes: np.ndarray

    def similarity(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.asarray(jaccard(self.hashes, self.bounds, left, right))

    def proposed(self) -> np.ndarray:
        """Which originals share a band with their copy, and are as similar as the threshold: bool (n)."""
        n = len(self.keys) // 2
        original, copy = np.arange(n), np.arange(n, 2 * n)
        return (self.keys[:n] == self.keys[n:]).any(axis=1) & (self.similarity(original, copy) >= THRESHOLD)

    def moved(self, number: np.ndarray) -> Pages:
        """The same pages, page i now at place ``number[i]``."""
        back = np.argsort(number)
        size = np.diff(self.bounds)[back]
        bounds = np.r_[0, np.cumsum(size)]
        hashes = np.concatenate([self.hashes[self.bounds[i] : self.bounds[i + 1]] for i in back])
        return Pages(self.keys[back], self.sketches[back], bounds, hashes)


def pages(template: int, own: int, changed: int, n: int) -> Pages:
    """Pages of ``template`` common words and ``own`` words of their own, and copies whose last ``changed`` words are others."""
    random = np.random.default_rng(1)
    common = " ".join(f"t{_letters(w)}" for w in random.integers(0, 10**9, template))
    drawn = random.integers(0, 10**9, (n, own + changed))
    first = [" ".join([common, *map(_letters, row[:own])]) for row in drawn.tolist()]
    second = [" ".join([common, *map(_letters, row[: own - changed] + row[own:])]) for row in drawn.tolist()]
    data = text_bytes(pa.array(first + second))
    minima, _ = minhash.signatures(*data, NGRAM, minhash.permutations(1, BANDS * ROWS))
    return Pages(minhash.band_keys(minima, BANDS, ROWS), minhash.sketch(minima), *shingle_sets(*data, NGRAM))


def _letters(number: int) -> str:
    """A word without digits, since numbers are all one word."""
    return "".join(chr(97 + int(digit)) for digit in str(number))


def verified(found: Pages, order: np.ndarray | None = None, ranges: int = 1) -> tuple[Verifier, np.ndarray]:
    """The verifier when it has finished, and the smallest row of each row's component."""
    n = len(found.keys)
    order = np.arange(n, dtype=np.uint64) if order is None else order
    verifier, rows = Verifier(THRESHOLD, BANDS, order.reshape(-1, 1), found.sketches, found.similarity), np.arange(n)
    for band in range(BANDS):
        for piece in range(ranges):
            some = np.flatnonzero(found.keys[:, band] % np.uint64(ranges) == piece)
            verifier.add(band, edges(found.keys[some, band], rows[some]))
    labels = rows.copy()
    joined = verifier.finish()
    labels[joined[:, 1]] = joined[:, 0]
    return verifier, labels


def recall(found: Pages, labels: np.ndarray) -> float:
    proposed, n = found.proposed(), len(labels) // 2
    return float((labels[:n] == labels[n:])[proposed].mean())


@pytest.mark.parametrize(
    ("template", "own", "changed", "n"), [(100, 20, 8, 600), (100, 16, 8, 1000), (200, 30, 15, 1000), (0, 120, 12, 500), (100, 14, 7, 2500)]
)
def test_copies_are_found_among_pages_of_one_template(template: int, own: int, changed: int, n: int) -> None:
    found = pages(template, own, changed, n)
    assert found.proposed().sum() > 0.9 * n
    verifier, labels = verified(found)
    assert recall(found, labels) >= 0.99
    assert len(np.unique(labels)) >= n, "pages of one template are no copies"
    assert verifier.n_left_apart <= np.count_nonzero(~found.proposed()) * 2


@pytest.mark.parametrize("most", [(1024, 256), (60, 20)])
def test_numbers_and_ranges_do_not_matter(most: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where runs are larger than may be compared whole."""
    monkeypatch.setattr(verification, "ALL_PAIRS", most[0])
    monkeypatch.setattr(verification, "RARE", most[1])
    found = pages(100, 14, 7, 250)
    place = mix64(np.arange(500, dtype=np.uint64))
    one, labels = verified(found, place)
    number = np.random.default_rng(7).permutation(500)
    moved_place = np.empty_like(place)
    moved_place[number] = place
    other, moved_labels = verified(found.moved(number), moved_place, ranges=3)
    assert recall(found, labels) >= 0.99
    together, moved_together = labels[:, None] == labels, moved_labels[:, None] == moved_labels
    assert np.array_equal(moved_together[np.ix_(number, number)], together)
    assert other.n_left_apart == one.n_left_apart
    assert (one.n_left_apart > 0) == (most[0] < 100)


def test_small_runs_are_compared_once_and_as_all_pairs_would_be() -> None:
    found, asked = pages(100, 16, 8, 150), list[tuple[int, int]]()

    def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        asked.extend((min(a, b), max(a, b)) for a, b in zip(left.tolist(), right.tolist(), strict=True))
        return found.similarity(left, right)

    verifier, labels = verified(found)
    judge = Verifier(THRESHOLD, BANDS, np.arange(300, dtype=np.uint64).reshape(-1, 1), found.sketches, similarity)
    for band in range(BANDS):
        judge.add(band, edges(found.keys[:, band], np.arange(300)))
    judge.finish()
    assert len(asked) == len(set(asked)) == judge.n_compared == verifier.n_compared
    # All pairs that share a band and whose sketches are not far below the threshold, the plain way.
    left, right = np.triu_indices(300, 1)
    near = (found.keys[left] == found.keys[right]).any(axis=1)
    low = THRESHOLD - 3 * np.sqrt(THRESHOLD * (1 - THRESHOLD) / (BANDS * ROWS))
    near &= minhash.similarity(found.sketches[left], found.sketches[right]) >= low
    near &= found.similarity(left, right) >= THRESHOLD
    assert (labels[left[near]] == labels[right[near]]).all()
    plain = csr_array((np.ones(near.sum(), bool), (left[near], right[near])), shape=(300, 300))
    assert connected_components(plain, directed=False)[0] == len(np.unique(labels))


def test_a_run_of_copies_takes_a_line_of_comparisons() -> None:
    """Of every size: a thousand in one run, and ten thousand in another, all alike, in every band."""
    sizes = [2, 3, 40, ALL_PAIRS, 10 * ALL_PAIRS]
    family = np.repeat(np.arange(len(sizes)), sizes)
    n = len(family)
    verifier = Verifier(0.8, 3, np.arange(n, dtype=np.uint64).reshape(-1, 1), np.zeros((n, 112), np.uint8), lambda a, b: np.ones(len(a)))
    for band in range(3):
        verifier.add(band, edges(family.astype(np.uint64), np.arange(n)))
    assert len(verifier.finish()) == n - len(sizes)
    assert verifier.n_compared == verifier.n_estimated == n - len(sizes)


def test_a_key_that_strangers_share_is_bounded() -> None:
    """A hundred thousand rows of one key, without a copy but of one pair, and in one band an entire template."""
    n, random = 100_000, np.random.default_rng(2)
    sketches = random.integers(0, 256, (n, 16)).astype(np.uint8)
    sketches[: n // 2, :12] = 7  # half of the rows agree in most bytes
    sketches[-1] = sketches[-2]
    same = np.arange(n)
    same[-1] = n - 2
    verifier = Verifier(0.8, 2, np.arange(n, dtype=np.uint64).reshape(-1, 1), sketches, lambda a, b: (same[a] == same[b]).astype(float))
    verifier.add(0, edges(np.zeros(n, np.uint64), np.arange(n)))
    assert verifier.finish().tolist() == [[n - 2, n - 1]]
    assert verifier.n_estimated < n * (verification.ROUNDS + 16 * verification.RARE / 2)
    assert verifier.n_left_apart == n - 2 - verification.ROUNDS


def test_estimates_are_those_of_the_sketches() -> None:
    """Where sketches are compared eight bytes at a time, the bound is that of the estimate; padding agrees always."""
    random = np.random.default_rng(3)
    for n_bytes in (1, 7, 8, 20, 112, 1024):
        base = random.integers(0, 256, n_bytes).astype(np.uint8)
        others = np.tile(base, (n_bytes + 1, 1))
        for i in range(n_bytes + 1):
            others[i, :i] ^= random.integers(1, 256, i).astype(np.uint8)
        words, least = pairs.packed(np.vstack([base, others])), pairs.least_equal(THRESHOLD, n_bytes)
        rows = np.arange(n_bytes + 1)
        found = pairs.worth(np.zeros_like(rows), rows + 1, words, least, np.arange(n_bytes + 2, dtype=np.int32).reshape(-1, 1))
        low = max(0, THRESHOLD - 3 * np.sqrt(THRESHOLD * (1 - THRESHOLD) / n_bytes))
        share = 1 - rows / n_bytes
        assert found.tolist() == ((share - 1 / 256) / (1 - 1 / 256) >= low - 1e-12).tolist()
    with pytest.raises(ValueError, match="2048 bytes"):
        pairs.packed(np.zeros((1, 2048), np.uint8))
