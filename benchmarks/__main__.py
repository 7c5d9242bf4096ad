"""Every speed claim, measured: ``python -m benchmarks [JOB ...] [--data FOLDER] [--quick] [--write]``."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import date
from importlib import import_module

from benchmarks import harness, machine, report
from benchmarks.data import Data
from benchmarks.environments import requirements
from benchmarks.harness import Result
from benchmarks.job import Run

PRIMITIVE_FILES = 2


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("jobs", nargs="*", metavar="JOB", help=f"some of: {', '.join(report.ORDER)}; all when none is named")
    parser.add_argument("--data", help="a folder with one directory of text files per domain")
    parser.add_argument("--quick", action="store_true", help="small data, one repeat: shows that jobs work")
    parser.add_argument("--write", action="store_true", help="keep the results and write docs/benchmarks.md")
    parser.add_argument("--wait", type=float, default=0.0, metavar="MINUTES", help=f"wait at most so long for a load below {machine.QUIET}")
    parser.add_argument("--nice", type=int, default=0, help="priority of all sides, e.g. -5 on a machine that others use too")
    given = parser.parse_args()
    if unknown := set(given.jobs) - set(report.ORDER):
        parser.error(f"no job {', '.join(sorted(unknown))}; known: {', '.join(report.ORDER)}")
    if given.quick and given.write:
        parser.error("a quick run is no measurement: leave out --quick or --write")
    if given.nice:
        os.nice(given.nice)
    data = Data.choose(given.data)
    folder = data.jsonl_gz((16 if given.quick else 128) * 1_000_000, 8)
    load = machine.wait_until_quiet(given.wait)
    print(f"{machine.describe()}; load {load:.2f}", file=sys.stderr)
    speeds = harness.child("benchmarks.primitives", "measure", folder=str(folder), n_files=PRIMITIVE_FILES).facts
    results: list[Result] = []
    for name in given.jobs or report.ORDER:
        print(name, file=sys.stderr)
        result: Result = import_module(f"benchmarks.jobs.{name}").run(Run(data, speeds, given.quick))
        result.date = date.today().isoformat() + machine.commit()
        results.append(result)
        print(report.show(result), flush=True)
        if given.write:
            report.write(machine.describe(), machine.versions(), requirements(), speeds, [result])


if __name__ == "__main__":
    main()
