"""Does pruning by a small model's perplexity help? Proxies trained on low, medium, high and random halves.

``python -m benchmarks.experiments.perplexity_pruning --data ../shared/data`` (some hours of one core; ``--jobs`` runs
cells side by side). A cell is one corpus (planted: 30 % of documents broken; natural: none) and one seed. The seed
draws the pool, the reference part, what is broken, and all initial weights; the four arms of a cell share it, so their
differences are paired.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from benchmarks.experiments import cells, eval_sets
from benchmarks.experiments.cells import CORPORA, file_of, rows_of
from benchmarks.experiments.documents import corpus_of, divide, pipeline_of
from benchmarks.experiments.intervals import paired, shown
from benchmarks.experiments.planting import plant
from benchmarks.experiments.proxies import EVALUATION, emitted, trained_on
from curate import Pipeline
from curate.corpus import Corpus
from curate.proxy import Training
from curate.tokenization import Tokenizer

DOMAINS = ("dialog", "docs", "encyclopedia", "forum", "legal", "math", "news", "reviews", "science")
ARMS = ("low", "medium", "high", "random")
PLANTED = {"shuffled": 0.15, "boilerplate": 0.15}
POOL_BYTES, HELD_OUT_BYTES, LONGEST, ITEMS = 600_000, 30_000, 12_000, 40
PROXY_TOKENS = 400_000
CONTEXT = 256
RESULTS = Path(__file__).with_suffix(".csv")


def prepare(data: Path, scratch: Path) -> Corpus:
    """The documents of every domain, ingested once."""
    return corpus_of(data / "raw", DOMAINS, scratch)


def run_cell(data: Path, scratch: Path, corpus_name: str, seed: int, quick: bool) -> None:
    """All arms of one corpus and seed; leaves a CSV with one row for each arm and evaluation."""
    cut = 10 if quick else 1
    pool, held_out, _ = divide(prepare(data, scratch), seed, POOL_BYTES // cut, HELD_OUT_BYTES // cut, LONGEST)
    folder = scratch / f"{corpus_name}-{seed}"
    folder.mkdir(exist_ok=True)
    pq.write_table(plant(pool, seed, PLANTED if corpus_name == "planted" else {}), folder / "pool.parquet")
    items = eval_sets.read_items(data / "eval", EVALUATION, ITEMS // cut)
    done = file_of(scratch, f"{corpus_name}:{seed}")
    rows = rows_of(done)
    for arm in (arm for arm in ARMS if arm not in {row["arm"] for row in rows}):
        selected = _pipeline(folder, seed, arm, cut).run()
        kept = emitted(folder / "corpus/mixes" / arm)
        tokenizer = Tokenizer.open(folder / "corpus/models/tokens")
        settings = Training(size="llama-1m", tokens=PROXY_TOKENS // cut, context=CONTEXT, batch_tokens=4096, threads=1, seed=1000 + seed)
        found = trained_on(kept, tokenizer, settings, held_out, items)
        facts = {"corpus": corpus_name, "seed": seed, "arm": arm} | _composition(selected, kept)
        rows += [facts | {"on": on, "bpb": value} for on, value in found.items()]
        pc_csv.write_csv(pa.Table.from_pylist(rows), done)
        print(corpus_name, seed, arm, {k: round(v, 4) for k, v in found.items() if k in ("held_out", "eval")}, flush=True)


def _pipeline(folder: Path, seed: int, arm: str, cut: int) -> Pipeline:
    """The product's own path: reference model on one part, the other scored, a window kept, shards."""
    train_on = {
        "size": "llama-1m", "fraction": 0.25, "tokens": PROXY_TOKENS // cut, "tokenizer_of": "tokens", "context": CONTEXT,
        "batch_tokens": 4096, "threads": 1, "seed": seed,
    }  # fmt: skip
    config = {
        "name": "pruning",
        "output": str(folder / "corpus"),
        "seed": seed,
        "ingest": {
            "sources": [{"path": str(folder / "pool.parquet"), "domain": {"field": "domain"}, "extras": {"planted": {"type": "string"}}}],
            "shard_bytes": "4MiB",
        },
        "score": [
            {"tokens": {"vocab_size": 4096, "sample_bytes": 2_000_000}},
            {"bits_per_byte": {"name": "ref", "train": train_on}},
            {"ngram_perplexity": {"name": "ngram", "sample_bytes": 2_000_000 // cut}},
            {"agreement": {"columns": ["ref.perplexity", "ngram.perplexity"], "leave_out": ["ngram.in_fit_sample"]}},
        ],
        "select": [
            {"column": "ref.in_fit_sample", "equals": False, "reason": "reference_part"},
            {"column": "ref.perplexity", "window": arm, "rate": 0.5, "by": "tokens"},
        ],
        "mix": {"name": arm, "use": "natural"},
    }
    return pipeline_of(config)


def _composition(corpus: Corpus, kept: pa.Table) -> dict[str, Any]:
    """What was selected: documents, and the share of each kind of broken ones, by bytes."""
    n_bytes, planted = kept["n_bytes"].to_numpy(), np.asarray(kept["planted"].to_pylist(), dtype=object)
    agreement = json.loads(corpus.folder.read("models/agreement/agreement.json"))["overall"]["spearman"]
    return {
        "n_documents": len(kept),
        "shuffled": float(n_bytes[planted == "shuffled"].sum() / n_bytes.sum()),
        "boilerplate": float(n_bytes[planted == "boilerplate"].sum() / n_bytes.sum()),
        "agreement_with_ngram": agreement,
    }


def report(results: pa.Table) -> str:
    """The tables of docs/methods/perplexity_pruning.md."""
    rows = results.to_pylist()
    return "\n\n".join(block for corpus in CORPORA if any(r["corpus"] == corpus for r in rows) for block in _blocks(rows, corpus))


def _blocks(rows: list[dict[str, Any]], corpus: str) -> list[str]:
    """What was selected, and bits per byte by arm and evaluation, of one corpus."""
    rows = [row for row in rows if row["corpus"] == corpus]
    seeds = sorted({row["seed"] for row in rows})
    first = {(row["arm"], row["seed"]): row for row in rows}

    def values(arm: str, on: str) -> list[float]:
        found = {row["seed"]: row["bpb"] for row in rows if row["arm"] == arm and row["on"] == on}
        return [found[seed] for seed in seeds]

    def share(arm: str, kind: str) -> str:
        return f"{np.mean([first[arm, seed][kind] for seed in seeds]):.1%}"

    kept = ["| kept | documents | shuffled | boilerplate |", "|---|---|---|---|"]
    for arm in ARMS:
        n = np.mean([first[arm, seed]["n_documents"] for seed in seeds])
        kept.append(f"| {arm} | {n:,.0f} | {share(arm, 'shuffled')} | {share(arm, 'boilerplate')} |")
    on = ["held_out", "eval", *sorted({r["on"] for r in rows if "/" in r["on"]})]
    scores = ["| bits per byte on | random | low | medium | high |", "|---|---|---|---|---|"]
    for name in on:
        control = values("random", name)
        cells = [shown(*paired(values(arm, name), control)) for arm in ("low", "medium", "high")]
        scores.append(f"| {name} | {np.mean(control):.3f} | {' | '.join(cells)} |")
    agreement = np.mean([first["random", seed]["agreement_with_ngram"] for seed in seeds])
    title = f"**{corpus}**, {len(seeds)} seeds; Spearman correlation of the reference model with the 5-gram model {agreement:.3f}"
    return [title, "\n".join(kept), "\n".join(scores)]


if __name__ == "__main__":
    cells.main("benchmarks.experiments.perplexity_pruning", __doc__, RESULTS, ARMS, prepare, run_cell, report)
