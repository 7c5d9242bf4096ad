"""The classifier of perplexity correlations beside fastText's own bulk prediction, on text in memory.

One model of two labels, with the paper's settings: word bigrams hashed into two million rows, 800 MB. The library gets
strings without newlines, made beforehand; its two bulk entries are timed and the faster counts. The scorer gets Arrow
batches with the text as it is, flattens it, finds blank pages, looks up which pages taught it and builds its columns
within the time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.data import Data, groups
from benchmarks.harness import Result, child
from benchmarks.job import Run

BATCH = 1024
WORDS = 2  # a word and a word bigram: two rows of the model are added for every word
BUCKET, DIM = 2_000_000, 100


def compare(folder: str | None, n_bytes: int, repeats: int) -> dict[str, Any]:
    """Both sides by turns in this process; included are the domains in every second place of the alphabet."""
    import fasttext

    from curate.correlation.weights import SCHEMA
    from curate.scorers.correlation_classifier import CorrelationClassifier
    from curate.scorers.scorer import FitAid

    batch = Data(Path(folder) if folder else None).documents(n_bytes)
    table = pa.table(batch.columns, names=batch.schema.names)
    flat = [text.replace("\n", " ") for text in batch["text"].to_pylist()]
    batches, lists = table.to_batches(max_chunksize=BATCH), groups(flat, BATCH)
    domains = sorted(pc.unique(table["domain"]).to_pylist())
    rows = [{"target": "t", "group": domain, "weight": float(i % 2 == 0)} for i, domain in enumerate(domains)]
    weights = pa.Table.from_pylist(rows, schema=pa.schema([field.with_nullable(True) for field in SCHEMA]))
    with tempfile.TemporaryDirectory() as state:
        scorer = CorrelationClassifier(dim=DIM, bucket=BUCKET, epoch=1)
        scorer.check()
        scorer.fit_with(table, Path(state), FitAid(weights=lambda: weights))
        scorer.load(Path(state))
        library = fasttext.load_model(str(Path(state) / "model.bin"))
    ended = [[text + "\n" for text in group] for group in lists]
    works = {
        "curate": lambda: [scorer.score(batch) for batch in batches],
        "fastText predict": lambda: [library.predict(group, k=2) for group in lists],
        "fastText multilinePredict": lambda: [library.f.multilinePredict(group, 2, 0.0, "strict") for group in ended],
    }
    readings = in_turns(works, repeats)
    ours = pa.Table.from_batches(works["curate"]())["score"].to_pylist()
    theirs = [
        dict(zip(labels, chances.tolist(), strict=True)).get("__label__include")
        for answer in (library.predict(group, k=2) for group in lists)
        for labels, chances in zip(*answer, strict=True)
    ]
    pairs = [(a, min(b, 1.0)) for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    return {
        "readings": readings,
        "bytes": batch["text"].nbytes,
        "documents": len(batch),
        "compared": len(pairs),
        "words": sum(len(text.split(" ")) for text in flat),
        "largest_difference": float(np.abs(np.diff(np.array(pairs), axis=1)).max()),
    }


def run(run: Run) -> Result:
    """See the module."""
    arguments: dict[str, Any] = {"folder": str(run.data.folder) if run.data.folder else None, "n_bytes": run.megabytes(16, 3)}
    found = child(__name__, "compare", **arguments, repeats=run.repeats(7))
    facts = found.facts
    size = facts["bytes"] / 1e6
    rows = harness.rows_in_turns(facts["readings"], size, "MB", found.peak_bytes)
    best = max(rows[1:], key=lambda row: row.speed)
    added = WORDS * facts["words"] * DIM / 100 / 1e6
    return Result(
        "page_classifier",
        "page classifier",
        "Scoring Arrow text by P(include) reaches 95 % of the library's own bulk prediction on ready-made strings, with the same model.",
        f"{size:.0f} MB of text in {facts['documents']:,} documents, batches of {BATCH}; bigrams in {BUCKET:,} rows of {DIM}",
        [
            f"{facts['words'] / 1e6:.1f} M words, a row of the model added for each and for each bigram: "
            f"{added / run.speeds['floats']:.2f} s of additions"
        ],
        rows,
        [harness.ratio("curate / fastText's faster bulk call", rows[0], best, 0.95)],
        f"probabilities of {facts['compared']:,} documents differ by at most {facts['largest_difference']:.1g}",
        [
            "Both sides run in one process by turns; memory is that process's, and holds the model twice.",
            "The rows of 800 MB lie in no cache: waiting for memory comes on top of the floor. The scorer's model is moved into huge "
            "pages where the system has them, which spares walks of the page table; moving it takes a second or two a worker, not timed.",
        ],
        harness.loads([found]),
    )
