"""Decontamination: documents against n-grams of evaluation items, beside folding words alone and beside datatrove's filter."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import harness
from benchmarks.child import in_turns
from benchmarks.data import Data
from benchmarks.environments import python_of
from benchmarks.harness import Result, child
from benchmarks.job import Run

NGRAM = 13
ITEM_WORDS = 60
ITEMS_OF_A_DOCUMENT = 20


def compare(folder: str | None, n_bytes: int, n_items: int, n_peer: int, out: str, repeats: int) -> dict[str, Any]:
    """Passages of one stretch of the corpus are the items; another stretch, with some of them planted, is searched."""
    from curate.documents import read_only, text_bytes
    from curate.kernels.folding import fold_tables
    from curate.kernels.ngram_lookup import fold_column
    from curate.scorers.contamination import Contamination

    batch = Data(Path(folder) if folder else None).documents(n_bytes + 2 * n_items * 6 * ITEM_WORDS)
    batch = batch.take(pa.array(np.random.default_rng(0).permutation(len(batch))))  # the corpus lies domain by domain
    n_test = int(np.searchsorted(text_bytes(batch["text"])[1], n_bytes))
    items = passages(batch["text"][n_test:].to_pylist(), n_items)
    texts = [text + "\n" + items[i] if i % 100 == 0 else text for i, text in enumerate(batch["text"][:n_test].to_pylist())]
    text = pa.array(texts, pa.large_string())
    test = pa.record_batch([text], names=["text"])
    Path(out).mkdir(parents=True, exist_ok=True)
    n_peer_rows = int(np.searchsorted(text_bytes(text)[1], n_peer))
    pq.write_table(pa.table({"text": items}), f"{out}/items.parquet")
    pq.write_table(pa.table({"text": text[:n_peer_rows]}), f"{out}/documents.parquet")
    with tempfile.TemporaryDirectory() as state:
        scorer = Contamination(files=f"{out}/items.parquet", ngram=NGRAM)
        scorer.fit(pa.table({"text": pa.array([], pa.large_string())}), Path(state))
        scorer.load(Path(state))
        data, bounds = map(read_only, text_bytes(text))
        works = {"curate": lambda: scorer.score(test), "folding words alone": lambda: fold_column(data, bounds, fold_tables())}
        readings = in_turns(works, repeats)
        keep = scorer.score(test)["keep"].to_numpy(zero_copy_only=False)
    return {
        "readings": readings,
        "bytes": int(bounds[-1]),
        "documents": n_test,
        "planted": len(range(0, n_test, 100)),
        "found": int((~keep[::100]).sum()),
        "matched": np.flatnonzero(~keep[:n_peer_rows]).tolist(),
        "peer_bytes": int(bounds[n_peer_rows]),
        "peer_documents": n_peer_rows,
    }


def passages(texts: list[str], n: int) -> list[str]:
    """Stretches of ITEM_WORDS words, some from every text."""
    found: list[str] = []
    for text in texts:
        words = text.split()
        starts = range(0, len(words) - ITEM_WORDS, ITEM_WORDS)[:ITEMS_OF_A_DOCUMENT]
        found += [" ".join(words[start : start + ITEM_WORDS]) for start in starts]
    return found[:n]


def run(run: Run) -> Result:
    """See the module."""
    out = run.scratch / "contamination"
    found = child(
        __name__,
        "compare",
        folder=str(run.data.folder) if run.data.folder else None,
        n_bytes=run.megabytes(64, 3),
        n_items=2_000 if run.quick else 50_000,
        n_peer=run.megabytes(6, 1),
        out=str(out),
        repeats=run.repeats(7),
    )
    facts = found.facts
    files = {"documents": f"{out}/documents.parquet", "items": f"{out}/items.parquet"}
    peer = child(
        "benchmarks.peers.datatrove_decontamination", "find", python=python_of("datatrove"), **files, out=f"{out}/index", ngram=NGRAM
    )
    rows = harness.rows_in_turns(facts["readings"], facts["bytes"] / 1e6, "MB", found.peak_bytes)
    theirs = harness.row("datatrove, its filter's loop", [peer], facts["peer_bytes"] / 1e6)
    ours, floor = rows
    both = len({*facts["matched"]} & {*peer.facts["matched"]})
    return Result(
        "contamination",
        "Decontamination",
        "Looking every n-gram of a text up costs a few times what folding its words does, and a hundredth of a loop over strings.",
        f"{facts['bytes'] / 1e6:.0f} MB of text in {facts['documents']:,} documents against {2_000 if run.quick else 50_000:,} passages "
        f"of {ITEM_WORDS} words, {NGRAM}-grams; one core",
        ["folding words alone, a row below, is what any look-up of normalised n-grams needs first"],
        [*rows, theirs],
        [
            harness.ratio("curate / folding words alone", ours, floor),
            harness.ratio("curate / datatrove", ours, theirs),
        ],
        f"of {facts['planted']:,} planted passages curate found {facts['found']:,}; of the {facts['peer_documents']:,} documents both "
        f"searched, curate matched {len(facts['matched']):,}, datatrove {len(peer.facts['matched']):,}, both {both:,}",
        [
            f"datatrove's filter searched {facts['peer_bytes'] / 1e6:.1f} MB of the same documents, once; its index was made of its own "
            "hashes, untimed, since its indexer needs another package. Its words are spaCy's, so planted text that follows no white "
            "space may differ.",
            "curate leaves out n-grams of few different words and of more than ten items, which datatrove matches.",
        ],
        harness.loads([found], [peer]),
    )
