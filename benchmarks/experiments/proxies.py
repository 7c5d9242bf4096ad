"""A proxy trained on what a mix emitted, and its bits per byte on held-out text and evaluation files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from benchmarks.experiments import eval_sets
from curate.causal_lm import Reader
from curate.proxy import Fixed, Streams, Training, evaluate, new_model, train
from curate.tokenization import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EVALUATION = (
    "arc_challenge", "arc_easy", "boolq", "commonsense_qa", "gsm8k", "jeopardy_all", "lambada_openai", "math",
    "openbook_qa", "piqa", "triviaqa_sm_sub", "winogrande", "xquad_en",
)  # fmt: skip


def emitted(folder: Path) -> pa.Table:
    """The rows of a mix, each copy of a document one."""
    return pa.concat_tables([pa.ipc.open_stream(shard).read_all() for shard in sorted(folder.glob("*.arrow"))])


def trained_on(
    rows: pa.Table,
    tokenizer: Tokenizer,
    settings: Training,
    held_out: pa.Table,
    items: dict[str, list[dict[str, Any]]],
    after_step: Callable[[int, PreTrainedModel], None] | None = None,
) -> dict[str, float]:
    """Train a proxy on rows in their own proportions: its bits per byte by held-out domain and evaluation file, and its passes.

    ``held_out`` sums over the domains' text, ``eval`` is the mean over files, ``epochs`` the most passes over a domain.
    """
    start = tokenizer.separator_id()
    streams = Streams.of(rows, tokenizer, start)
    model = new_model(settings, tokenizer.vocab_size, start)
    trained = train(model, streams, Fixed(streams.natural), settings, after_step=after_step)
    table = evaluate(trained.model, tokenizer, held_out, start_id=start, context=settings.context)
    found = {f"held_out/{row['domain']}": row["bpb"] for row in table.to_pylist()}
    found["held_out"] = overall(table)
    reader = Reader(trained.model, start, settings.context)
    on_items = {f"eval/{name}": eval_sets.bits_per_byte(reader, tokenizer, some, settings.context) for name, some in items.items()}
    return found | on_items | {"eval": float(np.mean(list(on_items.values()))), "epochs": float(trained.epochs.max())}


def overall(evaluation: pa.Table) -> float:
    """Bits per byte over all domains of a table that ``curate.proxy.evaluate`` made."""
    return float(evaluation["nats"].to_numpy().sum() / (np.log(2) * evaluation["n_bytes"].to_numpy().sum()))
