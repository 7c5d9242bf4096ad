"""Cells of an experiment: one corpus and one seed each, run by processes of their own, resumable by cell and arm."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc_csv

CORPORA = ("planted", "natural")


def main(
    module: str,
    doc: str | None,
    results: Path,
    arms: Sequence[str],
    prepare: Callable[[Path, Path], object],
    run_cell: Callable[[Path, Path, str, int, bool], None],
    report: Callable[[pa.Table], str],
    corpora: Sequence[str] = CORPORA,
) -> None:
    """The command of an experiment: run what is missing, keep the table of results, print the report.

    Args:
        module: the experiment's, to start cells with.
        results: the table; without ``--data`` only its report is printed.
        arms: a cell is done when its rows name them all.
        prepare: (data, scratch), before any cell.
        run_cell: (data, scratch, corpus, seed, quick): leaves its rows in ``file_of(scratch, "corpus:seed")``.
        corpora: each gives a cell with each seed.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    parser.add_argument("--data", type=Path, help="a folder with raw/ and eval/; without it the tables of the kept results are printed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1, help="cells side by side, one thread each")
    parser.add_argument("--scratch", type=Path, help="where cells keep their work; a stopped run goes on there")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="tiny amounts: shows that it works")
    given = parser.parse_args()
    if given.data is None:
        print(report(pc_csv.read_csv(results)))
        return
    scratch = given.scratch or Path(tempfile.gettempdir()) / results.stem
    scratch.mkdir(parents=True, exist_ok=True)
    if given.cell:
        corpus, seed = given.cell.split(":")
        run_cell(given.data, scratch, corpus, int(seed), given.quick)
        return
    prepare(given.data, scratch)
    command = [sys.executable, "-m", module, "--data", str(given.data), "--scratch", str(scratch), *(["--quick"] if given.quick else [])]
    cells = [f"{corpus}:{seed}" for seed in range(given.seeds) for corpus in corpora]
    todo = [cell for cell in cells if not {row["arm"] for row in rows_of(file_of(scratch, cell))} >= set(arms)]
    _run([[*command, "--cell", cell] for cell in todo], given.jobs)
    tables = [pc_csv.read_csv(file_of(scratch, cell)) for cell in cells if file_of(scratch, cell).exists()]
    found = pa.concat_tables(tables, promote_options="permissive")
    pc_csv.write_csv(found, scratch / "quick.csv" if given.quick else results)
    print(report(found))


def _run(commands: list[list[str]], jobs: int) -> None:
    running: list[subprocess.Popen[bytes]] = []
    for command in commands:
        while len(running) >= jobs:
            running = [p for p in running if _going(p)]
        running.append(subprocess.Popen(command))
    for process in running:
        process.wait()


def _going(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        return True
    return False


def file_of(scratch: Path, cell: str) -> Path:
    """Where a cell leaves its rows."""
    return scratch / f"{cell.replace(':', '-')}.csv"


def rows_of(file: Path) -> list[dict[str, Any]]:
    """What an earlier run left of a cell."""
    return pc_csv.read_csv(file).to_pylist() if file.exists() else []
