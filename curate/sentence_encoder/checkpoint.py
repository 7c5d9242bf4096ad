"""A sentence encoder on disk: Hugging Face format, safetensors only, with its own tokenizer.

As for decoders, everything that can be wrong is found by reading small files, before any work; what only the loaded
model shows (weights that are missing, states that do not depend on later tokens) is found before the first document.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xxhash

from curate.causal_lm import model_folder
from curate.causal_lm.model_folder import CONFIG, TOKENIZER, TOKENIZER_CONFIG, WANTED, is_whole, wrong_value
from curate.errors import ConfigError, InputError
from curate.sentence_encoder import pooling, stated
from curate.sentence_encoder.pooling import MODULES, Pooling
from curate.tokenization import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FETCHED = (*WANTED, stated.LENGTHS, stated.PROMPTS, MODULES, f"*/{CONFIG}")
LONGEST_DEFAULT = 512
WIDTHS = ("hidden_size", "dim", "d_model", "emb_dim")
USUAL = {"albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta"}
"""Encoders known without the library's list, which takes seconds to import."""
COUNTED_FROM_PADDING = {"camembert", "data2vec-text", "ibert", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta"} | {
    "xlm-roberta-xl",
    "xmod",
}
"""Their first position is the one after the padding token's id, so that some of their positions are never used."""
DECODERS = ("ForCausalLM", "LMHeadModel")
UNUSED = "pooler"
OF_ODD_SETTINGS = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError)
"""What the library's code falls over where a configuration has values of another kind than it expects."""
BLOCK_BYTES = 1 << 24


