"""Results as a page: docs/benchmarks.md is written from benchmarks/results.json and from nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.harness import ROOT, Ratio, Result, Row
from benchmarks.primitives import LABELS

RESULTS = Path(__file__).parent / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"

HEAD = """# Benchmarks

Every figure here comes from `python -m benchmarks --write` and from one machine; another machine gives other figures, and
mostly the same ratios. Each job compares curate with a *floor* (a program that does the least the job needs, and no more) or
with a *peer* (a library people use for it). All sides of a job ran by turns in one sitting, each in a process of its own
(scorers on text in memory: by turns in one process), with one worker unless a row says otherwise, on the same bytes; what they
produced was compared. Wall time and CPU time are
medians over the repeats, *spread* is the slowest repeat over the fastest, and *memory* is the most anonymous memory that all
processes of a side held together, interpreter and libraries included. Ratios are by wall time, with the same ratio by CPU time beside it,
which other work on the machine does not disturb. A ratio above 1 means that curate is faster.

    python -m benchmarks                    # every job; about {minutes} minutes on two cores
    python -m benchmarks emit stream        # some of them
    python -m benchmarks --quick            # small data, one repeat: shows that they work, not how fast
    python -m benchmarks --data FOLDER      # one directory per domain: .txt, .jsonl(.gz, .zst), .parquet

Without `--data` the jobs use the text that the machine has anyway (`format: machine_text`), unless the default data
folder exists. Peers are installed by pip into environments of their own under `benchmarks/.work/`. Two of them take torch's build for CPUs,
which PyTorch's own package index has: name it in `PIP_EXTRA_INDEX_URL`.
"""


def stored() -> dict[str, Any]:
    """What was measured last: machine, versions, primitives, results."""
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {"results": {}}


def write(machine: str, versions: dict[str, str], peers: dict[str, list[str]], speeds: dict[str, float], found: list[Result]) -> None:
    """Put results beside those of other jobs, and write the page."""
    held = stored()
    held |= {"machine": machine, "versions": versions, "peers": peers}
    held["speeds"] = {name: round(speed, 1) for name, speed in speeds.items()}
    held["results"] |= {result.job: result.to_json() for result in found}
    RESULTS.write_text(json.dumps(held, indent=1, ensure_ascii=False) + "\n")
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(held))


def page(held: dict[str, Any]) -> str:
    """The whole page."""
    results = [Result.from_json(held["results"][name]) for name in ORDER if name in held["results"]]
    blocks = [HEAD.replace("{minutes}", "90"), _machine(held), _summary(results), *(section(r) for r in results)]
    return "\n".join(blocks).rstrip() + "\n"


ORDER = [
    *("ingest", "fasttext", "page_classifier", "correlations", "ngram", "bits_per_byte", "tokens", "filters", "dedup", "static_embedding"),
    *("embedding", "clusters", "contamination", "assignment", "kmeans", "emit", "stream", "engine", "memory", "mixing", "samplemix"),
]


def _machine(held: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in held["versions"].items())
    peers = "; ".join(f"`{name}`: {', '.join(packages)}" for name, packages in held["peers"].items())
    lines = [f"| {LABELS[name][0]} | {speed:,.0f} {LABELS[name][1]} |" for name, speed in held["speeds"].items()]
    table = "\n".join(["| primitive, one core | speed |", "|---|---:|", *lines])
    return (
        f"## The machine\n\n{held['machine']}. {versions}. Environments of the peers: {peers}.\n\n"
        f"What a core of it does in a second, measured in the same run, and the base of the computed floors below:\n\n{table}\n"
    )


def _summary(results: list[Result]) -> str:
    lines = ["## Summary", "", "| job | claim | measured | by CPU time | bar | |", "|---|---|---:|---:|---:|---|"]
    for result in results:
        lines += [f"| [{result.job}](#{result.job}) {_cells(ratio)}" for ratio in result.ratios]
    return "\n".join(lines) + "\n"


def _cells(ratio: Ratio) -> str:
    cpu = f"{ratio.by_cpu:.2f}" if ratio.by_cpu is not None else ""
    bar = "" if ratio.bar is None else f"{'≤' if ratio.most else '≥'} {ratio.bar:g}"
    return f"| {ratio.claim} | {ratio.value:.2f} | {cpu} | {bar} | {ratio.verdict} |"


def section(result: Result) -> str:
    """One job."""
    floor = "\n".join(f"- {line}" for line in result.floor)
    notes = "\n".join(f"- {line}" for line in result.notes)
    table = "\n".join(
        ["| side | wall s | CPU s | speed | memory MB | spread | runs |", "|---|---:|---:|---:|---:|---:|---:|", *map(_row, result.rows)]
    )
    ratios = "\n".join(["| ratio | measured | by CPU time | bar | |", "|---|---:|---:|---:|---|", *map(_cells, result.ratios)])
    return (
        f'<a id="{result.job}"></a>\n\n## {result.title}\n\n'
        f"Asked: {result.claim} Run it with `python -m benchmarks {result.job}`.\n\n"
        f"Data: {result.data}. Measured {result.date}, load of the machine {result.load[0]:.1f} to {result.load[1]:.1f}.\n\n"
        f"{ratios}\n\n{table}\n\nFloor:\n\n{floor}\n\nAgreement: {result.agreement}.\n\n{notes}\n"
    )


def _row(row: Row) -> str:
    speed = f"{row.speed:,.1f} {row.unit}/s" if row.amount else ""
    return f"| {row.name} | {row.seconds:.3f} | {row.cpu_seconds:.3f} | {speed} | {row.peak_mb:,.0f} | {row.spread:.2f} | {row.repeats} |"


def show(result: Result) -> str:
    """One job for the terminal."""
    lines = [f"{result.title}: {result.data}"]
    lines += [
        f"  {r.name:<48} {r.seconds:9.3f} s  {r.cpu_seconds:9.3f} CPU s  {r.speed:11,.1f} {r.unit}/s  {r.peak_mb:7,.0f} MB"
        for r in result.rows
    ]
    lines += [f"  floor: {line}" for line in result.floor]
    for ratio in result.ratios:
        cpu = f" (by CPU time {ratio.by_cpu:.2f})" if ratio.by_cpu is not None else ""
        bar = "" if ratio.bar is None else f", bar {'<=' if ratio.most else '>='} {ratio.bar:g}: {ratio.verdict}"
        lines.append(f"  {ratio.claim}: {ratio.value:.2f}{cpu}{bar}")
    return "\n".join([*lines, f"  agreement: {result.agreement}", *(f"  note: {n}" for n in result.notes)])
