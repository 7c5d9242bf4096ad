"""What a model makes of documents: summed nats, predicted tokens and bytes of every domain.

Sums add up over batches, shards and machines; bits per byte are Σ nats / (ln 2 · Σ bytes), never a mean of ratios.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from curate.causal_lm import Reader
from curate.documents import text_bytes
from curate.tokenization import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BATCH_BYTES = 4 << 20

EVALUATION = pa.schema(
    [
        pa.field("domain", pa.string()),
        pa.field("n_documents", pa.int64()),
        pa.field("nats", pa.float64(), metadata={"unit": "nats", "direction": "lower"}),
        pa.field("n_predicted", pa.int64(), metadata={"unit": "tokens"}),
        pa.field("n_bytes", pa.int64(), metadata={"unit": "UTF-8 bytes"}),
        pa.field("bpb", pa.float64(), metadata={"unit": "bits per UTF-8 byte", "direction": "lower"}),
    ]
)


def evaluate(
    model: PreTrainedModel, tokenizer: Tokenizer, table: pa.Table, *, start_id: int | None, context: int, overlap: int = 0, threads: int = 1
) -> pa.Table:
    """Evaluate a model on documents.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: its own.
        table: columns ``text`` and ``domain``.
        start_id, context, overlap: how documents become windows; see ``curate.causal_lm.windows``.
        threads: that arithmetic on a CPU uses.

    Returns:
        Schema ``EVALUATION``, a row for each domain, sorted by name.
    """
    reader = Reader(model, start_id, context, overlap, threads)
    names = np.asarray(table["domain"].cast(pa.string()).to_pylist(), dtype=object)
    domains = sorted(set(names.tolist()))
    which = np.searchsorted(np.asarray(domains, dtype=object), names)
    sums = np.zeros((3, len(domains)))
    text = table["text"].combine_chunks()
    text = (text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text).cast(pa.large_string())
    bounds = text_bytes(text)[1]
    row = 0
    while row < len(text):
        last = max(row + 1, int(np.searchsorted(bounds, bounds[row] + BATCH_BYTES, side="right")) - 1)
        nats, n_predicted = reader.sums(reader.prepare(*tokenizer.encode_arrow(text[row:last])), last - row)
        for kind, values in enumerate((nats, n_predicted, np.diff(bounds[row : last + 1]))):
            sums[kind] += np.bincount(which[row:last], values, len(domains))
        row = last
    n_bytes = sums[2]
    bpb = [nats / (math.log(2) * size) if size else None for nats, size in zip(sums[0], n_bytes, strict=True)]
    columns = [domains, np.bincount(which, minlength=len(domains)), sums[0], sums[1].astype(np.int64), n_bytes.astype(np.int64), bpb]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, EVALUATION, strict=True)], schema=EVALUATION)
