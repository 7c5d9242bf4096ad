"""The scorer bits_per_byte beside the loops that people write around a language model, and beside what the machine can do.

Every side scores the same tokens in the same windows. Per core: one thread beside one thread. Whole machine: one Ray
worker a core beside the faster of one process with all threads and one process a core.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks import harness, stage
from benchmarks.data import parquet_source
from benchmarks.harness import Ratio, Reading, Result, Row, Side, child
from benchmarks.job import Run
from benchmarks.lm import material, training
from benchmarks.lm.material import Layout, Model

CORES = os.cpu_count() or 1
SHORT_DOMAINS = ("multilingual", "news", "reviews")
STAGE, COLUMNS = "score/lm", ["doc_id", "lm.nats"]
RAY_SHARDS, WARM_SHARDS, MEMORY_SHARDS = "64KiB", "1KiB", "512KiB"
AGREED = 1e-5
ONE, RAY, DENSE, PRODUCTS = (
    "curate, 1 thread",
    f"curate, Ray, {CORES} workers",
    "dense batches, 1 thread",
    "matrix products alone, 1 thread",
)
LOOP, THREADS, PROCESSES, PADDED = "loop, 1 thread", f"loop, {CORES} threads", f"loop, {CORES} processes", "padded batches of 16, 1 thread"


@dataclass(frozen=True)
class Variant:
    """A model and what it scores.

    Args:
        label: in row names.
        kilobytes: of text.
        domains: that it is drawn from; empty means all.
        whole: with the sides that use the whole machine, and the ceilings.
    """

    label: str
    model: Model
    kilobytes: int
    domains: tuple[str, ...] = ()
    whole: bool = True


VARIANTS = (
    Variant("10m", Model("pythia-10m", 16_384, 16_384), 130),
    Variant("14m", Model("pythia-14m", 50_277, 50_304), 70),
    Variant("10m, short documents", Model("pythia-10m", 16_384, 16_384), 50, SHORT_DOMAINS, whole=False),
)
QUICK_KILOBYTES = 13
TAUGHT = Model(training.SIZE, training.VOCABULARY, training.VOCABULARY)
SMALL, WIDE = Model("pythia-1m", 4096, 4096), Model("pythia-1m", 65_536, 65_536)
GPU = Model("pythia-160m", 50_277, 50_304, 1024)


@dataclass
class Measured:
    """A variant's readings, and what its sides found: nats by document.

    Args:
        flops: of the model's arithmetic for all tokens.
        floor, floor_cpu: seconds it takes at the speed of the products alone, by wall and by CPU time; 0 where not measured.
    """

    variant: Variant
    readings: dict[str, list[Reading]]
    rows: dict[str, Row]
    counts: dict[str, Any]
    differences: dict[str, float]
    lengths: list[int]
    flops: float
    floor: float = 0.0
    floor_cpu: float = 0.0


def sections(model: Path, **options: Any) -> dict[str, Any]:
    """The scorer; every document counts, however short."""
    return {"score": [{"bits_per_byte": {"name": "lm", "model": str(model), "min_tokens": 1, **options}}]}


def measure(run: Run, variant: Variant) -> Measured:
    """All sides of a variant, by turns."""
    kilobytes = min(variant.kilobytes, QUICK_KILOBYTES) if run.quick else variant.kilobytes
    text = material.sample(run.data, "short" if variant.domains else "mixed", kilobytes * 1000, variant.domains)
    warm = material.sample(run.data, "warm", 8000)
    model = variant.model.folder(run.data)
    inside = stage.Sides(text, sections(model), STAGE, warm, COLUMNS, warm_shards=WARM_SHARDS)
    layout = text / f"{model.name}.npz"
    counts = child("benchmarks.lm.material", "lay_out", corpus=str(inside.corpus), model=str(model), file=str(layout)).facts
    found = {name: run.scratch / f"lm-{number}.npy" for number, name in enumerate((ONE, RAY, LOOP, THREADS, PROCESSES, PADDED))}
    plain = partial(child, "benchmarks.lm.plain", model=str(model))
    score = partial(plain, "score", layout=str(layout))
    sides: dict[str, Side] = {
        ONE: inside.side(0, found[ONE]),
        LOOP: partial(score, way="loop", threads=1, found=str(found[LOOP])),
        PADDED: partial(score, way="padded", threads=1, found=str(found[PADDED])),
    }
    if variant.whole:
        spread = stage.Sides(text, sections(model), STAGE, warm, COLUMNS, RAY_SHARDS, WARM_SHARDS)
        sides |= {
            RAY: spread.side(CORES, found[RAY]),
            THREADS: partial(score, way="loop", threads=CORES, found=str(found[THREADS])),
            PROCESSES: partial(plain, "in_processes", layout=str(layout), way="loop", processes=CORES, found=str(found[PROCESSES])),
            DENSE: partial(plain, "dense", layout=str(layout)),
            PRODUCTS: partial(plain, "products", tokens=counts["tokens"] // 4),
        }
    readings = harness.by_turns(sides, run.repeats(2), lambda line: run.note(f"{variant.label}: {line}"))
    amounts = {name: side[0].facts.get("tokens", counts["tokens"]) for name, side in readings.items()}
    rows = {name: harness.row(f"{name}, {variant.label}", side, amounts[name], "tokens") for name, side in readings.items()}
    held = Layout.read(str(layout))
    flops = material.flops(str(model), counts["tokens"], counts["squares"])
    measured = Measured(variant, readings, rows, counts, _differences(held, found, sides), np.diff(held.offsets).tolist(), flops)
    if PRODUCTS in rows:
        done = 2 * material.linear_parameters(str(model)) * rows[PRODUCTS].amount
        measured.floor, measured.floor_cpu = (flops / done * spent for spent in (rows[PRODUCTS].seconds, rows[PRODUCTS].cpu_seconds))
    return measured


def _differences(layout: Layout, found: dict[str, Path], sides: dict[str, Side]) -> dict[str, float]:
    """Largest relative difference of a document's nats between the plain loop and every other side."""
    place = {name: row for row, name in enumerate(layout.doc_ids)}
    expected = np.load(found[LOOP])
    differences = {}
    for name in (name for name in found if name in sides and name != LOOP):
        if name in (ONE, RAY):
            table = pq.read_table(found[name])
            nats = np.full(len(expected), np.nan)
            nats[[place[i.hex()] for i in table["doc_id"].to_pylist()]] = table["lm.nats"].to_numpy()
        else:
            nats = np.load(found[name])
        differences[name] = float(np.max(np.abs(nats - expected) / expected))
    return differences


