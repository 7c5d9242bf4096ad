"""Clusters and the kept document of each, beside plain Python twins: by hand, for any order, for every policy and tie."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.dedup import (
    VERDICTS,
    Components,
    Decision,
    Rows,
    Verifier,
    best,
    decide,
    edges,
    exact_edges,
    first,
    in_range,
    longest,
    merge_tallies,
    preferred,
    tally,
)
from curate.dedup.pairs import ALIKE, APART, UNKNOWN, Pairs
from curate.dedup.verification import ROUNDS
from curate.errors import IntegrityError
from curate.hashing import id_halves, source_keys

U64 = np.uint64
Doc = dict[str, Any]


# --- components ---


def plain_labels(n: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Smallest rows by flooding sets."""
    groups = {row: {row} for row in range(n)}
    for a, b in pairs:
        merged = groups[a] | groups[b]
        groups.update(dict.fromkeys(merged, merged))
    return [min(groups[row]) for row in range(n)]


def labels_of(n: int, pairs: Sequence[tuple[int, int]], chunk: int = 10**9) -> list[int]:
    parts = Components(n)
    for begin in range(0, len(pairs), chunk):
        parts.join(np.array(pairs[begin : begin + chunk], dtype=np.int64).reshape(-1, 2))
    return parts.labels().tolist()


def test_components_by_hand() -> None:
    assert labels_of(7, [(5, 6), (2, 4), (4, 6)]) == [0, 1, 2, 3, 2, 2, 2]
    assert labels_of(3, []) == [0, 1, 2]
    assert labels_of(0, []) == []


@given(st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=60))))
@settings(max_examples=150, deadline=None)
def test_components_against_sets_in_any_order_and_chunks(case: tuple[int, list[tuple[int, int]]]) -> None:
    n, pairs = case
    wanted = plain_labels(n, pairs)
    assert labels_of(n, pairs) == wanted
    assert labels_of(n, pairs[::-1], chunk=3) == wanted
    assert labels_of(n, [(b, a) for a, b in sorted(pairs)] * 2, chunk=1) == wanted


@pytest.mark.parametrize("backwards", [False, True])
def test_a_long_chain(backwards: bool) -> None:
    chain = np.stack([np.arange(999_999), np.arange(1, 1_000_000)], axis=1)
    parts = Components(1_000_000)
    parts.join(chain[::-1] if backwards else chain)
    assert not parts.labels().any()


@pytest.mark.parametrize("bad", [(0, 4), (-1, 2)])
def test_edges_outside_join_nothing(bad: tuple[int, int]) -> None:
    parts = Components(4)
    with pytest.raises(IntegrityError, match="edge"):
        parts.join(np.array([(0, 1), bad], dtype=np.int64))
    assert parts.labels().tolist() == [0, 1, 2, 3]


# --- verification ---


