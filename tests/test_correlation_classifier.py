"""The classifier of pages by the weight of their group: what it learns from, what it finds, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selections import decide

from curate import registry
from curate.correlation.weights import SCHEMA
from curate.documents import doc_ids
from curate.errors import ConfigError, InputError
from curate.scorers import huge_pages
from curate.scorers.correlation_classifier import CorrelationClassifier, figures, labels_of
from curate.scorers.fasttext_training import from_table, train
from curate.scorers.scorer import FitAid

SMALL: dict[str, Any] = {"dim": 8, "bucket": 5000}
GOOD = ["proof", "lemma", "theorem", "field", "ring", "group", "prime", "sum", "limit", "graph"]
OTHER = ["sale", "price", "cart", "ship", "order", "gift", "store", "brand", "deal", "shop"]
BOTH = ["the", "of", "and", "to", "in", "is", "that", "for", "with", "on"]


def weights_of(given: dict[str, float | None], target: str = "t", by: str = "domain") -> pa.Table:
    """A table of weights with nothing else in it."""
    rows = [{"target": target, "group": group, "weight": weight} for group, weight in given.items()]
    return pa.Table.from_pylist(rows, schema=pa.schema([f.with_nullable(True) for f in SCHEMA])).replace_schema_metadata({"by": by})


def pages(groups: dict[str, list[str]], n_each: int, seed: int = 0, n_words: int = 30) -> pa.Table:
    """Pages that mix words of all groups with those of their own."""
    rng = np.random.default_rng(seed)
    rows = [
        (" ".join(rng.choice(words if rng.random() < 0.3 else BOTH) for _ in range(n_words)), group)
        for group, words in groups.items()
        for _ in range(n_each)
    ]
    text = pa.array([row[0] for row in rows], pa.large_string())
    domain = pa.array([row[1] for row in rows]).dictionary_encode()
    return pa.table({"doc_id": doc_ids(text), "text": text, "domain": domain})


PLANTED = {f"maths-{i}": GOOD for i in range(3)} | {f"shop-{i}": OTHER for i in range(12)}
WEIGHTS = {group: 0.25 if group.startswith("maths") else 0.0 for group in PLANTED}


def fitted(state: Path, sample: pa.Table, weights: pa.Table, **options: Any) -> CorrelationClassifier:
    scorer = CorrelationClassifier(**{**SMALL, **options})
    scorer.check()
    state.mkdir(parents=True, exist_ok=True)
    scorer.fit_with(sample, state, FitAid(weights=lambda: weights))
    scorer.load(state)
    return scorer


def scores(scorer: CorrelationClassifier, table: pa.Table) -> np.ndarray:
    batch = table.select(["text", "doc_id"]).combine_chunks().to_batches()[0]
    return scorer.score(batch)["score"].to_numpy(zero_copy_only=False)


def report_of(state: Path) -> dict[str, Any]:
    return json.loads((state / "report.json").read_text())


def truth(table: pa.Table) -> np.ndarray:
    """Which pages are of an included group."""
    return np.array([group.startswith("maths") for group in table["domain"].to_pylist()])


def test_pages_of_planted_groups_rank_first_and_fill_the_budget(tmp_path: Path) -> None:
    scorer = fitted(tmp_path, pages(PLANTED, 60), weights_of(WEIGHTS))
    unseen = pages({"maths-new": GOOD, "shop-new": OTHER}, 100, seed=1)
    found = scores(scorer, unseen)
    assert figures(found, truth(unseen))["roc_auc"] > 0.99
    # Selected as a pipeline selects: as many as there are good ones, whatever the threshold would say.
    table = pa.table(
        {
            "doc_id": unseen["doc_id"], "source": ["s"] * 200, "source_row": pa.array(range(200), pa.int64()), "domain": unseen["domain"],
            "n_tokens": pa.array([30] * 200, pa.int64()), "score": pa.array(found),
        }
    )  # fmt: skip
    rule = {"column": "score", "window": "high", "amount": 80 * 30, "by": "n_tokens"}
    chosen = decide([table.slice(0, 33), table.slice(33)], rule)
    kept = [row["domain"] for row in chosen.to_pylist() if row["keep"]]
    assert len(kept) == 80
    assert kept.count("maths-new") >= 79


def test_the_report_says_what_it_measured(tmp_path: Path) -> None:
    sample = pages(PLANTED, 40)
    weights = weights_of({group: weight for group, weight in WEIGHTS.items() if group != "shop-11"} | {"shop-10": None, "nowhere": 0.5})
    scorer = fitted(tmp_path, sample, weights, held_out=0.3, lr=0.5)
    found = report_of(tmp_path)
    assert "quality they say nothing" in found["labels"]
    assert found["pages_of_groups_without_weight"] == {"n_pages": 80, "n_values": 2, "largest": {"shop-10": 40, "shop-11": 40}}
    assert found["target"] == "t"
    counts = [found["pages_trained_on"][label] + found["pages_held_out"][label] for label in ("include", "exclude")]
    assert counts == [120, 400]
    # The same figures from the scores themselves, over the pages that the scorer says it was not trained on.
    batch = sample.select(["text", "doc_id"]).combine_chunks().to_batches()[0]
    scored = scorer.score(batch)
    known = np.array([group not in ("shop-10", "shop-11") for group in sample["domain"].to_pylist()])
    aside = known & ~np.array(scored["in_fit_sample"].to_pylist())
    measured = found["held_out_against_labels_of_groups"]
    assert 0.2 < aside.sum() / known.sum() < 0.4
    assert aside.sum() == measured["n_include"] + measured["n_exclude"]
    score, real = np.array(scored["score"].to_pylist())[aside], truth(sample)[aside]
    above = score > 0.5
    assert above.any()
    assert measured["precision_above_0.5"] == pytest.approx((above & real).sum() / above.sum())
    assert measured["recall_above_0.5"] == pytest.approx((above & real).sum() / real.sum())
    assert measured["roc_auc"] == pytest.approx(np.mean([(a > b) + (a == b) / 2 for a in score[real] for b in score[~real]]))
    assert measured["n_without_score"] == 0


def test_figures_by_hand() -> None:
    found = figures(np.array([0.9, 0.6, 0.5, 0.5, 0.1, -1.0]), np.array([True, False, True, False, False, True]))
    # Above 0.5: 0.9 and 0.6. Pairs won: 3 by the first, 1 + 1/2 by the second, none by the last, of 9.
    assert found == {
        "n_include": 3, "n_exclude": 3, "precision_above_0.5": 0.5, "recall_above_0.5": 1 / 3, "f1_above_0.5": 0.4,
        "roc_auc": pytest.approx(4.5 / 9),
    }  # fmt: skip
    nothing = figures(np.array([0.2, 0.3]), np.array([False, False]))
    assert (nothing["precision_above_0.5"], nothing["recall_above_0.5"], nothing["roc_auc"]) == (None, None, None)


def test_a_label_that_shows_only_below_the_first_line_is_learned(tmp_path: Path) -> None:
    # fastText reads an example a line: written with its newlines, a page would be its first line alone, the same for all of them.
    def below(table: pa.Table) -> pa.Table:
        text = pa.array([f"the same words begin them all\n{page}" for page in table["text"].to_pylist()], pa.large_string())
        return table.set_column(1, "text", text).set_column(0, "doc_id", doc_ids(text))

    groups = {"maths": GOOD, "shop": OTHER}
    scorer = fitted(tmp_path, below(pages(groups, 400)), weights_of({"maths": 1.0, "shop": 0.0}), lr=0.5)
    unseen = below(pages(groups, 100, seed=5))
    assert np.mean((scores(scorer, unseen) > 0.5) == truth(unseen)) > 0.98
    flat = pa.array([page.replace("\n", " ") for page in unseen["text"].to_pylist()], pa.large_string())
    assert scores(scorer, unseen).tolist() == scores(scorer, unseen.set_column(1, "text", flat)).tolist()


def test_no_page_is_on_both_sides_of_the_split(tmp_path: Path) -> None:
    # Half of the pages are copies, some of them in a group of the other label.
    table = pages(PLANTED, 20)
    copies = table.set_column(2, "domain", pa.array(list(reversed(table["domain"].to_pylist()))).dictionary_encode())
    both = pa.concat_tables([table, copies]).unify_dictionaries()
    fitted(tmp_path / "0", both, weights_of(WEIGHTS), held_out=0.5)
    scorer = fitted(tmp_path / "1", both, weights_of(WEIGHTS), held_out=0.5)
    found = report_of(tmp_path / "1")
    trained, aside = sum(found["pages_trained_on"].values()), sum(found["pages_held_out"].values())
    seen = np.array(scorer.score(both.select(["text", "doc_id"]).combine_chunks().to_batches()[0])["in_fit_sample"].to_pylist())
    assert trained + aside == len(both) == 600
    assert trained == seen.sum(), "a page that was trained on is held out too, or was counted twice"
    other = fitted(tmp_path / "2", both, weights_of(WEIGHTS), held_out=0.5, seed=1)
    seen_other = other.score(both.select(["text", "doc_id"]).combine_chunks().to_batches()[0])["in_fit_sample"].to_pylist()
    assert seen.tolist() != seen_other


def test_the_same_sample_gives_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    sample = pages(PLANTED, 20)
    shuffled = sample.take(np.random.default_rng(3).permutation(len(sample)))
    for name, table in (("a", sample), ("b", sample), ("c", shuffled)):
        fitted(tmp_path / name, table, weights_of(WEIGHTS), within="domain")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == ["fit_ids.npy", "model.bin", "report.json"]
    for other in ("b", "c"):
        for name in names:
            assert (tmp_path / "a" / name).read_bytes() == (tmp_path / other / name).read_bytes(), (other, name)


def test_inside_a_language_the_figures_tell_what_language_alone_explains(tmp_path: Path) -> None:
    # Included pages are all English; excluded ones are French, but for a group of English pages of the same words.
    groups = {"en-a": GOOD, "en-b": GOOD, "fr-a": OTHER, "fr-b": OTHER}
    sample = pages(groups, 150)
    sample = sample.append_column("lang", pa.array([group[:2] for group in sample["domain"].to_pylist()]))
    weights = weights_of({"en-a": 1.0, "en-b": 0.0, "fr-a": 0.0, "fr-b": 0.0})
    fitted(tmp_path, sample, weights, within="lang", held_out=0.3)
    found = report_of(tmp_path)["held_out_against_labels_of_groups"]
    assert set(found["inside_each"]) == {"en", "fr"}
    assert found["roc_auc"] > 0.75
    assert 0.3 < found["roc_auc_inside"] < 0.7
    assert found["roc_auc_inside"] == found["inside_each"]["en"]["roc_auc"]
    assert found["inside_each"]["fr"]["roc_auc"] is None
    assert CorrelationClassifier(within="lang").sample().columns == ("text", "domain", "lang")  # type: ignore[union-attr]


def test_whole_numbers_name_groups_as_the_table_does(tmp_path: Path) -> None:
    sample = pages(PLANTED, 20)
    cluster = pa.array([3 if group.startswith("maths") else 7 for group in sample["domain"].to_pylist()], pa.int32())
    sample = sample.append_column("clusters.cluster", cluster)
    fitted(tmp_path, sample, weights_of({"3": 1.0, "7": 0.0}, by="clusters.cluster"), by="clusters.cluster")
    assert report_of(tmp_path)["held_out_against_labels_of_groups"]["roc_auc"] > 0.95
    fields = {"domain": pa.field("domain", pa.dictionary(pa.int32(), pa.string())), "x": pa.field("x", pa.float64())}
    CorrelationClassifier().reads(fields)
    with pytest.raises(ConfigError, match="'x' is double"):
        CorrelationClassifier(by="x").reads(fields)


def test_a_weight_of_none_is_no_weight_of_zero() -> None:
    groups = pa.chunked_array([["a", "b"], ["c", None, "d", "e"]])
    weights = weights_of({"a": 0.1, "b": 0.0, "c": None, "d": float("nan")})
    assert labels_of(groups, weights).to_pylist() == ["include", "exclude", None, None, None, None]
    with pytest.raises(InputError, match="'a' has 2 weights"):
        labels_of(groups, pa.concat_tables([weights, weights.slice(0, 1)]))


def test_blank_pages_have_no_score(tmp_path: Path) -> None:
    scorer = fitted(tmp_path, pages(PLANTED, 20), weights_of(WEIGHTS))
    text = pa.array(["lemma", None, "", " \n\t", "zzzz"], pa.large_string())
    found = scorer.score(pa.record_batch([text, doc_ids(text.fill_null(""))], names=["text", "doc_id"]))
    assert [value.is_valid for value in found["score"]] == [True, False, False, False, True]
    assert found["in_fit_sample"].to_pylist() == [False, None, False, False, False]


def test_samples_without_both_kinds_of_groups_are_refused(tmp_path: Path) -> None:
    sample = pages(PLANTED, 4)
    with pytest.raises(InputError, match="no page of the sample is of a group with a weight above 0") as caught:
        fitted(tmp_path, sample, weights_of({"elsewhere": 1.0, "shop-0": 0.0}))
    assert "0 included, 4 excluded, 56 of groups without a weight" in str(caught.value)
    with pytest.raises(InputError, match="no page of the sample is of a group with weight 0"):
        fitted(tmp_path, sample, weights_of(dict.fromkeys(PLANTED, 0.1)))
    with pytest.raises(ConfigError, match="values of 'source', and `by` is 'domain'"):
        fitted(tmp_path, sample, weights_of(WEIGHTS, by="source"))
    with pytest.raises(ConfigError, match="no weights of groups"):
        CorrelationClassifier(**SMALL).fit(sample, tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dim": 0}, "`dim` is 0"),
        ({"sample_bytes": 0}, "`sample_bytes` is 0"),
        ({"held_out": 1.0}, "`held_out` is 1.0"),
        ({"lr": float("nan")}, "`lr` is nan"),
        ({"minn": 3, "maxn": 2}, "`minn` 3 is above"),
        ({"bukcet": 5}, "no option 'bukcet'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        registry.build(CorrelationClassifier, options)


def test_a_supplied_table_is_checked_before_any_work(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    scorer = CorrelationClassifier(weights=folder / "table.parquet", **SMALL)
    with pytest.raises(InputError, match="does not exist"):
        scorer.check()
    (folder / "table.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        scorer.check()
    pq.write_table(pa.table({"group": ["a"]}), folder / "table.parquet")
    with pytest.raises(InputError, match="lacks target"):
        scorer.check()
    pq.write_table(pa.concat_tables([weights_of(WEIGHTS), weights_of(WEIGHTS, "u")]), folder / "table.parquet")
    with pytest.raises(ConfigError, match="2 targets"):
        scorer.check()
    with pytest.raises(ConfigError, match="no weights for the target 'v'"):
        registry.build(CorrelationClassifier, {"weights": str(folder), "target": "v"})
    with pytest.raises(ConfigError, match="values of 'domain', and `by` is 'source'"):
        registry.build(CorrelationClassifier, {"weights": str(folder), "target": "u", "by": "source"})
    supplied = CorrelationClassifier(weights=folder, target="u", **SMALL)
    supplied.check()
    assert supplied.artifacts() == (folder / "table.parquet",)
    assert (supplied.reads_weights(), CorrelationClassifier(by="x").reads_weights()) == (None, "x")
    sample = pages(PLANTED, 20)
    (tmp_path / "a").mkdir()
    supplied.fit(sample, tmp_path / "a")
    fitted(tmp_path / "b", sample, weights_of(WEIGHTS, "u"))
    assert (tmp_path / "a" / "model.bin").read_bytes() == (tmp_path / "b" / "model.bin").read_bytes()


@pytest.mark.parametrize("kib", [64 << 10, (64 << 10) + 5, (70 << 10) + 1])
def test_a_table_in_huge_pages_is_the_same_table(kib: int) -> None:
    rows = np.arange(kib * 128 + 3, dtype=np.float64)[3:]
    before, address = rows.copy(), rows.ctypes.data
    huge_pages.move(rows)
    assert rows.ctypes.data == address
    assert np.array_equal(rows, before)
    assert not huge_pages.move(rows[:100]), "a small one is left where it is"
    assert not huge_pages.move(rows[::2])


def test_training_is_the_librarys_own_with_the_papers_bigrams(tmp_path: Path) -> None:
    import fasttext

    options = CorrelationClassifier().library_options()
    texts = pa.table({"text": ["x y", "z w"], "label": ["a", "b"]})
    # What the library takes if nothing but the bigrams is said; `bucket` is small here and not compared, `lr` is in no model.
    train(from_table(texts, "text", "label", None, "here"), {"wordNgrams": 2, "bucket": 100, "dim": 4}, tmp_path / "plain.bin")
    plain = fasttext.load_model(str(tmp_path / "plain.bin")).f.getArgs()
    for name in ("epoch", "minCount", "minn", "maxn", "wordNgrams"):
        assert getattr(plain, name) == pytest.approx(options[name]), name
    assert options["lr"] == 0.1
    assert plain.loss.name == options["loss"]
    assert fasttext.FastText.unsupervised_default["bucket"] == options["bucket"]
    assert fasttext.FastText.unsupervised_default["dim"] == options["dim"]
    assert set(options) == {"lr", "dim", "epoch", "minCount", "minn", "maxn", "wordNgrams", "bucket", "loss", "seed"}
