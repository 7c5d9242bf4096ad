"""Inside which groups a percentile rule ranks: the YAML key ``within``, and what its groups are called.

    within: domain                                       each value of a string column
    within: {column: n_bytes, quantiles: 5}              five strata of equal document counts
    within: [domain, language.label]                     each pair of values
    within: [domain, {column: n_bytes, quantiles: 4}]    four strata inside every domain

Strata are cut over the documents the rule ranks, at the quantiles k/Q of the column, with the
order and the exact search of percentile cuts: equal values are told apart by id, so that the
sizes of strata differ by at most one document, however the corpus is sharded. A document
without a value in a string column, or in the column of the strata, stands in a group of its
own with the others that have none.

A group is told by *parts*: the value in each string column, then the stratum from 1 (the
lowest) to Q; None stands for no value. Its *label* is one string for all of them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr, ValidationInfo

from curate.errors import ConfigError, nearest

# Percentiles; every further stratum costs each pass of the search one more look at every row.
MOST_QUANTILES = 100
Parts = tuple[str | int | None, ...]


class Strata(BaseModel):
    """Groups of equal document counts along a column of numbers.

    Args:
        column: what documents are ordered by.
        quantiles: how many groups, from 2 to 100.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: StrictStr
    quantiles: Annotated[StrictInt, Field(ge=2, le=MOST_QUANTILES)]


def _checked(given: Any, info: ValidationInfo) -> Any:
    """What stands under ``within``, refused in words before pydantic tries each form in turn; a list of one is the one."""
    where = f"select: rule on {info.data.get('column') or '?'!r}"
    if given is None or isinstance(given, str | Strata):
        return given
    if isinstance(given, dict):
        return _checked_strata(given, where)
    if not isinstance(given, list | tuple) or not given:
        raise ConfigError(
            f"`within` cannot be {given!r}",
            where=where,
            expected="a string column, {column: …, quantiles: …}, or a list of them",
            fix="name the column, for example `within: domain`",
        )
    parts = [_checked_strata(part, where) if isinstance(part, dict) else part for part in given]
    for part in parts:
        if not isinstance(part, str | Strata):
            raise ConfigError(
                f"`within` lists {part!r}",
                where=where,
                expected="names of columns, and one {column: …, quantiles: …}",
                fix="correct the list",
            )
    strata = [part for part in parts if isinstance(part, Strata)]
    if len(strata) > 1:
        raise ConfigError(
            f"`within` has {len(strata)} columns with quantiles: {', '.join(s.column for s in strata)}",
            where=where,
            expected="one at most, beside string columns",
            fix="keep one of them, or rank by the other in a rule of its own",
        )
    names = [part for part in parts if isinstance(part, str)]
    if len(set(names)) < len(names):
        raise ConfigError(f"`within` names a column twice: {', '.join(names)}", where=where, expected="each once", fix="remove one")
    return parts[0] if len(parts) == 1 else tuple([*names, *strata])


def _checked_strata(given: dict[Any, Any], where: str) -> Strata:
    """A column with its number of quantiles."""
    for key in given:
        if key not in Strata.model_fields:
            raise ConfigError(
                f"`within` has no key {key!r}",
                where=where,
                expected=nearest(str(key), list(Strata.model_fields)),
                fix=f"rename or remove {key!r}",
            )
    column, quantiles = given.get("column"), given.get("quantiles")
    if not isinstance(column, str) or not column:
        raise ConfigError(
            "`within` gives quantiles of no column", where=where, expected="column: the name of a column of numbers", fix="add `column:`"
        )
    if not isinstance(quantiles, int) or isinstance(quantiles, bool) or not 2 <= quantiles <= MOST_QUANTILES:
        raise ConfigError(
            f"`within` cannot cut {column!r} into {quantiles!r} groups" if quantiles is not None else f"`within` names {column!r} alone",
            where=where,
            expected=f"quantiles: a whole number from 2 to {MOST_QUANTILES}",
            fix="for example `quantiles: 5`; for the values of a string column write its name alone",
        )
    return Strata(column=column, quantiles=quantiles)


Within = Annotated[StrictStr | Strata | tuple[StrictStr | Strata, ...], BeforeValidator(_checked)]


def names_of(within: Within | None) -> tuple[str, ...]:
    """The string columns, in order."""
    parts = within if isinstance(within, tuple) else (within,)
    return tuple(part for part in parts if isinstance(part, str))


def strata_of(within: Within | None) -> Strata | None:
    """The column with quantiles, where there is one."""
    parts = within if isinstance(within, tuple) else (within,)
    return next((part for part in parts if isinstance(part, Strata)), None)


def label_of(within: Within | None, parts: Parts) -> str | None:
    """The label of a group, or of all strata inside one when ``parts`` lacks the stratum; None when all rank together."""
    if within is None or isinstance(within, str):
        return str(parts[0]) if parts and parts[0] is not None else None
    return json.dumps(parts, ensure_ascii=False)


def parts_of(within: Within | None, label: str | None) -> Parts:
    """The inverse of ``label_of``."""
    if within is None:
        return ()
    return (label,) if isinstance(within, str) or label is None else tuple(json.loads(label))


def text_of(within: Within | None, label: str | None) -> str | None:
    """A group for people: ``web, n_bytes 2 of 4``; None for the group of nulls of a single column, or without ``within``."""
    if within is None or isinstance(within, str):
        return label
    strata, parts = strata_of(within), parts_of(within, label)
    said = ["null" if part is None else str(part) for part in parts[: len(names_of(within))]]
    if strata is not None:
        said.append(f"{strata.column} {parts[-1]} of {strata.quantiles}" if parts[-1] is not None else f"{strata.column} null")
    return ", ".join(said)
