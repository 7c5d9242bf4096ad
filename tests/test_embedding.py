"""The scorer embedding, beside its contract: the plain loop's vectors, equal bits in any batch, what has no vector, a real encoder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
from encoder_models import POSITIONS, WIDTH, plain_vectors, real_encoder, rows, saved, with_sentence_settings
from hypothesis import given, settings
from hypothesis import strategies as st
from real_documents import documents_by_domain

from curate import registry
from curate.errors import ConfigError, CurateError
from curate.scorers.embedding import Embedding
from curate.sentence_encoder import batching, reader
from curate.testing import ODD_TEXTS, sample_documents
from pipelines import configuration, run, texts

HALF = 2.0**-11
"""Relative error of a number in half precision."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("encoder") / "m")


@pytest.fixture(scope="module")
def shared_scorer(folder: Path) -> Embedding:
    return loaded(folder)


def built(folder: Path | str, **options: Any) -> Any:
    return registry.build(registry.scorer_class("embedding"), {"model": str(folder)} | options)


def loaded(folder: Path, **options: Any) -> Any:
    scorer = built(folder, **options)
    assert scorer.sample() is None
    scorer.load(None)
    return scorer


def vectors(scored: pa.RecordBatch) -> np.ndarray:
    assert scored["vector"].null_count == 0
    return scored["vector"].flatten().to_numpy().astype(np.float64).reshape(len(scored), -1)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_vectors_are_the_plain_loop_s(folder: Path, pooling: str) -> None:
    given_texts = [*texts(30, 5, (1, 60)), "a", *(text for text in ODD_TEXTS if "<s>" not in text)]
    expected = plain_vectors(folder, given_texts, pooling)
    found = vectors(loaded(folder, pooling=pooling).score(rows(*given_texts)))
    np.testing.assert_allclose(found, expected, rtol=2 * HALF, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=HALF)


def test_pooling_is_what_the_folder_says(folder: Path, tmp_path: Path) -> None:
    own = with_sentence_settings(Path(shutil.copytree(folder, tmp_path / "m")), {"pooling_mode_cls_token": True})
    text = rows(*texts(3, 1, (3, 20)))
    auto, cls, mean = (vectors(loaded(own, pooling=name).score(text)) for name in ("auto", "cls", "mean"))
    assert (auto == cls).all() and not np.allclose(auto, mean, atol=0.01)


def test_a_prefix_is_read_before_each_document(folder: Path) -> None:
    given_texts = texts(4, 2, (3, 12))
    found = loaded(folder, prefix="the of: ").score(rows(*given_texts))
    np.testing.assert_allclose(vectors(found), plain_vectors(folder, [f"the of: {text}" for text in given_texts]), rtol=2 * HALF, atol=1e-5)


def with_prompt(folder: Path, name: str | None = "passage") -> Path:
    said = {"prompts": {"query": "a ", "passage": "the of: "}, "default_prompt_name": name, "similarity_fn_name": "cosine"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(said))
    return folder


def test_the_folder_s_default_prompt_is_read_unless_another_is_given(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "m"))
    before, text = registry.identity(built(own)), rows(*texts(4, 2, (3, 12)))
    with_prompt(own)
    assert registry.identity(built(own)) != before and own / "config_sentence_transformers.json" in built(own).artifacts()
    default, said, none = (loaded(own, **options) for options in ({}, {"prefix": "the of: "}, {"prefix": ""}))
    assert (vectors(default.score(text)) == vectors(loaded(folder, prefix="the of: ").score(text))).all()
    assert (vectors(none.score(text)) == vectors(loaded(folder).score(text))).all()
    spaces = [scorer.outputs.field("vector").metadata[b"model"] for scorer in (default, said, none)]
    assert spaces[0] == spaces[1] != spaces[2]
    assert (vectors(loaded(with_prompt(own, None)).score(text)) == vectors(none.score(text))).all()


def test_a_prompt_whose_tokens_must_not_count_is_refused(folder: Path, tmp_path: Path) -> None:
    own = with_sentence_settings(Path(shutil.copytree(folder, tmp_path / "m")), {"pooling_mode": "mean", "include_prompt": False})
    built(own)
    with_prompt(own)
    with pytest.raises(ConfigError, match="leave out the tokens of a prompt") as caught:
        built(own)
    assert "`prefix:`" in caught.value.fix and built(own, prefix="") and built(own, pooling="mean")


