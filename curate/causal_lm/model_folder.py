"""A model's folder in Hugging Face format, whatever its kind: finding it, and what makes it unfit to open.

Decoders (``curate.causal_lm``) and encoders (``curate.sentence_encoder``) are fetched and refused by the same rules:
weights from safetensors only, no code that comes with a model, its own tokenizer beside it. All of it is found by
reading small files, before any library of models is imported.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from curate.errors import ConfigError, InputError
from curate.tokenization import Tokenizer
from curate.tokenization.location import may_be_hub_id

CONFIG, TOKENIZER, TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
WANTED = (CONFIG, TOKENIZER, TOKENIZER_CONFIG, INDEX, "*.safetensors")
OTHER_WEIGHTS = "transformers_weights"
"""By this setting the library loads a file of any name."""
SHOWN = 80
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
LEAST_SHARE_OF_VOCABULARY = 0.9
"""A vocabulary is padded to a round size by some hundred ids; a tokenizer that lacks a tenth of them is another model's."""


def find(name: str, revision: str | None, wanted: tuple[str, ...] = WANTED) -> Path:
    """A local folder as it is; a hub id by way of the hub's cache.

    Args:
        name: a folder, or a hub id.
        revision: commit, tag or branch on the hub.
        wanted: patterns of the files to fetch.

    Raises:
        InputError: it is neither, or the hub did not give it.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists() or not may_be_hub_id(name):
        raise InputError(
            "there is no model at this path", where=name, expected="a folder in Hugging Face format, or a hub id", fix="correct `model:`"
        )
    from huggingface_hub import snapshot_download

    def fetched(needed: tuple[str, ...], **more: bool) -> Path:
        fetch: Callable[..., str] = snapshot_download
        found = Path(fetch(name, revision=revision, allow_patterns=list(wanted), **more))
        # A tokenizer that was fetched by itself leaves a folder, too.
        if not all(any(found.glob(pattern)) for pattern in needed):
            raise FileNotFoundError(f"{found} is not whole")
        return found

    with suppress(OSError, ValueError):
        return fetched((CONFIG, "*.safetensors"), local_files_only=True)
    try:
        return fetched((CONFIG,))
    except Exception as error:
        raise InputError(
            f"the model {name!r} is no local folder, not whole in the hub's cache, and the hub did not give it",
            where=f"model: {name}",
            expected=f"a folder, or a hub id that this machine can reach ({type(error).__name__})",
            fix="check the name and the network, or copy the model here and give its folder",
        ) from error


def read_json(path: Path) -> Any:
    """What a small JSON file holds; an empty mapping where there is no file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"the file cannot be read: {error}", where=str(path), expected="a JSON object", fix="fetch it again") from error


def read_object(path: Path) -> dict[str, Any]:
    """A small JSON object; empty where there is no file.

    Raises:
        InputError: it is no object, or cannot be read.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise wrong_value(path, "the file's content", found, "a JSON object")
    return found


def wrong_value(path: Path, name: str, value: Any, expected: str) -> InputError:
    """The refusal of what a model's file says."""
    said = json.dumps(value)
    shown = said if len(said) <= SHOWN else said[:SHOWN] + "…"
    return InputError(
        f"{name} cannot be {shown}", where=str(path), expected=expected, fix="fetch or save the model again, or correct the value there"
    )