class Judge:
    """Similarity by family, counting what it is asked."""

    def __init__(self, family: Sequence[int], alike: float = 0.9, apart: float = 0.3) -> None:
        self.family, self.values, self.asked = np.array(family), (apart, alike), list[tuple[int, int]]()

    def __call__(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        self.asked += [(min(a, b), max(a, b)) for a, b in zip(left.tolist(), right.tolist(), strict=True)]
        return np.where(self.family[left] == self.family[right], self.values[1], self.values[0])


def star(members: Sequence[int]) -> np.ndarray:
    return edges(np.zeros(len(members), dtype=U64), np.array(members, dtype=np.int64))


def order_of(places: Sequence[int]) -> np.ndarray:
    return np.array(places, dtype=U64).reshape(-1, 1)


def test_two_interleaved_families() -> None:
    judge = Judge([0, 1, 0, 1, 0, 1])
    verifier = Verifier(0.8, order_of(range(6)), judge)
    assert verifier.confirm(star(range(6))).tolist() == [[0, 2], [0, 4], [1, 3], [1, 5]]
    # Five comparisons with row 0, then two with row 1: not all fifteen pairs.
    assert sorted(judge.asked) == [(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 3), (1, 5)]
    assert (verifier.n_compared, verifier.n_left_apart) == (7, 0)


def test_leaders_come_by_content_not_by_row() -> None:
    verifier = Verifier(0.8, order_of([50, 40, 30, 20]), Judge([0, 1, 0, 1]))
    assert verifier.confirm(star(range(4))).tolist() == [[3, 1], [2, 0]]


def test_order_is_compared_column_by_column() -> None:
    order = np.array([[1, 9], [1, 2], [0, 7]], dtype=U64)
    assert Verifier(0.8, order, Judge([0, 0, 0])).confirm(star(range(3))).tolist() == [[2, 1], [2, 0]]


def test_threshold_is_inclusive() -> None:
    assert len(Verifier(0.8, order_of(range(2)), Judge([0, 0], alike=0.8)).confirm(star([0, 1]))) == 1
    assert len(Verifier(0.8, order_of(range(2)), Judge([0, 0], alike=np.nextafter(0.8, 0))).confirm(star([0, 1]))) == 0


def test_what_outlasts_the_rounds_is_counted() -> None:
    """Eleven families of three, one taken a round: three are left, nine rows."""
    judge = Judge([i % 11 for i in range(33)])
    verifier = Verifier(0.8, order_of(range(33)), judge)
    found = verifier.confirm(star(range(33)))
    assert {(int(a), int(b)) for a, b in found} == {(f, f + 11 * k) for f in range(ROUNDS) for k in (1, 2)}
    assert verifier.n_left_apart == 9
    assert len(judge.asked) == sum(33 - 3 * r - 1 for r in range(ROUNDS))


def test_a_lone_rest_is_not_left_apart() -> None:
    verifier = Verifier(0.8, order_of(range(ROUNDS + 1)), Judge(range(ROUNDS + 1)))
    assert len(verifier.confirm(star(range(ROUNDS + 1)))) == 0
    assert verifier.n_left_apart == 0


def test_no_pair_is_compared_twice_over_bands() -> None:
    rng = np.random.default_rng(3)
    family = rng.integers(0, 40, 600)
    judge = Judge(family)
    verifier, order = Verifier(0.8, order_of(rng.permutation(600)), judge), []
    for _ in range(6):
        keys = np.where(rng.random(600) < 0.7, family // 3, rng.integers(0, 30, 600)).astype(U64)
        order.append(verifier.confirm(edges(keys, np.arange(600))))
    assert len(judge.asked) == len(set(judge.asked)) == verifier.n_compared
    assert all((family[found[:, 0]] == family[found[:, 1]]).all() for found in order)


def plain_leaders(run: Sequence[int], place: Sequence[int], alike: Callable[[int, int], bool]) -> set[tuple[int, int]]:
    left, found = sorted(run, key=lambda row: place[row]), set()
    for _ in range(ROUNDS):
        if not left:
            break
        leader, *others = left
        found |= {(leader, other) for other in others if alike(leader, other)}
        left = [other for other in others if not alike(leader, other)]
    return found


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=60), st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_verification_against_a_plain_twin_in_any_order(docs: list[tuple[int, int]], random: Any) -> None:
    """Similarity falls with the distance of a number, so being alike is not transitive."""
    keys, value = np.array([k for k, _ in docs], dtype=U64), np.array([v for _, v in docs])
    place = list(range(len(docs)))
    random.shuffle(place)
    runs = {k: [i for i, (key, _) in enumerate(docs) if key == k] for k, _ in docs}
    wanted = set().union(*(plain_leaders(run, place, lambda a, b: abs(value[a] - value[b]) <= 1) for run in runs.values()))
    verifier = Verifier(0.75, order_of(place), lambda a, b: 1 - abs(value[a] - value[b]) / 4)
    assert {(int(a), int(b)) for a, b in verifier.confirm(edges(keys, np.arange(len(docs))))} == wanted
    # The same documents numbered otherwise: the same pairs.
    number = np.array(random.sample(range(len(docs)), len(docs)))
    moved_value, moved_place = np.empty(len(docs)), np.empty(len(docs), dtype=U64)
    moved_value[number], moved_place[number] = value, place
    again = Verifier(0.75, moved_place.reshape(-1, 1), lambda a, b: 1 - abs(moved_value[a] - moved_value[b]) / 4)
    assert {(int(a), int(b)) for a, b in again.confirm(edges(keys, number))} == {(number[a], number[b]) for a, b in wanted}


def test_a_skewed_run_costs_a_line_not_a_square() -> None:
    n = 200_000
    family = np.random.default_rng(4).integers(0, 5, n)
    asked = []
    verifier = Verifier(0.8, order_of(range(n)), lambda a, b: (asked.append(len(a)), (family[a] == family[b]).astype(float))[1])
    assert len(verifier.confirm(star(range(n)))) == n - 5
    assert sum(asked) < 5 * n


@pytest.mark.parametrize("answer", [np.zeros(1), np.full(2, np.nan), np.array([0.5, 1.5]), np.array([-0.1, 0.5])])
def test_answers_that_are_no_similarities(answer: np.ndarray) -> None:
    with pytest.raises(IntegrityError, match="similarities of 2 pairs"):
        Verifier(0.8, order_of(range(3)), lambda a, b: answer).confirm(star(range(3)))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans()), max_size=3000))
