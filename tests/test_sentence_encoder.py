"""Opening sentence encoders, cutting documents to what they read, and laying them out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import causal_models
import numpy as np
import pyarrow as pa
import pytest
import safetensors.torch
import tokenizers
import torch
import transformers
from encoder_models import POSITIONS, WIDTH, model, saved, tokenizer, with_sentence_settings
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models, pre_tokenizers, trainers

from curate.errors import ConfigError, CurateError, InputError
from curate.sentence_encoder import EncoderReader, checkpoint, open_encoder, pooling, tokens
from curate.sentence_encoder.batching import LEAST_POSITIONS, group, lay_out
from curate.sentence_encoder.tokens import DocumentTokens
from curate.tokenization import Tokenizer, train_bpe
from pipelines import texts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("encoder") / "m")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """An encoder's folder, to do harm to."""
    return Path(shutil.copytree(whole, tmp_path / "m"))


def changed(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def refused(folder: Path | str, *parts: str, kind: type[CurateError] = InputError, load: bool = False) -> CurateError:
    """The error, all of whose four parts are there; each of ``parts`` is said in one of them."""
    with pytest.raises(kind) as caught:
        opened = open_encoder(str(folder))
        if load:
            EncoderReader(opened, "mean")
    error = caught.value
    assert error.what and error.where and error.expected and error.fix, error
    for part in parts:
        assert part in str(error), f"{part!r} is missing from:\n{error}"
    return error


# ---- opening


def test_a_whole_encoder_is_taken(folder: Path) -> None:
    found = open_encoder(str(folder))
    assert (found.width, found.positions, found.default_length, found.pad_id) == (WIDTH, POSITIONS, POSITIONS, 0)
    assert found.pooling("auto") == "mean" and found.pooling("cls") == "cls"
    assert [path.name for path in found.files] == ["model.safetensors", "config.json", "tokenizer.json"]


def test_what_is_no_encoder_s_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    refused(tmp_path / "nowhere" / "else", "nowhere", "`model:`")
    (folder / "tokenizer.json").unlink()
    refused(folder, "no tokenizer", "vectors", "save_pretrained")
    (folder / "model.safetensors").unlink()
    refused(folder, "no weights")
    (folder / "config.json").unlink()
    refused(folder, "no model", "config.json")


def test_pickled_weights_are_refused_and_the_told_conversion_works(folder: Path) -> None:
    before = (folder / "model.safetensors").read_bytes()
    torch.save(model().state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    error = refused(folder, "pickled (pytorch_model.bin)", "runs code")
    told = re.search(r"AutoModel\..*\)(?=, which)", error.fix)
    assert told is not None, error.fix
    eval(told.group(), {"AutoModel": transformers.AutoModel})
    assert (folder / "model.safetensors").read_bytes() == before


def test_a_model_that_needs_code_of_its_own_is_refused_and_its_code_not_run(folder: Path) -> None:
    (folder / "own.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    changed(folder, model_type="own", auto_map={"AutoModel": "own.Model"}, architectures=["OwnModel"])
    refused(folder, "needs code", "'own'", "runs no code")
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_a_decoder_is_refused_because_its_states_know_nothing_of_what_follows(tmp_path: Path, family: str) -> None:
    folder = causal_models.saved(tmp_path / "m", family)
    refused(folder, "causal language model", "what comes after", "sentence encoder")
    changed(folder, architectures=["BareModel"])
    refused(folder, "decoder", "what comes after")


def test_a_decoder_under_an_encoder_s_name_shows_before_the_first_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = causal_models.saved(tmp_path / "m", "llama")
    monkeypatch.setattr(checkpoint, "_check_architecture", lambda found: None)
    refused(folder, "it is a decoder", "encoder such as BERT", load=True)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"is_decoder": True}, "causal"),
        ({"is_encoder_decoder": True, "model_type": "t5"}, "an encoder and a decoder"),
        ({"model_type": "abacus"}, "no encoder"),
        ({"hidden_size": None}, "how wide"),
    ],
)
def test_other_models_are_refused(folder: Path, values: dict[str, Any], said: str) -> None:
    changed(folder, **values)
    refused(folder, said, "config.json")


