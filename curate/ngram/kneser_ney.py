"""Interpolated modified Kneser-Ney estimation, in memory, by sorting integer keys.

Chen and Goodman 1998, in the form of Heafield et al. 2013 (ACL, "Scalable modified Kneser-Ney
language model estimation"). For an n-gram w of order n below the highest, a(w) is the number of
distinct words seen before it; for the highest order, and for n-grams that begin with <s>, which
nothing precedes, a(w) is how often it occurs. With t_k = how many n-grams of that order have a = k:

    D(k)        = k - (k+1) Y t_{k+1}/t_k,  Y = t_1/(t_1 + 2 t_2),  k = 1, 2, 3+       [eq. 26 of the first]
    gamma(c)    = Σ_x D(a(c x)) / Σ_x a(c x)
    p(x | c)    = (a(c x) - D(a(c x))) / Σ_y a(c y)  +  gamma(c) p(x | c without its first word)

Unigrams fall back on the uniform distribution over the vocabulary with <unk> and </s>, without <s>.
gamma is the back-off weight. Pruned n-grams (raw count at most a threshold) still count in every a, D and
denominator; the mass they held goes to gamma.

Words are numbered by falling count, ties by hash, and n-grams are sorted by number, so the result
depends on the multiset of sentences only, not on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from curate.errors import InputError
from curate.kernels.ngram import BOS, EOS, EOS_HASH, UNK, hash_word, hash_words, shorten_to_words
from curate.ngram.arpa import LOG10_ZERO, MARKERS, Level, NgramRows

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)


@dataclass(frozen=True)
class Estimate:
    """A learned model and how it was smoothed.

    Args:
        rows: the model.
        discounts: (order, 3) D(1), D(2), D(3+) of every order.
        fell_back: orders whose counts of counts gave no usable discounts, so that FALLBACK_DISCOUNTS stood in.
    """

    rows: NgramRows
    discounts: np.ndarray
    fell_back: tuple[int, ...]


@dataclass
class _Counts:
    """All n-grams of one order, R rows sorted by (prefix, word).

    prefix_R and suffix_R index the rows of the order below; row_T is the row of the n-gram that ends
    at each token, -1 where a sentence is too young to hold one.
    """

    prefix_R: np.ndarray
    word_R: np.ndarray
    suffix_R: np.ndarray
    raw_R: np.ndarray
    starts_sentence_R: np.ndarray
    row_T: np.ndarray
    adjusted_R: np.ndarray = field(init=False)


def estimate(
    data: np.ndarray, bounds: np.ndarray, *, order: int, by_line: bool, min_count: int = 1, prune: Sequence[int] = (0,)
) -> Estimate:
    """Learn a model from N documents.

    Args:
        data: uint8 text bytes.
        bounds: N+1 int64 offsets into ``data``.
        order: longest n-gram.
        by_line: whether every line with a word is a sentence, else every document.
        min_count: words that occur less often are learned as <unk>.
        prune: n-grams of order i+1 that occur at most ``prune[i]`` times are left out; the last value holds for
            all higher orders. Starts with 0 and never falls.

    Raises:
        InputError: the text has no word.
    """
    tokens_T, words = _vocabulary(data, bounds, by_line, min_count)
    if not len(tokens_T):
        raise InputError(
            "the sample has no word to learn an n-gram model from", expected="text", fix="raise `sample_bytes`, or check `domains`"
        )
    thresholds = [*prune, *[prune[-1]] * order][:order]
    counts = _unigram_counts(tokens_T, len(words))
    log_p, discounts, fell_back = _Probabilities(len(words)), np.empty((order, 3)), []
    for n in range(1, order + 1):
        above = _longer(counts, tokens_T, len(words), n) if n < order else None
        counts.adjusted_R = _adjusted(counts, above, n)
        of_order, usable = _discounts(counts.adjusted_R)
        discounts[n - 1] = of_order
        fell_back += [] if usable else [n]
        log_p.add(counts, of_order, thresholds[n - 1])
        counts = above if above is not None else counts
    return Estimate(NgramRows(words, log_p.levels()), discounts, tuple(fell_back))


def _vocabulary(data: np.ndarray, bounds: np.ndarray, by_line: bool, min_count: int) -> tuple[np.ndarray, pa.Array]:
    """Token ids by falling word count and the spelling of every id; rare words and spelt-out markers become <unk>."""
    room = len(data) + 2 * len(bounds)
    hash_T, begin_T, end_S = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(room, np.int64)
    n_tokens, n_sentences = hash_words(data, bounds, by_line, hash_T, begin_T, end_S, np.empty(len(bounds), np.int64))
    end_S = end_S[:n_sentences]
    hashes, first, provisional_T, occurrences = np.unique(hash_T[:n_tokens], return_index=True, return_inverse=True, return_counts=True)
    spelt = [hash_word(np.frombuffer(marker, np.uint8), 0, len(marker)) for marker in MARKERS]
    reserved = np.isin(hashes, np.array([EOS_HASH, *spelt], np.uint64))
    known = np.flatnonzero((occurrences >= min_count) & ~reserved)
    known = known[np.argsort(-occurrences[known], kind="stable")]
    number = np.full(len(hashes), UNK, np.int32)
    number[hashes == EOS_HASH] = EOS
    number[known] = np.arange(3, 3 + len(known), dtype=np.int32)
    begins = begin_T[first[known]]
    ends = bounds[np.searchsorted(bounds, begins, side="right")]
    shorten_to_words(data, begins, ends)
    words = [*MARKERS, *[data[a:b].tobytes() for a, b in zip(begins.tolist(), ends.tolist(), strict=True)]]
    return _with_starts(number[provisional_T], end_S), pa.array(words, pa.large_binary())


def _with_starts(word_T: np.ndarray, end_S: np.ndarray) -> np.ndarray:
    """The token stream with <s> before every sentence; sentences without a word are left out."""
    start_S = np.concatenate([[0], end_S[:-1]]).astype(np.int64)
    full = end_S - start_S > 1
    word_T = word_T[np.repeat(full, end_S - start_S)]
    length = (end_S - start_S)[full]
    return np.insert(word_T, np.cumsum(length) - length, BOS)


def _unigram_counts(tokens_T: np.ndarray, n_words: int) -> _Counts:
    raw = np.bincount(tokens_T, minlength=n_words)
    ids = np.arange(n_words, dtype=np.int32)
    none = np.zeros(n_words, np.int32)
    return _Counts(none, ids, none, raw, ids == BOS, tokens_T)


def _longer(counts: _Counts, tokens_T: np.ndarray, n_words: int, n: int) -> _Counts:
    """The counts of order n+1 from those of order n."""
    position = np.flatnonzero((counts.row_T[:-1] >= 0) & (tokens_T[1:] != BOS)) + 1
    key = counts.row_T[position - 1].astype(np.int64) * n_words + tokens_T[position]
    by_key = np.argsort(key)
    key = key[by_key]
    new = np.empty(len(key), bool)
    new[:1] = True
    np.not_equal(key[1:], key[:-1], out=new[1:])
    rows = np.cumsum(new, dtype=np.int32) - 1
    row_T = np.full(len(tokens_T), -1, np.int32)
    row_T[position[by_key]] = rows
    distinct = key[new]
    first = np.flatnonzero(new)
    prefix = (distinct // n_words).astype(np.int32)
    # Any occurrence tells the suffix: the n-gram of order n that ends at the same token.
    suffix = counts.row_T[position[by_key[first]]]
    raw = np.diff(np.append(first, len(key)))
    return _Counts(prefix, (distinct % n_words).astype(np.int32), suffix, raw, counts.starts_sentence_R[prefix], row_T)


def _adjusted(counts: _Counts, above: _Counts | None, n: int) -> np.ndarray:
    """a(w) of every n-gram of order n; <s> alone is never predicted, so it counts nothing."""
    adjusted = counts.raw_R.copy()
    if above is not None:
        preceded = np.bincount(above.suffix_R, minlength=len(adjusted))
        adjusted = np.where(counts.starts_sentence_R, adjusted, preceded)
    if n == 1:
        adjusted[BOS] = 0
    return adjusted


def _discounts(adjusted_R: np.ndarray) -> tuple[np.ndarray, bool]:
    """D(1), D(2), D(3+), and whether the counts of counts gave them."""
    t = np.bincount(np.minimum(adjusted_R, 5), minlength=6)[:5].astype(np.float64)
    if (t[1:4] == 0).any():
        return np.array(FALLBACK_DISCOUNTS), False
    k = np.arange(1, 4)
    d = k - (k + 1) * (t[1] / (t[1] + 2 * t[2])) * t[k + 1] / t[k]
    if (d < 0).any() or (d > k).any():
        return np.array(FALLBACK_DISCOUNTS), False
    return d, True


class _Probabilities:
    """Builds the levels of the model from the lowest order up."""

    def __init__(self, n_words: int) -> None:
        self._uniform = np.array([1.0 / (n_words - 1)])  # <s> is never predicted
        self._p_R = self._uniform  # of the order below, before pruning
        self._kept_R = np.zeros(1, np.int32)  # its rows' places after pruning
        self._words: list[np.ndarray] = [np.empty((1, 0), np.int32)]
        self._p: list[np.ndarray] = []
        self._backoff: list[np.ndarray] = []

    def add(self, counts: _Counts, discounts: np.ndarray, threshold: int) -> None:
        """Add the next order."""
        n_prefixes = len(self._p_R)
        a = counts.adjusted_R.astype(np.float64)
        kept = (counts.raw_R > threshold) | (threshold == 0)
        d = np.concatenate([[0.0], discounts])[np.minimum(counts.adjusted_R, 3)]
        total = np.bincount(counts.prefix_R, weights=a, minlength=n_prefixes)
        freed = np.bincount(counts.prefix_R, weights=np.where(kept, d, a), minlength=n_prefixes)
        gamma = np.divide(freed, total, out=np.ones(n_prefixes), where=total > 0)
        share = np.divide(a - d, total[counts.prefix_R], out=np.zeros_like(a), where=a > 0)
        p = share + gamma[counts.prefix_R] * self._p_R[counts.suffix_R]
        if self._p:
            self._backoff.append(gamma[self._kept_R >= 0])
        rows = np.flatnonzero(kept)
        prefix = self._kept_R[counts.prefix_R[rows]]
        self._words.append(np.column_stack([self._words[-1][prefix], counts.word_R[rows]]))
        self._p.append(p[rows])
        self._p_R = p
        self._kept_R = np.full(len(kept), -1, np.int32)
        self._kept_R[rows] = np.arange(len(rows), dtype=np.int32)

    def levels(self) -> tuple[Level, ...]:
        """The finished model; the highest order has no back-off weights."""
        backoffs = [*self._backoff, np.ones(len(self._p[-1]))]
        levels = [Level(w, _log10(p), _log10(b)) for w, p, b in zip(self._words[1:], self._p, backoffs, strict=True)]
        levels[0].log10_p_R[BOS] = 0.0  # by convention: <s> is given, not predicted
        return tuple(levels)


def _log10(values: np.ndarray) -> np.ndarray:
    return np.log10(np.maximum(values, 10.0**LOG10_ZERO)).astype(np.float32)