@pytest.mark.slow  # imports sentence-transformers
@pytest.mark.parametrize("limit", [20, None])
def test_prompt_and_length_are_those_of_sentence_transformers(folder: Path, tmp_path: Path, limit: int | None) -> None:
    library = pytest.importorskip("sentence_transformers")
    pooling = {"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True}
    own = with_prompt(with_sentence_settings(Path(shutil.copytree(folder, tmp_path / "m")), pooling))
    (own / "2_Normalize").mkdir()
    parts = json.loads((own / "modules.json").read_text())
    (own / "modules.json").write_text(json.dumps([part | {"name": str(part["idx"])} for part in parts]))
    beside = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"} | ({"model_max_length": limit} if limit else {})
    (own / "tokenizer_config.json").write_text(json.dumps(beside))
    theirs = library.SentenceTransformer(str(own), device="cpu", local_files_only=True)
    given_texts = texts(12, 6, (3, 60))
    assert theirs.max_seq_length == (limit or POSITIONS) and theirs.default_prompt_name == "passage"
    expected = theirs.encode(given_texts, normalize_embeddings=True, show_progress_bar=False)
    assert cosines(vectors(loaded(own).score(rows(*given_texts))), expected).min() > 0.99999
    assert cosines(vectors(loaded(own, prefix="").score(rows(*given_texts))), expected).min() < 0.999


def test_what_has_no_token_of_its_own_has_no_vector(folder: Path) -> None:
    for options in ({}, {"prefix": "the of: "}):
        found = loaded(folder, **options).score(rows("", None, " \n\t ", "the", "\u200d")).to_pydict()
        assert [vector is None for vector in found["vector"]] == [True, True, True, False, True]
        fixed = 2 if not options else 5  # [CLS], the, of, :, [SEP]
        assert found["n_tokens"] == [0, None, 0, fixed + 1, 0]
        assert found["truncated"] == [False, None, False, False, False]


def test_truncated_says_whether_there_was_more(folder: Path) -> None:
    scorer = loaded(folder, max_length=6)
    found = scorer.score(rows("the of and to", "the of and to in", "the of and to   ", "the " * 5000))
    assert found["n_tokens"].to_pylist() == [6, 6, 6, 6]
    assert found["truncated"].to_pylist() == [False, True, False, True]
    same = vectors(found)
    assert (same[0] == same[1]).all() and (same[0] == same[2]).all()


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_a_vector_has_the_same_bits_beside_any_others(shared_scorer: Embedding, data: st.DataObject) -> None:
    scorer = shared_scorer
    chosen = data.draw(st.lists(st.sampled_from(POOL), min_size=1, max_size=12))
    together = vectors(scorer.score(rows(*chosen)))
    for text, vector in zip(chosen, together, strict=True):
        assert (vectors(scorer.score(rows(text)))[0] == vector).all()


POOL = [*texts(12, 8, (1, 60)), "a", "b", "a b", "the of", "of the"]


def test_padded_batches_are_the_same_but_for_rounding(shared_scorer: Embedding, monkeypatch: pytest.MonkeyPatch) -> None:
    given_texts, scorer = texts(40, 9, (1, 60)), shared_scorer
    apart = vectors(scorer.score(rows(*given_texts)))
    monkeypatch.setitem(reader.MOST_PADDING, "cpu", 10_000)
    assert any(kept is not None for _, kept, _ in scorer.prepare(rows(*given_texts)).laid.batches)
    np.testing.assert_allclose(vectors(scorer.score(rows(*given_texts))), apart, rtol=4 * HALF, atol=1e-4)


def test_exact_copies_are_computed_once(shared_scorer: Embedding) -> None:
    ready = shared_scorer.prepare(rows("the of and", "a", "the of and", None))
    assert len(ready.n_tokens) == 2 and ready.rows[0] == ready.rows[2] != ready.rows[1] and ready.rows[3] == -1
    assert sum(n for _, _, n in ready.laid.batches) == 2


def test_no_padding_is_computed_on_a_cpu(shared_scorer: Embedding) -> None:
    ready = shared_scorer.prepare(rows(*texts(200, 3, (1, 60))))
    assert all(kept is None for _, kept, _ in ready.laid.batches)
    computed = sum(tokens.numel() for tokens, _, _ in ready.laid.batches)
    assert computed <= int(ready.n_tokens.sum()) + batching.LEAST_POSITIONS * len(ready.laid.batches)


def test_columns_say_which_model_made_them(folder: Path, tmp_path: Path) -> None:
    def field(**options: Any) -> pa.Field:
        return built(folder, **options).outputs.field("vector")

    assert field().type == pa.list_(pa.float16(), WIDTH)
    stated = {field(**options).metadata[b"model"] for options in ({}, {"pooling": "cls"}, {"prefix": "a: "})}
    assert len(stated) == 3
    assert field(max_length=7).metadata == field(precision="bfloat16").metadata == field(pooling="mean").metadata == field().metadata


def test_the_fingerprint_follows_the_content_of_the_folder(folder: Path, tmp_path: Path) -> None:
    before = registry.identity(built(folder))
    moved = Path(shutil.copytree(folder, tmp_path / "m"))
    assert registry.identity(built(moved)) == before
    with_sentence_settings(moved, {"pooling_mode_cls_token": True})
    assert registry.identity(built(moved)) != before


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"max_length": POSITIONS + 1}, ("max_length", f"at most {POSITIONS}")),
        ({"max_length": 2}, ("max_length", "no room", "more than 2")),
        ({"max_length": 5, "prefix": "the of: "}, ("max_length", "prefix", "more than 5")),
        ({"pooling": "max"}, ("pooling", "'max'")),
        ({"precision": "float16"}, ("precision",)),
        ({"pool": "mean"}, ("'pool'", "did you mean 'pooling'")),
        ({"revision": 3}, ("revision",)),
    ],
)
def test_settings_that_cannot_be_are_refused(folder: Path, options: dict[str, Any], parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        built(folder, **options)
    assert all(part in str(caught.value) for part in parts), caught.value
    assert caught.value.where and caught.value.expected and caught.value.fix


def test_the_first_token_is_not_taken_where_it_is_the_text_s_own(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "m"))
    content = (own / "tokenizer.json").read_text()
    start = content.index('"post_processor"')
    (own / "tokenizer.json").write_text(content[:start] + '"post_processor": null,' + content[content.index('"decoder"') :])
    with pytest.raises(ConfigError, match="puts no token before a text"):
        built(own, pooling="cls")
    assert loaded(own).score(rows("the of"))["n_tokens"].to_pylist() == [2]


