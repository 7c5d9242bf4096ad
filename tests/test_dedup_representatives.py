"""The kept document of each cluster, beside a plain Python twin: for every policy and tie, in any order of documents."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
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
from curate.errors import IntegrityError
from curate.hashing import id_halves, source_keys

U64 = np.uint64
Doc = dict[str, Any]


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

    def similarity(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return 1 - abs(bands[0][left].astype(float) - bands[0][right]) / 10

    equal = np.zeros((len(docs), 8), np.uint8)
    verifier = Verifier(0.6, len(bands), rows.places(np.arange(len(docs)), []), equal, similarity)
    parts.join(exact_edges(rows.id_halves, np.arange(len(docs))))
    for band, keys in enumerate(bands):
        for i in reversed(range(ranges)):
            some = np.flatnonzero(in_range(keys, i, ranges))
            stars = edges(keys[some], some)
            if verify:
                verifier.add(band, stars)
            else:
                parts.join(stars)
    if verify:
        parts.join(verifier.finish())
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