@dataclass(frozen=True)
class EncoderCheckpoint:
    """An encoder whose small files have been read and found to fit together.

    Args:
        folder: on this machine.
        name: as the user wrote it, for messages.
        config: the content of ``config.json``.
    """

    folder: Path
    name: str
    config: dict[str, Any]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer it was trained with."""
        return Tokenizer.open(self.folder)

    @property
    def width(self) -> int:
        """d, numbers of a vector."""
        return next(int(self.config[key]) for key in WIDTHS if self.config.get(key) is not None)

    @property
    def positions(self) -> int | None:
        """Most tokens it can read, None where there is no limit."""
        most = self.config.get("max_position_embeddings")
        if not isinstance(most, int) or most <= 0:
            return None
        return most - self.pad_id - 1 if self.config.get("model_type") in COUNTED_FROM_PADDING else most

    @property
    def pad_id(self) -> int:
        """The token that padding is filled with."""
        found = self.config.get("pad_token_id")
        return found if isinstance(found, int) else int(self.config.get("model_type") in COUNTED_FROM_PADDING)

    @property
    def default_length(self) -> int:
        """Tokens of a document that are read unless another number is asked for: what its folder says, at most 512."""
        limits = (stated.max_length(self.folder), self.positions, LONGEST_DEFAULT)
        return min(limit for limit in limits if limit is not None)

    @property
    def default_prompt(self) -> str:
        """Text that its folder says to put before every text; empty where it says none."""
        return stated.default_prompt(self.folder)

    @property
    def files(self) -> tuple[Path, ...]:
        """What its content is: weights, configuration, tokenizer, and what its folder says of vectors."""
        beside = [self.folder / name for name in (CONFIG, TOKENIZER, TOKENIZER_CONFIG, stated.LENGTHS, stated.PROMPTS)]
        found = (*model_folder.weight_files(self.folder), *(path for path in beside if path.is_file()))
        return (*found, *pooling.files(self.folder))

    @property
    def leaves_out_prompts(self) -> bool:
        """Whether its folder says that the tokens of a prompt do not count for a vector."""
        return pooling.leaves_out_prompts(self.folder)

    def pooling(self, asked: str) -> Pooling:
        """How vectors are made; ``auto`` is what its folder says."""
        if asked == "auto":
            return pooling.stated(self.folder)
        return "cls" if asked == "cls" else "mean"

    def identity(self, *settings: str) -> str:
        """Of the space its vectors lie in: 32 hex digits of weights, configuration, tokenizer and these settings."""
        digest = xxhash.xxh3_128()
        for path in (*model_folder.weight_files(self.folder), self.folder / CONFIG, self.folder / TOKENIZER):
            about = path.stat()
            digest.update(_content(str(path), about.st_size, about.st_mtime_ns))
        for setting in settings:
            digest.update(setting.encode() + b"\0")
        return digest.hexdigest()

    def load(self, device: str = "cpu") -> PreTrainedModel:
        """The model in evaluation mode, float32.

        Raises:
            ConfigError: there is no such device.
            InputError: the files hold no whole encoder.
        """
        import torch
        from huggingface_hub.errors import StrictDataclassError
        from safetensors import SafetensorError
        from transformers import AutoModel

        if device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(
                f"there is no device {device!r} here",
                where="embedding",
                expected="a GPU that torch sees",
                fix="run on cpu, or install CUDA",
            )
        model_folder.quiet()
        try:
            model, found = AutoModel.from_pretrained(
                self.folder,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError, StrictDataclassError, *OF_ODD_SETTINGS) as error:
            said = str(error).strip() or type(error).__name__
            raise self._unfit(f"cannot be loaded: {said.splitlines()[0]}", "an encoder in Hugging Face format") from error
        # A layer for classification is not used here, and often not there.
        missing = sorted(key for key in found["missing_keys"] if UNUSED not in key)
        if missing or found.get("mismatched_keys"):
            lacking = missing or [str(key) for key in found["mismatched_keys"]]
            raise self._unfit(f"lacks {len(lacking)} of its weights, such as {lacking[0]}", "every weight its configuration asks for")
        moved: Any = model.to(device)
        return moved.eval().requires_grad_(False)

    def _unfit(self, what: str, expected: str) -> InputError:
        return InputError(
            f"the model {self.name!r} {what}",
            where=str(self.folder),
            expected=expected,
            fix="fetch or save it again, or give another; curate runs no code that comes with a model",
        )


@lru_cache(256)
def _content(path: str, size: int, changed: int) -> bytes:
    """xxh3-128 of a file, read once as long as it does not change."""
    digest = xxhash.xxh3_128()
    with Path(path).open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
    return digest.digest()


def open_encoder(name: str, revision: str | None = None) -> EncoderCheckpoint:
    """The encoder a path or hub id stands for, its small files checked.

    Args:
        name: a folder in Hugging Face or sentence-transformers format, or a hub id such as
            ``sentence-transformers/all-MiniLM-L6-v2`` (fetched once into the hub's own cache).
        revision: commit, tag or branch on the hub.

    Raises:
        InputError: not there, incomplete, without a tokenizer, with pickled weights, no encoder, or in need of code of its own.
        ConfigError: model and tokenizer do not belong together.
    """
    folder = model_folder.find(name, revision, FETCHED)
    found = EncoderCheckpoint(folder, name, model_folder.read_config(folder))
    model_folder.check_weights(folder, "AutoModel")
    model_folder.check_tokenizer(name, folder, "vectors")
    _check_architecture(found)
    _check_sizes(found)
    model_folder.check_vocabulary(name, found.config, found.tokenizer, folder)
    return found


def _check_sizes(found: EncoderCheckpoint) -> None:
    """The numbers of the configuration that are used here are such numbers, and fit together."""
    config, where = found.config, found.folder / CONFIG
    named = [key for key in WIDTHS if config.get(key) is not None]
    if not named:
        raise InputError(
            f"the model {found.name!r} does not say how wide its vectors are", where=str(where), expected="a `hidden_size`",
            fix="give another model in `model:`",
        )  # fmt: skip
    if not is_whole(config[named[0]]):
        raise wrong_value(where, f"`{named[0]}`", config[named[0]], "a whole number of 1 or more: how wide the model's vectors are")
    positions, pad, size = (config.get(key) for key in ("max_position_embeddings", "pad_token_id", "vocab_size"))
    if positions is not None and not is_whole(positions, -1):
        raise wrong_value(where, "`max_position_embeddings`", positions, "a whole number: the most tokens that the model reads")
    if pad is not None and not (is_whole(pad, 0) and (size is None or pad < size)):
        raise wrong_value(where, "`pad_token_id`", pad, "the id of a token, below `vocab_size`" + ("" if size is None else f", {size:,}"))


def _check_architecture(found: EncoderCheckpoint) -> None:
    """An encoder that transformers itself builds; not a decoder, whose states know only what came before."""
    kind, stated = str(found.config.get("model_type")), str((found.config.get("architectures") or [""])[0])
    if stated.endswith(DECODERS) or found.config.get("is_decoder") is True:
        raise no_encoder(found, f"{found.name!r} is a causal language model: a token's state knows nothing of what comes after it")
    if found.config.get("is_encoder_decoder") is True:
        raise no_encoder(found, f"{found.name!r} is an encoder and a decoder in one")
    if kind in USUAL and "auto_map" not in found.config:
        return
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as CAUSAL
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING_NAMES as MASKED
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    if kind in CAUSAL and kind not in MASKED:
        raise no_encoder(found, f"{found.name!r} is a decoder: a token's state knows nothing of what comes after it")
    if kind not in MODEL_MAPPING_NAMES:
        own = "auto_map" in found.config
        raise no_encoder(found, f"the model {found.name!r} needs code that comes with it" if own else f"{found.name!r} is no encoder")


def no_encoder(found: EncoderCheckpoint, what: str) -> InputError:
    """The refusal of a model that is none of the kind."""
    return InputError(
        what,
        where=f"{found.folder / CONFIG}: model_type {found.config.get('model_type')!r}",
        expected="an encoder such as BERT that transformers has code for; curate runs no code that comes with a model",
        fix="give a sentence encoder in `model:`, such as sentence-transformers/all-MiniLM-L6-v2",
    )
