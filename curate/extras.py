"""Optional packages, asked for before any work starts."""

from __future__ import annotations

import importlib.util

from curate.errors import ConfigError

LANGUAGE_MODELS = ("torch", "transformers", "safetensors")


def require(packages: tuple[str, ...], extra: str, needed_by: str, instead: str = "") -> None:
    """Raise ConfigError unless all these packages are installed.

    Args:
        extra: of curate that brings them.
        needed_by: as the pipeline names it.
        instead: what does without them.
    """
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise ConfigError(
                f"{needed_by} needs the package {package!r}, which is not installed",
                where=needed_by,
                expected=f"the extra `{extra}`",
                fix=f"pip install 'curate[{extra}]'" + (f", or {instead}" if instead else ""),
            )
