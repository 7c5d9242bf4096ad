"""Our encoder beside the ``tokenizers`` library on one thread: same tokenizer file, same text, same ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.data import Data
from benchmarks.harness import Result, child
from benchmarks.job import Run

VOCABULARY = 16_384


def compare(folder: str | None, n_bytes: int, n_train: int, repeats: int) -> dict[str, Any]:
    """Both sides by turns in this process; ``cold`` begins with an empty table of recent words, as a new worker does."""
    import tokenizers

    from curate.tokenization import Tokenizer, train_bpe

    batch = Data(Path(folder) if folder else None).documents(max(n_bytes, n_train))
    text = batch["text"]
    sizes = np.cumsum([len(t.encode()) for t in text.to_pylist()])
    spread = np.random.default_rng(0).permutation(len(text))  # the corpus lies domain by domain
    chosen = text.take(spread[np.cumsum(np.diff(sizes, prepend=0)[spread]) <= n_bytes])
    tokenizer = train_bpe(text.to_pylist(), VOCABULARY)
    library = tokenizers.Tokenizer.from_str(tokenizer.content.decode())
    library.encode_special_tokens = True
    strings = chosen.to_pylist()

    def cold() -> object:
        return Tokenizer(tokenizer.content).encode_arrow(chosen)

    works = {
        "curate, encode": lambda: tokenizer.encode_arrow(chosen),
        "curate, open the file and encode": cold,
        "curate, count only": lambda: tokenizer.count(chosen),
        "tokenizers, encode_batch_fast": lambda: library.encode_batch_fast(strings, add_special_tokens=False),
    }
    readings = in_turns(works, repeats)
    expected = [encoding.ids for encoding in library.encode_batch_fast(strings, add_special_tokens=False)]
    ids, offsets = tokenizer.encode_arrow(chosen)
    return {
        "readings": readings,
        "bytes": sum(len(t.encode()) for t in strings),
        "documents": len(strings),
        "tokens": len(ids),
        "same": bool(np.array_equal(ids, np.concatenate([np.array(e, np.int32) for e in expected]))) and len(offsets) == len(expected) + 1,
        "slow_because": tokenizer.slow_because,
    }


def run(run: Run) -> Result:
    """See the module."""
    found = child(
        __name__,
        "compare",
        folder=str(run.data.folder) if run.data.folder else None,
        n_bytes=run.megabytes(12, 2),
        n_train=run.megabytes(20, 4),
        repeats=run.repeats(3),
    )
    facts = found.facts
    size = facts["bytes"] / 1e6
    rows = harness.rows_in_turns(facts["readings"], size, "MB", found.peak_bytes)
    encode, opened, _, library = rows
    return Result(
        "tokens",
        "Tokenizer",
        "The fast kernel gives the ids of the `tokenizers` library, an order of magnitude sooner.",
        f"{size:.1f} MB of text of all domains in {facts['documents']:,} documents, {facts['tokens'] / 1e6:.2f} M tokens; a byte-level "
        "BPE of "
        f"{VOCABULARY:,} ids trained on the corpus",
        [
            f"a look-up of every token's word, were a token a word: {facts['tokens'] / 1e6 / run.speeds['random']:.2f} s of "
            "independent random reads; "
            f"reading the text once: {size / run.speeds['copy']:.3f} s"
        ],
        rows,
        [
            harness.ratio("curate, encode / tokenizers", encode, library, 10),
            harness.ratio("curate, opening the file included / tokenizers", opened, library),
        ],
        f"ids {'equal in every document' if facts['same'] else '**differ**'}"
        + (f"; slow path: {facts['slow_because']}" if facts["slow_because"] else ""),
        ["Both sides run in one process by turns, RAYON_NUM_THREADS=1; memory is that process's."],
        harness.loads([found]),
    )
