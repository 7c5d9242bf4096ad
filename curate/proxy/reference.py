"""From a sample of documents to a trained model on disk: what a scorer's fit, and later a proxy's, is made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.causal_lm import checkpoint
from curate.errors import InputError
from curate.proxy.mixture import Fixed
from curate.proxy.resume import Checkpoints
from curate.proxy.settings import Training
from curate.proxy.streams import Streams
from curate.proxy.training import Progress, Trained, new_model, train
from curate.tokenization import Tokenizer, train_bpe

if TYPE_CHECKING:
    from curate.scorers.scorer import FitAid

LOSSES, DOMAIN_LOSSES, FACTS = "losses.parquet", "domain_losses.parquet", "training.json"


def train_reference(sample: pa.Table, settings: Training, folder: Path, aid: FitAid) -> Trained:
    """Train a model on documents and write it.

    Args:
        sample: columns ``text``, ``domain`` and ``doc_id``.
        settings: size, tokenizer, amount.
        folder: existing; gets the model in Hugging Face format, ``losses.parquet`` (a row for each step),
            ``domain_losses.parquet`` (schema ``LOSSES`` of ``curate.proxy.training``) and ``training.json``.
        aid: device, checkpoints, who to tell.
    """
    tokenizer = _tokenizer(sample, settings, aid)
    start_id = tokenizer.separator_id()
    streams = Streams.of(sample, tokenizer, start_id)
    model = new_model(settings, tokenizer.vocab_size, start_id)
    shares = np.full(len(streams.domains), 1 / len(streams.domains)) if settings.stratified else streams.natural
    kept = Checkpoints(aid.checkpoints, aid.identity) if aid.checkpoints is not None else None

    def report(progress: Progress) -> None:
        if aid.tell is not None:
            detail = f"step {progress.step:,} of {progress.n_steps:,}, loss {progress.loss:.3f}"
            tokens = settings.batch_rows * settings.context
            aid.tell(progress.n_tokens, progress.n_steps * tokens, "tokens", detail)

    trained = train(model, streams, Fixed(shares), settings, device=aid.device, checkpoints=kept, report=report)
    checkpoint.save(trained.model.to("cpu"), tokenizer, tokenizer.text_of(start_id), folder)
    pq.write_table(trained.losses, folder / DOMAIN_LOSSES)
    pq.write_table(by_step(trained.losses), folder / LOSSES)
    (folder / FACTS).write_text(json.dumps(_facts(trained, streams, settings), indent=1, sort_keys=True) + "\n")
    return trained


def by_step(losses: pa.Table) -> pa.Table:
    """Losses over all domains: ``step``, ``tokens`` trained on after it, ``loss`` in nats per token, ``learning_rate``."""
    sums = losses.group_by("step", use_threads=False).aggregate(
        [("nats", "sum"), ("n_predicted", "sum"), ("learning_rate", "first"), ("gradient_norm", "first")]
    )
    return pa.table(
        {
            "step": sums["step"],
            "tokens": pc.cumulative_sum(sums["n_predicted_sum"]),
            "loss": pc.divide(sums["nats_sum"], sums["n_predicted_sum"].cast(pa.float64())),
            "learning_rate": sums["learning_rate_first"],
            "gradient_norm": sums["gradient_norm_first"],
        }
    )


def _tokenizer(sample: pa.Table, settings: Training, aid: FitAid) -> Tokenizer:
    """Supplied, borrowed from a tokens scorer, or trained on the sample."""
    if settings.tokenizer is not None:
        return Tokenizer.open(settings.tokenizer)
    if settings.tokenizer_of is not None:
        if settings.tokenizer_of not in aid.borrowed:
            raise InputError(
                f"the tokenizer of {settings.tokenizer_of!r} is not there",
                where="train.tokenizer_of",
                expected="a tokens scorer of the same pipeline",
                fix="run in a pipeline, or give `tokenizer:`",
            )
        return Tokenizer.open(aid.borrowed[settings.tokenizer_of])
    return train_bpe((text for text in sample["text"].to_pylist() if text), settings.vocab_size)


def _facts(trained: Trained, streams: Streams, settings: Training) -> dict[str, Any]:
    """What a person wants to know of a training, and nothing of when or where it ran."""
    return {
        "n_parameters": trained.model.num_parameters(),
        "n_steps": trained.n_steps,
        "n_tokens": trained.n_tokens,
        "size": settings.size,
        "domains": {
            name: {"n_tokens": int(n), "n_bytes": int(b), "epochs": round(float(e), 4)}
            for name, n, b, e in zip(streams.domains, streams.n_tokens, streams.n_bytes, trained.epochs, strict=True)
        },
    }
