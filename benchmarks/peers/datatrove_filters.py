"""datatrove's filters over Parquet: Gopher repetition, Gopher quality, FineWeb, C4.

C4's filter comes last because it rewrites the text (it takes lines out), so every filter judges the text as
it was read. A dropped document is not seen by the filters after it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import spacy
from datatrove.data import Document
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
from datatrove.pipeline.readers import ParquetReader
from datatrove.pipeline.writers import JsonlWriter

from benchmarks.child import timed
from benchmarks.peers import verdicts

FILTERS = (GopherRepetitionFilter, GopherQualityFilter, FineWebQualityFilter, C4QualityFilter)


def filters(folder: str, out: str, workers: int, found: str) -> dict[str, Any]:
    """All files of a folder, ``workers`` tasks at once; the verdicts go to the file ``found``."""
    shutil.rmtree(out, ignore_errors=True)
    spacy.blank("en")  # imported before workers are forked, so that it costs no worker anything
    steps = [ParquetReader(folder, read_metadata=False)]
    steps += [make(exclusion_writer=writer(f"{out}/dropped/{i}")) for i, make in enumerate(FILTERS)]
    steps.append(writer(f"{out}/kept"))
    executor = LocalPipelineExecutor(steps, workers, workers, f"{out}/logs", skip_completed=False, start_method="fork")
    reading: dict[str, Any] = {}
    with timed(reading):
        executor.run()
    dropped = {line["id"]: line["reason"] for line in lines(out, "dropped/*/*")}
    kept = [line["id"] for line in lines(out, "kept/*")]
    verdicts.write(found, kept, dropped)
    shutil.rmtree(out)
    return reading | {"rows": len(kept) + len(dropped), "kept": len(kept)}


def writer(folder: str) -> JsonlWriter:
    """Numbers and reasons only, uncompressed: the cheapest output there is."""
    return JsonlWriter(folder, compression=None, adapter=verdict)


def verdict(_: JsonlWriter, document: Document) -> dict[str, str]:
    """One line of output."""
    return {"id": document.id, "reason": document.metadata.get("filter_reason", "")}


def lines(out: str, pattern: str) -> list[dict[str, str]]:
    """Everything that was written."""
    return [json.loads(line) for file in sorted(Path(out).glob(pattern)) for line in file.read_text().splitlines()]
