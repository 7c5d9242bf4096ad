"""The models of a bits-per-byte table: which folders a list of paths and patterns stands for, and what each model is.

A model is known by its content, so that moving one, or adding another to the list, computes nothing again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from curate import registry
from curate.causal_lm import model_folder
from curate.causal_lm.model_folder import CONFIG
from curate.errors import ConfigError, CurateError
from curate.evidence.settings import Losses, ModelEntry
from curate.hashing import fingerprint
from curate.scorers.bits_per_byte import BitsPerByte

WHERE = "correlate.losses.models"
RESERVED_NAMES = ("group", "n_pages", "n_bytes")
RESERVED_SLUGS = ("table",)
_WILD = re.compile(r"[*?\[]")
_UNFIT = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class PageModel:
    """One model and how it reads pages.

    Args:
        name: what tables call it.
        path: a folder, or a hub id.
        context: tokens of a window, None for the model's own.
    """

    name: str
    family: str
    path: str
    revision: str | None = None
    tokenizer: str | None = None
    start: str = "auto"
    context: int | None = None
    overlap: int = 0
    precision: Literal["float32", "bfloat16"] = field(default="float32")

    @property
    def slug(self) -> str:
        """Its name as that of a folder, different for different names."""
        plain = _UNFIT.sub("-", self.name).strip("-.")
        return plain if plain == self.name and plain not in RESERVED_SLUGS else f"{plain[:80]}-{fingerprint(self.name)[:8]}"

    def scorer(self) -> BitsPerByte:
        """What reads pages: every token counts, however short the page or chunk."""
        return BitsPerByte(
            self.path, self.revision, self.tokenizer, context=self.context, overlap=self.overlap, start=self.start, min_tokens=1,
            precision=self.precision,
        )  # fmt: skip

    @cached_property
    def folder(self) -> Path:
        """Where it lies on this machine."""
        return model_folder.find(self.path, self.revision)

    @property
    def tokenizer_file(self) -> Path:
        """Its tokenizer's file on this machine."""
        return (self.folder if self.tokenizer is None else Path(self.tokenizer)) / model_folder.TOKENIZER

    @cached_property
    def tokens(self) -> str:
        """Fingerprint of its tokenizer: models that share it share tokens."""
        return registry.content_hash(self.tokenizer_file)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What it computes is a function of this: content of its files, and how it reads."""
        found = registry.identity(self.scorer())
        options = found["options"]
        return {
            "class": found["class"],
            "version": found["version"],
            "files": found["files"],
            **{name: options[name] for name in ("context", "overlap", "start", "min_tokens", "precision")},
        }

    @property
    def weights(self) -> str:
        """A hash of its weights alone: two names for one model have the same."""
        # Weights stand first among a checkpoint's files.
        return fingerprint(self.identity["files"][: len(model_folder.weight_files(self.folder))])

    @property
    def n_bytes(self) -> int:
        """Size of its weights on disk."""
        return sum(file.stat().st_size for file in model_folder.weight_files(self.folder))

    @property
    def source(self) -> str:
        """Where others find it: its hub id and revision; of a local one the name of the folder."""
        if Path(self.path).is_dir():
            return _name_of(self.path)
        return self.path if self.revision is None else f"{self.path}@{self.revision}"


def find_models(settings: Losses) -> list[PageModel]:
    """The models of the list, patterns replaced by the folders they match, in order.

    Raises:
        ConfigError: a pattern that matches nothing, a name that is taken, a model twice.
    """
    found: list[PageModel] = []
    for i, entry in enumerate(settings.models):
        where = f"{WHERE}[{i}]"
        for path in _folders(entry, where):
            name = entry.name or _name_of(path)
            how = (entry.revision, entry.tokenizer, entry.start, settings.context, settings.overlap, settings.precision)
            found.append(PageModel(name, entry.family or name, path, *how))
            _check_name(found, where)
    return found


def check_models(settings: Losses) -> list[PageModel]:
    """As ``find_models``, with every model's small files read and found to fit the settings.

    Raises:
        CurateError: naming the model.
    """
    models = find_models(settings)
    for model in models:
        try:
            model.scorer().check()
        except CurateError as error:
            error.where = f"{WHERE}, {model.name}" + (f": {error.where}" if error.where else "")
            raise
    return models


def same_weights(models: Iterable[PageModel]) -> list[list[str]]:
    """Names of models that have the same weights as another, together."""
    by_weights: dict[str, list[str]] = {}
    for model in models:
        by_weights.setdefault(model.weights, []).append(model.name)
    return [names for names in by_weights.values() if len(names) > 1]


def _folders(entry: ModelEntry, where: str) -> list[str]:
    """What one entry stands for."""
    if not _WILD.search(entry.path) or Path(entry.path).is_dir():
        return [entry.path]
    above = Path(Path(entry.path).anchor)
    try:
        matched = sorted(str(path) for path in above.glob(str(Path(entry.path).relative_to(above))))
    except ValueError as error:
        raise ConfigError(
            f"{entry.path!r} is no pattern: {error}", where=f"{where}.path", expected="a pattern such as models/pythia-*",
            fix="correct the pattern",
        ) from None  # fmt: skip
    found = [path for path in matched if (Path(path) / CONFIG).is_file()]
    if not found:
        beside = f"; it matches {len(matched)} other paths, such as {matched[0]}" if matched else ""
        raise ConfigError(
            f"the pattern {entry.path!r} matches no model{beside}", where=f"{where}.path",
            expected=f"folders that hold a {CONFIG}", fix="correct the pattern; it is taken from the folder the command is given in",
        )  # fmt: skip
    if entry.name is not None and len(found) > 1:
        raise ConfigError(
            f"the name {entry.name!r} is given to {len(found)} models", where=f"{where}.name", expected="one folder for one name",
            fix="leave `name:` out, so that models have the names of their folders, or list them one by one",
        )  # fmt: skip
    return found


def _name_of(path: str) -> str:
    """The hub id, or the name of the folder."""
    return Path(path).resolve().name if Path(path).is_dir() else path


def _check_name(found: Sequence[PageModel], where: str) -> None:
    """The last model's name is its own."""
    last = found[-1]
    if not last.name.strip() or last.name in RESERVED_NAMES:
        raise ConfigError(
            f"a model cannot be called {last.name!r}", where=where, expected="a name that is no other column's", fix="give it a `name:`"
        )
    for other in found[:-1]:
        if other.name == last.name:
            again = "the same folder" if Path(other.path) == Path(last.path) else f"{other.path} and {last.path}"
            raise ConfigError(
                f"two models are called {last.name!r}: {again}", where=where, expected="a name for each model",
                fix="give one of them a `name:`, or remove it",
            )  # fmt: skip
