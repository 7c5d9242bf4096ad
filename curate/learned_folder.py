"""Files that an earlier fit left and a pipeline names: read without pickle, and refused by name where they are damaged.

Compiled kernels trust the shapes they are given, so that a wrong one would end the process instead of the run.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import InputError


@dataclass(frozen=True)
class LearnedFolder:
    """A folder of JSON facts and .npy arrays.

    Args:
        path: the folder.
        what: it should hold, as a person would say.
        option: of the pipeline that names it.
    """

    path: Path
    what: str
    option: str

    def facts(self, name: str, sizes: tuple[str, ...]) -> dict[str, Any]:
        """The JSON object of a file.

        Args:
            sizes: its keys whose values must be whole numbers from 1.

        Raises:
            InputError: the file is missing or no JSON object, or a size is absent or none.
        """
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise self.wrong(name, f"cannot be read: {error}", "a JSON object") from error
        if not isinstance(found, dict):
            raise self.wrong(name, f"is a JSON {type(found).__name__}", "a JSON object")
        for key in sizes:
            if type(found.get(key)) is not int or found[key] < 1:
                said = f"has {key} {short(found[key])}" if key in found else f"has no {key}"
                raise self.wrong(name, said, f"{', '.join(sizes)}: whole numbers from 1")
        return found

    def array(self, name: str, shape: tuple[int, ...], dtype: type, *, finite: bool = True) -> np.ndarray:
        """The array of a .npy file, in C order.

        Args:
            finite: whether all its numbers must be.

        Raises:
            InputError: the file is missing, damaged, or holds another kind of array.
        """
        expected = f"{' x '.join(map(str, shape))} {'finite ' if finite else ''}numbers, {np.dtype(dtype).name}"
        try:
            mapped = np.lib.format.open_memmap(self.path / name, mode="r")  # allocates nothing for a shape that is a lie
        except Exception as error:  # a damaged header raises errors of many kinds
            raise self.wrong(name, f"cannot be read: {error}", expected) from error
        if mapped.shape != shape or mapped.dtype != dtype:
            raise self.wrong(name, f"holds {mapped.shape} {mapped.dtype}", expected)
        found = np.array(mapped, order="C")
        if finite and not np.isfinite(found).all():
            raise self.wrong(name, "holds numbers that are not finite", expected)
        return found

    def wrong(self, name: str, said: str, expected: str) -> InputError:
        """The error for one of the files."""
        return InputError(
            f"the folder holds no {self.what}: {name} {said}",
            where=str(self.path / name),
            expected=f"{expected}, as an earlier fit left it",
            fix=f"correct `{self.option}`: it is models/<scorer> of a pipeline's output; or learn it again",
        )


def short(value: object, most: int = 60) -> str:
    """A value as an error message shows it: what is long is cut."""
    said = repr(value)
    return said if len(said) <= most else f"{said[: most - 1]}…"
