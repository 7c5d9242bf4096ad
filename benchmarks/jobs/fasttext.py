"""The fastText scorer beside fastText's own bulk prediction, on text in memory.

The library gets Python strings without newlines, made beforehand; its two bulk entries are
timed and the faster counts. The scorer gets Arrow batches with the text as it is, and
flattens it, finds blank documents and builds its columns within the time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.data import Data, groups
from benchmarks.harness import Reading, Result, child
from benchmarks.job import Run

BATCH = 1024
WORDS = 2  # a word and a word bigram: two rows of the model are added for every word


def compare(folder: str | None, n_bytes: int, dim: int, repeats: int) -> dict[str, Any]:
    """Both sides by turns in this process, with one model trained on the domains of the text."""
    import fasttext

    from curate.scorers.fasttext import FastText

    batch = Data(Path(folder) if folder else None).documents(n_bytes)
    table = pa.table(batch.columns, names=batch.schema.names)
    flat = [text.replace("\n", " ") for text in batch["text"].to_pylist()]
    batches, lists = table.to_batches(max_chunksize=BATCH), groups(flat, BATCH)
    with tempfile.TemporaryDirectory() as state:
        FastText(label="domain", dim=dim, epoch=2).fit(table, Path(state))
        scorer = FastText(model=Path(state) / "model.bin")
        scorer.check()
        scorer.load(None)
        library = fasttext.load_model(str(Path(state) / "model.bin"))
    ended = [[text + "\n" for text in group] for group in lists]
    works = {
        "curate": lambda: [scorer.score(batch) for batch in batches],
        "fastText predict": lambda: [library.predict(group, k=1) for group in lists],
        "fastText multilinePredict": lambda: [library.f.multilinePredict(group, 1, 0.0, "strict") for group in ended],
    }
    readings = in_turns(works, repeats)
    ours = pa.Table.from_batches(works["curate"]())
    theirs = [library.predict(group, k=1) for group in lists]
    labels = [found[0].removeprefix("__label__") for answer in theirs for found in answer[0] if len(found)]
    chances = np.array([min(float(found[0]), 1.0) for answer in theirs for found in answer[1] if len(found)])
    scored = ours.filter(ours["label"].is_valid())
    return {
        "readings": readings,
        "bytes": batch["text"].nbytes,
        "documents": len(batch),
        "words": sum(len(text.split(" ")) for text in flat),
        "equal_labels": sum(a == b for a, b in zip(scored["label"].to_pylist(), labels, strict=True)),
        "largest_difference": float(np.abs(scored["probability"].to_numpy() - chances).max()),
    }


def run(run: Run) -> Result:
    """See the module."""
    arguments: dict[str, Any] = {"folder": str(run.data.folder) if run.data.folder else None, "n_bytes": run.megabytes(16, 3)}
    rows, ratios, agreement, floors = [], [], [], []
    load: list[Reading] = []
    for dim in (100, 16):
        found = child(__name__, "compare", **arguments, dim=dim, repeats=run.repeats(5))
        facts, load = found.facts, [*load, found]
        size = facts["bytes"] / 1e6
        mine = harness.rows_in_turns(facts["readings"], size, "MB", found.peak_bytes)
        best = max(mine[1:], key=lambda row: row.speed)
        ratios.append(harness.ratio(f"curate / fastText's faster bulk call, dim {dim}", mine[0], best, 0.9))
        agreement.append(
            f"dim {dim}: {facts['equal_labels']:,} of {facts['documents']:,} labels equal, probabilities differ by at most "
            f"{facts['largest_difference']:.1g}"
        )
        added = WORDS * facts["words"] * dim / 100 / 1e6
        floors.append(
            f"dim {dim}: {facts['words'] / 1e6:.1f} M words, a row of the model added for each and for each bigram: "
            f"{added / run.speeds['floats']:.2f} s of additions"
        )
        for row in mine:
            row.name = f"{row.name}, dim {dim}"
        rows += mine
    return Result(
        "fasttext",
        "fastText scorer",
        "Scoring Arrow text reaches nine tenths of the library's own bulk prediction on ready-made strings.",
        f"{size:.0f} MB of text in {facts['documents']:,} documents, batches of {BATCH}; a model of the text's own domains, word bigrams",
        floors,
        rows,
        ratios,
        "; ".join(agreement),
        ["Both sides run in one process by turns; memory is that process's. Hashing words and the output layer come on top of the floor."],
        harness.loads(load),
    )
