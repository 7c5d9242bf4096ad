"""Opening sentence encoders, what is refused, pooling, and laying documents out."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import causal_models
import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from encoder_models import POSITIONS, WIDTH, model, saved, with_sentence_settings
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import ConfigError, CurateError, InputError
from curate.sentence_encoder import EncoderReader, checkpoint, open_encoder, pooling
from curate.sentence_encoder.batching import LEAST_POSITIONS, group, lay_out
from curate.tokenization import train_bpe
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


@pytest.mark.parametrize(("stated", "expected"), [(16, 16), (10**30, POSITIONS), (1e30, POSITIONS), (20.0, 20), (None, POSITIONS)])
def test_the_tokenizer_s_length_holds_where_the_encoder_s_own_is_not_said(folder: Path, stated: float | None, expected: int) -> None:
    write(folder / "tokenizer_config.json", {"model_max_length": stated})
    write(folder / "sentence_bert_config.json", {"max_seq_length": None})
    assert open_encoder(str(folder)).default_length == expected
    write(folder / "sentence_bert_config.json", {"max_seq_length": 30})
    assert open_encoder(str(folder)).default_length == 30


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        *(({"hidden_size": value}, "`hidden_size`") for value in (0, -4, True, "32")),
        *(({"pad_token_id": value}, "below `vocab_size`") for value in (10**6, -1, "0", True)),
        *(({"vocab_size": value}, "`vocab_size`") for value in ("x", 0, True)),
        *(({"architectures": value}, "`architectures`") for value in ({"a": 1}, "BertModel", [None])),
        ({"model_type": ["bert"]}, "`model_type`"),
        ({"max_position_embeddings": "40"}, "`max_position_embeddings`"),
        ({"transformers_weights": "other.safetensors"}, "`transformers_weights`"),
    ],
)
def test_values_of_the_configuration_that_cannot_be_are_named(folder: Path, values: dict[str, Any], said: str) -> None:
    changed(folder, **values)
    refused(folder, said, "cannot be", "config.json", "correct the value there")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", [], "a JSON object"),
        *(("sentence_bert_config.json", {"max_seq_length": value}, "`max_seq_length`") for value in (True, "x", 0)),
        *(("tokenizer_config.json", {"model_max_length": value}, "`model_max_length`") for value in (True, "x", 0.5)),
        *(("1_Pooling/config.json", {"pooling_mode": value}, "`pooling_mode`") for value in (5, [{}], [["mean"]], {"a": 1})),
        ("modules.json", {"a": 1}, "a list of the model's parts"),
        *(("modules.json", [{"type": "a.Pooling", "path": value}], "a part of the model") for value in (None, "../m", "/m")),
        ("modules.json", ["Pooling"], "a part of the model"),
        ("config_sentence_transformers.json", {"default_prompt_name": "q", "prompts": {"p": "x"}}, "one of `prompts`: p"),
        ("config_sentence_transformers.json", {"default_prompt_name": "q"}, "there is none"),
        ("config_sentence_transformers.json", {"default_prompt_name": "q", "prompts": {"q": 3}}, "the prompts"),
        ("config_sentence_transformers.json", {"default_prompt_name": ["q"], "prompts": ["q"]}, "the prompts"),
    ],
)
def test_what_other_files_say_that_cannot_be_is_named(folder: Path, name: str, content: Any, said: str) -> None:
    write(folder / name, content)
    with pytest.raises(InputError) as caught:
        found = open_encoder(str(folder))
        _ = found.pooling("auto"), found.default_length, found.default_prompt
    assert said in str(caught.value) and Path(name).name in caught.value.where and caught.value.fix


@pytest.mark.parametrize("values", [{"num_attention_heads": 0}, {"hidden_act": 5}, {"intermediate_size": "x"}])
def test_settings_that_the_library_falls_over_are_no_traceback(folder: Path, values: dict[str, Any]) -> None:
    changed(folder, **values)
    refused(folder, "cannot be loaded", load=True)


def test_weights_that_are_all_zero_are_not_called_a_decoder(folder: Path) -> None:
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    zero = {key: torch.zeros_like(value) for key, value in weights.items()}
    safetensors.torch.save_file(zero, folder / "model.safetensors", {"format": "pt"})
    error = refused(folder, "the same state", "all zero", "fetch", load=True)
    assert "decoder" not in str(error)


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
