"""A causal language model on disk: Hugging Face format, safetensors only, with its own tokenizer.

Everything that can be wrong about a model is found by reading small files (configuration, tokenizer, the names of
the weights), so that a pipeline is refused before any work.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import ConfigError, CurateError, InputError
from curate.tokenization import Tokenizer
from curate.tokenization.location import may_be_hub_id

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CONFIG, TOKENIZER, TOKENIZER_CONFIG = "config.json", "tokenizer.json", "tokenizer_config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
WANTED = (CONFIG, TOKENIZER, TOKENIZER_CONFIG, INDEX, "*.safetensors")
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NO_START = "none"
LEAST_SHARE_OF_VOCABULARY = 0.9
"""A vocabulary is padded to a round size by some hundred ids; a tokenizer that lacks a tenth of them is another model's."""


@dataclass(frozen=True)
class Checkpoint:
    """A model whose small files have been read and found to fit together.

    Args:
        folder: on this machine.
        name: as the user wrote it, for messages.
        config: the content of ``config.json``.
        tokenizer_folder: where ``tokenizer.json`` lies, the model's own folder unless another was named.
    """

    folder: Path
    name: str
    config: dict[str, Any]
    tokenizer_folder: Path

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer it was trained with."""
        return Tokenizer.open(self.tokenizer_folder)

    @property
    def context(self) -> int | None:
        """Most positions it can read, None where its positions have no limit."""
        for key in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
            if isinstance(self.config.get(key), int):
                return int(self.config[key])
        return None

    @property
    def files(self) -> tuple[Path, ...]:
        """What its content is: weights, configuration, tokenizer."""
        weights = sorted(self.folder.glob("*.safetensors"))
        beside = [self.folder / CONFIG, self.tokenizer_folder / TOKENIZER, self.tokenizer_folder / TOKENIZER_CONFIG]
        return (*weights, *(path for path in beside if path.is_file()))

    def start_id(self, start: str) -> int | None:
        """The token that windows begin with.

        Args:
            start: ``auto`` for the model's own (its begin-of-sequence token, else the one that ends documents),
                ``none``, or a token's text.

        Raises:
            ConfigError: there is no such token.
        """
        if start == NO_START:
            return None
        if start != "auto":
            return self._named_start(start)
        named = _read_json(self.tokenizer_folder / TOKENIZER_CONFIG).get("bos_token")
        text = named.get("content") if isinstance(named, dict) else named
        if isinstance(text, str):
            return self._named_start(text)
        stated = self.config.get("bos_token_id")
        if isinstance(stated, int) and 0 <= stated < self.tokenizer.vocab_size:
            return stated
        try:
            return self.tokenizer.separator_id()
        except ConfigError as error:
            raise ConfigError(
                f"the model {self.name!r} names no token to begin a document with",
                where=str(self.tokenizer_folder / TOKENIZER_CONFIG),
                expected="a `bos_token`",
                fix="set `start:` to one of its tokens, or to none, which leaves a document's first token unpredicted",
            ) from error

    def _named_start(self, start: str) -> int:
        try:
            return self.tokenizer.separator_id(start)
        except ConfigError as error:
            raise ConfigError(
                f"windows cannot begin with {start!r}: the tokenizer of {self.name!r} has no such token",
                where=str(self.tokenizer_folder / TOKENIZER),
                expected=error.expected,
                fix="set `start:` to one of them, to auto for the model's own, or to none",
            ) from error

    def load(self, device: str = "cpu", precision: str = "float32") -> PreTrainedModel:
        """The model in evaluation mode.

        Args:
            device: as torch names it.
            precision: of weights and arithmetic, ``float32`` or ``bfloat16``.
        """
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        _quiet()
        try:
            model = AutoModelForCausalLM.from_pretrained(
                self.folder,
                dtype=getattr(torch, precision),
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            said = str(error).strip() or type(error).__name__
            raise InputError(
                f"the model {self.name!r} cannot be loaded: {said.splitlines()[0]}",
                where=str(self.folder),
                expected="a causal language model in Hugging Face format",
                fix="fetch or save it again; curate runs no code that comes with a model",
            ) from error
        moved: Any = model.to(device)
        return moved.eval().requires_grad_(False)


def _quiet() -> None:
    """The library's own bars and advice would stand between a pipeline's lines."""
    from transformers import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def open_checkpoint(name: str, revision: str | None = None, tokenizer: str | None = None) -> Checkpoint:
    """The model a path or hub id stands for, its small files checked.

    Args:
        name: a folder in Hugging Face format, or a hub id such as ``EleutherAI/pythia-160m`` (fetched once into
            the hub's own cache, which is also where it is found offline).
        revision: commit, tag or branch on the hub.
        tokenizer: folder of the tokenizer, where the model's own has none.

    Raises:
        InputError: not there, incomplete, without a tokenizer, with pickled weights, or in need of code of its own.
        ConfigError: model and tokenizer do not belong together.
    """
    folder = _folder(name, revision)
    config = _read_json(folder / CONFIG)
    if not config:
        raise InputError("this folder holds no model", where=str(folder), expected=f"a {CONFIG} that can be read", fix="correct `model:`")
    _check_weights(folder)
    beside = folder if tokenizer is None else Path(tokenizer)
    if not (beside / TOKENIZER).is_file():
        raise InputError(
            f"the model {name!r} has no tokenizer, and its scores are worth nothing under another's",
            where=str(beside),
            expected=f"a {TOKENIZER} beside the weights",
            fix=f"save the model's own there: AutoTokenizer.from_pretrained(…).save_pretrained({str(beside)!r})",
        )
    found = Checkpoint(folder, name, config, beside)
    _check_architecture(found)
    _check_vocabulary(found)
    return found


def _folder(name: str, revision: str | None) -> Path:
    """A local folder as it is; a hub id by way of the hub's cache."""
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists() or not may_be_hub_id(name):
        raise InputError(
            "there is no model at this path", where=name, expected="a folder in Hugging Face format, or a hub id", fix="correct `model:`"
        )
    from huggingface_hub import snapshot_download

    def fetched(wanted: tuple[str, ...], **more: bool) -> Path:
        fetch: Callable[..., str] = snapshot_download
        found = Path(fetch(name, revision=revision, allow_patterns=list(WANTED), **more))
        # A tokenizer that was fetched by itself leaves a folder, too.
        if not all(any(found.glob(pattern)) for pattern in wanted):
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


def _read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; empty where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"the file cannot be read: {error}", where=str(path), expected="a JSON object", fix="fetch it again") from error
    return found if isinstance(found, dict) else {}