def test_a_gpu_that_is_not_there_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    scorer = built(folder)
    scorer.place("cuda")
    with pytest.raises(ConfigError, match="no device 'cuda'"):
        scorer.load(None)


def test_a_scorer_that_was_not_loaded_says_so(folder: Path) -> None:
    with pytest.raises(ConfigError, match="not loaded"):
        built(folder).score(rows("a"))


@pytest.mark.parametrize("absent", ["torch", "transformers", "safetensors"])
def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, absent: str) -> None:
    import importlib.util

    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == absent else find(name, *more))
    with pytest.raises(ConfigError, match=absent) as caught:
        built("m")
    assert "curate[lm]" in caught.value.fix and "static_embedding" in caught.value.fix


def test_settings_and_columns_are_known_without_importing_the_libraries(folder: Path) -> None:
    code = (
        "import sys; from curate import registry; kind = registry.scorer_class('embedding');"
        f"registry.build(kind, {{'model': {str(folder)!r}}}).outputs;"
        "sys.exit(' '.join({'torch', 'transformers'} & sys.modules.keys()) or 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(registry.__file__).parents[1])}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert found.returncode == 0, found.stderr


def test_vectors_that_are_no_numbers_name_the_document(folder: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(folder, tmp_path / "m"))
    weights = safetensors.torch.load_file(own / "model.safetensors")
    scorer = loaded(own)
    harmed = rows("the of", None, "the and", "and")
    tokens = scorer.prepare(rows("and")).laid.batches[0][0]
    weights["embeddings.word_embeddings.weight"][int(tokens[0, 1])] = np.nan
    safetensors.torch.save_file(weights, own / "model.safetensors", {"format": "pt"})
    scorer = loaded(own)
    assert scorer.score(rows("the of"))["vector"].null_count == 0
    with pytest.raises(CurateError, match="2 documents a vector that is no numbers") as caught:
        scorer.score(harmed)
    assert harmed["doc_id"][2].as_py().hex() in caught.value.where and caught.value.fix


def test_a_rehearsal_reads_little_and_says_how_much_longer_it_takes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curate.scorers.embedding.REHEARSED_TOKENS", 100)
    given_texts = texts(50, 4, (10, 60))
    whole, scorer = loaded(folder), built(folder).rehearsal()
    scorer.load(None)
    found, expected = scorer.score(rows(*given_texts)), whole.score(rows(*given_texts))
    assert found.schema.equals(expected.schema, check_metadata=True) and found["n_tokens"].equals(expected["n_tokens"])
    assert found["vector"].null_count == 0
    ready = scorer.prepare(rows(*given_texts))
    read = int(ready.n_tokens[ready.laid.order].sum())
    assert 0 < read <= 100 and scorer.longer == pytest.approx(int(ready.n_tokens.sum()) / read)


def test_a_pipeline_writes_the_same_vectors_whatever_its_shards(raw: Path, folder: Path, tmp_path: Path) -> None:
    found = {}
    for name, shard_bytes in (("a", 12_000), ("b", 60_000)):
        config = configuration(raw, tmp_path / name, score=[{"embedding": {"name": "about", "model": str(folder)}}], emit=None, mix=None)
        config["ingest"]["shard_bytes"] = shard_bytes
        table = run(config).table(["doc_id", "about.vector", "about.n_tokens"])
        assert table.schema.field("about.vector").type == pa.list_(pa.float16(), WIDTH)
        found[name] = dict(zip(table["doc_id"].to_pylist(), table["about.vector"].to_pylist(), strict=True))
    assert found["a"] == found["b"]


# ---- the real encoder


@pytest.fixture(scope="module")
def real() -> Any:
    return loaded(real_encoder())


@pytest.mark.slow  # imports sentence-transformers and reads some 15,000 tokens with each
def test_real_documents_have_the_vectors_of_sentence_transformers(real: Any, ci_small: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    given_texts = [text for of_domain in documents_by_domain(ci_small, 4, 2500).values() for text in of_domain]
    given_texts += ["a", *(text for text in ODD_TEXTS if "<s>" not in text), "word " * 40_000, "x" * 100_000]
    theirs = library.SentenceTransformer(str(real_encoder()), device="cpu", local_files_only=True)
    expected = theirs.encode(given_texts, normalize_embeddings=True, show_progress_bar=False)
    scored = real.score(rows(*given_texts))
    assert cosines(vectors(scored), expected).min() > 0.99999
    assert scored["n_tokens"].to_pylist() == [min(256, len(theirs.tokenizer(text).input_ids)) for text in given_texts]
    assert any(scored["truncated"].to_pylist()) and not all(scored["truncated"].to_pylist())


@pytest.mark.slow  # opens the real model
def test_the_real_encoder_s_vectors_do_not_depend_on_the_batch_and_keep_meaning(real: Any) -> None:
    given_texts = [*sample_documents(24)["text"].to_pylist(), "x", "A judge ruled on the contract."]
    together = vectors(real.score(rows(*given_texts)))
    assert all((vectors(real.score(rows(text)))[0] == vector).all() for text, vector in zip(given_texts, together, strict=True))
    pan, boiled, court = vectors(
        real.score(rows("Fry the onions in butter.", "Boil the potatoes in a pot.", "The court dismissed the appeal."))
    )
    assert pan @ boiled > pan @ court + 0.2 and together[-1] @ court > together[-1] @ pan + 0.2


@pytest.mark.slow  # opens the real model twice
def test_products_in_bfloat16_give_nearly_the_same_vectors(real: Any, ci_small: Path) -> None:
    given_texts = [text for of_domain in documents_by_domain(ci_small, 1, 300).values() for text in of_domain]
    low = loaded(real_encoder(), precision="bfloat16")
    exact, rounded = vectors(real.score(rows(*given_texts))), vectors(low.score(rows(*given_texts)))
    assert not (exact == rounded).all() and cosines(exact, rounded).min() > 0.999
