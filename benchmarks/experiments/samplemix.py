"""Does a document's own weight, from quality and diversity, help? Proxies trained on SampleMix and on mixes of domains.

``python -m benchmarks.experiments.samplemix --data ../shared/data`` (some two hours of one core; ``--jobs`` runs cells
side by side). A cell is one corpus (planted: 30 % of documents with shuffled words, 30 % near copies; natural: none) and
one seed. The seed draws the pool, what is planted, the quality's reference and all initial weights; the six arms of a
cell share it and their budget, so their differences are paired. The report is in ``samplemix_report``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from benchmarks.experiments import cells, eval_sets, samplemix_report
from benchmarks.experiments.cells import file_of, rows_of
from benchmarks.experiments.documents import corpus_of, divide, pipeline_of
from benchmarks.experiments.planting import plant
from benchmarks.experiments.proxies import EVALUATION, emitted, overall, trained_on
from benchmarks.experiments.ranking import auc, within
from benchmarks.experiments.samplemix_report import ALPHAS, ARMS
from curate import Pipeline
from curate.corpus import Corpus
from curate.proxy import Training, evaluate
from curate.scorers.ngram_perplexity import NgramPerplexity
from curate.tokenization import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

POOL_BYTES = {
    "forum": 450_000, "news": 350_000, "reviews": 350_000, "docs": 250_000, "science": 250_000, "legal": 180_000, "dialog": 150_000,
    "math": 120_000,
}  # fmt: skip
HELD_OUT_BYTES, OTHER_BYTES, LONGEST, ITEMS = 30_000, 500_000, 6_000, 40
PLANTED = {"shuffled": 0.3, "copied": 0.3}
DIMENSION, CLUSTERS, TEMPERATURE = 128, 200, 0.2
SIGNALS_OF = "alpha80"
CONTEXT, STEP_TOKENS = 256, 4096
CURVE_DOCUMENTS, CURVE_CHARACTERS, CURVE_EVERY = 8, 500, 4
RESULTS = Path(__file__).with_suffix(".csv")


def prepare(data: Path, scratch: Path) -> Corpus:
    """The documents of every domain, ingested once."""
    return corpus_of(data / "raw", tuple(POOL_BYTES), scratch)


def parts_of(data: Path, scratch: Path, seed: int, cut: int) -> tuple[pa.Table, pa.Table, pa.Table]:
    """(pool, held-out, others): others are documents that only tell what good text is, the same amount of every domain."""
    sizes = {name: size // cut for name, size in POOL_BYTES.items()}
    pool, held_out, rest = divide(prepare(data, scratch), seed, sizes, HELD_OUT_BYTES // min(cut, 3), LONGEST)
    return pool, held_out, _heads(rest, lambda part: int((np.cumsum(part["n_bytes"].to_numpy()) <= OTHER_BYTES // cut).sum()))


def _heads(table: pa.Table, count: Callable[[pa.Table], int]) -> pa.Table:
    """The first documents of every domain."""
    parts = [table.filter(pc.equal(table["domain"], name)) for name in sorted(set(table["domain"].to_pylist()))]
    return pa.concat_tables([part.slice(0, count(part)) for part in parts])


def run_cell(data: Path, scratch: Path, corpus_name: str, seed: int, quick: bool) -> None:
    """All arms of one corpus and seed; leaves a CSV with one row for each arm and figure."""
    cut = 10 if quick else 1
    pool, held_out, others = parts_of(data, scratch, seed, cut)
    folder = scratch / f"{corpus_name}-{seed}"
    (folder / "reference").mkdir(parents=True, exist_ok=True)
    pq.write_table(plant(pool, seed, PLANTED if corpus_name == "planted" else {}), folder / "pool.parquet")
    NgramPerplexity().fit(others, folder / "reference")
    items = eval_sets.read_items(data / "eval", EVALUATION, ITEMS // cut)
    done = file_of(scratch, f"{corpus_name}:{seed}")
    rows = rows_of(done)
    documents = _signals(folder, seed, cut)
    budget = int(documents["tokens.n_tokens"].to_numpy().sum()) // 2
    if not rows:
        rows = _rows(corpus_name, seed, "pool", _pool_facts(documents))
    for arm in (arm for arm in ARMS if arm not in {row["arm"] for row in rows}):
        _pipeline(folder, seed, arm, budget, cut).run()
        found = _composition(documents, _weights(folder, arm))
        settings = Training(size="llama-1m", tokens=budget, context=CONTEXT, batch_tokens=STEP_TOKENS, threads=1, seed=1000 + seed)
        tokenizer = Tokenizer.open(folder / "corpus/models/tokens")
        watch = _Watch(tokenizer, held_out, round(budget / STEP_TOKENS))
        scores = trained_on(emitted(folder / "corpus/mixes" / arm), tokenizer, settings, held_out, items, watch)
        found |= {f"curve/{step}": value for step, value in watch.curve.items()} | scores
        rows += _rows(corpus_name, seed, arm, found)
        pc_csv.write_csv(pa.Table.from_pylist(rows), done)
        shown = {k: round(v, 4) for k, v in found.items() if k in ("held_out", "eval", "shuffled", "copied")}
        print(corpus_name, seed, arm, shown, flush=True)


def _rows(corpus: str, seed: int, arm: str, found: dict[str, float]) -> list[dict[str, Any]]:
    return [{"corpus": corpus, "seed": seed, "arm": arm, "name": name, "value": round(float(v), 6)} for name, v in found.items()]


class _Watch:
    """Bits per byte on a small fixed part of the held-out text, every few steps of the last two thirds of a training."""

    def __init__(self, tokenizer: Tokenizer, held_out: pa.Table, n_steps: int) -> None:
        few = _heads(held_out, lambda part: CURVE_DOCUMENTS)
        texts = [text[:CURVE_CHARACTERS] for text in few["text"].to_pylist()]
        self._few = pa.table({"text": pa.array(texts, pa.large_string()), "domain": few["domain"]})
        self._tokenizer, self._n_steps = tokenizer, n_steps
        self.curve: dict[int, float] = {}

    def __call__(self, step: int, model: PreTrainedModel) -> None:
        if (self._n_steps - step) % CURVE_EVERY or step < self._n_steps // 3:
            return
        model.eval()
        self.curve[step] = overall(evaluate(model, self._tokenizer, self._few, start_id=self._tokenizer.separator_id(), context=CONTEXT))
        model.train()


def _pipeline(folder: Path, seed: int, arm: str, budget: int, cut: int) -> Pipeline:
    """The product's own path: scores, clusters, weights and copies, shards; nothing is selected and no copy is removed."""
    mix: dict[str, Any] = {"name": arm, "token_budget": budget, "on_shortage": "redistribute"}
    if arm in ALPHAS:
        mix |= {"use": "samplemix", "quality": {"reference.perplexity": -1}, "quality_scaling": "rank", "diversity": "clusters"}
        mix |= {"alpha": ALPHAS[arm], "temperature": TEMPERATURE}
    else:
        mix["use"] = arm
    source = {"path": str(folder / "pool.parquet"), "domain": {"field": "domain"}, "extras": {"planted": {"type": "string"}}}
    score = [
        {"tokens": {"vocab_size": 4096, "sample_bytes": 2_000_000}},
        {"ngram_perplexity": {"name": "reference", "model": str(folder / "reference")}},
        {"static_embedding": {"name": "embedding", "dimension": DIMENSION if cut == 1 else 32}},
        {"clusters": {"embedding": "embedding.vector", "k": CLUSTERS // cut, "threads": 1}},
    ]
    config = {"name": "samplemix", "output": str(folder / "corpus"), "seed": seed, "ingest": {"sources": [source]}, "score": score}
    return pipeline_of(config | {"mix": mix})


def _signals(folder: Path, seed: int, cut: int) -> pa.Table:
    """The pool's documents with their lengths, and quality and diversity as the mixer scales them."""
    scored = _pipeline(folder, seed, SIGNALS_OF, 1, cut).run(until="tokens")
    budget = int(scored.table(["tokens.n_tokens"])["tokens.n_tokens"].to_numpy().sum()) // 2
    corpus = _pipeline(folder, seed, SIGNALS_OF, budget, cut).run(until="mix")
    table, weights = corpus.table(["doc_id", "domain", "planted", "tokens.n_tokens"]), _weights(folder, SIGNALS_OF)
    if table["doc_id"].to_pylist() != weights["doc_id"].to_pylist():
        raise RuntimeError("weights are not in the order of the documents")
    return table.append_column("quality", weights["quality"]).append_column("diversity", weights["diversity"])


def _weights(folder: Path, arm: str) -> pa.Table:
    """Weight and copies of every document, in the order of the corpus."""
    return pa.concat_tables([pq.read_table(file) for file in sorted((folder / f"corpus/mixes/{arm}/weights").glob("*.parquet"))])


def _columns(documents: pa.Table) -> tuple[np.ndarray, ...]:
    """(domain, planted, tokens, quality, diversity) of every document."""
    names = (np.asarray(documents[c].to_pylist(), dtype=object) for c in ("domain", "planted"))
    numbers = (np.nan_to_num(documents[c].to_numpy().astype(float)) for c in ("tokens.n_tokens", "quality", "diversity"))
    return (*names, *numbers)


def _pool_facts(documents: pa.Table) -> dict[str, float]:
    """What the pool holds, and how well the signals tell what is planted."""
    domain, planted, _, quality, diversity = _columns(documents)
    found = _composition(documents, pa.table({"copies": np.ones(len(documents), np.int16)}))
    if not planted.any():
        return found
    found |= {f"diversity/{kind or 'others'}": float(diversity[planted == kind].mean()) for kind in ("", "shuffled", "copied")}
    found |= {f"quality/{kind or 'others'}": float(quality[planted == kind].mean()) for kind in ("", "shuffled", "copied")}
    whole, single = planted != "shuffled", planted != "copied"
    found |= {"auc/quality": auc(quality, whole), "auc/quality within domains": within(quality, whole, domain)}
    return found | {"auc/diversity": auc(diversity, single), "auc/diversity within domains": within(diversity, single, domain)}


def _composition(documents: pa.Table, weights: pa.Table) -> dict[str, float]:
    """What was emitted: documents by number of copies; shares and means of both signals weighted by tokens."""
    domain, planted, tokens, quality, diversity = _columns(documents)
    copies = weights["copies"].to_numpy()
    emitted_N = tokens * copies
    total = float(emitted_N.sum())
    found = {"documents": len(documents), "tokens": total, "tokens repeated": float((tokens * np.maximum(copies - 1, 0)).sum() / total)}
    found |= {"dropped": float((copies == 0).mean()), "once": float((copies == 1).mean()), "more": float((copies > 1).mean())}
    found |= {kind: float(emitted_N[planted == kind].sum() / total) for kind in PLANTED}
    found |= {"quality": float((quality * emitted_N).sum() / total), "diversity": float((diversity * emitted_N).sum() / total)}
    return found | {f"share/{name}": float(emitted_N[domain == name].sum() / total) for name in sorted(set(domain.tolist()))}


if __name__ == "__main__":
    cells.main("benchmarks.experiments.samplemix", __doc__, RESULTS, ARMS, prepare, run_cell, samplemix_report.report)
