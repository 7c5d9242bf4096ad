"""The ``dedup:`` section of a pipeline, checked before any work starts.

    dedup: {}                                                   copies of the same text only
    dedup: {near: true}                                         near duplicates too, at the defaults below
    dedup:
      near: {threshold: 0.8, ngram: 5, bands: 14, rows: 8, verify: true}
      keep: longest | first | {best: quality.score}             also written `best quality.score`
      prefer: ["wiki/*", "books/*"]                             sources, the one to keep from first

Two documents of Jaccard similarity s share a given MinHash with probability s, all of the r rows
of a band with s^r, and at least one of b bands with 1 - (1 - s^r)^b (Leskovec, Rajaraman &
Ullman, Mining of Massive Datasets, 3.4.2). The curve is steepest near (1/b)^(1/r). Settings are
refused whose curve does not rise at the threshold: those that find less than half of the pairs
exactly as similar as the threshold, and those that also take many pairs only half as similar.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from curate.errors import ConfigError, nearest
from curate.scorers.minhash import MOST_PERMUTATIONS

LEAST_FOUND = 0.5
"""Probability that a pair at the threshold must at least be found with."""
MOST_LOOSE = 0.2
"""Probability that a pair at half the threshold may at most be taken with; each one joins documents that differ."""
MOST_LOOSE_VERIFIED = 0.5
"""The same where candidates are compared: there it costs time only."""

_SHOWN = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
_GOOD = 0.9
_MOST_ROWS = 64


def probability(s: float, bands: int, rows: int) -> float:
    """Probability that two documents of Jaccard similarity ``s`` share at least one band key."""
    return 1.0 - (1.0 - s**rows) ** bands


def inflection(bands: int, rows: int) -> float:
    """The similarity near which the curve is steepest."""
    return float((1.0 / bands) ** (1.0 / rows))


def curve(bands: int, rows: int, threshold: float | None = None) -> str:
    """``probability`` from s = 0.5 to 1.0, and at the threshold, as a table of two lines."""
    own = [] if threshold is None or any(math.isclose(threshold, s) for s in _SHOWN) else [threshold]
    shown = sorted([*_SHOWN, *own])
    names = [f"{s:.3f}".removesuffix("0") for s in shown]
    return "\n".join(
        [
            "similarity   " + "  ".join(f"{name:>5}" for name in names),
            "probability  " + "  ".join(f"{probability(s, bands, rows):5.3f}" for s in shown),
        ]
    )


class _Strict(BaseModel):
    """No unknown key is ever dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Near(_Strict):
    """Near duplicates by MinHash: ``bands`` keys of ``rows`` MinHashes each, over word n-grams."""

    threshold: float = Field(0.8, ge=0.2, le=1, description="Jaccard similarity of two sets of word n-grams from which they are duplicates")
    ngram: int = Field(5, ge=1, description="words of one n-gram")
    bands: int = Field(14, ge=1, le=MOST_PERMUTATIONS, description="a pair that agrees in any band is taken")
    rows: int = Field(
        8,
        ge=1,
        le=MOST_PERMUTATIONS,
        description=f"MinHashes of one band; bands x rows is the number of permutations, at most {MOST_PERMUTATIONS}",
    )
    verify: bool = Field(True, description="compare candidates by their true similarity before they are joined")

    @model_validator(mode="after")
    def _reaches_threshold(self) -> Self:
        """Refuse too many permutations, and bands x rows whose curve does not rise at the threshold."""
        if self.bands * self.rows > MOST_PERMUTATIONS:
            raise self._refused(
                f"{self.bands} bands x {self.rows} rows are {self.bands * self.rows} permutations", f"at most {MOST_PERMUTATIONS}", ""
            )
        at, half = probability(self.threshold, self.bands, self.rows), probability(self.threshold / 2, self.bands, self.rows)
        if at < LEAST_FOUND:
            reached = math.ceil(1000 * (1 - (1 - LEAST_FOUND) ** (1 / self.bands)) ** (1 / self.rows)) / 1000
            fits = workable(self.model_copy(update={"threshold": reached}), self.bands, self.rows)
            raise self._refused(
                f"{self.bands} bands x {self.rows} rows cannot reach the threshold {self.threshold:g}: "
                f"of the pairs exactly that similar, {at:.3f} would be found",
                f"at least {LEAST_FOUND} of them",
                f"; or a threshold of {reached:g}" if fits else "",
            )
        if half > _most_loose(self):
            raise self._refused(
                f"{self.bands} bands x {self.rows} rows are too loose for the threshold {self.threshold:g}: "
                f"of the pairs only {self.threshold / 2:g} similar, {half:.3f} would be taken",
                f"at most {_most_loose(self)} of them",
                "",
            )
        return self

    def _refused(self, what: str, expected: str, otherwise: str) -> ConfigError:
        table = curve(self.bands, self.rows, self.threshold).replace("\n", "\n    ")
        bands, rows = nearest_workable(self)
        given = self.bands * self.rows
        permutations = f"again {given} permutations" if bands * rows == given else f"{bands * rows} permutations instead of {given}"
        return ConfigError(
            what,
            where="dedup.near",
            expected=f"{expected}; these settings give\n    {table}",
            fix=f"bands: {bands}, rows: {rows} ({permutations}) find {probability(self.threshold, bands, rows):.3f} of the pairs "
            f"at the threshold{otherwise}",
        )


