"""The laboratory part: small models that differ in data and size, and their results on benchmarks.

``python -m benchmarks.experiments.perplexity_correlations_models --data ../shared/data --out FOLDER`` trains every model that
FOLDER lacks and evaluates it; some half an hour of one core. FOLDER then holds a folder for each model in Hugging Face format
and ``errors.csv``, a row for each benchmark and a column for each model: bits per byte of the answers, lower is better.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc_csv

from benchmarks.experiments import eval_sets
from benchmarks.experiments.perplexity_correlations_pages import DOMAINS, drawn, pages
from curate.causal_lm import Reader, checkpoint
from curate.proxy import Fixed, Streams, Training, new_model, train
from curate.tokenization import Tokenizer, train_bpe

BENCHMARKS = (
    "arc_challenge", "arc_easy", "boolq", "commonsense_qa", "gsm8k", "human_eval", "jeopardy_all", "lambada_openai", "math",
    "openbook_qa", "piqa", "triviaqa_sm_sub", "winogrande", "xquad_de", "xquad_en", "xquad_es", "xquad_hi", "xquad_zh",
)  # fmt: skip
ITEMS = 40
"""Of each benchmark, the first in the order of a hash; others judge what is selected."""
VOCABULARIES = (4096, 2048)
TOKENIZER_BYTES, TRAINING_BYTES = 150_000, 1_800_000
CONTEXT, STEP_TOKENS = 256, 4096
MODELS_SEED = 77


@dataclass(frozen=True)
class Judge:
    """A model to train: the domains it learns from, equally, its shape, amount and vocabulary."""

    mixture: str
    size: str
    thousands: int
    vocabulary: int = 4096

    @property
    def name(self) -> str:
        """What tables and folders call it."""
        return f"{self.size}-{self.mixture}-{self.thousands}k" + ("" if self.vocabulary == VOCABULARIES[0] else f"-v{self.vocabulary}")


MIXTURES = {
    "everything": DOMAINS,
    "forum_reviews": ("forum", "reviews"),
    "news_science": ("news", "science"),
    "code_docs": ("code", "docs"),
    "multilingual_noisy": ("multilingual", "noisy"),
    "legal_math": ("legal", "math"),
    "books_dialog": ("books", "dialog"),
    "encyclopedia": ("encyclopedia", "docs", "science"),
    "prose": ("books", "reviews", "forum", "encyclopedia", "news"),
    "multilingual": ("multilingual",),
}
"""Also the families: models of one mixture differ only in size, amount and vocabulary."""
JUDGES = (
    Judge("everything", "llama-1m", 350),
    Judge("forum_reviews", "llama-1m", 350),
    Judge("news_science", "llama-1m", 350),
    Judge("code_docs", "llama-1m", 350),
    Judge("multilingual_noisy", "llama-1m", 350),
    Judge("legal_math", "llama-1m", 350),
    Judge("books_dialog", "pythia-1m", 350, 2048),
    Judge("encyclopedia", "pythia-1m", 350),
    Judge("prose", "llama-1m", 500),
    Judge("forum_reviews", "pythia-1m", 150, 2048),
    Judge("everything", "pythia-1m", 150),
    Judge("multilingual", "pythia-1m", 200, 2048),
    Judge("books_dialog", "llama-1m", 200),
    Judge("news_science", "pythia-1m", 150, 2048),
    Judge("prose", "llama-3m", 200),
)
ERRORS, ACCURACIES, FAMILIES, RESULTS = "errors.csv", "accuracies.csv", "families.csv", "results.json"


def families() -> dict[str, str]:
    """The family of each model by its name."""
    return {judge.name: judge.mixture for judge in JUDGES}


def tokenizers(out: Path, table: pa.Table) -> None:
    """One of each vocabulary, trained on pages of the judges' role."""
    for size in VOCABULARIES:
        file = out / f"tokenizer-{size}.json"
        if not file.exists():
            sample = drawn(table, "judges", MODELS_SEED + 1, dict.fromkeys(DOMAINS, TOKENIZER_BYTES))
            file.write_bytes(train_bpe(sample["text"].to_pylist(), size).content)


