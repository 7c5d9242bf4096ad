"""One rule of the YAML list ``select:``, checked before any work starts.

    select:
      - {column: n_bytes, min: 200}
      - {column: langid.label, in: [en, fr], nulls: keep}
      - {column: ppl.perplexity, window: medium, rate: 0.5, within: domain, by: tokens}
      - {column: ppl.perplexity, window: random, rate: 0.5, within: {column: n_bytes, quantiles: 5}}
      - {column: pages.score, window: high, amount: 10M, by: tokens}
      - {column: rating.overall, levels: [4, 5], only: {domain: [web]}}
      - {verdict: heuristics}

A ``verdict`` rule takes over what a scorer (or dedup) decided: documents whose ``keep`` is false are
dropped with the reason that stands beside it.

Rules apply in order, and a percentile rule ranks only the survivors of the rules
before it. Windows follow Ankner et al. (arXiv 2405.20541, Algorithm 1): low, medium
and high are intervals of the empirical distribution of a score; a random window of the
same size is their control. Where edges fall is in ``windows.py``, groups in ``within.py``.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal, Self

import pyarrow as pa
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    model_validator,
)

from curate.errors import ConfigError, nearest
from curate.selection.amounts import Amount, share_of
from curate.selection.kinds import fits, is_number, is_text
from curate.selection.windows import Named, window_targets
from curate.selection.within import Strata, Within, names_of, strata_of

BOUNDS = ("min", "max", "above", "below")
PERCENTILES = ("window", "top", "bottom")
TESTS = (*BOUNDS, "equals", "in", "not_in", *PERCENTILES, "levels")
# What breaks ties, and what the ledger counts by: every table of columns carries these.
IDENTITY = ("doc_id", "source", "source_row")


def _one_or_more(value: Any) -> Any:
    """A lone value where a list is meant."""
    return value if isinstance(value, list | tuple | None) else [value]


Number = Annotated[StrictInt | StrictFloat, Field(allow_inf_nan=False)]
Literals = Annotated[tuple[StrictBool | Number | StrictStr, ...], BeforeValidator(_one_or_more), Field(min_length=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Quantile = Annotated[float, Field(ge=0, le=1)]


class Rule(BaseModel):
    """One test on one column; a document that fails is dropped with the rule's reason.

    Args:
        column: a document column, bare, or a sidecar column as ``score_name.column``.
        verdict: instead of a column and a test, a column group that holds ``keep`` and ``reason``.
        min, max: inclusive bounds of a number; ``above`` and ``below`` are the strict ones.
        equals, in, not_in: exact values of a string, integer, float or boolean column.
        levels: integer levels of a rating; a fractional rating counts as the nearest level, halves upwards.
        window: ``low``, ``medium``, ``high`` or ``random`` together with ``rate`` or ``amount``, or the quantiles ``[lo, hi]``.
            ``random`` ranks the same documents by a hash of seed and doc_id instead of the score.
        rate: the share kept by a named window, in (0, 1].
        amount: instead of ``rate``, how much a named window keeps of what ``by`` counts: ``10M``, or ``64MiB`` of bytes.
            As near to it as half a document; all there is where that is less.
        top: the best share: highest values, lowest where the column's direction is ``lower``.
        bottom: the worst share, the other end.
        by: what a share is a share of, or an amount an amount of: ``documents``, ``bytes``, ``tokens``, or any integer column.
        within: rank inside each value of this string column, each stratum of a number, or both; null ranks all together.
        nulls: what happens to a document whose value is null or NaN; it is never ranked.
        reason: the code written beside a dropped document; ``<reason>:null`` when a null dropped it.
            For a verdict, what is put before its own codes: ``<reason>:<code>``.
        only: the rule concerns only documents with these values; the others pass and are not ranked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    column: str = ""
    verdict: str | None = None
    min: Number | None = None
    max: Number | None = None
    above: Number | None = None
    below: Number | None = None
    equals: StrictBool | Number | StrictStr | None = None
    in_: Literals | None = Field(default=None, alias="in")
    not_in: Literals | None = None
    levels: Annotated[tuple[StrictInt, ...], BeforeValidator(_one_or_more), Field(min_length=1)] | None = None
    window: Named | tuple[Quantile, Quantile] | None = None
    rate: Share | None = None
    top: Share | None = None
    bottom: Share | None = None
    by: str = "documents"
    amount: Amount | None = None
    within: Within | None = None
    nulls: Literal["drop", "keep"] = "drop"
    reason: str = ""
    only: dict[str, Annotated[tuple[StrictStr, ...], BeforeValidator(_one_or_more), Field(min_length=1)]] = Field(default_factory=dict)

    _codes: tuple[str, ...] = PrivateAttr(default=())
    _seed: int = PrivateAttr(default=0)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        """Name the nearest key before pydantic says only that one is extra."""
        if not isinstance(given, dict):
            return given
        known = [field.alias or name for name, field in cls.model_fields.items()]
        for key in given:
            if key not in known:
                raise ConfigError(
                    f"a selection rule has no key {key!r}",
                    where=f"select: {given}",
                    expected=nearest(str(key), known),
                    fix=f"rename or remove {key!r}",
                )
        return given

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        """Exactly one test, and only the fields that belong to it."""
        given = self.tests
        if self.verdict is not None:
            return self._only_a_verdict()
        if not self.column:
            raise self._error("the rule names no column", "column: or verdict:", "add `column:` and a test, or `verdict:`")
        if not given:
            raise self._error("the rule tests nothing", f"one of {', '.join(TESTS)}", "add the test")
        if len(given) > 1 and not set(given) <= set(BOUNDS):
            raise self._error(
                f"the rule has {len(given)} tests: {', '.join(given)}",
                "one test, or a lower and an upper bound",
                "write one rule for each; rules apply in order",
            )
        self._check_bounds()
        self._check_window()
        idle = [name for name in ("by", "within") if name in self.model_fields_set] if not self.ranks else []
        if idle:
            raise self._error(f"`{idle[0]}` has no meaning for `{given[0]}`", "a window, top or bottom beside it", f"remove `{idle[0]}`")
        return self

    def _only_a_verdict(self) -> Self:
        """A verdict has decided already: it takes no test."""
        idle = [
            name for name in ("column", *TESTS, "rate", "amount", "by", "within") if {"in": "in_"}.get(name, name) in self.model_fields_set
        ]
        if idle:
            raise self._error(f"`{idle[0]}` has no meaning beside `verdict`", "verdict, reason, nulls or only", f"remove `{idle[0]}`")
        return self

    def _check_window(self) -> None:
        """How much a named window keeps, once; quantiles in order."""
        given = [name for name in ("rate", "amount") if getattr(self, name) is not None]
        if given and not isinstance(self.window, str):
            raise self._error(
                f"`{given[0]}` belongs to `window: low`, `medium`, `high` or `random`",
                f"no {given[0]} here",
                "remove it, or name the window",
            )
        if isinstance(self.window, str) and not given:
            raise self._error(
                f"`window: {self.window}` needs the share it keeps, or the amount",
                "rate: a number in (0, 1], or amount: a count of what `by` says",
                "add for example `rate: 0.5`, or `amount: 10M` with `by: tokens`",
            )
        if len(given) > 1:
            raise self._error("`rate` and `amount` both say how much is kept", "one of them", "remove `rate` or `amount`")
        if self.amount is not None and self.within is not None:
            raise self._error(
                "`amount` is of all documents, not of each group of `within`", "`rate` with `within`", "use `rate`, or remove `within`"
            )
        if isinstance(self.window, tuple) and self.window[0] >= self.window[1]:
            raise self._error(
                f"the window {list(self.window)} is empty", "[lo, hi] with 0 <= lo < hi <= 1", "exchange or widen the two quantiles"
            )

    def _check_bounds(self) -> None:
        """At most one bound on each side, and room between them."""
        for one, other in (("min", "above"), ("max", "below")):
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise self._error(f"`{one}` and `{other}` bound the same side", "one of them", f"remove `{one}` or `{other}`")
        low = self.min if self.min is not None else self.above
        high = self.max if self.max is not None else self.below
        strict = self.above is not None or self.below is not None
        if low is not None and high is not None and (low > high or (low == high and strict)):
            raise self._error(f"no value lies between {low} and {high}", "a lower bound under the upper one", "exchange or widen them")

    def _error(self, what: str, expected: str, fix: str) -> ConfigError:
        return ConfigError(what, where=f"select: rule on {self.column or self.verdict!r}", expected=expected, fix=fix)

    @property
    def tests(self) -> tuple[str, ...]:
        """The test keys given, in the order of ``TESTS``."""
        return tuple(name for name in TESTS if getattr(self, "in_" if name == "in" else name) is not None)

    @property
    def ranks(self) -> bool:
        """Whether the rule compares documents with each other, and so needs a cut."""
        return self.verdict is None and self.tests[0] in PERCENTILES

    @property
    def code(self) -> str:
        """The reason written for a document that fails: ``reason``, else ``<test>:<column>`` or ``verdict:<group>``."""
        if self.verdict is not None:
            return self.reason or f"verdict:{self.verdict}"
        name = self.window if isinstance(self.window, str) else "-".join(self.tests)
        return self.reason or f"{name}:{self.column}"

    @property
    def codes(self) -> tuple[str, ...]:
        """Every reason the rule can give to a document that has a value; a verdict's are its scorer's."""
        if not self._codes:
            return (self.code,)
        return tuple(f"{self.reason}:{code}" if self.reason else code for code in self._codes)

    @property
    def keep_column(self) -> str:
        """The column a rule that does not rank looks at."""
        return f"{self.verdict}.keep" if self.verdict is not None else self.column

    @property
    def reason_column(self) -> str | None:
        """Where a verdict's reasons stand; None for other rules, and for a verdict without known reasons."""
        return f"{self.verdict}.reason" if self._codes else None

    @property
    def null_code(self) -> str:
        """The reason written for a document dropped because it has no value."""
        return f"{self.code}:null"

    @property
    def weight_column(self) -> str | None:
        """The column that shares are measured in; None when every document counts as 1."""
        return {"documents": None, "bytes": "n_bytes"}.get(self.by, self.by)

    @property
    def group_columns(self) -> tuple[str, ...]:
        """The string columns inside whose values the rule ranks."""
        return names_of(self.within)

    @property
    def strata(self) -> Strata | None:
        """The numbers inside whose quantiles the rule ranks."""
        return strata_of(self.within)

    @property
    def seed(self) -> int | None:
        """What a random window hashes with, the pipeline's; None for other rules."""
        return self._seed if self.window == "random" else None

    def columns(self) -> tuple[str, ...]:
        """The columns the rule reads, each once, without those of ``IDENTITY``."""
        strata = self.strata.column if self.strata else None
        wanted = [self.keep_column, self.reason_column, *self.only, *self.group_columns, strata, self.weight_column if self.ranks else None]
        return tuple(dict.fromkeys(name for name in wanted if name is not None))

    def resolved(self, schema: pa.Schema, tokens: str | None = None, seed: int | None = None) -> Rule:
        """The same rule with what depends on the data settled, after checking it against the columns there are.

        ``by: tokens`` becomes the column ``tokens``; ``top`` and ``bottom`` become a high or low window
        by the column's ``direction`` metadata. Resolving twice changes nothing.

        Args:
            schema: documents and sidecar columns under the names rules use; sidecar fields keep their metadata.
            tokens: the column with token counts, None when no tokenizer counted.
            seed: of random windows; None leaves the one they have, at first 0.

        Raises:
            ConfigError: a column that does not exist or has the wrong type; tokens not counted; no direction.
        """
        rule = self
        if self.by == "tokens":
            if tokens is None:
                raise self._error("`by: tokens` needs token counts", "a tokenizer that counts them", "name a tokenizer, or use `by: bytes`")
            rule = rule.model_copy(update={"by": tokens})
        if self.verdict is not None:
            rule = rule._with_codes(schema)
        if seed is not None and self.window == "random":
            rule = rule.model_copy()
            rule._seed = seed
        rule._check_columns(schema)
        if self.top is not None or self.bottom is not None:
            rule = rule._directed(schema.field(self.column))
        return rule

    def _with_codes(self, schema: pa.Schema) -> Rule:
        """A verdict with the reasons that its ``reason`` column says it can give (metadata ``codes``)."""
        groups = sorted(name.removesuffix(".keep") for name in schema.names if name.endswith(".keep"))
        if self.verdict not in groups or not pa.types.is_boolean(schema.field(self.keep_column).type):
            near = nearest(str(self.verdict), groups) if groups else "add the scorer that decides, for instance heuristics"
            raise self._error(f"{self.verdict!r} decides nothing", "a scorer with a column `keep`, or dedup", near)
        rule = self.model_copy()
        name = f"{self.verdict}.reason"
        stated = (schema.field(name).metadata or {}).get(b"codes", b"").decode() if name in schema.names else ""
        rule._codes = tuple(stated.split(",")) if stated else ()
        return rule

    def _directed(self, field: pa.Field) -> Rule:
        """``top`` and ``bottom`` as a named window."""
        direction = (field.metadata or {}).get(b"direction", b"none" if "." not in self.column else b"").decode()
        if not direction:
            raise self._error(
                f"{self.column!r} does not say whether higher or lower is better",
                "a direction in the scorer's outputs",
                "use `window: high` or `window: low` with `rate`",
            )
        high = (self.top is not None) == (direction != "lower")
        rate = self.top if self.top is not None else self.bottom
        return self.model_copy(update={"window": "high" if high else "low", "rate": rate, "top": None, "bottom": None, "reason": self.code})

    def _check_columns(self, schema: pa.Schema) -> None:
        """Every column exists and has a type its use allows."""
        for name in self.columns():
            if name not in schema.names:
                raise self._error(
                    f"there is no column {name!r}", nearest(name, schema.names), "correct the name, or add the scorer that writes it"
                )
        if self.verdict is None:
            self._check_type(schema, self.column, set(self.tests))
        for name in [*self.only, *self.group_columns]:
            if not is_text(schema.field(name).type):
                raise self._error(
                    f"column {name!r} is {schema.field(name).type}",
                    "a string column",
                    "group by a string column such as `domain`, or by `{column: …, quantiles: …}` of a number",
                )
        if self.strata and not is_number(schema.field(self.strata.column).type):
            raise self._error(
                f"`quantiles` of {self.strata.column!r}, which is {schema.field(self.strata.column).type}",
                "a column of numbers",
                "name a column of numbers such as `n_bytes`; values of a string column are grouped by its name alone",
            )
        if self.ranks and self.weight_column and not pa.types.is_integer(schema.field(self.weight_column).type):
            raise self._error(
                f"`by: {self.by}` is {schema.field(self.weight_column).type}",
                "an integer column, so that sums are exact",
                "use documents, bytes, tokens or a count",
            )

    def _check_type(self, schema: pa.Schema, name: str, tests: set[str]) -> None:
        """Numbers for numeric tests; values of the column's own type for exact ones."""
        kind = schema.field(name).type
        numeric = is_number(kind)
        if not tests <= {"equals", "in", "not_in"}:
            if not numeric:
                raise self._error(
                    f"`{'`, `'.join(sorted(tests))}` on {name!r}, which is {kind}", "a column of numbers", "use equals, in or not_in"
                )
            return
        if not (numeric or is_text(kind) or pa.types.is_boolean(kind)):
            raise self._error(f"column {name!r} is {kind}", "numbers, strings or booleans", "test another column")
        for value in self.literals:
            if not fits(value, kind):
                raise self._error(
                    f"{value!r} can never equal a value of {name!r}, which is {kind}",
                    f"values of type {kind}",
                    "correct the value (quote it if it is a string)",
                )

    @property
    def literals(self) -> tuple[Any, ...]:
        """The values of an exact test; empty for the other tests."""
        return (self.equals,) if self.equals is not None else self.in_ or self.not_in or ()

    def targets(self, n_documents: int, weight: int) -> tuple[int | None, int | None]:
        """The window's two edges for one group of documents; see ``windows.window_targets``."""
        share = Fraction(repr(self.rate)) if self.rate is not None else None
        if self.amount is not None:
            share = share_of(self.amount, weight)
        if self.window is None or (isinstance(self.window, str) and share is None):
            raise self._error(
                "the direction of `top` or `bottom` is not resolved", "rules from `resolve`", "resolve the rules against the schema first"
            )
        return window_targets(self.window, share, n_documents, weight, self.weight_column is None)
