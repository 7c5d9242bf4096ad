"""The losses of one model on one shard of the sample's pages: sums from which either formula follows.

Definitions, for the chunks c of a page that have a loss; without chunking a page is one. T_c counts all tokens of a
chunk, the begin token with them, of which T_c - 1 are predicted; B_c are its UTF-8 bytes, nats_c the sum of -ln p.

    exact   bits per byte = Σ nats_c / (ln 2 · Σ B_c)
    paper   bits per byte = (Σ T_c · nats_c / (T_c - 1) / Σ T_c) · Σ T_c / Σ B_c / ln 2

The second is that of Thrush et al. (arXiv 2409.05816) as their scripts compute it: a mean loss weighted by tokens,
times tokens per byte. The mean counts for the begin token, too, so it is T/(T-1) times the first. A chunk of which
nothing is predicted has no loss, nor has one whose loss is no number; their bytes do not count.

P pages, C chunks of all of them, D groups.
"""

from __future__ import annotations

import gc
import math
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.corpus import LOSSES, LOSSES_FOLDER
from curate.documents import DOC_ID, text_bytes
from curate.evidence.page_models import PageModel
from curate.evidence.page_sample import PageSample, pages_path, read_scratch
from curate.evidence.page_tokens import read_tokens
from curate.hashing import fingerprint
from curate.manifest import HashingWriter, Ledger, Record
from curate.scorers.bits_per_byte import REFERENCE_PART, TOO_SHORT, BitsPerByte
from curate.storage import Folder
from curate.telling import Teller

NOT_FINITE = "not_finite"

_CODES = f"{REFERENCE_PART},{TOO_SHORT},{NOT_FINITE}"
SCHEMA = pa.schema(
    [
        pa.field("doc_id", DOC_ID, nullable=False, metadata={"unit": "xxh3-128 of text"}),
        pa.field("group", pa.string(), nullable=False),
        pa.field("nats", pa.float64(), metadata={"unit": "nats, of the chunks that have a loss"}),
        pa.field("nats_paper", pa.float64(), metadata={"unit": "nats; a chunk's mean loss times all its tokens"}),
        pa.field("n_predicted", pa.int64(), metadata={"unit": "tokens of the model's tokenizer"}),
        pa.field("n_tokens", pa.int64(), metadata={"unit": "tokens of the model's tokenizer, each chunk's begin token counted"}),
        pa.field("n_bytes", pa.int64(), metadata={"unit": "UTF-8 bytes of the chunks that have a loss"}),
        pa.field("n_chunks", pa.int64(), metadata={"unit": "chunks that have a loss"}),
        pa.field("reason", pa.string(), metadata={"unit": "why there is no loss", "codes": _CODES}),
    ]
)


@dataclass(frozen=True)
class LossTask:
    """One shard of pages under one model.

    Args:
        scratch: where pages and tokens lie.
        fingerprint: of the record: the sample and the model.
        device: to compute on.
        told_bytes: text of the shard, for progress.
    """

    corpus: Folder
    scratch: Folder
    shard: str
    model: PageModel
    tokens: str
    fingerprint: str
    device: str
    told_bytes: int

    @property
    def told_as(self) -> str:
        """Under which name it says how far it is."""
        return f"{self.model.slug}.{self.shard}"


def stage_of(slug: str) -> str:
    """Under which name the records of one model lie."""
    return f"{LOSSES}/{slug}"


def losses_path(slug: str, shard: str) -> str:
    """A model's losses on one shard of pages."""
    return f"{LOSSES_FOLDER}/pages/{slug}/{shard}.parquet"


_held: dict[str, BitsPerByte] = {}


def _scorer(task: LossTask) -> BitsPerByte:
    """The loaded model. A worker holds one: tasks come model by model, and two large ones may not fit."""
    key = f"{fingerprint(task.model.identity)} {task.device}"
    if key not in _held:
        forget_model()
        scorer = task.model.scorer()
        scorer.place(task.device)
        scorer.load(None)
        _held[key] = scorer
    return _held[key]


