"""What can be wrong with a model is said before any work: which file, which field, what was expected, what to change."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pyarrow as pa
import pytest
import torch
import transformers
from causal_models import CONTEXT, START, model, opened, plain_bpb, saved, tokenizer

from curate import registry
from curate.causal_lm import checkpoint, open_checkpoint
from curate.documents import doc_ids
from curate.errors import ConfigError, CurateError, InputError
from curate.scorers.bits_per_byte import BitsPerByte
from curate.tokenization import train_bpe
from pipelines import texts


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A model's folder, to do harm to."""
    return Path(shutil.copytree(whole, tmp_path / "m"))


def built(options: dict[str, Any]) -> Any:
    """As a pipeline builds it: types first, then ``check``, which reads no weights."""
    return registry.build(registry.scorer_class("bits_per_byte"), options)


def refused(options: dict[str, Any], *parts: str, kind: type[CurateError] = CurateError) -> CurateError:
    """The error, all of whose four parts are there; each of ``parts`` is said in one of them."""
    with pytest.raises(kind) as caught:
        built(options)
    error = caught.value
    assert error.what and error.where and error.expected and error.fix, error
    for part in parts:
        assert part in str(error), f"{part!r} is missing from:\n{error}"
    return error


def changed(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def rows(*given: str | None) -> pa.RecordBatch:
    text = pa.array(given, pa.large_string())
    return pa.record_batch([text, doc_ids(text.fill_null(""))], names=["text", "doc_id"])


def test_a_whole_model_is_taken(folder: Path) -> None:
    found = open_checkpoint(str(folder))
    assert (found.context, found.start_id("auto"), found.start_id("none")) == (CONTEXT, 0, None)
    assert found.tokenizer.fingerprint == tokenizer().fingerprint
    assert [path.name for path in found.files] == ["model.safetensors", "config.json", "tokenizer.json", "tokenizer_config.json"]


def in_parts(folder: Path) -> Path:
    """The folder with its weights in several files, as large models have them; the index."""
    (folder / "model.safetensors").unlink()
    transformers.AutoModelForCausalLM.from_config(transformers.AutoConfig.from_pretrained(folder)).save_pretrained(
        folder, max_shard_size="20KB"
    )
    return folder / "model.safetensors.index.json"


def test_weights_in_several_files_are_what_the_index_names(folder: Path) -> None:
    index = in_parts(folder)
    before, named = score(str(folder)), sorted(set(json.loads(index.read_text())["weight_map"].values()))
    (folder / "other.safetensors").write_bytes(b"of no concern")
    found = [path.name for path in open_checkpoint(str(folder)).files]
    assert len(named) > 1 and found == [index.name, *named, "config.json", "tokenizer.json", "tokenizer_config.json"]
    assert score(str(folder)) == before


@pytest.mark.parametrize("name", ["../{}", "part/{}", "part\\{}", "/{}", "..", "", 3, None])
def test_weights_outside_the_folder_are_refused(folder: Path, name: Any) -> None:
    index = in_parts(folder)
    named = json.loads(index.read_text())
    key, file = next(iter(named["weight_map"].items()))
    named["weight_map"][key] = name.format(file) if isinstance(name, str) else name
    for place in (folder.parent, folder / "part"):
        place.mkdir(exist_ok=True)
        shutil.copy(folder / file, place / file)
    index.write_text(json.dumps(named))
    refused({"model": str(folder)}, "a file of weights cannot be", index.name, "in the same folder", "fetch", kind=InputError)


@pytest.mark.parametrize("value", [["a"], None, 3, "model.safetensors"])
def test_an_index_that_maps_nothing_is_refused(folder: Path, value: Any) -> None:
    in_parts(folder).write_text(json.dumps({"weight_map": value}))
    refused({"model": str(folder)}, "`weight_map` cannot be", "an object", kind=InputError)


@pytest.mark.parametrize(
    "values", [{"architectures": {"a": 1}}, {"model_type": ["gpt2"]}, {"vocab_size": "x"}, {"transformers_weights": "../m.safetensors"}]
)
def test_values_of_the_configuration_that_cannot_be_are_named(folder: Path, values: dict[str, Any]) -> None:
    changed(folder, **values)
    refused({"model": str(folder)}, f"`{next(iter(values))}` cannot be", "config.json", "correct the value there", kind=InputError)


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    refused({"model": str(tmp_path / "nowhere" / "else")}, "nowhere", "`model:`", "Hugging Face", kind=InputError)
    (tmp_path / "file").write_text("a model?")
    refused({"model": str(tmp_path / "file")}, "no model at this path", kind=InputError)


def test_a_folder_that_holds_no_model_is_named(folder: Path) -> None:
    (folder / "config.json").unlink()
    refused({"model": str(folder)}, str(folder), "config.json", "`model:`", kind=InputError)
    (folder / "config.json").write_text("<html>not found</html>")
    refused({"model": str(folder)}, str(folder / "config.json"), "JSON", "fetch it again", kind=InputError)


def test_a_model_without_tokenizer_is_refused_and_told_how_to_get_it(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    refused({"model": str(folder)}, "no tokenizer", str(folder), "tokenizer.json", "save_pretrained", kind=InputError)


def test_the_tokenizer_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    expected = score(str(folder))
    (tmp_path / "t").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).rename(tmp_path / "t" / name)
    assert score(str(folder), tokenizer=str(tmp_path / "t")) == expected
    refused({"model": str(folder), "tokenizer": str(tmp_path / "absent")}, "no tokenizer", "absent", kind=InputError)


def score(name: str, **options: Any) -> dict[str, list[Any]]:
    scorer = built({"model": name, "min_tokens": 1} | options)
    scorer.load(None)
    return scorer.score(rows(*texts(4, 1, (5, 30)))).to_pydict()


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(train_bpe(texts(60, 99), 330).content)
    refused({"model": str(folder)}, "320 token ids", "330", str(folder / "tokenizer.json"), "trained with", kind=ConfigError)


def test_a_tokenizer_with_far_fewer_ids_is_refused_and_a_padded_vocabulary_taken(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(train_bpe(texts(60, 99), 270).content)
    refused({"model": str(folder)}, "320 token ids", "270", "288 to 320", kind=ConfigError)
    (folder / "tokenizer.json").write_bytes(train_bpe(texts(60, 99), 300).content)
    built({"model": str(folder)})


def test_a_tokenizer_that_is_none_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    refused({"model": str(folder)}, str(folder / "tokenizer.json"), "LFS", kind=InputError)


def test_pickled_weights_are_refused_and_the_told_conversion_works(folder: Path) -> None:
    expected = score(str(folder))
    made = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    torch.save(made.state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    error = refused({"model": str(folder)}, "pickled (pytorch_model.bin)", "runs code", "model.safetensors", kind=InputError)
    told = re.search(r"AutoModelForCausalLM\..*\)(?=, which)", error.fix)
    assert told is not None, error.fix
    eval(told.group(), {"AutoModelForCausalLM": transformers.AutoModelForCausalLM})
    assert score(str(folder)) == expected


def test_a_model_without_weights_is_refused(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    refused({"model": str(folder)}, "no weights", str(folder), "model.safetensors", kind=InputError)


def test_weights_that_are_cut_short_are_named(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    for harmed in (content[:-10], content[:5], b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"):
        (folder / "model.safetensors").write_bytes(harmed)
        refused({"model": str(folder)}, str(folder / "model.safetensors"), "fetch", kind=InputError)


def test_a_model_in_several_files_is_read_and_a_missing_one_named(folder: Path) -> None:
    expected = score(str(folder))
    made, _ = opened(folder)
    (folder / "model.safetensors").unlink()
    made.save_pretrained(folder, max_shard_size="40KB")
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) > 1
    assert score(str(folder)) == expected
    files[1].unlink()
    refused({"model": str(folder)}, str(files[1]), "fetch", kind=InputError)


def test_weights_that_do_not_fit_the_configuration_are_refused_when_loaded(folder: Path) -> None:
    changed(folder, hidden_size=48)
    scorer = built({"model": str(folder)})
    with pytest.raises(InputError, match="cannot be loaded") as caught:
        scorer.load(None)
    assert str(folder) in caught.value.where


def test_a_model_that_needs_code_of_its_own_is_refused_and_its_code_not_run(folder: Path) -> None:
    (folder / "own.py").write_text("from pathlib import Path\nPath(__file__).with_name('ran').touch()\n")
    auto_map = {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}
    changed(folder, model_type="own", auto_map=auto_map, architectures=["OwnForCausalLM"])
    refused({"model": str(folder)}, "needs code", "config.json", "'own'", "runs no code", kind=InputError)
    assert not (folder / "ran").exists()


def test_a_model_whose_code_transformers_has_by_now_is_taken(folder: Path) -> None:
    expected = score(str(folder))
    changed(folder, auto_map={"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"})
    assert score(str(folder)) == expected


@pytest.mark.parametrize("values", [{"model_type": "t5", "architectures": ["T5ForConditionalGeneration"]}, {"model_type": "abacus"}])
def test_what_is_no_causal_language_model_is_refused(folder: Path, values: dict[str, Any]) -> None:
    changed(folder, **({"architectures": None} | values))
    refused({"model": str(folder)}, "no causal language model", "config.json", values["model_type"], kind=InputError)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_window_longer_than_the_model_s_positions_is_refused(tmp_path: Path, family: str) -> None:
    saved(tmp_path / "m", family, model(family) if family != "gpt2" else None)
    refused({"model": str(tmp_path / "m"), "context": CONTEXT + 1}, "context", "65 tokens", f"at most {CONTEXT}", kind=ConfigError)
    built({"model": str(tmp_path / "m"), "context": CONTEXT})


@pytest.mark.parametrize(("context", "overlap"), [(16, 16), (16, 40), (None, CONTEXT), (1, 0), (16, -1)])
def test_an_overlap_that_leaves_nothing_to_predict_is_refused(folder: Path, context: int | None, overlap: int) -> None:
    refused({"model": str(folder), "context": context, "overlap": overlap}, "overlap", kind=ConfigError)
    built({"model": str(folder), "context": 16, "overlap": 15})


def test_an_unknown_start_token_is_named(folder: Path) -> None:
    refused({"model": str(folder), "start": "<s>"}, "'<s>'", "`start:`", START, str(folder / "tokenizer.json"), kind=ConfigError)
    assert score(str(folder), start=START) == score(str(folder), start="auto") != score(str(folder), start="none")


def test_the_start_token_is_looked_for_in_turn(folder: Path) -> None:
    beside = folder / "tokenizer_config.json"
    found = open_checkpoint(str(folder))
    beside.write_text(json.dumps({"bos_token": {"content": "t", "lstrip": False}}))
    assert found.start_id("auto") == found.tokenizer.separator_id("t") != 0
    beside.write_text(json.dumps({"bos_token": None}))
    changed(folder, bos_token_id=7)
    assert open_checkpoint(str(folder)).start_id("auto") == 7
    beside.unlink()
    changed(folder, bos_token_id=None)
    assert open_checkpoint(str(folder)).start_id("auto") == 0  # what ends documents


def test_a_model_that_names_no_start_token_says_what_to_set(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{}")
    changed(folder, bos_token_id=None)
    content = (folder / "tokenizer.json").read_text().replace(START, "<|x|>")
    (folder / "tokenizer.json").write_text(content)
    refused({"model": str(folder)}, "begin a document", "bos_token", "`start:`", kind=ConfigError)
    assert score(str(folder), start="none")["n_predicted"] == [n - 1 for n in score(str(folder), start="<|x|>")["n_predicted"]]


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The hub's cache of a machine without network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--owner--tiny"


def test_a_hub_id_that_cannot_be_had_says_what_to_do(offline: Path) -> None:
    refused({"model": "owner/tiny"}, "owner/tiny", "hub", "network", "give its folder", kind=InputError)


def in_cache(cache: Path, folder: Path, revision: str = "main") -> Path:
    """A model where the hub's client keeps what it fetched."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    (cache / "refs").mkdir(parents=True)
    (cache / "refs" / revision).write_text(commit)
    return Path(shutil.copytree(folder, cache / "snapshots" / commit))


def test_a_hub_id_in_the_cache_is_read_offline(offline: Path, folder: Path) -> None:
    in_cache(offline, folder)
    assert score("owner/tiny") == score(str(folder))
    refused({"model": "owner/tiny", "revision": "v2"}, "owner/tiny", "hub", kind=InputError)


def test_a_tokenizer_alone_in_the_cache_is_not_taken_for_the_model(offline: Path, folder: Path) -> None:
    cached = in_cache(offline, folder)
    for name in ("config.json", "model.safetensors"):
        (cached / name).unlink()
    refused({"model": "owner/tiny"}, "not whole in the hub's cache", "network", kind=InputError)


@pytest.mark.parametrize("options", [{}, {"model": "m", "train": {}}])
def test_exactly_one_of_model_and_train_is_wanted(options: dict[str, Any]) -> None:
    refused(options, "model", "`train:`", "one of", kind=ConfigError)


def test_unknown_keys_are_named() -> None:
    refused({"modle": "m"}, "'modle'", "did you mean 'model'", kind=ConfigError)
    refused({"train": {"contxt": 64}}, "train.contxt", kind=ConfigError)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"train": {"size": "lama-1m"}}, ("train.size", "did you mean 'llama-1m'")),
        ({"train": {"fraction": 1.0}}, ("train.fraction", "between 0 and 1")),
        ({"train": {"context": 64}, "context": 65}, ("context", "at most 64")),
        ({"train": {"context": 64}, "overlap": 64}, ("overlap",)),
        ({"train": {"tokenizer": "./absent.json"}}, ("absent.json",)),
        ({"train": {}, "revision": "main"}, ("revision", "`train:`")),
        ({"train": {}, "tokenizer": "t"}, ("tokenizer", "`train:`")),
        ({"train": {}, "start": "<s>"}, ("start", "'<s>'", "auto")),
        ({"train": {}, "min_tokens": 0}, ("min_tokens", "1 or more")),
        ({"train": {}, "precision": "float16"}, ("precision", "'float16'")),
    ],
)
def test_settings_of_a_model_trained_here_are_checked_before_work(options: dict[str, Any], parts: tuple[str, ...]) -> None:
    refused(options, *parts)


def test_weights_that_are_no_numbers_name_the_document(folder: Path) -> None:
    made, _ = opened(folder)
    with torch.no_grad():
        made.get_input_embeddings().weight[ord("q") - ord("!") + 1] = math.nan  # the byte q: ids of bytes follow the start token's
    made.save_pretrained(folder)
    scorer = built({"model": str(folder), "min_tokens": 1})
    scorer.load(None)
    fine, harmed = rows("all is well here"), rows("all is well", None, "but qqq here", "and q there")
    assert scorer.score(fine)["nats"].null_count == 0
    with pytest.raises(CurateError, match="2 documents a loss that is no number") as caught:
        scorer.score(harmed)
    assert harmed["doc_id"][2].as_py().hex() in caught.value.where
    assert caught.value.expected and caught.value.fix


@pytest.mark.parametrize("absent", ["torch", "transformers", "safetensors"])
@pytest.mark.parametrize("options", [{"model": "m"}, {"train": {}}])
def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch, absent: str, options: dict[str, Any]) -> None:
    import importlib.util

    find: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == absent else find(name, *more))
    refused(options, absent, "`lm`", "pip install 'curate[lm]'", kind=ConfigError)


def test_settings_are_checked_without_importing_the_libraries(folder: Path) -> None:
    """A command that only looks at a pipeline must not wait seconds for torch."""
    code = (
        "import sys; from curate import registry; kind = registry.scorer_class('bits_per_byte');"
        f"[registry.build(kind, o) for o in ({{'train': {{}}}}, {{'model': {str(folder)!r}}})];"
        "sys.exit(' '.join({'torch', 'transformers'} & sys.modules.keys()) or 0)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(checkpoint.__file__).parents[2])}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False, timeout=120)
    assert found.returncode == 0, found.stderr


def test_what_is_saved_opens_anywhere_and_repeats(tmp_path: Path) -> None:
    folders = [saved(tmp_path / name, "llama") for name in "ab"]
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
    assert contents[0] == contents[1]
    made, theirs = opened(folders[0])
    text = texts(1, 5, (8, 20))[0]
    ids = theirs(text, add_special_tokens=False).input_ids
    assert theirs.decode(ids) == text and (theirs.bos_token, theirs.eos_token) == (START, START)
    scorer = BitsPerByte(str(folders[0]))
    scorer.load(None)
    assert scorer.score(rows(text))["bpb"][0].as_py() == pytest.approx(plain_bpb(made, ids, text), rel=1e-5)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    made = model("llama")
    with torch.no_grad():
        made.get_input_embeddings().weight[3, 3] = math.inf
    with pytest.raises(CurateError, match="no numbers") as caught:
        saved(tmp_path / "m", made=made)
    assert "embed" in caught.value.where and "learning_rate" in caught.value.fix
