"""Verdict and reason against the owner's own filters, on real documents of every domain."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter
from collections.abc import Iterator
from functools import cache
from inspect import signature
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from curate.heuristics.presets import PARAMETERS
from curate.scorers.heuristics import Heuristics

pytest.importorskip("datatrove", reason="the owner of the presets, to compare with")
pytest.importorskip("spacy", reason="the owner's word splitter")

PRESETS = ["gopher@datatrove", "fineweb@datatrove", "c4@datatrove"]
LONGEST = 30_000
WITH_OWN_SPLITTER, WITH_FAST_SPLITTER = 0.999, 0.999


def records(path: Path) -> Iterator[str]:
    """The texts of one file of the raw data."""
    if path.suffix == ".txt":
        yield path.read_bytes().decode("utf-8")[:LONGEST]
    elif path.suffix == ".parquet":
        for batch in pq.ParquetFile(path).iter_batches(batch_size=512, columns=["text"]):
            yield from batch["text"].to_pylist()
    elif path.suffix == ".gz":
        yield from (json.loads(line)["text"] for line in gzip.decompress(path.read_bytes()).splitlines())
    else:
        with zstandard.ZstdDecompressor().stream_reader(path.read_bytes()) as content:
            yield from (json.loads(line)["text"] for line in io.BufferedReader(content))


@cache
def documents(raw: Path, per_domain: int, step: int) -> dict[str, list[str]]:
    """For each domain every ``step``-th document, the long ones left out; of books the beginnings."""
    found: dict[str, list[str]] = {}
    for folder in sorted(raw.iterdir()):
        files = sorted(path for path in folder.iterdir() if not path.name.startswith("_"))
        texts = (text for path in files for text in records(path))
        short = (text for text in texts if len(text) <= LONGEST)
        found[folder.name] = list(islice(short, 0, per_domain * step, step if folder.name != "books" else 1))
    return found


@cache
def owner_filters() -> dict[str, list[Any]]:
    from datatrove.pipeline.filters.c4_filters import C4QualityFilter
    from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
    from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
    from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter

    return {
        "gopher": [GopherRepetitionFilter(), GopherQualityFilter()],
        "fineweb": [FineWebQualityFilter()],
        "c4": [C4QualityFilter()],
    }


def owner_reason(family: str, text: str) -> str | None:
    """The reason of the first of the owner's filters that drops the text; each sees it as it stands."""
    from datatrove.data import Document

    for judge in owner_filters()[family]:
        verdict = judge.filter(Document(text=text, id=""))
        if verdict is not True:
            return str(verdict[1])
    return None


@cache
def owner_reasons(raw: Path, per_domain: int, step: int) -> dict[str, list[dict[str, str | None]]]:
    domains = documents(raw, per_domain, step)
    return {name: [{family: owner_reason(family, text) for family in owner_filters()} for text in texts] for name, texts in domains.items()}


def agreement(raw: Path, words: str, per_domain: int, step: int) -> tuple[float, list[str]]:
    """The share of verdicts with equal reasons, over documents and presets, and what differs."""
    scorer = Heuristics(preset=PRESETS, words=words)
    scorer.check()
    scorer.load(None)
    owners, n, different = owner_reasons(raw, per_domain, step), 0, []
    for domain, texts in documents(raw, per_domain, step).items():
        rows = scorer.score(pa.record_batch([pa.array(texts, pa.large_string())], names=["text"])).to_pylist()
        for text, row, expected in zip(texts, rows, owners[domain], strict=True):
            assert row["keep"] == all(row[f"{family}_reason"] is None for family in expected)
            n += len(expected)
            different += [
                f"{domain}: {row[f'{family}_reason']}, the owner {reason}: {text[:60]!r}"
                for family, reason in expected.items()
                if row[f"{family}_reason"] != reason
            ]
    return 1 - len(different) / n, different


@pytest.mark.parametrize(("words", "least"), [("spacy", WITH_OWN_SPLITTER), ("fast", WITH_FAST_SPLITTER)])
def test_agreement_on_every_domain(real_raw: Path, words: str, least: float) -> None:
    share, different = agreement(real_raw, words, 40, 7)
    assert share >= least, "\n".join(different)


