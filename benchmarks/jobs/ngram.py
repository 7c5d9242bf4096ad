"""The n-gram scorer beside KenLM's own score loop: same ARPA file, same text, one process.

KenLM gets what its users prepare: a Python list of sentences, split and joined beforehand.
The scorer reads Arrow batches of documents as they are. Both score every line as a sentence.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.data import Data
from benchmarks.harness import Result, child
from benchmarks.job import Run

ORDER = 5
PRUNE = [0, 0, 1]


def compare(folder: str | None, n_bytes: int, n_train: int, repeats: int) -> dict[str, Any]:
    """A model of one stretch of the corpus; both sides score another, by turns."""
    import kenlm

    from curate.documents import read_only, text_bytes
    from curate.ngram import arpa, kneser_ney
    from curate.scorers.ngram_perplexity import NgramPerplexity

    batch = Data(Path(folder) if folder else None).documents(n_bytes + n_train)
    batch = batch.take(pa.array(np.random.default_rng(0).permutation(len(batch))))  # the corpus lies domain by domain
    n_test = int(np.searchsorted(text_bytes(batch["text"])[1], n_bytes))
    test, train = batch.slice(0, n_test), batch.slice(n_test)
    data, bounds = text_bytes(train["text"])
    learned = kneser_ney.estimate(read_only(data), read_only(bounds), order=ORDER, by_line=True, prune=PRUNE)
    with tempfile.TemporaryDirectory() as state:
        path = Path(state) / "model.arpa"
        arpa.write(learned.rows, path)
        scorer = NgramPerplexity(model=str(path))
        scorer.load(None)
        library = kenlm.Model(str(path))
    sentences = [sentence for text in test["text"].to_pylist() for line in text.split("\n") if (sentence := words(line))]
    works = {"curate": lambda: scorer.score(test), "KenLM": lambda: [library.score(sentence) for sentence in sentences]}
    readings = in_turns(works, repeats)
    scored = scorer.score(test)
    return {
        "readings": readings,
        "bytes": sum(len(text.encode()) for text in test["text"].to_pylist()),
        "documents": len(test),
        "words": sum(scored["n_predicted"].to_pylist()),
        "ngrams": sum(len(level.log10_p_R) for level in learned.rows.levels),
        "nats": sum(scored["nats"].to_pylist()),
        "kenlm_nats": -math.log(10) * sum(works["KenLM"]()),
    }


def words(line: str) -> str:
    """A line as KenLM should see it: words between single spaces; a null byte would end its string."""
    return b" ".join(line.encode().replace(b"\0", b" ").split()).decode()


def run(run: Run) -> Result:
    """See the module."""
    found = child(
        __name__,
        "compare",
        folder=str(run.data.folder) if run.data.folder else None,
        n_bytes=run.megabytes(8, 2),
        n_train=run.megabytes(30, 4),
        repeats=run.repeats(7),
    )
    facts = found.facts
    size = facts["bytes"] / 1e6
    rows = harness.rows_in_turns(facts["readings"], size, "MB", found.peak_bytes)
    apart = abs(facts["nats"] - facts["kenlm_nats"]) / facts["nats"]
    return Result(
        "ngram",
        "N-gram scorer",
        "Scoring Arrow text as it is reaches eight tenths of KenLM's loop over ready-made sentences.",
        f"{size:.1f} MB of text in {facts['documents']:,} documents, {facts['words'] / 1e6:.2f} M words and sentence ends; an order "
        f"{ORDER} model of "
        f"{facts['ngrams'] / 1e6:.1f} M n-grams learned from other documents",
        [
            f"a look-up for every order of every word, were all found: {ORDER * facts['words'] / 1e6 / run.speeds['random']:.2f} s of "
            "independent random reads"
        ],
        rows,
        [harness.ratio("curate / KenLM, model read from the same ARPA file", rows[0], rows[1], 0.8)],
        f"total {facts['nats']:,.1f} nats by curate, {facts['kenlm_nats']:,.1f} by KenLM: {apart:.1g} apart, relatively",
        ["KenLM holds the ARPA model in its probing table. Both sides run in one process by turns; memory is that process's."],
        harness.loads([found]),
    )