def make(judge: Judge, data: Path, out: Path) -> None:
    """Train one model and evaluate it."""
    folder = out / judge.name
    if not (folder / RESULTS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        table = pages(data / "raw", out / "pages.parquet")
        tokenizer = Tokenizer.open(out / f"tokenizer-{judge.vocabulary}.json")
        model = _trained(judge, table, tokenizer, folder)
        items = eval_sets.read_items(data / "eval", BENCHMARKS, ITEMS)
        reader = Reader(model, tokenizer.separator_id(), CONTEXT)
        results = {name: _results(reader, tokenizer, some) for name, some in items.items()}
        (folder / RESULTS).write_text(json.dumps(results, indent=1) + "\n")
        print(judge.name, {name: round(found["bits_per_byte"], 2) for name, found in results.items()}, flush=True)


def _trained(judge: Judge, table: pa.Table, tokenizer: Tokenizer, folder: Path) -> Any:
    domains = MIXTURES[judge.mixture]
    text = drawn(table, "judges", MODELS_SEED, dict.fromkeys(domains, TRAINING_BYTES // len(domains)))
    text = text.take(pa.array(np.random.default_rng(MODELS_SEED).permutation(len(text))))
    start = tokenizer.separator_id()
    settings = Training(
        size=judge.size, tokens=judge.thousands * 1000, context=CONTEXT, batch_tokens=STEP_TOKENS, threads=1, seed=JUDGES.index(judge)
    )
    streams = Streams.of(text, tokenizer, start)
    shares = np.full(len(streams.domains), 1 / len(streams.domains))
    trained = train(new_model(settings, tokenizer.vocab_size, start), streams, Fixed(shares), settings)
    checkpoint.save(trained.model, tokenizer, tokenizer.text_of(start), folder)
    facts = {
        "domains": list(domains), "tokens": trained.n_tokens, "steps": trained.n_steps, "parameters": trained.model.num_parameters(),
        "seconds": round(trained.seconds, 1), "most_epochs": round(float(trained.epochs.max()), 3),
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    return trained.model


def _results(reader: Reader, tokenizer: Tokenizer, items: list[dict[str, Any]]) -> dict[str, float]:
    """Bits per byte of the answers and, where there are choices, how often the right one has the fewest bits per byte."""
    found = {"bits_per_byte": eval_sets.bits_per_byte(reader, tokenizer, items, CONTEXT)}
    if all(item.get("choices") for item in items):
        found["accuracy"] = float(np.mean([_right(reader, tokenizer, item) for item in items]))
    return found


def _right(reader: Reader, tokenizer: Tokenizer, item: dict[str, Any]) -> bool:
    """Whether the right choice has the fewest bits per byte; Winogrande's choices are contexts of one answer."""
    if item["target"].strip() in (choice.strip() for choice in item["choices"]):
        given = [{"prompt": item["prompt"], "target": f" {choice.strip()}"} for choice in item["choices"]]
    else:
        given = [{"prompt": choice, "target": item["target"]} for choice in item["choices"]]
    return int(np.argmin([eval_sets.bits_per_byte(reader, tokenizer, [one], CONTEXT) for one in given])) == int(item["gold"])


def gather(out: Path) -> None:
    """The tables of all models: errors and accuracies by benchmark, and families."""
    results = {judge.name: json.loads((out / judge.name / RESULTS).read_text()) for judge in JUDGES}
    for file, kind in ((ERRORS, "bits_per_byte"), (ACCURACIES, "accuracy")):
        names = [name for name in BENCHMARKS if all(kind in found[name] for found in results.values())]
        columns = {model: [round(found[name][kind], 6) for name in names] for model, found in results.items()}
        pc_csv.write_csv(pa.table({"benchmark": names, **columns}), out / file)
    pc_csv.write_csv(pa.table({"model": list(families()), "family": list(families().values())}), out / FAMILIES)


def run(data: Path, out: Path, jobs: int) -> None:
    """Train and evaluate every model that ``out`` lacks, ``jobs`` side by side with one thread each, and gather the tables."""
    out.mkdir(parents=True, exist_ok=True)
    tokenizers(out, pages(data / "raw", out / "pages.parquet"))
    command = [sys.executable, "-m", "benchmarks.experiments.perplexity_correlations_models", "--data", str(data), "--out", str(out)]
    waiting = [[*command, "--model", judge.name] for judge in JUDGES if not (out / judge.name / RESULTS).exists()]
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        if waiting and len(running) < jobs:
            running.append(subprocess.Popen(waiting.pop(0)))
        elif running.pop(0).wait():
            raise SystemExit("a model failed; what is done is kept")
    gather(out)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.perplexity_correlations_models", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with raw/ and eval/")
    parser.add_argument("--out", type=Path, required=True, help="where models and tables are kept; a stopped run goes on there")
    parser.add_argument("--jobs", type=int, default=1, help="models side by side, one thread each")
    parser.add_argument("--model", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.model:
        make(next(judge for judge in JUDGES if judge.name == given.model), given.data, given.out)
    else:
        run(given.data, given.out, given.jobs)


if __name__ == "__main__":
    main()