def test_the_sample_meets_most_reasons(real_raw: Path) -> None:
    """An agreement on documents that all pass, or all fail in one way, would say little."""
    reasons = Counter(reason for rows in owner_reasons(real_raw, 40, 7).values() for row in rows for reason in row.values())
    assert len(documents(real_raw, 40, 7)) == 13
    assert reasons[None] > 100 and len(reasons) >= 20, reasons


@pytest.mark.slow
@pytest.mark.parametrize(("words", "least"), [("spacy", WITH_OWN_SPLITTER), ("fast", WITH_FAST_SPLITTER)])
def test_agreement_on_many_documents(real_raw: Path, words: str, least: float) -> None:
    share, different = agreement(real_raw, words, 400, 3)
    assert share >= least, "\n".join(different)


def test_agreement_under_other_thresholds(real_raw: Path) -> None:
    """Parameters mean what the owner means by them, also those that change what is counted."""
    from datatrove.data import Document
    from datatrove.pipeline.filters.c4_filters import C4QualityFilter
    from datatrove.pipeline.filters.fineweb_quality_filter import FineWebQualityFilter
    from datatrove.pipeline.filters.gopher_quality_filter import GopherQualityFilter
    from datatrove.pipeline.filters.gopher_repetition_filter import GopherRepetitionFilter

    cases: list[tuple[Any, dict[str, Any]]] = [
        (
            GopherRepetitionFilter,
            {"dup_line_frac": None, "dup_para_frac": 0.05, "top_n_grams": ((1, 0.07), (3, 0.02)), "dup_n_grams": ((2, 0.4), (7, 0.01))},
        ),
        (
            GopherQualityFilter,
            {"min_doc_words": 20, "max_doc_words": 900, "max_avg_word_length": 4.6, "max_bullet_lines_ratio": 0.1, "min_stop_words": None},
        ),
        (GopherQualityFilter, {"min_doc_words": 1, "stop_words": ["der", "of", "("], "min_stop_words": 1, "max_symbol_word_ratio": 0.001}),
        (
            C4QualityFilter,
            {"remove_citations": False, "filter_no_terminal_punct": False, "filter_curly_bracket": False, "min_num_sentences": 12},
        ),
        (
            C4QualityFilter,
            {"max_word_length": 12, "min_words_per_line": 9, "filter_javascript": False, "filter_policy": False, "min_num_sentences": 2},
        ),
        (
            FineWebQualityFilter,
            {
                "line_punct_thr": 0.5,
                "line_punct_exclude_zero": True,
                "stop_chars": (",", "e"),
                "short_line_length": 60,
                "char_duplicates_ratio": 0.2,
            },
        ),
    ]
    texts = [text for found in documents(real_raw, 40, 7).values() for text in found[:12]]
    batch = pa.record_batch([pa.array(texts, pa.large_string())], names=["text"])
    for owner, options in cases:
        theirs = signature(owner).parameters
        given = {name: parameter.default for name, parameter in PARAMETERS.items() if name in theirs} | options
        scorer = Heuristics(thresholds={name: list(value) if isinstance(value, tuple) else value for name, value in given.items()})
        scorer.check()
        scorer.load(None)
        judge = owner(**options)
        verdicts = [judge.filter(Document(text=text, id="")) for text in texts]
        reasons = [None if verdict is True else verdict[1] for verdict in verdicts]
        assert scorer.score(batch)["reason"].to_pylist() == reasons, options
        assert len(set(reasons)) > 1, "the sample says little about these parameters"


@pytest.mark.parametrize(
    "text",
    ["", " ", "\n", "word", "他在那里。" * 30, "ฉันไม่รู้" * 30, "e\u0301 " * 60, "\x00\x01 \x7f " * 20, "a\x85b\u2028c\n" * 20, "x" * 20_000,
     "the of " * 100, "the of\n" * 60, "\n\n".join(["One line of text."] * 9)],
)  # fmt: skip
def test_agreement_on_odd_texts(text: str) -> None:
    for words in ("fast", "spacy"):
        scorer = Heuristics(preset=PRESETS, words=words)
        scorer.load(None)
        row = scorer.score(pa.record_batch([pa.array([text], pa.large_string())], names=["text"])).to_pylist()[0]
        assert {family: row[f"{family}_reason"] for family in owner_filters()} == {f: owner_reason(f, text) for f in owner_filters()}