@settings(max_examples=20, deadline=None)
def test_pairs_against_a_dictionary(entries: list[tuple[int, int, bool]]) -> None:
    pairs, known = Pairs(61), dict[frozenset[int], bool]()
    for begin in range(0, len(entries), 500):
        some = entries[begin : begin + 500]
        pairs.enter(*(np.array([e[i] for e in some]) for i in (0, 1, 2)))
        known |= {frozenset((a, b)): alike for a, b, alike in some}
    everything = list(itertools.product(range(61), repeat=2))
    wanted = [UNKNOWN if frozenset(p) not in known else ALIKE if known[frozenset(p)] else APART for p in everything]
    assert pairs.find(*np.array(everything).T).tolist() == wanted
    assert len(pairs) == len(known)


# --- representatives ---


def doc(text: str, source: str = "a", row: int = 0, n_bytes: int = 10, score: float | None = None, domain: str = "web") -> Doc:
    return {"id": xxhash.xxh3_128_digest(text.encode()), "source": source, "row": row, "n_bytes": n_bytes, "score": score, "domain": domain}


def rows_of(docs: Sequence[Doc]) -> Rows:
    ids = id_halves(pa.array([d["id"] for d in docs], pa.binary(16)))
    return Rows(ids, source_keys(pa.array([d["source"] for d in docs], pa.string())), np.array([d["row"] for d in docs], dtype=np.int64))


