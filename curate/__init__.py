"""From raw text to weighted Arrow shards: score every document, mix, emit.

    from curate import Pipeline

    corpus = Pipeline.from_yaml("pipelines/quickstart.yaml").run()
    corpus.table(["domain", "n_bytes", "mix.weight"]).to_pandas()

These names are the public ones; ``curate.testing`` has the contract suites for scorers and
mixers. Each is imported when it is first used, so that ``import curate`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from curate.corpus import Corpus
    from curate.errors import (
        BadRecordsError,
        ConfigError,
        CurateError,
        InfeasibleMixtureError,
        InputError,
        IntegrityError,
        StaleOutputError,
    )
    from curate.mixers.document_mixer import Budget, DocumentMixer
    from curate.mixers.mixer import Mixer, Mixture
    from curate.pipeline import Pipeline
    from curate.scorers.scorer import Resources, Sample, Scorer, columns
    from curate.stream import Stream, loader

__version__ = "0.1.0"

__all__ = [
    "BadRecordsError",
    "Budget",
    "ConfigError",
    "Corpus",
    "CurateError",
    "DocumentMixer",
    "InfeasibleMixtureError",
    "InputError",
    "IntegrityError",
    "Mixer",
    "Mixture",
    "Pipeline",
    "Resources",
    "Sample",
    "Scorer",
    "StaleOutputError",
    "Stream",
    "columns",
    "loader",
]

_HOMES = {
    "curate.corpus": ("Corpus",),
    "curate.errors": (
        "BadRecordsError",
        "ConfigError",
        "CurateError",
        "InfeasibleMixtureError",
        "InputError",
        "IntegrityError",
        "StaleOutputError",
    ),
    "curate.mixers.document_mixer": ("Budget", "DocumentMixer"),
    "curate.mixers.mixer": ("Mixer", "Mixture"),
    "curate.pipeline": ("Pipeline",),
    "curate.scorers.scorer": ("Resources", "Sample", "Scorer", "columns"),
    "curate.stream": ("Stream", "loader"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'curate' has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
