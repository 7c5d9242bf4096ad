"""dolma's ``tag`` with ``gopher_v1`` and ``c4_v2``: attributes beside the documents, no verdicts.

The verdicts compared with others are made here from the attributes, by Gopher's thresholds and C4's document
rules, after the clock has stopped.
"""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

from dolma.core.runtime import create_and_run_tagger

from benchmarks.child import timed
from benchmarks.peers import verdicts

TAGGERS = ["gopher_v1", "c4_v2"]
# Rae et al., 2021, table A1: smallest and largest value of each attribute.
GOPHER = {
    "word_count": (50, 100_000),
    "median_word_length": (3, 10),
    "symbol_to_word_ratio": (0, 0.1),
    "fraction_of_words_with_alpha_character": (0.8, 1),
    "required_word_count": (2, 10**9),
    "fraction_of_lines_starting_with_bullet_point": (0, 0.9),
    "fraction_of_lines_ending_with_ellipsis": (0, 0.3),
    "fraction_of_duplicate_lines": (0, 0.3),
    "fraction_of_characters_in_duplicate_lines": (0, 0.2),
} | {f"fraction_of_characters_in_most_common_{n}grams": (0, most) for n, most in ((2, 0.2), (3, 0.18), (4, 0.16))}
GOPHER |= {
    f"fraction_of_characters_in_duplicate_{n}grams": (0, most)
    for n, most in ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.1))
}
C4 = ("has_javascript", "has_lorem_ipsum", "has_curly_brace")


def tag(folder: str, out: str, workers: int, found: str) -> dict[str, Any]:
    """All .jsonl.gz files of a folder, ``workers`` processes."""
    shutil.rmtree(out, ignore_errors=True)
    reading: dict[str, Any] = {}
    with timed(reading):
        create_and_run_tagger(
            documents=[f"{folder}/*.jsonl.gz"],
            destination=f"{out}/attributes",
            metadata=f"{out}/work",
            taggers=TAGGERS,
            experiment="rules",
            num_processes=workers,
        )
    rows = [json.loads(line) for file in sorted(Path(out).rglob("*.jsonl.gz")) for line in gzip.decompress(file.read_bytes()).splitlines()]
    verdicts.write(found, [row["id"] for row in rows if keeps(row["attributes"])])
    shutil.rmtree(out)
    return reading | {"rows": len(rows)}


def keeps(attributes: dict[str, list[tuple[int, int, float]]]) -> bool:
    """Whether Gopher's thresholds and C4's document rules keep a document; attributes are lists of (start, end, score)."""
    values = {name.partition("__")[2].partition("__")[2]: spans for name, spans in attributes.items()}
    inside = all(low <= span[2] <= high for name, (low, high) in GOPHER.items() for span in values.get(name, []))
    return inside and not any(values.get(name) for name in C4)