def half(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.full(len(left), 0.5)


def policy_of(docs: Sequence[Doc], name: str, patterns: Sequence[str] = (), order: Sequence[str] = ("a", "b", "c")) -> list[np.ndarray]:
    source = [d["source"] for d in docs]
    columns = [preferred(source, patterns)]
    if name == "longest":
        return [*columns, *longest(np.array([d["n_bytes"] for d in docs]))]
    if name == "first":
        return [*columns, *first(np.array([order.index(s) for s in source]), np.array([d["row"] for d in docs]))]
    score = np.array([np.nan if d["score"] is None else d["score"] for d in docs], dtype=np.float64)
    return [*columns, *best(score, name)]


def kept_rows(docs: Sequence[Doc], name: str, patterns: Sequence[str] = (), labels: Sequence[int] | None = None) -> list[int]:
    labels = [0] * len(docs) if labels is None else labels
    table = decide(np.array(labels), rows_of(docs), policy_of(docs, name, patterns), half).table()
    return np.flatnonzero(table["keep"].to_numpy()).tolist()


def test_longest_first_and_best() -> None:
    docs = [doc("x", "b", 0, 10, 0.2), doc("y", "a", 5, 30, None), doc("z", "a", 3, 20, 0.9), doc("w", "c", 1, 5, -0.5)]
    assert kept_rows(docs, "longest") == [1]
    assert kept_rows(docs, "first") == [2]
    assert kept_rows(docs, "higher") == [2]
    assert kept_rows(docs, "lower") == [3]


def test_preference_comes_before_the_policy() -> None:
    docs = [doc("x", "c", 0, 99), doc("y", "b", 1, 5), doc("z", "b", 2, 7), doc("w", "a", 3, 50)]
    assert kept_rows(docs, "longest", ["b"]) == [2]
    assert kept_rows(docs, "longest", ["nowhere", "a", "b"]) == [3]


def test_nulls_are_worst_even_beside_infinities() -> None:
    for direction, worst in (("higher", -np.inf), ("lower", np.inf)):
        docs = [doc("x", row=0, score=None), doc("y", row=1, score=worst)]
        assert kept_rows(docs, direction) == [1]
    assert best(np.array([0.0]), "higher")[0] == best(np.array([-0.0]), "higher")[0]
    with pytest.raises(ValueError, match="higher or lower"):
        best(np.array([0.0]), "none")


def test_ties_go_by_doc_id_then_source_then_row() -> None:
    texts = sorted("pqrs", key=lambda t: xxhash.xxh3_128_digest(t.encode()))
    assert kept_rows([doc(texts[2]), doc(texts[0]), doc(texts[1])], "longest") == [1]
    sources = sorted("ab", key=lambda s: xxhash.xxh3_64_intdigest(s.encode()))
    copies = [doc("x", sources[1], 0), doc("x", sources[0], 8), doc("x", sources[0], 7)]
    for name in ("longest", "higher"):
        assert kept_rows(copies, name) == [2]


def test_preferred_patterns() -> None:
    names = ["data/wiki/a.jsonl", "wiki/b.jsonl", "data/books/c.txt", "data/mywiki/d.txt", "s3://lake/wiki/x/y.parquet"]
    assert preferred(names, ["books/*", "wiki/*"]).tolist() == [1, 1, 0, 2, 1]
    assert preferred(names, ["data/*"]).tolist() == [0, 1, 0, 0, 1]
    assert preferred(names, []).tolist() == [0] * 5


def test_verdict_columns_by_hand() -> None:
    docs = [doc("x", row=0), doc("alone", row=1), doc("x", row=2), doc("longer", row=3, n_bytes=50), doc("longer", row=4, n_bytes=50)]
    decision = decide(np.array([0, 1, 0, 0, 0]), rows_of(docs), policy_of(docs, "longest"), half)
    table = decision.table()
    assert table.schema.equals(VERDICTS, check_metadata=True)
    x, longer = docs[0]["id"], docs[3]["id"]
    cluster = min(x, longer)
    assert table.to_pylist() == [
        {"keep": False, "cluster": cluster, "duplicate_of": longer, "similarity": 0.5, "reason": "near", "cluster_size": 4},
        {"keep": True, "cluster": None, "duplicate_of": None, "similarity": None, "reason": None, "cluster_size": 1},
        {"keep": False, "cluster": cluster, "duplicate_of": longer, "similarity": 0.5, "reason": "near", "cluster_size": 4},
        {"keep": True, "cluster": cluster, "duplicate_of": None, "similarity": None, "reason": None, "cluster_size": 4},
        {"keep": False, "cluster": cluster, "duplicate_of": longer, "similarity": 1.0, "reason": "exact", "cluster_size": 4},
    ]
    table.validate(full=True)
    assert pa.concat_tables([decision.table(0, 2), decision.table(2, 2), decision.table(2)]).equals(table)


def test_exact_copies_need_no_similarity() -> None:
    docs = [doc("x", row=i) for i in range(3)]
    parts = Components(3)
    parts.join(exact_edges(rows_of(docs).id_halves, np.arange(3)))
    assert decide(parts.labels(), rows_of(docs), policy_of(docs, "first"), None).table()["reason"].to_pylist() == [None, "exact", "exact"]
    with pytest.raises(IntegrityError, match="different doc_ids"):
        decide(np.zeros(2, dtype=np.int64), rows_of([doc("x"), doc("y")]), policy_of([doc("x"), doc("y")], "first"), None)


def test_no_rows() -> None:
    decision = decide(np.empty(0, dtype=np.int64), rows_of([]), policy_of([], "longest"), None)
    assert len(decision.table()) == 0
    assert tallied([], decision.table())["clusters"] == 0


documents = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from(["a", "b", "c"]), st.integers(0, 3), st.sampled_from([None, -1.0, 0.0, 2.5]), st.integers(0, 4)
    ),
    min_size=1,
    max_size=40,
)