def _check_weights(folder: Path) -> None:
    """Weights are read from safetensors only: a pickle runs code when it is opened."""
    from safetensors import SafetensorError, safe_open

    several = _read_json(folder / INDEX).get("weight_map", {})
    files = [WEIGHTS] if (folder / WEIGHTS).is_file() else sorted(set(several.values()))
    if not files:
        _refuse_pickles(folder)
    for name in files:
        try:
            with safe_open(folder / name, "numpy"):
                pass
        except (OSError, SafetensorError) as error:
            raise InputError(
                f"the model's weights cannot be read: {error}",
                where=str(folder / name),
                expected="a whole file of safetensors",
                fix="fetch the file again; an unfinished download or a Git LFS pointer under this name is a frequent cause",
            ) from error


def _refuse_pickles(folder: Path) -> None:
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
        f"AutoModelForCausalLM.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r}), which writes safetensors",
    )


def _check_architecture(found: Checkpoint) -> None:
    """Only what transformers itself builds is read: no code that comes with a model is run.

    An ordinary decoder says so in its configuration; the library's list, which takes seconds to import, is asked for others.
    """
    kind, stated = found.config.get("model_type"), found.config.get("architectures") or [""]
    if kind and "auto_map" not in found.config and str(stated[0]).endswith(("ForCausalLM", "LMHeadModel")):
        return
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if kind not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        own = "auto_map" in found.config
        raise InputError(
            f"the model {found.name!r} needs code that comes with it" if own else f"{found.name!r} is no causal language model",
            where=f"{found.folder / CONFIG}: model_type {kind!r}",
            expected="a causal language model that transformers has code for; curate runs no code that comes with a model",
            fix="give another model in `model:`, or install a transformers that knows this one",
        )


def _check_vocabulary(found: Checkpoint) -> None:
    """Every id the tokenizer gives must have a row in the model, and the tokenizer must be the model's own."""
    text = found.config.get("text_config")
    size = found.config.get("vocab_size", text.get("vocab_size") if isinstance(text, dict) else None)
    if not isinstance(size, int):
        return
    ids = found.tokenizer.vocab_size
    if not LEAST_SHARE_OF_VOCABULARY * size <= ids <= size:
        raise ConfigError(
            f"the model {found.name!r} has {size:,} token ids and the tokenizer {ids:,}",
            where=str(found.tokenizer_folder / TOKENIZER),
            expected=f"{int(LEAST_SHARE_OF_VOCABULARY * size):,} to {size:,} ids: the tokenizer it was trained with",
            fix="put the model's own tokenizer.json beside its weights",
        )


def save(model: Any, tokenizer: Tokenizer, start: str, folder: Path) -> None:
    """Write model and tokenizer so that any tool opens them: the same bytes for the same weights.

    Args:
        model: a transformers model.
        tokenizer: the one it was trained with.
        start: text of the token that begins and separates documents.
        folder: existing.

    Raises:
        CurateError: weights that are no numbers.
    """
    import torch

    for name, weight in model.named_parameters():
        if not bool(torch.isfinite(weight).all()):
            raise CurateError("the trained weights are no numbers", where=name, expected="finite weights", fix="lower `learning_rate`")
    _quiet()
    model.save_pretrained(folder)
    (folder / TOKENIZER).write_bytes(tokenizer.content)
    beside = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": start,
        "eos_token": start,
        "model_max_length": model.config.max_position_embeddings,
    }
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(beside, indent=1, sort_keys=True) + "\n")