def test_weights_that_are_not_there_are_not_made_up(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    name = next(key for key in weights if key.endswith("layer.1.attention.self.query.weight"))
    lacking = {key: value for key, value in weights.items() if key != name}
    safetensors.torch.save_file(lacking, folder / "model.safetensors", {"format": "pt"})
    refused(folder, "lacks 1 of its weights", "query.weight", load=True)
    headless = {key: value for key, value in weights.items() if "pooler" not in key}
    safetensors.torch.save_file(headless, folder / "model.safetensors", {"format": "pt"})
    EncoderReader(open_encoder(str(folder)), "mean")


def test_weights_of_another_shape_are_refused_when_loaded(folder: Path) -> None:
    changed(folder, intermediate_size=64)
    refused(folder, "m", load=True)


def test_a_tokenizer_of_another_model_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(train_bpe(texts(60, 99), 300).content)
    refused(folder, "token ids", "300", kind=ConfigError)


def test_positions_that_are_counted_from_the_padding_token_are_fewer(tmp_path: Path) -> None:
    made = model("roberta")
    found = open_encoder(str(saved(tmp_path / "m", made)))
    assert found.positions == POSITIONS - 1
    ids = torch.full((1, found.positions + 1), 7)
    made(input_ids=ids[:, 1:])
    with pytest.raises((IndexError, RuntimeError)):
        made(input_ids=ids)


@pytest.mark.parametrize(("stated", "expected"), [(16, 16), (None, POSITIONS), (100, POSITIONS)])
def test_the_length_is_what_the_folder_says_within_the_positions(folder: Path, stated: int | None, expected: int) -> None:
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": stated}))
    assert open_encoder(str(folder)).default_length == expected


def test_identity_follows_what_the_vectors_depend_on(folder: Path, tmp_path: Path) -> None:
    before = open_encoder(str(folder)).identity("mean", "")
    moved = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (moved / "README.md").write_text("another file")
    assert open_encoder(str(moved)).identity("mean", "") == before
    assert len({before, *(open_encoder(str(folder)).identity(*said) for said in (("cls", ""), ("mean", "x"), ("mean", "", "")))}) == 4
    model(seed=1).save_pretrained(moved)
    assert open_encoder(str(moved)).identity("mean", "") != before
    changed(folder, layer_norm_eps=1e-3)
    assert open_encoder(str(folder)).identity("mean", "") != before


# ---- pooling


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({}, "mean"),
    ],
)
def test_pooling_is_what_the_folder_says(folder: Path, said: dict[str, Any], expected: str) -> None:
    with_sentence_settings(folder, said)
    found = open_encoder(str(folder))
    assert found.pooling("auto") == expected
    assert [path.name for path in found.files[-2:]] == ["modules.json", "config.json"]


@pytest.mark.parametrize("said", [{"pooling_mode_max_tokens": True}, {"pooling_mode": "lasttoken"}, {"pooling_mode": ["cls", "mean"]}])
def test_pooling_that_is_not_done_here_is_refused_unless_another_is_asked_for(folder: Path, said: dict[str, Any]) -> None:
    with_sentence_settings(folder, said)
    with pytest.raises(ConfigError, match="not done here") as caught:
        open_encoder(str(folder)).pooling("auto")
    assert "1_Pooling" in caught.value.where and "`pooling:`" in caught.value.fix
    assert open_encoder(str(folder)).pooling("mean") == "mean"


def test_a_further_layer_on_top_is_refused(folder: Path) -> None:
    with_sentence_settings(folder, {"pooling_mode": "mean"}, ["Dense"])
    with pytest.raises(ConfigError, match="Dense on top"):
        open_encoder(str(folder)).pooling("auto")


def test_pooling_by_hand() -> None:
    hidden = torch.tensor([[[3.0, 0.0], [3.0, 8.0], [9.0, 9.0]]])
    kept = torch.tensor([[True, True, False]])
    assert pooling.pool(hidden, kept, "mean").tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]  # (6, 8)
    assert pooling.pool(hidden, None, "mean").tolist() == [[pytest.approx(15 / 514**0.5), pytest.approx(17 / 514**0.5)]]
    assert pooling.pool(hidden, kept, "cls").tolist() == [[1.0, 0.0]]


# ---- tokens


@st.composite
def documents(draw: st.DrawFn) -> list[str]:
    """Texts of words, runs of odd spaces, long words, and marks that join what stands before them."""
    words = ["the", "quick", "über", "字", "naïve", "3.14", "don't", "12345", "'''", "_x_", "...", "fox's", "x" * 90, "字" * 40]
    spaces = [" ", " ", "\n", "\r\n", "\n\n", "\u00a0 ", " \u0301", "\t"]
    piece = st.sampled_from([*words, *spaces])
    return draw(st.lists(st.lists(piece, max_size=60).map("".join), min_size=1, max_size=4))


def library_ids(made: Tokenizer, text: str) -> list[int]:
    library = tokenizers.Tokenizer.from_str(made.content.decode())
    library.no_truncation()
    library.no_padding()
    library.encode_special_tokens = True
    return list(library.encode(text).ids)


