"""The keys of ``correlate:``: whose losses on what, whose benchmark results, and how the one is set beside the other.

    correlate:
      losses:
        by: domain
        models: [models/pythia-*, {path: models/olmo-1b, family: olmo}]
      benchmarks:
        - {path: "results/*.json", metric: acc, values: accuracy}
      targets: {lambada: [lambada_openai, lambada_standard]}

Thrush et al., "Improving Pretraining Data Using Perplexity Correlations" (arXiv 2409.05816).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator

from curate.correlation import Estimator, GroupedBy, Projection, Ties

Missing = Literal["refuse", "drop_models", "drop_domains", "pairwise"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelEntry(_Strict):
    """One public model, or a pattern of folders that each hold one."""

    path: str = Field(min_length=1, description="a folder in Hugging Face format, a pattern of such folders, or a hub id")
    name: str | None = Field(None, description="what tables call it, as benchmark results do; default: the hub id, or the folder's name")
    family: str | None = Field(None, description="models of one family are no independent evidence; default: the name itself")
    revision: str | None = Field(None, description="commit, tag or branch on the hub")
    tokenizer: str | None = Field(None, description="folder of its tokenizer, where it lies elsewhere")
    start: str = Field("auto", description="token that windows begin with, as for bits_per_byte")

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A path alone will do."""
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


class Chunks(_Strict):
    """Pages cut as the paper cuts them: by tokens of one tokenizer, the same pieces of text for every model."""

    tokenizer: str = Field(description="the tokenizer that measures chunks; the paper's is Llama 2's")
    tokens: int = Field(512, ge=2, description="most tokens of a chunk under it, its begin token counted")


def _entries(value: Any) -> Any:
    return [{"path": item} if isinstance(item, str) else item for item in value] if isinstance(value, list) else value


TABLE = "table.parquet"
BUILT = {"pages", "min_pages", "context", "overlap", "precision", "chunks", "formula"}
"""Keys of losses that are built here."""


class Losses(_Strict):
    """Bits per byte of models on groups of pages: built here from ``models``, or imported from ``table``."""

    table: str | None = Field(
        None, min_length=1, description="to import: CSV or Parquet, a row for each group, a column a model; or its folder"
    )
    id: str | None = Field(None, description="imported: the column that names groups; default: the first")
    families: dict[str, str] = Field(default_factory=dict, description="imported: the family of a model, by its name")
    models: Annotated[list[ModelEntry], BeforeValidator(_entries)] = Field(default_factory=list, description="models to read pages with")
    by: str = Field("domain", description="the column whose values are the groups: domain, an extra, or `scorer.column`")
    pages: int = Field(25, gt=0, description="pages drawn from each group")
    min_pages: int | None = Field(None, gt=0, description="groups with fewer pages are left out; default: `pages`, as in the paper")
    context: int | None = Field(None, ge=2, description="tokens of a window; default: each model's own, at most 2048")
    overlap: int = Field(0, ge=0, description="tokens a window repeats from the one before")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of the arithmetic")
    chunks: Chunks | None = Field(None, description="cut pages into chunks first, as the paper does")
    formula: Literal["exact", "paper"] = Field(
        "exact", description="exact: nats / (ln 2 · bytes); paper: the mean loss counted for the first token too, T/(T-1) times as much"
    )

    @property
    def file(self) -> str | None:
        """The table to import: the one inside, where a folder is named, as a corpus and whoever publishes it have one."""
        if self.table is None:
            return None
        with contextlib.suppress(OSError):  # a path no system can have; whoever opens it says so
            return str(Path(self.table) / TABLE) if Path(self.table).is_dir() else self.table
        return self.table

    @model_validator(mode="after")
    def _one_origin(self) -> Losses:
        if (self.table is None) == (not self.models):
            raise ValueError("losses are either imported or built: give exactly one of `table` and `models`")
        if self.table is None and (self.id is not None or self.families):
            raise ValueError("`id` and `families` belong to an imported `table`; a model's family stands beside its path")
        idle = sorted(self.model_fields_set & BUILT) if self.table is not None else []
        if idle:
            raise ValueError(f"`{idle[0]}` says how models read pages, which an imported `table` has behind it: remove it")
        return self


class Benchmarks(_Strict):
    """Benchmark results of the same models."""

    path: str = Field(min_length=1, description="lm-evaluation-harness JSON (a file, folder or pattern), or a CSV or Parquet table")
    values: Literal["error", "accuracy"] = Field(description="what the numbers are: error, where lower is better, or accuracy")
    metric: str | None = Field(None, description="lm-evaluation-harness: which metric of each task, such as acc or acc_norm")
    tasks: list[str] | None = Field(None, description="only these; default: all that have the metric")
    id: str | None = Field(None, description="table: the column that names benchmarks (or models); default: the first")
    models: dict[str, str] = Field(default_factory=dict, description="a model's name here -> its name in the losses")


class Correlate(_Strict):
    """Estimates of what each group of pages tells about benchmarks, and the weights that follow."""

    losses: Losses
    benchmarks: list[Benchmarks] = Field(min_length=1)
    targets: dict[str, list[str]] = Field(default_factory=dict, description="name -> benchmarks; default: each benchmark on its own")
    grouped: GroupedBy = Field("rank", description="how benchmarks of one target become one: mean of ranks, or mean of errors")
    estimator: Estimator = Field("spearman", description="product, sign, sign_cdf, sign_sign, spearman or pearson")
    ties: Ties = Field("mid", description="mid: equal values share a rank; order: ranked as they come, as the authors' package does")
    missing: Missing = Field("refuse", description="what to do where a model lacks a loss or a result")
    confirmed: list[str] = Field(default_factory=list, description="benchmarks whose sign looks inverted and is right")
    projection: Projection = Field("linear", description="linear: whole groups from the best on; l2: the nearest weights")
    filter_ratio: float = Field(0.1, gt=0, le=1, description="share of the tokens to keep: no group weighs more than repeats nothing then")
    bootstrap: int = Field(200, ge=0, description="replicates over families of models")
    permutations: int = Field(200, ge=0, description="of results over models, for the null")
    confidence: float = Field(0.9, gt=0, lt=1, description="of intervals, and of calling a sign settled")
    describe: list[str] = Field(
        default_factory=list, description="string columns, such as a language, whose shares before and after are told beside the domains'"
    )
    seed: int | None = Field(None, ge=0, description="of bootstrap and permutations; default: the pipeline's")