def _ratios(found: Measured) -> list[Ratio]:
    label, rows = found.variant.label, found.rows
    ours = rows[ONE]
    ratios = [harness.ratio(f"curate / loop, one thread each, {label}", ours, rows[LOOP], 3)]
    if found.variant.whole:
        best = max((rows[THREADS], rows[PROCESSES]), key=lambda row: row.speed)
        ratios.append(harness.ratio(f"curate, Ray / loop, all {CORES} cores each, {label}", rows[RAY], best, 3))
        ratios.append(harness.ratio(f"curate, one thread / loop with torch's default threads, {label}", ours, rows[THREADS]))
    ratios.append(harness.ratio(f"curate / padded batches, one thread each, {label}", ours, rows[PADDED], 1.5))
    if found.variant.whole:
        ratios.append(harness.ratio(f"curate / dense batches, {label}", ours, rows[DENSE], 0.9))
        for name, row in (("curate", ours), ("loop", rows[LOOP])):
            claim = f"{name}, one thread / the model's arithmetic alone, {label}"
            ratios.append(Ratio(claim, found.floor / row.seconds, by_cpu=found.floor_cpu / row.cpu_seconds))
    return ratios


def _floor(run: Run, found: Measured) -> str:
    """FLOPs, the rate of the products, and what is left to gain over the loop."""
    model, rows, tokens = str(found.variant.model.folder(run.data)), found.rows, found.counts["tokens"]
    linear = 2.0 * material.linear_parameters(model)
    output = 2.0 * np.prod(material.linear_shapes(material.config(model))[-1])
    rate = found.flops / found.floor_cpu
    return (
        f"{found.variant.label}: {found.flops / tokens / 1e6:.1f} MFLOP a token: {(linear - output) / 1e6:.1f} in the blocks' linear maps, "
        f"{output / 1e6:.1f} in the output layer, {found.flops / tokens / 1e6 - linear / 1e6:.1f} in attention. The linear maps' products "
        f"alone, {rate / 1e9:.0f} GFLOP in a CPU second of one thread, would take {found.floor_cpu:.1f} CPU s for all of it: in float32 no "
        f"implementation here could need less than 1/{rows[LOOP].cpu_seconds / found.floor_cpu:.2f} of the loop's CPU time"
    )