@given(documents, st.sampled_from(["longest", "first", "higher", "lower"]), st.sampled_from([[], ["b"], ["c", "a"]]), st.randoms())
@settings(max_examples=150, deadline=None)
def test_decisions_against_a_plain_twin_in_any_order(drawn: list[Any], name: str, patterns: list[str], random: Any) -> None:
    docs = [doc(str(t), s, i, n, score) | {"group": group} for i, (t, s, n, score, group) in enumerate(drawn)]
    wanted = plain_verdicts(docs, name, patterns)
    for _ in range(2):
        groups = [d["group"] for d in docs]
        labels = np.array([groups.index(g) for g in groups])
        near = lambda a, b: np.array([likeness(docs[i], docs[j]) for i, j in zip(a.tolist(), b.tolist(), strict=True)])  # noqa: E731
        decision = decide(labels, rows_of(docs), policy_of(docs, name, patterns), near)
        found = decision.table().to_pylist()
        assert {d["row"]: verdict for d, verdict in zip(docs, found, strict=True)} == wanted
        random.shuffle(docs)


def likeness(a: Doc, b: Doc) -> float:
    return (a["id"][0] ^ b["id"][0]) / 256


def plain_verdicts(docs: Sequence[Doc], name: str, patterns: Sequence[str]) -> dict[int, Doc]:
    """Verdicts by source_row, straight from the definition."""

    def place(d: Doc) -> tuple[Any, ...]:
        rank = patterns.index(d["source"]) if d["source"] in patterns else len(patterns)
        missing, score = d["score"] is None, d["score"] or 0.0
        own = {"longest": (-d["n_bytes"],), "first": (d["source"], d["row"]), "higher": (missing, -score), "lower": (missing, score)}
        return rank, *own[name], d["id"], xxhash.xxh3_64_intdigest(d["source"].encode()), d["row"]

    found = {}
    for group in {d["group"] for d in docs}:
        members = [d for d in docs if d["group"] == group]
        kept, n = min(members, key=place), len(members)
        for d in members:
            exact = d["id"] == kept["id"]
            found[d["row"]] = {
                "keep": d is kept,
                "cluster": min(m["id"] for m in members) if n > 1 else None,
                "duplicate_of": None if d is kept else kept["id"],
                "similarity": None if d is kept else 1.0 if exact else likeness(d, kept),
                "reason": None if d is kept else "exact" if exact else "near",
                "cluster_size": n,
            }
    return found


# --- all of it ---


def whole(docs: Sequence[Doc], bands: np.ndarray, ranges: int, verify: bool) -> Decision:
    """From ids and band keys (B, N) to a decision, the keys of a band in ranges, the last range first."""
    rows, parts = rows_of(docs), Components(len(docs))
    verifier = Verifier(0.6, rows.places(np.arange(len(docs)), []), lambda a, b: 1 - abs(bands[0][a].astype(float) - bands[0][b]) / 10)
    parts.join(exact_edges(rows.id_halves, np.arange(len(docs))))
    for keys in bands:
        for i in reversed(range(ranges)):
            some = np.flatnonzero(in_range(keys, i, ranges))
            stars = edges(keys[some], some)
            parts.join(verifier.confirm(stars) if verify else stars)
    return decide(parts.labels(), rows, policy_of(docs, "longest"), half)


