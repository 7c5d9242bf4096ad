"""Does choosing pages by other models' losses help? Judges trained here, their losses, and proxies trained on what is chosen.

``python -m benchmarks.experiments.perplexity_correlations --data ../shared/data`` first trains the judges
(``perplexity_correlations_models``), lets them read, and runs a cell for each seed; some two hours of one core. The seed draws the
pool (pages of all domains, with the noisy, foreign and programming ones), what classifiers learn from, and all initial weights; the
arms of a cell share it and their budget, so their differences are paired. The report is in ``perplexity_correlations_report``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from benchmarks.experiments import cells, eval_sets, perplexity_correlations_report
from benchmarks.experiments import perplexity_correlations_models as laboratory
from benchmarks.experiments.cells import file_of, rows_of
from benchmarks.experiments.documents import pipeline_of
from benchmarks.experiments.perplexity_correlations_pages import DOMAINS, drawn, pages
from benchmarks.experiments.perplexity_correlations_report import ARMS, CORPUS, TARGET, TARGET_BENCHMARKS
from benchmarks.experiments.proxies import emitted, trained_on
from curate import Pipeline
from curate.corpus import EVIDENCE_TABLE, LOSSES_FOLDER
from curate.proxy import Training
from curate.tokenization import Tokenizer

POOL_BYTES, HELD_OUT_BYTES = 550_000, 45_000
"""Of each domain."""
KEPT = 0.2
"""Share of the pool's tokens that every arm is trained on."""
PAGES = 10
"""That judges read of each group."""
CLASSIFIER_BYTES, EPOCHS = 2_000_000, 25
"""That the page classifier learns from, and passes over them: with the default 5, no page gets a probability above a half."""
ITEMS = 80
QUESTIONS = 3000
HELD_OUT_SEED, EVIDENCE_SEED = 20_260_301, 0
RESULTS = Path(__file__).with_suffix(".csv")
LOSSES, ERRORS = (RESULTS.with_name(f"{RESULTS.stem}_{name}.csv") for name in ("bits_per_byte", "errors"))
"""What the judges read and how they did, in the form that ``correlate:`` imports."""


def prepare(data: Path, scratch: Path) -> None:
    """The judges and their results, and their losses on ten pages of each group, which all cells import."""
    laboratory.run(data, scratch / "models", 1)
    folder = scratch / "evidence"
    folder.mkdir(exist_ok=True)
    _write_pool(pages(data / "raw", scratch / "models/pages.parquet"), EVIDENCE_SEED, folder / "pool.parquet", 1)
    entries = [{"path": str(scratch / "models" / name), "family": family} for name, family in laboratory.families().items()]
    _pipeline(scratch, folder, EVIDENCE_SEED, {"correlate": _correlate(scratch, {"models": entries, "pages": PAGES})}).run(until="losses")
    losses = pq.read_table(folder / "corpus" / LOSSES_FOLDER / EVIDENCE_TABLE)
    pc_csv.write_csv(losses.select(["group", *laboratory.families()]), LOSSES)
    ERRORS.write_bytes((scratch / "models" / laboratory.ERRORS).read_bytes())


def _correlate(scratch: Path, losses: dict[str, Any]) -> dict[str, Any]:
    return {
        "losses": losses, "benchmarks": [{"path": str(scratch / "models" / laboratory.ERRORS), "values": "error"}],
        "targets": {TARGET: list(TARGET_BENCHMARKS)}, "filter_ratio": KEPT, "describe": ["field"],
    }  # fmt: skip


def _pipeline(scratch: Path, folder: Path, seed: int, sections: dict[str, Any]) -> Pipeline:
    """The product's own path over the pool in a folder: ``sections`` are added to what all arms share."""
    source = {"path": str(folder / "pool.parquet"), "domain": {"field": "group"}, "extras": {"field": {"type": "string"}}}
    config: dict[str, Any] = {
        "name": "perplexity_correlations", "output": str(folder / "corpus"), "seed": seed, "ingest": {"sources": [source]},
    }  # fmt: skip
    tokens = {"tokens": {"tokenizer": str(scratch / "models/tokenizer-4096.json")}}
    return pipeline_of(config | sections | {"score": [tokens, *sections.get("score", [])]})


