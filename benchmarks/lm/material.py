"""What every side of the job reads: a sample of documents, models with random weights, and the sample's tokens.

Random weights cost what learned ones do. The output layer's are ten times as large as a new model's, so that tokens
differ in what they cost: under an even distribution every side would agree whatever it computed.

N documents, T tokens.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data import Data
from benchmarks.harness import child
from curate.corpus import Corpus

CONTEXT = 512
TAUGHT_BYTES = 20_000_000
SHARPER = 10.0


def sample(data: Data, name: str, n_bytes: int, domains: Sequence[str] = ()) -> Path:
    """A folder with one Parquet file of ``text`` and ``domain``.

    Each domain gives its first documents, in ingest's hashed order, until its equal share is full; the last is cut there.
    """
    folder = data.work / f"lm-{name}-{n_bytes // 1000}kB"
    if not folder.exists():
        corpus = data.corpus()
        chosen = sorted(domains or corpus.domains)
        rows = [(text, domain) for domain in chosen for text in _first(corpus, domain, n_bytes // len(chosen))]
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        columns = [pa.array([text for text, _ in rows], pa.large_string()), pa.array([domain for _, domain in rows])]
        pq.write_table(pa.table(columns, names=["text", "domain"]), partial / "00.parquet")
        partial.rename(folder)
    return folder


def _first(corpus: Corpus, domain: str, n_bytes: int) -> Iterator[str]:
    """Distinct documents of a domain until ``n_bytes`` are full."""
    seen: set[str] = set()
    for table in corpus.batches(["text"], [domain]):
        for value in table["text"]:
            text = value.as_py().encode()[:n_bytes].decode(errors="ignore")
            if not text.strip() or text in seen:
                continue
            yield text
            seen.add(text)
            n_bytes -= len(text.encode())
            if n_bytes <= 0:
                return


@dataclass(frozen=True)
class Model:
    """A model to make.

    Args:
        size: of ``curate.causal_lm.SHAPES``.
        n_ids: of the tokenizer, taught by a prefix of the corpus.
        n_rows: of the two tables, at least ``n_ids``: real models are padded to a round number.
        context: positions.
    """

    size: str
    n_ids: int
    n_rows: int
    context: int = CONTEXT

    def folder(self, data: Data) -> Path:
        """The checkpoint, made if it is missing."""
        folder = data.work / f"lm-{self.size}-{self.n_rows}-{self.context}"
        if not folder.exists():
            values: dict[str, Any] = {"size": self.size, "n_ids": self.n_ids, "n_rows": self.n_rows, "context": self.context}
            child(__name__, "make", data_folder=str(data.folder) if data.folder else None, folder=str(folder), **values)
        return folder


def make(data_folder: str | None, folder: str, size: str, n_ids: int, n_rows: int, context: int) -> dict[str, Any]:
    """Teach the tokenizer, draw the weights, write both."""
    from curate.causal_lm import checkpoint
    from curate.proxy import Training, new_model
    from curate.tokenization import train_bpe

    texts = Data(Path(data_folder) if data_folder else None).documents(TAUGHT_BYTES)["text"].to_pylist()
    tokenizer = train_bpe(texts, n_ids)
    start = tokenizer.separator_id()
    model = new_model(Training(size=size, context=context), n_rows, start)
    model.get_output_embeddings().weight.data.mul_(SHARPER)
    partial = Path(folder).with_name(f"{Path(folder).name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    checkpoint.save(model, tokenizer, tokenizer.text_of(start), partial)
    partial.rename(folder)
    return {}


@dataclass(frozen=True)
class Layout:
    """The tokens of a corpus, in its own order.

    Args:
        ids: of all documents (T).
        offsets: where each begins (N + 1).
        doc_ids: in hex (N).
    """

    ids: np.ndarray
    offsets: np.ndarray
    doc_ids: list[str]

    @classmethod
    def read(cls, file: str) -> Layout:
        """As ``lay_out`` wrote it."""
        with np.load(file) as held:
            return cls(held["ids"].astype(np.int64), held["offsets"], held["doc_ids"].tolist())

    def windows(self, context: int) -> list[tuple[int, np.ndarray]]:
        """(document, predicted tokens) of every window: documents cut every ``context`` tokens, each piece after a start token."""
        found = []
        for document, (begin, end) in enumerate(zip(self.offsets[:-1], self.offsets[1:], strict=True)):
            found += [(document, self.ids[at : min(at + context, end)]) for at in range(begin, end, context)]
        return found


def lay_out(corpus: str, model: str, file: str) -> dict[str, Any]:
    """Encode an ingested corpus; returns counts, and the sum of squared window lengths, which attention costs."""
    from curate.tokenization import Tokenizer

    table = Corpus.open(corpus).table(["doc_id", "text"])
    ids, offsets = Tokenizer.open(model).encode_arrow(table["text"].combine_chunks().cast(pa.large_string()))
    names = [name.hex() for name in table["doc_id"].to_pylist()]
    np.savez(file, ids=ids, offsets=offsets, doc_ids=np.array(names))
    lengths = np.array([len(tokens) for _, tokens in Layout.read(file).windows(config(model)["max_position_embeddings"])])
    return {"documents": len(names), "tokens": len(ids), "windows": len(lengths), "squares": int((lengths**2).sum())}


def config(model: str) -> dict[str, Any]:
    """The model's ``config.json``."""
    found: dict[str, Any] = json.loads((Path(model) / "config.json").read_text())
    return found


def linear_parameters(model: str) -> int:
    """Weights that every token is multiplied with: those of the blocks' linear maps and of the output layer."""
    return sum(rows * width for rows, width in linear_shapes(config(model)))


def linear_shapes(shape: dict[str, Any]) -> list[tuple[int, int]]:
    """(outputs, inputs) of every linear map of a Pythia, block by block, the output layer last."""
    d, f = shape["hidden_size"], shape["intermediate_size"]
    return [(3 * d, d), (d, d), (f, d), (d, f)] * shape["num_hidden_layers"] + [(shape["vocab_size"], d)]


def flops(model: str, tokens: int, squares: int) -> float:
    """Of scoring: two for each weight and token; causal attention two products of half a square by the width in each block."""
    shape = config(model)
    return 2.0 * tokens * linear_parameters(model) + 2.0 * shape["num_hidden_layers"] * shape["hidden_size"] * squares


def weight_bytes(model: str) -> int:
    """Of the model's own weights, as they are stored: float32."""
    return sum(file.stat().st_size for file in Path(model).glob("*.safetensors"))