@pytest.mark.parametrize("verify", [False, True])
def test_verdicts_do_not_depend_on_the_order_of_documents(verify: bool) -> None:
    rng = np.random.default_rng(8)
    n = 400
    docs = [doc(str(rng.integers(0, 300)), "abc"[i % 3], i, int(rng.integers(1, 9)), domain="xyz"[i % 5 % 3]) for i in range(n)]
    by_text = {d["id"]: rng.integers(0, [8, 150, 150, 150]) for d in docs}
    verdicts, tallies = [], []
    for turn in range(3):
        bands = np.array([by_text[d["id"]] for d in docs], dtype=U64).T.copy()
        table = whole(docs, bands[1:] if not verify else bands, turn + 1, verify).table()
        verdicts.append({d["row"]: v for d, v in zip(docs, table.to_pylist(), strict=True)})
        edges_of_shards = sorted({0, n, *rng.integers(0, n, turn).tolist()})
        tallies.append(merge_tallies([tallied(docs[a:b], table[a:b]) for a, b in itertools.pairwise(edges_of_shards)]))
        docs = [docs[i] for i in rng.permutation(n)]
    assert verdicts[0] == verdicts[1] == verdicts[2]
    assert tallies[0] == tallies[1] == tallies[2]
    assert 0 < tallies[0]["near"] < n
    assert tallies[0]["exact"] > 0


def tallied(docs: Sequence[Doc], verdicts: pa.Table) -> dict[str, Any]:
    domain = pa.chunked_array([pa.array([d["domain"] for d in docs], pa.string()).dictionary_encode()])
    return json.loads(json.dumps(tally(verdicts, domain)))


def test_tally_by_hand() -> None:
    docs = [
        doc("x", row=0),
        doc("x", row=1, domain="books"),
        doc("y", row=2, n_bytes=50, domain="books"),
        doc("p", row=3, domain="code"),
        doc("p", row=4, domain="code"),
        doc("alone", row=5),
    ]
    table = decide(np.array([0, 0, 0, 3, 3, 5]), rows_of(docs), policy_of(docs, "longest"), half).table()
    ids = {text: xxhash.xxh3_128_hexdigest(text.encode()) for text in "xyp"}
    wanted = {
        "clusters": 2,
        "exact": 1,
        "near": 2,
        "by_domain": {
            "books": {"documents": 2, "exact": 0, "near": 1},
            "code": {"documents": 2, "exact": 1, "near": 0},
            "web": {"documents": 2, "exact": 0, "near": 1},
        },
        "largest": [{"cluster": min(ids["x"], ids["y"]), "documents": 3}, {"cluster": ids["p"], "documents": 2}],
    }
    assert tallied(docs, table) == wanted
    assert merge_tallies([tallied(docs[4:], table[4:]), tallied(docs[:4], table[:4])]) == wanted
    assert merge_tallies([]) == {"clusters": 0, "exact": 0, "near": 0, "by_domain": {}, "largest": []}


def test_only_the_ten_largest_are_listed_equal_ones_by_doc_id() -> None:
    docs = [doc("big", row=100 + i) for i in range(5)] + [doc(str(i // 2), row=i) for i in range(40)]
    labels = np.r_[np.zeros(5, dtype=np.int64), 5 + np.arange(40) // 2 * 2]
    table = decide(labels, rows_of(docs), policy_of(docs, "longest"), None).table()
    pairs = sorted({d["id"].hex() for d in docs[5:]})
    wanted = [(docs[0]["id"].hex(), 5), *((cluster, 2) for cluster in pairs[:9])]
    for cuts in ([0, 45], [0, 7, 30, 45]):
        found = merge_tallies([tallied(docs[a:b], table[a:b]) for a, b in itertools.pairwise(cuts)])
        assert [(entry["cluster"], entry["documents"]) for entry in found["largest"]] == wanted