def forget_model() -> None:
    """Give back the memory of the model that is held, if any."""
    if _held:
        _held.clear()
        gc.collect()
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def score_pages(task: LossTask) -> int:
    """Read one shard, and commit the sums of its pages. Returns how many pages have a loss."""
    scorer = _scorer(task)
    pages = read_scratch(task.scratch, pages_path(task.shard))
    ids, offsets = read_tokens(task.scratch, task.tokens, task.shard)
    tell = Teller(task.corpus, LOSSES, task.told_as)
    found, n_dropped = page_sums(scorer, pages, ids, offsets, partial(_hear, tell, task))
    tell.close()
    path = losses_path(task.model.slug, task.shard)
    with task.corpus.create(path) as out:
        hashing = HashingWriter(out)
        pq.write_table(found, hashing, compression="zstd")
    reasons = Counter(reason for reason in found["reason"].to_pylist() if reason is not None)
    kept = len(found) - sum(reasons.values())
    ledger = Ledger(len(found), kept, dict(sorted(reasons.items())))
    totals = {"n_chunks": len(offsets) - 1, "n_chunks_dropped": n_dropped, "n_tokens": int(pc.sum(found["n_tokens"]).as_py() or 0)}
    Record(stage_of(task.model.slug), task.shard, task.fingerprint, {path: hashing.entry(len(found))}, ledger, totals).commit(task.corpus)
    return kept


def _hear(tell: Teller, task: LossTask, share: float) -> None:
    tell(share * task.told_bytes, task.told_bytes, "bytes", task.model.name)


def page_sums(scorer: BitsPerByte, pages: pa.Table, ids: np.ndarray, offsets: np.ndarray, hear: Any = None) -> tuple[pa.Table, int]:
    """The sums of P pages, as ``SCHEMA`` has them, and how many chunks have no finite loss.

    Args:
        scorer: loaded.
        pages: as ``curate.evidence.page_sample.gather_pages`` writes them.
        ids: tokens of all C chunks (T).
        offsets: where each begins (C + 1).
        hear: called with the share that is done.
    """
    pieces = pages["pieces"].combine_chunks()
    page_C = np.repeat(np.arange(len(pages)), np.diff(pieces.offsets.to_numpy()))
    n_bytes_C = np.diff(text_bytes(pieces.flatten())[1])
    taught_P = scorer.taught_by(pages["doc_id"].combine_chunks())
    nats_C, n_predicted_C = scorer.token_sums(ids, offsets, ~taught_P[page_C], hear)
    n_tokens_C = np.diff(offsets) + int(scorer.begins)
    finite_C = np.isfinite(nats_C)
    counted_C = finite_C & (n_predicted_C > 0)

    def summed(values_C: np.ndarray) -> np.ndarray:
        return np.bincount(page_C[counted_C], values_C[counted_C], len(pages))

    with np.errstate(divide="ignore", invalid="ignore"):
        paper_C = nats_C / n_predicted_C * n_tokens_C
    lacking_P = ~np.isin(np.arange(len(pages)), page_C[counted_C])
    reason_P = np.full(len(pages), None, object)
    reason_P[lacking_P] = TOO_SHORT
    reason_P[lacking_P & np.isin(np.arange(len(pages)), page_C[~finite_C])] = NOT_FINITE
    reason_P[taught_P] = REFERENCE_PART
    sums = [pa.array(summed(values), mask=lacking_P) for values in (nats_C, paper_C)]
    counts = [n_predicted_C, n_tokens_C, n_bytes_C, np.ones(len(page_C), np.int64)]
    sums += [pa.array(summed(values).astype(np.int64)) for values in counts]
    return pa.table([pages["doc_id"], pages["group"], *sums, pa.array(reason_P, pa.string())], schema=SCHEMA), int((~finite_C).sum())


def group_losses(corpus: Folder, model: PageModel, sample: PageSample, formula: str) -> np.ndarray:
    """Bits per byte of one model on every group (D) float64, NaN where no page has a loss. All its shards are committed.

    Args:
        formula: ``exact`` or ``paper``.
    """
    nats_D, n_bytes_D = np.zeros(len(sample.groups)), np.zeros(len(sample.groups))
    column = "nats_paper" if formula == "paper" else "nats"
    for shard, where in sample.shards.items():
        with corpus.open(losses_path(model.slug, shard)) as file:
            pages = pq.read_table(file, columns=[column, "n_bytes"], use_threads=False)
        group_P = sample.group_of_page[where]
        # One page after another, in the order of the corpus: the same sum whatever computed the pages.
        np.add.at(nats_D, group_P, pages[column].fill_null(0.0).to_numpy())
        np.add.at(n_bytes_D, group_P, pages["n_bytes"].to_numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n_bytes_D > 0, nats_D / (math.log(2) * n_bytes_D), np.nan)