def is_whole(value: Any, least: int = 1) -> bool:
    """Whether it is a whole number of at least this; JSON's true is none."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def read_config(folder: Path) -> dict[str, Any]:
    """The content of ``config.json``.

    Raises:
        InputError: there is none, or it does not say what kind of model it is, or names weights elsewhere.
    """
    config = read_object(folder / CONFIG)
    if not config:
        raise InputError("this folder holds no model", where=str(folder), expected=f"a {CONFIG} that can be read", fix="correct `model:`")
    kind, classes = config.get("model_type"), config.get("architectures")
    if kind is not None and not isinstance(kind, str):
        raise wrong_value(folder / CONFIG, "`model_type`", kind, "a name, such as bert")
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise wrong_value(folder / CONFIG, "`architectures`", classes, "a list of names, such as BertModel")
    text = config.get("text_config")
    for place, values in (("", config), ("text_config.", text if isinstance(text, dict) else {})):
        size = values.get("vocab_size")
        if size is not None and not is_whole(size):
            raise wrong_value(folder / CONFIG, f"`{place}vocab_size`", size, "a whole number of 1 or more")
    if config.get(OTHER_WEIGHTS) is not None:
        raise wrong_value(
            folder / CONFIG, f"`{OTHER_WEIGHTS}`", config[OTHER_WEIGHTS], f"nothing: weights are read from {WEIGHTS} or {INDEX}"
        )
    return config


def weight_files(folder: Path) -> tuple[Path, ...]:
    """What the model's weights are read from: one file of safetensors, or an index and the files it names, in its own folder.

    Raises:
        InputError: the index names something else than files beside it.
    """
    if (folder / WEIGHTS).is_file():
        return (folder / WEIGHTS,)
    index = folder / INDEX
    if not index.is_file():
        return ()
    several = read_object(index).get("weight_map", {})
    if not isinstance(several, dict):
        raise wrong_value(index, "`weight_map`", several, "an object: the name of each weight, and of the file that has it")
    for name in several.values():
        # What lies elsewhere would be loaded and not be part of what the model is known by.
        if not isinstance(name, str) or not name or "/" in name or "\\" in name or ".." in name:
            raise wrong_value(index, "a file of weights", name, "the name of a file in the same folder")
    return (index, *(folder / name for name in sorted(set(several.values()))))


def check_weights(folder: Path, opened_by: str) -> None:
    """Weights are read from safetensors only: a pickle runs code when it is opened.

    Args:
        opened_by: the class of transformers that converts pickled ones, for the message.

    Raises:
        InputError: missing, pickled, cut short, or outside the folder.
    """
    from safetensors import SafetensorError, safe_open

    files = [path for path in weight_files(folder) if path.name != INDEX]
    if not files:
        _refuse_pickles(folder, opened_by)
    for path in files:
        try:
            with safe_open(path, "numpy"):
                pass
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"the model's weights cannot be read: {error}",
                where=str(path),
                expected="a whole file of safetensors",
                fix="fetch the file again; an unfinished download or a Git LFS pointer under this name is a frequent cause",
            ) from error


def _refuse_pickles(folder: Path, opened_by: str) -> None:
    """Say why there are no weights, and how to convert those that there are."""
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    if not pickled:
        raise InputError(
            "the model has no weights", where=str(folder), expected=f"{WEIGHTS}, or {INDEX} and its files", fix="fetch or save it again"
        )
    raise InputError(
        f"the weights are pickled ({pickled[0]}), and a pickle runs code when it is opened",
        where=str(folder / pickled[0]),
        expected=f"weights as {WEIGHTS}",
        fix="if you trust it, convert it once: "
        f"{opened_by}.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r}), which writes safetensors",
    )


def check_tokenizer(name: str, folder: Path, worth: str) -> None:
    """A model is read under its own tokenizer.

    Args:
        name: of the model, for the message.
        folder: where ``tokenizer.json`` should lie.
        worth: what is worth nothing under another's.

    Raises:
        InputError: it has none.
    """
    if not (folder / TOKENIZER).is_file():
        raise InputError(
            f"the model {name!r} has no tokenizer, and its {worth} are worth nothing under another's",
            where=str(folder),
            expected=f"a {TOKENIZER} beside the weights",
            fix=f"save the model's own there: AutoTokenizer.from_pretrained(…).save_pretrained({str(folder)!r})",
        )


def check_vocabulary(name: str, config: dict[str, Any], tokenizer: Tokenizer, where: Path) -> None:
    """Every id the tokenizer gives must have a row in the model, and the tokenizer must be the model's own.

    Raises:
        ConfigError: they do not belong together.
    """
    text = config.get("text_config")
    size = config.get("vocab_size", text.get("vocab_size") if isinstance(text, dict) else None)
    if not isinstance(size, int):
        return
    ids = tokenizer.vocab_size
    if not LEAST_SHARE_OF_VOCABULARY * size <= ids <= size:
        raise ConfigError(
            f"the model {name!r} has {size:,} token ids and the tokenizer {ids:,}",
            where=str(where / TOKENIZER),
            expected=f"{int(LEAST_SHARE_OF_VOCABULARY * size):,} to {size:,} ids: the tokenizer it was trained with",
            fix="put the model's own tokenizer.json beside its weights",
        )


def quiet() -> None:
    """The library's own bars and advice would stand between a pipeline's lines."""
    from transformers import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
