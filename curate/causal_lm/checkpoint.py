"""A causal language model on disk: Hugging Face format, safetensors only, with its own tokenizer.

Everything that can be wrong about a model is found by reading small files (configuration, tokenizer, the names of
the weights), so that a pipeline is refused before any work.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.causal_lm import model_folder
from curate.causal_lm.model_folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG
from curate.errors import ConfigError, CurateError, InputError
from curate.tokenization import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

NO_START = "none"


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
        beside = [self.folder / CONFIG, self.tokenizer_folder / TOKENIZER, self.tokenizer_folder / TOKENIZER_CONFIG]
        return (*model_folder.weight_files(self.folder), *(path for path in beside if path.is_file()))

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
        named = model_folder.read_object(self.tokenizer_folder / TOKENIZER_CONFIG).get("bos_token")
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

        model_folder.quiet()
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
    folder = model_folder.find(name, revision)
    config = model_folder.read_config(folder)
    model_folder.check_weights(folder, "AutoModelForCausalLM")
    beside = folder if tokenizer is None else Path(tokenizer)
    model_folder.check_tokenizer(name, beside, "scores")
    found = Checkpoint(folder, name, config, beside)
    _check_architecture(found)
    model_folder.check_vocabulary(name, config, found.tokenizer, beside)
    return found


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
    model_folder.quiet()
    model.save_pretrained(folder)
    (folder / TOKENIZER).write_bytes(tokenizer.content)
    beside = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": start,
        "eos_token": start,
        "model_max_length": model.config.max_position_embeddings,
    }
    (folder / TOKENIZER_CONFIG).write_text(json.dumps(beside, indent=1, sort_keys=True) + "\n")
