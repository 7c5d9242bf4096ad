"""Does pruning by a small model's perplexity help? Proxies trained on low, medium, high and random halves.

``python -m benchmarks.experiments.perplexity_pruning --data ../shared/data`` (some hours of one core; ``--jobs`` runs
cells side by side). A cell is one corpus (planted: 30 % of documents broken; natural: none) and one seed. The seed
draws the pool, the reference part, what is broken, and all initial weights; the four arms of a cell share it, so their
differences are paired.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq

from benchmarks.experiments import eval_sets
from benchmarks.experiments.documents import corpus_of, divide
from benchmarks.experiments.intervals import paired, shown
from benchmarks.experiments.planting import plant
from curate import Pipeline
from curate.causal_lm import Reader
from curate.config import PipelineConfig, validate
from curate.corpus import Corpus
from curate.proxy import Fixed, Streams, Training, evaluate, new_model, train
from curate.tokenization import Tokenizer

DOMAINS = ("dialog", "docs", "encyclopedia", "forum", "legal", "math", "news", "reviews", "science")
EVALUATION = (
    "arc_challenge", "arc_easy", "boolq", "commonsense_qa", "gsm8k", "jeopardy_all", "lambada_openai", "math",
    "openbook_qa", "piqa", "triviaqa_sm_sub", "winogrande", "xquad_en",
)  # fmt: skip
ARMS = ("low", "medium", "high", "random")
CORPORA = ("planted", "natural")
SHARE_PLANTED = 0.3
POOL_BYTES, HELD_OUT_BYTES, LONGEST, ITEMS = 600_000, 30_000, 12_000, 40
PROXY_TOKENS = 400_000
CONTEXT = 256
RESULTS = Path(__file__).with_suffix(".csv")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.perplexity_pruning", description=__doc__)
    parser.add_argument("--data", type=Path, help="a folder with raw/ and eval/; without it the tables of the kept results are printed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="cells side by side, one thread each")
    parser.add_argument("--scratch", type=Path, help="where cells keep their work; a stopped run goes on there")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="tiny amounts: shows that it works")
    given = parser.parse_args()
    if given.data is None:
        print(report(pc_csv.read_csv(RESULTS)))
        return
    scratch = given.scratch or Path(tempfile.gettempdir()) / "perplexity_pruning"
    scratch.mkdir(parents=True, exist_ok=True)
    if given.cell:
        corpus, seed = given.cell.split(":")
        run_cell(given.data, scratch, corpus, int(seed), given.quick)
        return
    corpus_of(given.data / "raw", DOMAINS, scratch)
    cells = [f"{corpus}:{seed}" for seed in range(given.seeds) for corpus in CORPORA]
    running: list[subprocess.Popen[bytes]] = []
    for cell in cells:
        if {row["arm"] for row in _rows(_done(scratch, cell))} == set(ARMS):
            continue
        while len(running) >= given.jobs:
            running = [p for p in running if _going(p)]
        command = [sys.executable, "-m", __spec__.name, "--data", str(given.data), "--scratch", str(scratch), "--cell", cell]
        running.append(subprocess.Popen(command + (["--quick"] if given.quick else [])))
    for process in running:
        process.wait()
    tables = [pc_csv.read_csv(_done(scratch, cell)) for cell in cells if _done(scratch, cell).exists()]
    found = pa.concat_tables(tables, promote_options="permissive")
    pc_csv.write_csv(found, scratch / "quick.csv" if given.quick else RESULTS)
    print(report(found))


def _going(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _done(scratch: Path, cell: str) -> Path:
    return scratch / f"{cell.replace(':', '-')}.csv"


def _rows(file: Path) -> list[dict[str, Any]]:
    """What an earlier run left of a cell."""
    return pc_csv.read_csv(file).to_pylist() if file.exists() else []


def run_cell(data: Path, scratch: Path, corpus_name: str, seed: int, quick: bool) -> None:
    """All arms of one corpus and seed; leaves a CSV with one row for each arm and evaluation."""
    cut = 10 if quick else 1
    corpus = corpus_of(data / "raw", DOMAINS, scratch)
    pool, held_out = divide(corpus, seed, POOL_BYTES // cut, HELD_OUT_BYTES // cut, LONGEST)
    folder = scratch / f"{corpus_name}-{seed}"
    folder.mkdir(exist_ok=True)
    pq.write_table(plant(pool, seed, SHARE_PLANTED if corpus_name == "planted" else 0.0), folder / "pool.parquet")
    items = eval_sets.read_items(data / "eval", EVALUATION, ITEMS // cut)
    rows = _rows(_done(scratch, f"{corpus_name}:{seed}"))
    for arm in (arm for arm in ARMS if arm not in {row["arm"] for row in rows}):
        selected = _pipeline(folder, seed, arm, cut).run()
        shards = sorted((folder / "corpus/mixes" / arm).glob("*.arrow"))
        kept = pa.concat_tables([pa.ipc.open_stream(shard).read_all() for shard in shards])
        tokenizer = Tokenizer.open(folder / "corpus/models/tokens")
        found = _proxy(kept, tokenizer, seed, held_out, items, cut)
        facts = {"corpus": corpus_name, "seed": seed, "arm": arm} | _composition(selected, kept)
        rows += [facts | {"on": on, "bpb": value} for on, value in found.items()]
        pc_csv.write_csv(pa.Table.from_pylist(rows), _done(scratch, f"{corpus_name}:{seed}"))
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
    pipeline = Pipeline(validate(PipelineConfig, config, "experiment"))
    pipeline.circumstance = pipeline.circumstance.model_copy(update={"engine": "process"})
    return pipeline


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


def _proxy(
    kept: pa.Table, tokenizer: Tokenizer, seed: int, held_out: pa.Table, items: dict[str, list[dict[str, Any]]], cut: int
) -> dict[str, float]:
    """Train a proxy on what was kept and evaluate it: bits per byte by held-out domain and evaluation file."""
    start = tokenizer.separator_id()
    streams = Streams.of(kept, tokenizer, start)
    settings = Training(size="llama-1m", tokens=PROXY_TOKENS // cut, context=CONTEXT, batch_tokens=4096, threads=1, seed=1000 + seed)
    trained = train(new_model(settings, tokenizer.vocab_size, start), streams, Fixed(streams.natural), settings)
    table = evaluate(trained.model, tokenizer, held_out, start_id=start, context=CONTEXT)
    found = {f"held_out/{row['domain']}": row["bpb"] for row in table.to_pylist()}
    found["held_out"] = float(table["nats"].to_numpy().sum() / (np.log(2) * table["n_bytes"].to_numpy().sum()))
    reader = Reader(trained.model, start, CONTEXT)
    on_items = {f"eval/{name}": eval_sets.bits_per_byte(reader, tokenizer, some, CONTEXT) for name, some in items.items()}
    return found | on_items | {"eval": float(np.mean(list(on_items.values()))), "epochs": float(trained.epochs.max())}


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
    main()