def run_cell(data: Path, scratch: Path, _: str, seed: int, quick: bool, arms: tuple[str, ...] = ARMS) -> None:
    """All arms of one seed; leaves a CSV with one row for each arm and figure."""
    cut = 10 if quick else 1
    folder = scratch / f"{CORPUS}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    table = pages(data / "raw", scratch / "models/pages.parquet")
    _write_pool(table, seed, folder / "pool.parquet", cut)
    _write_questions(data, table, seed, folder / "questions.parquet")
    held_out = drawn(table, "held_out", HELD_OUT_SEED, dict.fromkeys(DOMAINS, HELD_OUT_BYTES))
    items = {name: some[laboratory.ITEMS :][: ITEMS // cut] for name, some in _items(data).items()}
    done = file_of(scratch, f"{CORPUS}:{seed}")
    rows = rows_of(done)
    tokenizer = Tokenizer.open(scratch / "models/tokenizer-4096.json")
    given = Inputs(data, scratch, folder, seed)
    for arm in (arm for arm in arms if arm not in {row["arm"] for row in rows}):
        chosen = emitted(given.made(arm))
        settings = Training(
            size="llama-1m", tokens=given.budget, context=laboratory.CONTEXT, batch_tokens=laboratory.STEP_TOKENS, threads=1,
            seed=1000 + seed,
        )  # fmt: skip
        found = _composition(chosen, tokenizer) | (_evidence(folder / "corpus") if arm == "correlation" else {})
        fields = pa.array([name.split("/")[0] for name in chosen["domain"].to_pylist()])
        rows_N = chosen.set_column(chosen.column_names.index("domain"), "domain", fields)
        found |= trained_on(rows_N, tokenizer, settings, held_out, items)
        rows += [{"corpus": CORPUS, "seed": seed, "arm": arm, "name": name, "value": round(float(v), 6)} for name, v in found.items()]
        pc_csv.write_csv(pa.Table.from_pylist(rows), done)
        target = float(np.mean([found[f"eval/{name}"] for name in TARGET_BENCHMARKS]))
        print(seed, arm, round(target, 4), {k: round(v, 4) for k, v in found.items() if k in ("held_out", "eval", "tokens")}, flush=True)


def _items(data: Path) -> dict[str, list[dict[str, Any]]]:
    """The first ``laboratory.ITEMS`` of each benchmark told the judges' results; the others are for what is selected."""
    return eval_sets.read_items(data / "eval", laboratory.BENCHMARKS, laboratory.ITEMS + ITEMS)


def _write_pool(table: pa.Table, seed: int, file: Path, cut: int) -> None:
    """The pool as a corpus has it: its domains are the groups; ``field`` is what experiments call a domain."""
    if not file.exists():
        pool = drawn(table, "pool", seed, dict.fromkeys(DOMAINS, POOL_BYTES // cut))
        pq.write_table(pa.table({"text": pool["text"], "group": pool["group"], "field": pool["domain"]}), file)


def _write_questions(data: Path, table: pa.Table, seed: int, file: Path) -> None:
    """What a classifier in the manner of DCLM learns from: questions with their answers against pages of any kind."""
    asked = eval_sets.read_items(data / "eval", ("piqa_train",), QUESTIONS)["piqa_train"]
    others = drawn(table, "judges", 5000 + seed, dict.fromkeys(DOMAINS, POOL_BYTES))["text"].to_pylist()
    chosen = np.random.default_rng(seed).permutation(len(others))[:QUESTIONS]
    texts = [item["prompt"] + item["target"] for item in asked] + [others[i] for i in chosen]
    labels = ["1"] * len(asked) + ["0"] * len(chosen)
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string()), "label": labels}), file)


