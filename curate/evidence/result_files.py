"""Which files a path of benchmark results stands for: one, a folder of them, or a pattern, here or at a URL."""

from __future__ import annotations

from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import fsspec

from curate.errors import ConfigError, InputError
from curate.evidence.settings import Benchmarks


def is_harness(path: str) -> bool:
    """Whether a file is read as lm-evaluation-harness writes it; else it is a table."""
    return path.lower().endswith(".json")


def check_used(entry: Benchmarks, paths: Sequence[str]) -> None:
    """Refuse a key that would do nothing.

    Raises:
        ConfigError: ``metric`` without a file of the harness, ``id`` without a table.
    """
    kinds = {is_harness(path) for path in paths}
    for key, value, of_harness, what in (
        ("metric", entry.metric, True, "results of lm-evaluation-harness"),
        ("id", entry.id, False, "tables"),
    ):
        if value is not None and of_harness not in kinds:
            raise ConfigError(
                f"`{key}: {value}` is for {what}, and there are none", where=f"correlate.benchmarks.{key}, {entry.path}",
                expected="files that end in .json" if of_harness else "a CSV or Parquet table", fix=f"remove `{key}:`",
            )  # fmt: skip


def result_files(entry: Benchmarks, options: dict[str, Any] | None = None) -> list[str]:
    """The files that a path, a folder of results or a pattern stands for, sorted.

    Raises:
        InputError: there are none, or they cannot be listed.
    """
    try:
        found = _listed(entry.path, options)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"benchmark results cannot be listed: {error}", where=entry.path, expected="a file, folder or pattern within reach",
            fix="check the path",
        ) from error  # fmt: skip
    if not found:
        raise InputError(
            "there are no benchmark results", where=entry.path,
            expected="a table, or a file, folder or pattern of lm-evaluation-harness results",
            fix="check the path; in a folder files must be called results*.json, others need a pattern such as `folder/**/*.json`",
        )  # fmt: skip
    return sorted(set(found))


def _listed(path: str, options: dict[str, Any] | None) -> list[str]:
    """The files that there are."""
    if "://" in path:
        fs, inner = fsspec.core.url_to_fs(path, **(options or {}))
        inside = fs.isdir(inner)
        pattern = f"{inner.rstrip('/')}/**/results*.json" if inside else inner
        found = [fs.unstrip_protocol(name) for name in fs.glob(pattern)] if inside or has_magic(path) else [path] * bool(fs.exists(inner))
    elif Path(path).is_dir():
        found = [str(name) for name in Path(path).rglob("results*.json") if name.is_file()]
    elif has_magic(path) and not Path(path).exists():
        found = [name for name in glob(path, recursive=True) if Path(name).is_file()]  # noqa: PTH207
    else:
        found = [path] * Path(path).exists()
    return found
