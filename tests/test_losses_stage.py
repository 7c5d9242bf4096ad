"""The table of bits per byte: both formulas by hand and by the library, what is computed again and what is not."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from causal_models import CONTEXT, START, model, opened, saved, tokenizer, uniform
from sampled_corpora import ingested, run_losses, write_sites

from curate.causal_lm import checkpoint
from curate.corpus import Corpus
from curate.documents import doc_ids
from curate.errors import ConfigError, CurateError, InputError
from curate.evidence import page_losses, page_sample
from curate.evidence.chunks import Chunker
from curate.evidence.loss_table import LossTable
from curate.evidence.page_losses import page_sums
from curate.evidence.page_models import PageModel, check_models, find_models
from curate.evidence.settings import Losses
from curate.scorers.bits_per_byte import BitsPerByte
from curate.stages.losses import stand_ins
from curate.tokenization import Tokenizer
from pipelines import hashes, made_when

EVIDENCE = "evidence/**/*.*"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models of one tokenizer, and one of another."""
    folder = tmp_path_factory.mktemp("models")
    saved(folder / "pythia-a")
    saved(folder / "pythia-b", made=model("pythia", seed=1))
    other = folder / "llama-c"
    other.mkdir()
    checkpoint.save(model("llama", tokenizer(400).vocab_size), tokenizer(400), START, other)
    return folder


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sites(tmp_path_factory.mktemp("sites") / "raw")