def memory(run: Run) -> tuple[list[Row], list[Ratio], list[Reading]]:
    """Peak of a process that scores, on one amount of documents and on four times as many, and under two vocabularies."""
    n_bytes = 13_000 if run.quick else 400_000
    texts = {name: material.sample(run.data, "memory", n) for name, n in (("1x", n_bytes), ("4x", 4 * n_bytes))}
    few = material.sample(run.data, "memory", n_bytes // 4)
    sides: dict[str, Side] = {}
    for name, model, text in (
        ("1x documents", SMALL, texts["1x"]),
        ("4x documents", SMALL, texts["4x"]),
        ("vocabulary 4,096", SMALL, few),
        ("vocabulary 65,536", WIDE, few),
    ):
        made = stage.Sides(text, sections(model.folder(run.data)), STAGE, text, COLUMNS, MEMORY_SHARDS)
        sides[f"memory, {name}"] = made.side(0, cold=True)
    readings = harness.by_turns(sides, 1, run.note)
    rows = {name: harness.row(name, found, found[0].facts["bytes"] / 1e3, "kB") for name, found in readings.items()}
    once, four, small, wide = (row.peak_mb for row in rows.values())
    own = [material.weight_bytes(str(model.folder(run.data))) / 1e6 for model in (SMALL, WIDE)]
    ratios = [
        Ratio("peak memory, 4x documents / 1x", four / once, 1.1, most=True),
        Ratio("peak memory less the weights, vocabulary 65,536 / 4,096", (wide - own[1]) / (small - own[0]), 1.2, most=True),
    ]
    return list(rows.values()), ratios, [reading for found in readings.values() for reading in found]


def trained(run: Run) -> tuple[list[Row], list[Ratio], str, list[Reading]]:
    """Both training loops."""
    model = TAUGHT.folder(run.data)
    text = material.sample(run.data, "training", 400_000) / "00.parquet"
    arguments: dict[str, Any] = {"model": str(model), "text": str(text), "n_steps": 1 if run.quick else 4, "threads": CORES}
    names = {"training, curate": "curate", "training, plain loop": "plain"}
    sides = {name: partial(child, "benchmarks.lm.training", function, **arguments) for name, function in names.items()}
    readings = harness.by_turns(sides, run.repeats(3), run.note)
    rows = [harness.row(name, found, found[0].facts["tokens"], "tokens") for name, found in readings.items()]
    ours, theirs = (found[0].facts["losses"] for found in readings.values())
    first, last = training.apart(ours, theirs)
    said = f"training: losses differ by {first:.1g} of the first step's and {last:.1g} of the last's"
    claim = f"training: curate's loop / plain transformers and AdamW, {CORES} threads each"
    return rows, [harness.ratio(claim, rows[0], rows[1])], said, [reading for found in readings.values() for reading in found]


def gpu(run: Run) -> tuple[list[Row], list[Ratio], str]:
    """The share of a GPU that is used, where there is one."""
    name = child("benchmarks.lm.gpu", "available").facts["name"]
    if not name:
        return [], [], "GPU (160 M parameters, 1,024 tokens, bfloat16): not measured, torch sees none here."
    text, warm = run.data.parquet(run.megabytes(64, 1)), material.sample(run.data, "warm", 8000)
    model = GPU.folder(run.data)
    reading = child(
        "benchmarks.lm.gpu",
        "score",
        model=str(model),
        output=str(run.scratch / "lm-gpu"),
        sources=parquet_source(text),
        warm=parquet_source(warm),
        sections=sections(model, precision="bfloat16"),
        until=STAGE,
    )
    facts = reading.facts
    achieved = facts["flops"] / reading.seconds
    ratios = [
        Ratio("GPU: arithmetic used / measured bfloat16 products", achieved / facts["rate"], 0.4),
        Ratio("GPU: share of time that a kernel runs", facts["busy"], 0.9),
    ]
    note = (
        f"GPU: {name}, 160 M parameters, 1,024 tokens, bfloat16, {facts['tokens']:,} tokens: {achieved / 1e12:.0f} of "
        f"{facts['rate'] / 1e12:.0f} TFLOP/s."
    )
    return [harness.row("curate, GPU, 160m", [reading], facts["tokens"], "tokens")], ratios, note


def run(run: Run) -> Result:
    """See the module."""
    there = set(run.data.corpus().domains)
    found = [measure(run, variant) for variant in VARIANTS if there.issuperset(variant.domains)]
    memory_rows, memory_ratios, memory_readings = memory(run)
    training_rows, training_ratios, training_said, training_readings = trained(run)
    gpu_rows, gpu_ratios, gpu_note = gpu(run)
    rows = [row for one in found for row in one.rows.values()]
    ratios = [ratio for one in found for ratio in _ratios(one)]
    groups = [side for one in found for side in one.readings.values()]
    return Result(
        "bits_per_byte",
        "Language model scorer",
        "Scoring stored shards is three times as fast as a loop of one document a forward, one and a half times as fast as padded "
        "batches, and reaches nine tenths of dense batches; memory depends on neither the documents nor the vocabulary.",
        "; ".join(map(_described, found)),
        [_floor(run, one) for one in found if one.variant.whole],
        [*rows, *memory_rows, *training_rows, *gpu_rows],
        [*ratios, *memory_ratios, *training_ratios, *gpu_ratios],
        "; ".join([_agreement(found), training_said]),
        [*_notes(found), gpu_note],
        harness.loads(*groups, memory_readings, training_readings),
    )


def _described(found: Measured) -> str:
    lengths, counts, model = found.lengths, found.counts, found.variant.model
    low, middle, high = np.percentile(lengths, [10, 50, 90])
    where = f"domains {', '.join(found.variant.domains)}" if found.variant.domains else "every domain"
    return (
        f"{found.variant.label}: {counts['tokens']:,} tokens in {counts['documents']:,} documents ({low:.0f}, {middle:.0f} and {high:.0f} "
        f"tokens at a tenth, half and nine tenths of them) of {where}, {counts['windows']:,} windows of at most {material.CONTEXT} tokens; "
        f"`{model.size}` with {model.n_rows:,} ids, random weights, float32"
    )


def _agreement(found: Sequence[Measured]) -> str:
    """The largest difference of all, and whose it is where it is too large."""
    said = []
    for one in found:
        worst = max(one.differences, key=lambda name: one.differences[name])
        value = one.differences[worst]
        verdict = "" if value <= AGREED else f" (**{worst}: more than {AGREED:g}**)"
        said.append(f"{one.variant.label}: nats of every document agree to {value:.1g} of them{verdict}")
    return "; ".join(said)


def _notes(found: Sequence[Measured]) -> list[str]:
    startup = [reading.facts["startup"] for one in found for reading in one.readings.get(RAY, [])]
    ray = f" Starting Ray took {np.median(startup):.1f} s and is not counted." if startup else ""
    return [
        "curate reads shards, encodes, scores and writes the sidecar, the model opened within the time; a small corpus was scored "
        f"first, so that libraries are imported.{ray} The Ray rows read shards of {RAY_SHARDS}, so that there are enough for all workers, "
        "and pay for it with padding; the others read one shard.",
        "The loops and the dense batches get ready-made tensors and an open model, and write nothing. The loop is one window a forward, "
        "logits, loss, `.item()`, as in data-juicer's `llm_perplexity_filter`; that operator itself was not run: it reads no start token, "
        "strips and cuts texts, and so scores other tokens. Padded batches are 16 windows in corpus order with an attention mask.",
        f"Matrix products alone: the model's linear maps on ready arrays, {material.CONTEXT * 8:,} positions at once; attention is charged "
        "at their rate. Soft-max, norms, activations and residuals are on top of it.",
        "Memory: `pythia-1m`, in process, with the start of the process. Training: `pythia-1m`, 8,192 ids, rows of 512, 16,384 tokens a "
        "step, the same rows and learning rates, checkpoints off; the plain loop computes all logits of 4,096 tokens at once.",
    ]