def workable(near: Near, bands: int, rows: int) -> bool:
    """Whether ``near`` would be accepted with these bands and rows."""
    return (
        bands * rows <= MOST_PERMUTATIONS
        and near.threshold <= 1
        and probability(near.threshold, bands, rows) >= LEAST_FOUND
        and probability(near.threshold / 2, bands, rows) <= _most_loose(near)
    )


def _most_loose(near: Near) -> float:
    return MOST_LOOSE_VERIFIED if near.verify else MOST_LOOSE


def nearest_workable(near: Near) -> tuple[int, int]:
    """The workable (bands, rows) with as many permutations as ``near`` and rows nearest to its rows.

    Where it has too many permutations, with as many as there may be, that find nine tenths of the pairs at the
    threshold. Where its number divides into none, the fewest that find as many; and where none do, those that find most.
    """
    n = near.bands * near.rows
    if n > MOST_PERMUTATIONS:
        full = [(MOST_PERMUTATIONS // rows, rows) for rows in range(1, _MOST_ROWS + 1)]
        same = [pair for pair in full if workable(near, *pair) and probability(near.threshold, *pair) >= _GOOD]
    else:
        same = [(n // rows, rows) for rows in range(1, n + 1) if n % rows == 0 and workable(near, n // rows, rows)]
    if same:
        return min(same, key=lambda pair: (abs(math.log(pair[1] / near.rows)), pair[1]))
    enough = [pair for rows in range(1, _MOST_ROWS + 1) if workable(near, *(pair := (_bands_for(near.threshold, rows), rows)))]
    if enough:
        return min(enough, key=lambda pair: (pair[0] * pair[1], pair[1]))
    most = [pair for rows in range(1, _MOST_ROWS + 1) if workable(near, *(pair := (_most_bands(near, rows), rows)))]
    return max(most, key=lambda pair: (probability(near.threshold, *pair), -pair[1]))


def _bands_for(threshold: float, rows: int) -> int:
    """The fewest bands that find nine tenths of the pairs at the threshold."""
    one = threshold**rows
    return 1 if one >= _GOOD else math.ceil(math.log(1 - _GOOD) / math.log1p(-one))


def _most_bands(near: Near, rows: int) -> int:
    """The most bands that are not too loose and not too many permutations; at least 1."""
    tight = math.floor(math.log(1 - _most_loose(near)) / math.log1p(-((near.threshold / 2) ** rows)))
    return max(1, min(tight, MOST_PERMUTATIONS // rows))


class Best(_Strict):
    """Keep the document whose column is best, by the column's own direction; nulls last."""

    best: str = Field(min_length=1, description="a numeric column that says whether higher or lower is better, as score_name.column")


def _near(value: Any) -> Any:
    """``near: true`` is the defaults, ``near: false`` is none."""
    if isinstance(value, bool):
        return {} if value else None
    return value


def _one(value: Any) -> Any:
    """A single name is a list of one."""
    return (value,) if isinstance(value, str) else value


def _keep(value: Any) -> Any:
    """``best <column>`` as a mapping; what is none of the forms is refused with all of them."""
    if value in ("longest", "first") or isinstance(value, Best) or (isinstance(value, dict) and value.keys() == {"best"}):
        return value
    word, _, column = value.strip().partition(" ") if isinstance(value, str) else ("", "", "")
    if word == "best" and column.strip():
        return {"best": column.strip()}
    hint = "name the column, such as `best: quality.score`" if word == "best" else nearest(str(value), ["longest", "first", "best"])
    raise ValueError(f"keep: {value!r} does not say which duplicate to keep; expected longest, first or best <column>; {hint}")


def _short_forms(schema: dict[str, Any]) -> None:
    """Tell editors of ``near: true``, ``keep: best <column>``, and names without a list around them."""
    schema["properties"]["near"]["anyOf"].append({"type": "boolean"})
    schema["properties"]["keep"]["anyOf"].append({"type": "string", "pattern": r"^best \S+$"})
    for name in ("prefer", "among"):
        field = schema["properties"][name]
        items = {key: field.pop(key) for key in ("type", "items")}
        field["anyOf"] = [items, items["items"]]


_Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_one)]


class Dedup(_Strict):
    """Which documents are duplicates, and which of them stays."""

    model_config = ConfigDict(json_schema_extra=_short_forms)

    exact: bool = Field(True, description="documents with the same text are duplicates")
    near: Annotated[Near | None, BeforeValidator(_near)] = Field(None, description="similar documents are duplicates; true: the defaults")
    keep: Annotated[Literal["longest", "first"] | Best, BeforeValidator(_keep)] = Field(
        "longest", description="which document of a cluster stays: the one of most bytes, the first one read, or the best by a column"
    )
    prefer: _Names = Field((), description="shell patterns of sources; documents of a source matched earlier stay before all others")
    among: _Names = Field(
        (), description="scorers with a column `keep`; documents they drop are neither kept before others nor duplicates of any"
    )

    @model_validator(mode="after")
    def _something_to_do(self) -> Self:
        if not self.exact and self.near is None:
            raise ValueError("exact and near are both off, so no document is a duplicate: switch one on, or remove `dedup:`")
        if len(set(self.prefer)) < len(self.prefer):
            raise ValueError("prefer names a pattern twice, and only the first place counts: remove the second")
        return self

    @property
    def column(self) -> str | None:
        """The column ``keep: best`` reads."""
        return self.keep.best if isinstance(self.keep, Best) else None


def better_end(column: str, schema: pa.Schema) -> Literal["higher", "lower"]:
    """Which end of a column is better, for ``keep: best``.

    Args:
        column: its name.
        schema: every column there will be, with ``direction`` in the metadata of its field.

    Raises:
        ConfigError: there is no such column, it is not a number, or neither end is better.
    """
    where = f"dedup.keep: best {column}"
    if column not in schema.names:
        raise ConfigError(
            f"dedup keeps the best by {column!r}, and there is no such column",
            where=where,
            expected="a column of the documents, or score_name.column",
            fix=nearest(column, schema.names),
        )
    field = schema.field(column)
    if not (pa.types.is_integer(field.type) or pa.types.is_floating(field.type)):
        raise ConfigError(
            f"dedup keeps the best by {column!r}, which is {field.type}",
            where=where,
            expected="a column of numbers",
            fix="name another column",
        )
    direction = (field.metadata or {}).get(b"direction", b"none").decode()
    if direction == "higher":
        return "higher"
    if direction == "lower":
        return "lower"
    raise ConfigError(
        f"neither end of {column!r} is the better one",
        where=where,
        expected="a column whose direction is higher or lower",
        fix="use `keep: longest` for sizes, or name a score",
    )