@pytest.fixture(scope="module")
def documents(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished ingest. Not to be changed."""
    output = tmp_path_factory.mktemp("documents") / "output"
    ingested(raw, output, 600)
    return output


@pytest.fixture
def output(documents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; shards of pages are small."""
    monkeypatch.setattr(page_sample, "SHARD_BYTES", 1200)
    return Path(shutil.copytree(documents, tmp_path / "output"))


def listed(models: Path, *names: str) -> dict[str, Any]:
    return {"by": "site", "pages": 7, "models": [str(models / name) for name in names]}


def table_of(output: Path) -> dict[str, list[Any]]:
    return pq.read_table(output / "evidence/bits_per_byte/table.parquet").to_pydict()


def pages_of(output: Path, name: str) -> pa.Table:
    return pa.concat_tables(pq.read_table(path) for path in sorted((output / "evidence/bits_per_byte/pages" / name).glob("*.parquet")))


def texts_of(output: Path) -> dict[bytes, str]:
    table = Corpus.open(str(output)).table(["doc_id", "text"])
    return dict(zip(table["doc_id"].to_pylist(), table["text"].to_pylist(), strict=True))


def test_the_exact_formula_is_what_the_scorer_sums(models: Path, output: Path) -> None:
    _, outcome, _ = run_losses(output, **listed(models, "pythia-a", "llama-c"))
    found, texts = table_of(output), texts_of(output)
    assert found["group"] == ["a.org", "b.net", "c.com"]
    assert found["n_pages"] == [7, 7, 7]
    for name in ("pythia-a", "llama-c"):
        pages = pages_of(output, name)
        text = pa.array([texts[i] for i in pages["doc_id"].to_pylist()], pa.large_string())
        scorer = BitsPerByte(str(models / name), min_tokens=1)
        scorer.load(None)
        scored = scorer.score(pa.record_batch([text, doc_ids(text)], names=["text", "doc_id"])).to_pydict()
        np.testing.assert_allclose(pages["nats"].to_pylist(), scored["nats"], rtol=1e-5)
        assert pages["n_predicted"].to_pylist() == scored["n_predicted"]
        assert pages["n_bytes"].to_pylist() == scored["n_bytes"]
        assert max(scored["n_predicted"]) > CONTEXT  # some are read in windows
        for d, group in enumerate(found["group"]):
            own = [i for i, g in enumerate(pages["group"].to_pylist()) if g == group]
            nats, n_bytes = (sum(scored[k][i] for i in own) for k in ("nats", "n_bytes"))
            assert found[name][d] == pytest.approx(nats / (math.log(2) * n_bytes), rel=1e-5)
            assert found["n_bytes"][d] == n_bytes
    assert outcome.ledger.n_in == outcome.ledger.kept == 2 * 21
    assert {"n_models": 2, "n_groups": 3, "n_pages": 21, "n_groups_left_out": 1, "left_out": {"d.io": 3}}.items() <= outcome.totals.items()


def test_chunks_and_the_papers_formula_by_the_librarys_own_loss(models: Path, output: Path) -> None:
    chunks = {"tokenizer": str(models / "llama-c"), "tokens": 24}
    run_losses(output, **listed(models, "pythia-a"), chunks=chunks, formula="paper")
    made, own = opened(models / "pythia-a")
    cutter = Chunker(tokenizer(400), 24)
    sums: dict[str, list[tuple[float, int, int]]] = {}
    pages, texts = pages_of(output, "pythia-a"), texts_of(output)
    assert max(pages["n_chunks"].to_pylist()) > 3
    for row in pages.to_pylist():
        pieces = cutter.cut([texts[row["doc_id"]]])[0]
        assert row["n_chunks"] == len(pieces)
        for piece in pieces:
            ids = torch.tensor([[0, *own(piece, add_special_tokens=False)["input_ids"]]])
            with torch.no_grad():
                sums.setdefault(row["group"], []).append((float(made(ids, labels=ids).loss), ids.shape[1], len(piece.encode())))
    found = table_of(output)
    for d, group in enumerate(found["group"]):
        loss, tokens, n_bytes = (np.array(x) for x in zip(*sums[group], strict=True))
        paper = (loss * tokens).sum() / tokens.sum() * tokens.sum() / n_bytes.sum() / math.log(2)
        assert found["pythia-a"][d] == pytest.approx(paper, rel=1e-5)
    before = made_when(output, "evidence/bits_per_byte/pages/**/*")
    run_losses(output, **listed(models, "pythia-a"), chunks=chunks)  # the other formula needs no other losses
    assert made_when(output, "evidence/bits_per_byte/pages/**/*") == before
    for d, value in enumerate(table_of(output)["pythia-a"]):
        loss, tokens, n_bytes = (np.array(x) for x in zip(*sums[found["group"][d]], strict=True))
        assert value == pytest.approx((loss * (tokens - 1)).sum() / n_bytes.sum() / math.log(2), rel=1e-5)


def test_both_formulas_by_hand(tmp_path: Path) -> None:
    """To a uniform model every token costs ln 320: with T tokens of which one begins, (T-1) ln 320 nats, and T ln 320 by the paper."""
    folder = saved(tmp_path / "m", made=uniform("pythia"))
    scorer = PageModel("m", "m", str(folder)).scorer()
    scorer.load(None)
    pieces = [["abc", "de"], ["f"]]
    flat = pa.array([p for page in pieces for p in page], pa.large_string())
    n = Tokenizer.open(folder).count(flat)
    pages = pa.table({"doc_id": doc_ids(pa.array(["abcde", "f"], pa.large_string())), "group": ["g", "g"],
                      "pieces": pa.array(pieces, pa.list_(pa.large_string()))})  # fmt: skip
    found, dropped = page_sums(scorer, pages, *Tokenizer.open(folder).encode_arrow(flat))
    cost = math.log(320)
    assert found["nats"].to_pylist() == pytest.approx([cost * (n[0] + n[1]), cost * n[2]], rel=1e-6)
    assert found["nats_paper"].to_pylist() == pytest.approx([cost * (n[0] + n[1] + 2), cost * (n[2] + 1)], rel=1e-6)
    assert found["n_tokens"].to_pylist() == [n[0] + n[1] + 2, n[2] + 1]
    assert (found["n_bytes"].to_pylist(), found["n_chunks"].to_pylist(), dropped) == ([5, 1], [2, 1], 0)


class Invented:
    """A scorer of made-up losses, without a start token: 2 nats a predicted token, and NaN where a token is 9."""

    begins = False

    def taught_by(self, ids: pa.Array) -> np.ndarray:
        return np.array([i.as_py()[0] == 255 for i in ids])

    def token_sums(self, ids: np.ndarray, offsets: np.ndarray, wanted: np.ndarray, hear: Any) -> tuple[np.ndarray, np.ndarray]:
        n_predicted = np.where(wanted, np.maximum(np.diff(offsets) - 1, 0), 0)
        bad = [9 in ids[a:b] for a, b in zip(offsets, offsets[1:], strict=False)]
        return np.where(bad, np.nan, 2.0 * n_predicted), n_predicted


def test_chunks_without_a_loss_do_not_count_and_pages_say_why() -> None:
    pieces = [["aaa", "bb", "c"], ["d"], ["eee", "ff"], ["gg"]]
    ids = np.array([1, 1, 1, 9, 2, 3, 4, 9, 5, 5, 9, 6, 6], np.int32)
    offsets = np.array([0, 3, 5, 6, 7, 9, 11, 13])
    own = pa.array([bytes([i]) * 16 for i in (1, 2, 3, 255)], pa.binary(16))
    pages = pa.table({"doc_id": own, "group": list("xxyy"), "pieces": pa.array(pieces, pa.list_(pa.large_string()))})
    found, dropped = page_sums(Invented(), pages, ids, offsets)  # type: ignore[arg-type]
    assert found.drop_columns(["doc_id", "group"]).to_pydict() == {
        "nats": [4.0, None, None, None],
        "nats_paper": [6.0, None, None, None],  # a mean of 2 over all three
        "n_predicted": [2, 0, 0, 0],
        "n_tokens": [3, 0, 0, 0],
        "n_bytes": [3, 0, 0, 0],
        "n_chunks": [1, 0, 0, 0],
        "reason": [None, "too_short", "not_finite", "reference_part"],
    }
    assert dropped == 3


def test_pages_without_a_loss_are_in_the_ledger_and_in_the_notes(models: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = BitsPerByte.token_sums

    def spoiled(self: BitsPerByte, *given: Any) -> Any:
        nats, n_predicted = sums(self, *given)
        nats[0] = np.nan if self.model.endswith("b") else nats[0]
        return nats, n_predicted

    monkeypatch.setattr(BitsPerByte, "token_sums", spoiled)
    _, outcome, _ = run_losses(output, **listed(models, "pythia-a", "pythia-b"))
    n_shards = len([s for s in outcome.shards if s.startswith("pythia-b/")])
    assert n_shards > 1
    assert outcome.ledger.to_json() | {"duplicate": 0} == {
        "in": 42, "kept": 42 - n_shards, "dropped": {"not_finite": n_shards}, "duplicate": 0, "quarantined": {}
    }  # fmt: skip
    assert outcome.totals["pages_without_loss"] == {"pythia-b": {"not_finite": n_shards}}
    assert outcome.totals["chunks_dropped"] == {"pythia-b": n_shards}
    assert any("pythia-b has no loss for" in note for note in outcome.totals["notes"])
    assert np.isfinite(table_of(output)["pythia-b"]).all()


def test_a_run_that_was_killed_computes_only_what_lacks(models: Path, output: Path) -> None:
    settings = listed(models, "pythia-a", "llama-c")
    stage, outcome, run = run_losses(output, **settings)
    before, files = hashes(output, EVIDENCE), made_when(output, EVIDENCE)
    assert set(before) == {path for shard in outcome.shards for path in _record(run, shard).files}
    stage.tidy(run.corpus)
    assert not (output / ".checkpoints" / "losses").exists()
    killed = [shard for shard in outcome.shards if shard.startswith("llama-c/")][1]
    (output / f"records/losses/{killed}.json").unlink()
    (output / "records/losses/table/all.json").unlink()
    run_losses(output, **settings)
    assert hashes(output, EVIDENCE) == before
    again = made_when(output, EVIDENCE)
    assert {path for path in files if again[path] != files[path]} == {
        f"evidence/bits_per_byte/pages/{killed}.parquet", "evidence/bits_per_byte/table.parquet"
    }  # fmt: skip


def _record(run: Any, shard: str) -> Any:
    from curate.manifest import Record

    slug, _, name = shard.partition("/")
    return Record.read(run.corpus, f"losses/{slug}", name)


def test_a_model_more_or_less_leaves_the_others_alone(models: Path, output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_losses(output, **listed(models, "pythia-a", "pythia-b"))
    files, column = made_when(output, "evidence/bits_per_byte/pages/**/*"), table_of(output)["pythia-a"]
    read = []
    load = BitsPerByte.load
    monkeypatch.setattr(BitsPerByte, "load", lambda self, state: (read.append(Path(self.model).name), load(self, state))[1])
    run_losses(output, **listed(models, "llama-c", "pythia-a"))
    assert read == ["llama-c"]
    now = made_when(output, "evidence/bits_per_byte/pages/**/*")
    assert {p: t for p, t in now.items() if "/pythia-a/" in p} == {p: t for p, t in files.items() if "/pythia-a/" in p}
    assert not [p for p in now if "/pythia-b/" in p]
    assert not list((output / "records/losses/pythia-b").glob("*"))
    found = table_of(output)
    assert found["pythia-a"] == column
    assert list(found)[3:] == ["llama-c", "pythia-a"]


def test_each_shard_is_tokenised_once_for_each_tokenizer_and_one_model_is_held(
    models: Path, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, loads = [], []
    encode, load = Tokenizer.encode_arrow, BitsPerByte.load
    monkeypatch.setattr(Tokenizer, "encode_arrow", lambda self, text: (calls.append((self.fingerprint, len(text))), encode(self, text))[1])

    def loading(self: BitsPerByte, state: None) -> None:
        assert not page_losses._held
        loads.append(Path(self.model).name)
        calls_before = len(calls)
        load(self, state)
        del calls[calls_before:]  # opening a tokenizer tries it on a text

    monkeypatch.setattr(BitsPerByte, "load", loading)
    stage, outcome, _ = run_losses(output, **listed(models, "pythia-a", "llama-c", "pythia-b"))
    n_shards = outcome.totals["n_shards"]
    per = {t: [n for fingerprint, n in calls if fingerprint == t] for t in {m.tokens for m in stage.models}}
    assert {t: sum(n for n in sizes if n != _n_probe()) for t, sizes in per.items()} == dict.fromkeys(per, 21)
    assert all(len([n for n in sizes if n != _n_probe()]) == n_shards for sizes in per.values())
    assert loads == ["pythia-a", "pythia-b", "llama-c"]
    assert not page_losses._held


def _n_probe() -> int:
    from curate.tokenization import tokenizer as module

    return len(module._probe_texts())


def test_the_table_is_the_same_however_the_corpus_is_cut(models: Path, raw: Path, output: Path, tmp_path: Path) -> None:
    ingested(raw, tmp_path / "few", 1_000_000)
    settings = listed(models, "pythia-a", "llama-c") | {"chunks": {"tokenizer": str(models / "pythia-a"), "tokens": 32}}
    run_losses(output, **settings)
    run_losses(tmp_path / "few", **settings)
    assert hashes(output, EVIDENCE) == hashes(tmp_path / "few", EVIDENCE)


@pytest.mark.ray
@pytest.mark.slow
def test_the_table_is_the_same_by_several_workers(models: Path, documents: Path, tmp_path: Path, ray_engine: Any) -> None:
    one, two = (Path(shutil.copytree(documents, tmp_path / name)) for name in ("one", "two"))
    settings = listed(models, "pythia-a", "llama-c", "pythia-b")
    run_losses(one, **settings)
    run_losses(two, engine=ray_engine(), **settings)
    assert hashes(one, EVIDENCE) == hashes(two, EVIDENCE)


def test_what_bears_on_the_result_is_the_content_of_models(models: Path, output: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(models / "pythia-a", tmp_path / "elsewhere" / "pythia-a"))
    stage, *_ = run_losses(output, **listed(models, "pythia-a"))
    before = made_when(output, "evidence/bits_per_byte/pages/**/*")
    again, *_ = run_losses(output, by="site", pages=7, models=[str(moved)])
    assert again.identity() == stage.identity()
    assert made_when(output, "evidence/bits_per_byte/pages/**/*") == before
    saved(moved, made=model("pythia", seed=5))
    other, *_ = run_losses(output, by="site", pages=7, models=[str(moved)])
    assert other.identity() != again.identity()
    assert not set(before.values()) & set(made_when(output, "evidence/bits_per_byte/pages/**/*").values())


def test_the_same_weights_under_two_names_are_noted_and_the_table_tells_what_it_is(models: Path, output: Path, tmp_path: Path) -> None:
    shutil.copytree(models / "pythia-a", tmp_path / "again")
    entries = [{"path": str(models / "pythia-*"), "family": "pythia"}, {"path": str(tmp_path / "again"), "name": "org/again"}]
    _, outcome, run = run_losses(output, by="site", pages=7, models=entries)
    note = "pythia-a, org/again have the same weights: they are one model, and no evidence apart"
    assert note in outcome.totals["notes"]
    table = LossTable(run.corpus.child("evidence/bits_per_byte"))
    assert table.models == ["pythia-a", "pythia-b", "org/again"]
    assert table.families == {"pythia-a": "pythia", "pythia-b": "pythia", "org/again": "org/again"}
    assert table.by == "site"
    assert note in (output / "evidence/bits_per_byte/README.md").read_text()
    assert len({told["tokenizer"] for told in table.described.values()}) == 1
    assert table_of(output)["pythia-a"] == table_of(output)["org/again"]


def test_an_imported_table_becomes_the_same_artifact(output: Path, tmp_path: Path) -> None:
    (tmp_path / "losses.csv").write_text("site,m1,m2\na.org,0.9,1.1\nb.net,1.25,\n")
    settings = {"table": str(tmp_path / "losses.csv"), "by": "site"}
    stage, outcome, _ = run_losses(output, **settings)
    identity = stage.identity()
    assert stage.model_names() == ["m1", "m2"]
    found = table_of(output)
    assert (found["group"], found["m1"], found["m2"]) == (["a.org", "b.net"], [0.9, 1.25], [1.1, None])
    assert outcome.ledger.to_json() == {"in": 4, "kept": 3, "dropped": {"missing": 1}, "duplicate": 0, "quarantined": {}}
    assert outcome.shards == ["table/all"]
    before = made_when(output, EVIDENCE)
    run_losses(output, **settings)
    assert made_when(output, EVIDENCE) == before
    (tmp_path / "losses.csv").write_text("site,m1,m2\na.org,0.9,1.1\nb.net,1.25,2\n")
    other, *_ = run_losses(output, **settings)
    assert other.identity() != identity
    assert table_of(output)["m2"] == [1.1, 2.0]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (["{m}/mistral-*"], "matches no model"),
        (["{m}/pythia-a/*.json"], "matches no model; it matches 4 other paths"),
        (["{m}/pythia-a", "{m}/pythia-*"], "two models are called 'pythia-a'"),
        ([{"path": "{m}/pythia-*", "name": "p"}], "the name 'p' is given to 2 models"),
        (["{m}/**pythia"], "is no pattern"),
        ([{"path": "{m}/pythia-a", "name": "n_bytes"}], "cannot be called 'n_bytes'"),
        (["{m}/pythia-z"], "there is no model at this path"),
        ([{"path": "{m}/pythia-a", "start": "<nobody>"}], "windows cannot begin with '<nobody>'"),
    ],
)
def test_a_list_that_cannot_be_is_refused_before_any_work(models: Path, entries: list[Any], said: str) -> None:
    here = [e.format(m=models) if isinstance(e, str) else e | {"path": e["path"].format(m=models)} for e in entries]
    with pytest.raises(CurateError, match=said) as refused:
        check_models(Losses(models=here))
    assert "correlate.losses.models" in refused.value.where


def test_a_window_no_model_has_and_groups_with_too_few_pages(models: Path, output: Path) -> None:
    with pytest.raises(ConfigError, match="does not fit the model"):
        check_models(Losses(models=[str(models / "pythia-a")], context=4096))
    with pytest.raises(InputError, match="has 25 distinct pages"):
        run_losses(output, by="site", models=[str(models / "pythia-a")])


def test_names_of_folders_differ_where_names_do(models: Path) -> None:
    entries = [{"path": str(models / "pythia-a"), "name": name} for name in ("a/b", "a-b", "a b", "table", "..")]
    slugs = [one.slug for one in find_models(Losses(models=entries))]
    assert len(set(slugs)) == 5
    assert slugs[1] == "a-b"
    assert not {"table", "..", ""} & set(slugs)
    assert all("/" not in slug for slug in slugs)


def test_losses_of_a_rehearsal_are_whole_and_order_groups_both_ways() -> None:
    """One page may be too short to have a loss; and weights of equal estimates might leave out no group."""
    made = np.array(list(stand_ins(np.array([1.5, np.nan, 2.0, 0.5]), ["a", "b", "c"]).values()))
    assert np.isfinite(made).all()
    assert np.sign(np.diff(made, axis=0)).tolist() == [[1, -1, 1, -1]] * 2