class Inputs:
    """What all arms of a seed are made from.

    Args:
        data, scratch: of the command.
        folder: of the seed, with its pool.
        seed: of the pool and of all that is fitted to it.
    """

    def __init__(self, data: Path, scratch: Path, folder: Path, seed: int) -> None:
        self._data, self._scratch, self._folder, self._seed = data, scratch, folder, seed
        counted = _pipeline(scratch, folder, seed, {}).run(until="tokens").table(["domain", "field", "tokens.n_tokens"])
        self._tokens, self._n_tokens = counted, int(pc.sum(counted["tokens.n_tokens"]).as_py())
        self.budget = int(KEPT * self._n_tokens)
        """Tokens of every arm."""

    def made(self, arm: str) -> Path:
        """The folder of shards that an arm's pipeline leaves."""
        score: list[dict[str, Any]] = []
        select: list[dict[str, Any]] = []
        mix: dict[str, Any] = {"use": "natural"}
        match arm:
            case "random":
                mix |= {"token_budget": self.budget}
            case "human":
                labelled = [str(self._data / "quality/dclm_human_majority.jsonl.zst")]
                score, select = [{"fasttext": {"name": arm, "labelled": labelled, "positive": "1"}}], self._best(f"{arm}.score")
            case "questions":
                labelled = [str(self._folder / "questions.parquet")]
                score, select = [{"fasttext": {"name": arm, "labelled": labelled, "positive": "1"}}], self._best(f"{arm}.score")
            case "correlation":
                classifier = {"name": "pages", "target": TARGET, "sample_bytes": CLASSIFIER_BYTES, "epoch": EPOCHS, "bucket": 200_000}
                score, select = [{"correlation_classifier": classifier}], self._best("pages.score")
            case "groups":
                mix = {"use": "perplexity_correlation", "target": TARGET, "filter_ratio": KEPT, "token_budget": self.budget}
                mix |= {"max_epochs": 1, "on_shortage": "redistribute"}
            case "matched":
                mix = {"use": "static", "proportions": self._matched(), "token_budget": self.budget, "on_shortage": "redistribute"}
        sections: dict[str, Any] = {"score": score, "select": select, "mix": {"name": arm, **mix}}
        if arm in ("correlation", "groups"):
            losses = {"table": str(self._scratch / "evidence/corpus" / LOSSES_FOLDER / EVIDENCE_TABLE)}
            sections["correlate"] = _correlate(self._scratch, losses)
        _pipeline(self._scratch, self._folder, self._seed, sections).run()
        return self._folder / "corpus/mixes" / arm

    def _best(self, column: str) -> list[dict[str, Any]]:
        return [{"column": column, "window": "high", "amount": self.budget, "by": "tokens"}]

    def _matched(self) -> dict[str, float]:
        """Shares of groups: of the fields as much as the page classifier chose, of each field's groups as they are.

        Languages other than English are groups of one field; those are matched one by one.
        """
        rows = emitted(self._folder / "corpus/mixes/correlation")
        tokenizer = Tokenizer.open(self._scratch / "models/tokenizer-4096.json")
        lengths = pa.table({"domain": rows["domain"], "n": _lengths(rows, tokenizer)}).group_by("domain").aggregate([("n", "sum")])
        chosen = dict(zip(lengths["domain"].to_pylist(), lengths["n_sum"].to_pylist(), strict=True))
        there = self._tokens.group_by("domain").aggregate([("tokens.n_tokens", "sum")])
        groups = dict(zip(there["domain"].to_pylist(), there["tokens.n_tokens_sum"].to_pylist(), strict=True))
        stratum = {name: name if name.startswith("multilingual/") else name.split("/")[0] for name in groups}
        wanted, available = dict.fromkeys(stratum.values(), 0.0), dict.fromkeys(stratum.values(), 0.0)
        for name, n in groups.items():
            wanted[stratum[name]] += chosen.get(name, 0)
            available[stratum[name]] += n
        total = sum(wanted.values())
        return {name: n / available[stratum[name]] * wanted[stratum[name]] / total for name, n in groups.items()}


def _lengths(rows: pa.Table, tokenizer: Tokenizer) -> np.ndarray:
    """Tokens of each page."""
    return tokenizer.count(rows["text"].combine_chunks().cast(pa.large_string()))


def _composition(chosen: pa.Table, tokenizer: Tokenizer) -> dict[str, float]:
    """Tokens, pages and mean bytes of what was emitted, and shares of its tokens by field."""
    tokens = _lengths(chosen, tokenizer).astype(np.float64)
    n_bytes = pc.binary_length(chosen["text"]).to_numpy().astype(np.float64)
    fields = np.array([name.split("/")[0] for name in chosen["domain"].to_pylist()])
    found = {"pages": float(len(chosen)), "tokens": float(tokens.sum()), "page_bytes": float(n_bytes.mean())}
    return found | {f"share/{name}": float(tokens[fields == name].sum() / tokens.sum()) for name in DOMAINS}


def _evidence(folder: Path) -> dict[str, float]:
    """The estimates, their spread, and how well the classifier finds pages of chosen groups among those it did not learn from."""
    weights = pq.read_table(folder / "evidence/weights/table.parquet")
    estimate = weights["estimate"].to_numpy()
    found = {f"estimate/{q}": float(np.quantile(estimate, q)) for q in (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)}
    found |= {"groups": len(weights), "included": pc.sum(weights["included"]).as_py(), "settled": pc.mean(weights["settled"]).as_py()}
    found |= {"inclusion": float(np.mean(weights.filter(weights["included"])["inclusion"].to_numpy()))}
    for row in weights.to_pylist():
        found |= {f"group/{row['group']}/{name}": row[name] for name in ("estimate", "weight")}
    report = json.loads((folder / "models/pages/report.json").read_text())["held_out_against_labels_of_groups"]
    return found | {f"classifier/{name}": float(value) for name, value in report.items() if isinstance(value, int | float)}


if __name__ == "__main__":
    cells.main(
        "benchmarks.experiments.perplexity_correlations", __doc__, RESULTS, ARMS, prepare, run_cell,
        perplexity_correlations_report.report, (CORPUS,),
    )  # fmt: skip
