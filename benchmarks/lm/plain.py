"""The sides beside curate: plain loops over ready-made tokens, the dense ceiling, and matrix products alone.

The loops get more than their users have: tokens, windows and tensors are made before the time starts, and nothing is
written. Scores are Σ -ln p of a document's tokens, each window read after the start token.

N documents, W windows.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.child import timed
from benchmarks.lm.material import Layout, config, linear_shapes

BATCH = 16
POSITIONS = 4096
LOGIT_BYTES = 16 << 20
WARM = 8
NOT_PREDICTED = -100
Score = Callable[[Sequence[int]], list[float]]
"""Nats of the windows of these numbers."""


def opened(model: str, threads: int) -> Any:
    """The model as anyone opens it."""
    import torch
    from transformers import AutoModelForCausalLM, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads)
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, local_files_only=True).eval()


def one_by_one(model: str, layout: Layout) -> Score:
    """A forward for every window: logits, loss, ``.item()``."""
    import torch
    from torch.nn.functional import cross_entropy

    shape = config(model)
    start = torch.tensor([shape["bos_token_id"]])
    targets = [torch.from_numpy(tokens) for _, tokens in layout.windows(shape["max_position_embeddings"])]
    inputs = [torch.cat([start, some[:-1]])[None] for some in targets]
    network = opened(model, torch.get_num_threads())

    def score(which: Sequence[int]) -> list[float]:
        with torch.inference_mode():
            return [cross_entropy(network(inputs[i], use_cache=False).logits[0], targets[i], reduction="sum").item() for i in which]

    return score


def batches_of_16(model: str, layout: Layout) -> Score:
    """Windows in corpus order, padded to the longest of their batch: attention mask, labels of -100, logits of everything."""
    import torch
    from torch.nn.functional import cross_entropy

    shape = config(model)
    windows = [tokens for _, tokens in layout.windows(shape["max_position_embeddings"])]
    made = []
    for first in range(0, len(windows), BATCH):
        some = windows[first : first + BATCH]
        width = max(map(len, some))
        inputs, mask = np.zeros((len(some), width), np.int64), np.zeros((len(some), width), np.int64)
        labels = np.full((len(some), width), NOT_PREDICTED, np.int64)
        for row, tokens in enumerate(some):
            inputs[row, : len(tokens)] = [shape["bos_token_id"], *tokens[:-1]]
            labels[row, : len(tokens)], mask[row, : len(tokens)] = tokens, 1
        made.append(tuple(map(torch.from_numpy, (inputs, mask, labels))))
    network = opened(model, torch.get_num_threads())

    def score(which: Sequence[int]) -> list[float]:
        found: list[float] = []
        with torch.inference_mode():
            for number in dict.fromkeys(i // BATCH for i in which):
                inputs, mask, labels = made[number]
                logits = network(inputs, attention_mask=mask, use_cache=False).logits
                nats = cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NOT_PREDICTED, reduction="none")
                found += nats.view(labels.shape).sum(1).tolist()
        return found

    return score


WAYS: dict[str, Callable[[str, Layout], Score]] = {"loop": one_by_one, "padded": batches_of_16}


def score(model: str, layout: str, way: str, threads: int, found: str) -> dict[str, Any]:
    """One way in this process; writes nats (N) to ``found``."""
    import torch

    torch.set_num_threads(threads)
    held = Layout.read(layout)
    windows = held.windows(config(model)["max_position_embeddings"])
    work = WAYS[way](model, held)
    work(range(min(WARM, len(windows))))
    reading: dict[str, Any] = {}
    with timed(reading):
        nats = work(range(len(windows)))
    _save(held, windows, nats, found)
    return reading


def in_processes(model: str, layout: str, way: str, processes: int, found: str) -> dict[str, Any]:
    """The same in several processes of one thread, which take windows in turn; they open and warm the model before the time starts."""
    context = multiprocessing.get_context("spawn")
    line, answers = context.Barrier(processes + 1), context.Queue()
    held = Layout.read(layout)
    windows = held.windows(config(model)["max_position_embeddings"])
    numbers = [list(range(first, len(windows), processes)) for first in range(processes)]
    workers = [context.Process(target=_part, args=(model, layout, way, some, line, answers)) for some in numbers]
    for worker in workers:
        worker.start()
    line.wait()
    reading: dict[str, Any] = {}
    nats = np.empty(len(windows))
    with timed(reading):
        for _ in workers:
            some, values = answers.get()
            nats[some] = values
    line.wait()
    for worker in workers:
        worker.join()
    _save(held, windows, nats.tolist(), found)
    return reading


def _part(model: str, layout: str, way: str, some: list[int], line: Any, answers: Any) -> None:
    """One process; it stays until its CPU time has been read."""
    import torch

    torch.set_num_threads(1)
    work = WAYS[way](model, Layout.read(layout))
    work(some[:WARM])
    line.wait()
    answers.put((some, work(some)))
    line.wait()


def _save(layout: Layout, windows: list[tuple[int, np.ndarray]], nats: list[float], found: str) -> None:
    np.save(found, np.bincount([document for document, _ in windows], nats, len(layout.doc_ids)))


def dense(model: str, layout: str) -> dict[str, Any]:
    """The same tokens as one document in full windows: no padding, curate's own output layer, nothing else to do."""
    from curate.causal_lm import Reader

    shape = config(model)
    context = shape["max_position_embeddings"]
    ids = Layout.read(layout).ids
    ids = ids[: max(1, len(ids) // context) * context]
    reader = Reader(opened(model, 1), shape["bos_token_id"], context)
    prepared = reader.prepare(ids, np.array([0, len(ids)]))
    reader.nats(reader.prepare(ids[:context], np.array([0, min(context, len(ids))])))
    reading: dict[str, Any] = {}
    with timed(reading):
        reader.nats(prepared)
    return reading | {"tokens": len(ids)}


def products(model: str, tokens: int) -> dict[str, Any]:
    """The products of the model's linear maps and nothing else, on one thread, as many positions at once as curate takes."""
    import torch

    torch.set_num_threads(1)
    shapes = linear_shapes(config(model))
    weights = [torch.randn(shape) for shape in shapes]
    at_once = max(128, LOGIT_BYTES // (4 * shapes[-1][0]))
    inputs = {width: torch.randn(POSITIONS, width) for _, width in shapes}
    outputs = {rows: torch.empty(POSITIONS, rows) for rows, _ in shapes[:-1]}
    logits = torch.empty(at_once, shapes[-1][0])

    def batch() -> None:
        for weight in weights[:-1]:
            torch.mm(inputs[weight.shape[1]], weight.T, out=outputs[weight.shape[0]])
        for first in range(0, POSITIONS, at_once):
            some = inputs[weights[-1].shape[1]][first : first + at_once]
            torch.mm(some, weights[-1].T, out=logits[: len(some)])

    reading: dict[str, Any] = {}
    n = max(1, round(tokens / POSITIONS))
    with torch.inference_mode():
        batch()
        with timed(reading):
            for _ in range(n):
                batch()
    return reading | {"tokens": n * POSITIONS}