def joined() -> Tokenizer:
    """A BPE whose words may be punctuation and the line ends behind it, as those of recent models are."""
    pattern = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    split = pre_tokenizers.Split(tokenizers.Regex(pattern), "isolated")
    library = tokenizers.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    given_texts = ["...\n\n the _x_\r\n'''\n  fox's\t\n 12345"] * 5 + texts(20, 99)
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    library.train_from_iterator(given_texts, trainer)
    return Tokenizer(library.to_str().encode())


TOKENIZERS = {"wordpiece": tokenizer(), "bpe": train_bpe(texts(60, 99), 320), "joined": joined()}


@pytest.mark.parametrize("kind", TOKENIZERS)
@settings(max_examples=150, deadline=None)
@given(given_texts=documents(), max_length=st.integers(5, 30), prefix=st.sampled_from(["", "query: "]))
def test_tokens_are_the_first_ones_of_the_whole_document(kind: str, given_texts: list[str], max_length: int, prefix: str) -> None:
    made = TOKENIZERS[kind]
    reader = DocumentTokens(made, max_length, prefix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokens, "BYTES_PER_TOKEN", 2)  # so that much is decided near a cut
        patch.setattr(tokens, "WIDER", 2)
        found = reader.encode(pa.array(given_texts, pa.large_string()))
    for i, text in enumerate(given_texts):
        ids = found.ids[found.offsets[i] : found.offsets[i + 1]].tolist()
        whole = library_ids(made, prefix + text)
        if len(library_ids(made, text)) == len(reader.head) + len(reader.tail):
            assert ids == []
            continue
        n_tail = len(reader.tail)
        cut = whole[: max_length - n_tail] + whole[len(whole) - n_tail :] if len(whole) > max_length else whole
        assert (ids, bool(found.truncated[i])) == (cut, len(whole) > max_length)


def test_a_long_document_costs_no_more_than_its_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = tokenizer(), []
    encode = made.encode_arrow
    reader = DocumentTokens(made, 32)
    monkeypatch.setattr(Tokenizer, "encode_arrow", lambda self, text: seen.append(len("".join(text.to_pylist()))) or encode(text))
    found = reader.encode(pa.array(["a word of it " * 800_000, "short"], pa.large_string()))
    assert np.diff(found.offsets)[0] == 32 and found.truncated.tolist() == [True, False]
    assert sum(seen) <= tokens.BYTES_PER_TOKEN * 32 + len("short")


def test_a_slice_of_a_column_has_its_own_tokens() -> None:
    reader, column = DocumentTokens(tokenizer(), 20), pa.array(texts(6, 3, (3, 40)), pa.large_string())
    all_of_it, part = reader.encode(column), reader.encode(column.slice(2, 3))
    assert part.ids.tolist() == all_of_it.ids[all_of_it.offsets[2] : all_of_it.offsets[5]].tolist()


def test_literal_special_tokens_are_ordinary_text() -> None:
    reader = DocumentTokens(tokenizer(), 40)
    ids = reader.encode(pa.array(["[PAD] [SEP] a"], pa.large_string())).ids.tolist()
    assert ids.count(0) == 0 and ids.count(int(reader.tail[0])) == 1


# ---- batches


@given(lengths=st.lists(st.integers(1, 60), max_size=80), most=st.integers(1, 200), padding=st.sampled_from([0, 10, 1000]))
def test_batches_hold_every_document_once_within_their_bounds(lengths: list[int], most: int, padding: int) -> None:
    sizes = np.array(lengths, np.int64)
    batches = group(sizes, most, padding)
    assert sorted(np.concatenate([np.empty(0, np.int64), *batches]).tolist()) == list(range(len(lengths)))
    for rows in batches:
        width = int(sizes[rows[0]])
        assert width == sizes[rows].max()
        assert len(rows) == 1 or len(rows) * width <= most
        assert int((width - sizes[rows]).sum()) <= padding
    firsts = [int(sizes[rows[0]]) for rows in batches]
    assert firsts == sorted(firsts, reverse=True)


def test_a_batch_by_hand() -> None:
    ids, offsets = np.arange(10, 70), np.array([0, 3, 43, 60])
    found, kept = lay_out(ids, offsets, np.array([1]), 0)
    assert (found.tolist(), kept) == ([list(range(13, 53))], None)
    found, kept = lay_out(ids, offsets, np.array([2, 0]), 5)
    assert found.tolist() == [list(range(53, 70)), [10, 11, 12] + [5] * 14]
    assert kept is not None and kept.sum(1).tolist() == [17, 3]
    found, kept = lay_out(ids, offsets, np.array([0]), 5)
    assert found.shape == (11, 3) and kept is None and found.size >= LEAST_POSITIONS
    assert (found == [10, 11, 12]).all()
