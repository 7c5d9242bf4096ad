"""Decontamination against independent implementations, and with real evaluation files planted in real documents."""

from __future__ import annotations

import json
import re
import textwrap
import unicodedata
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_contamination import FILLER, QUESTION, loaded, score, write_lines

from curate.errors import ConfigError
from curate.scorers.contamination import Contamination

SHARED = Path(__file__).parents[2] / "shared" / "data"
EVAL = SHARED / "eval"
needs_data = pytest.mark.skipif(not EVAL.is_dir(), reason="no shared/data/eval beside the repository")

# An independent implementation: lists of words and Python's dictionaries.


class Twin:
    """The definition of docs/decontamination.md on lists of words, of one string per item."""

    def __init__(self, items: list[list[str]], ngram: int, shortest: int, common: int, distinct: int) -> None:
        owners: dict[tuple[str, ...], set[int]] = {}
        for i, words in enumerate(items):
            for gram in self.grams(words, ngram, shortest):
                owners.setdefault(gram, set()).add(i)
        passages: set[tuple[str, ...]] = set()
        for words in items:
            rising = [len(owners[tuple(words[k : k + ngram])]) > common for k in range(len(words) - ngram + 1)]
            for k, _ in enumerate(rising):
                run = next((j for j in range(k, len(rising)) if not rising[j]), len(rising)) - k
                if run >= ngram:
                    passages |= {tuple(words[j : j + ngram]) for j in range(k, k + run)}
        self.owners = {
            gram: who for gram, who in owners.items() if len(set(gram) - {"0"}) >= distinct and (len(who) <= common or gram in passages)
        }
        self.lengths = sorted({len(gram) for gram in self.owners})

    @staticmethod
    def grams(words: list[str], ngram: int, shortest: int) -> list[tuple[str, ...]]:
        if len(words) < ngram:
            return [tuple(words)] if len(words) >= shortest else []
        return [tuple(words[k : k + ngram]) for k in range(len(words) - ngram + 1)]

    def find(self, words: list[str]) -> tuple[int, int, tuple[int, int] | None, int | None]:
        """Matches, words covered, the longest run of words, and its item."""
        hits = [(k, n, tuple(words[k : k + n])) for k in range(len(words)) for n in self.lengths if k + n <= len(words)]
        hits = [hit for hit in hits if hit[2] in self.owners]
        covered = {k + j for k, n, _ in hits for j in range(n)}
        runs = [(k, next(e for e in range(k, len(words) + 1) if e not in covered)) for k in sorted(covered) if k - 1 not in covered]
        if not runs:
            return 0, 0, None, None
        first, last = max(runs, key=lambda run: (run[1] - run[0], -run[0]))
        votes = Counter(item for k, _, gram in hits if first <= k < last for item in self.owners[gram])
        return len(hits), len(covered), (first, last), max(votes, key=lambda item: (votes[item], -item))


letters = st.sampled_from(["a", "b", "c", "d", "e", "7"])
sentences = st.lists(letters, min_size=1, max_size=24)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(sentences, min_size=1, max_size=8),
    documents=st.lists(sentences, min_size=1, max_size=6),
    ngram=st.integers(4, 6),
    shortest=st.integers(1, 4),
    common=st.integers(1, 3),
)
def test_agrees_with_a_plain_implementation(
    tmp_path_factory: pytest.TempPathFactory, items: list[list[str]], documents: list[list[str]], ngram: int, shortest: int, common: int
) -> None:
    folder = tmp_path_factory.mktemp("twin")
    # Two fields by turns, so that no field is in more than `common` records with the same first word by necessity.
    path = write_lines(folder / "it.jsonl", [{f"q{i}": " ".join(words)} for i, words in enumerate(items)])
    twin = Twin([[re.sub("7", "0", word) for word in words] for words in items], ngram, shortest, common, 1)
    documents = [*documents, [word for words in items for word in words]]
    try:
        scorer = loaded(folder, path, ngram=ngram, shortest=shortest, common=common, distinct=1)
    except ConfigError:
        assert not twin.owners
        return
    for words, row in zip(documents, score(scorer, *(" ".join(words) for words in documents)), strict=True):
        n_hits, n_covered, run, item = twin.find([re.sub("7", "0", word) for word in words])
        assert (row["n_matches"], row["overlap"]) == (n_hits, n_covered / len(words))
        # Words are one letter and one space each.
        assert (row["start"], row["end"]) == ((2 * run[0], 2 * run[1] - 1) if run else (None, None))
        assert row["item"] == (None if item is None else f"it:{item}")


def test_agrees_with_datatrove_on_words(tmp_path: Path) -> None:
    text = pytest.importorskip("datatrove.utils.text", reason="datatrove is not installed")
    documents = [QUESTION, f"{FILLER}  {QUESTION.upper()}", f"Ça «{QUESTION}» và 3.14", FILLER, f"{QUESTION[:40]} x {QUESTION[40:]}"]
    path = write_lines(tmp_path / "q.jsonl", [{"q": f"{QUESTION} It cost 3.14 €, naïve façades aside; don't you agree with me on that?"}])
    config = text.TextNormConfig()

    def grams(document: str) -> set[tuple[str, ...]]:
        words = text.simplify_text(document, config).split()
        return {tuple(words[k : k + 13]) for k in range(len(words) - 12)}

    asked = grams(json.loads(path.read_text())["q"])
    documents += [f"{QUESTION} it COST 2,718 € — naive facades (aside)"]
    found = score(loaded(tmp_path, path, distinct=1), *documents)
    assert [row["n_matches"] for row in found] == [len(grams(document) & asked) for document in documents]


# Real evaluation files, planted in real documents.


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Contamination:
    return loaded(tmp_path_factory.mktemp("real"), EVAL / "*.jsonl.zst")


def raw_texts(domain: str, n: int) -> list[str]:
    """The first texts of a domain of the shared raw data."""
    table = first_table(sorted((SHARED / "raw" / domain).rglob("*")))
    return [text for text in table if text][:n]


def first_table(paths: list[Path]) -> list[str]:
    for path in paths:
        if path.suffix == ".parquet":
            return pq.read_table(path, columns=["text"])["text"].to_pylist()
        if ".jsonl" in path.name:
            with pa.input_stream(str(path), compression="detect") as stream:
                return [json.loads(line)["text"] for line in stream.read().split(b"\n")[:400] if line.strip()]
        if path.suffix == ".txt":
            return [path.read_text(encoding="utf-8")]
    raise AssertionError("no file")


def recased(text: str) -> str:
    return "".join(c.upper() if c.upper().lower() == c else c for c in text)


def respaced(text: str) -> str:
    return re.sub(r"\s+", " \n  ", text)


def repunctuated(text: str) -> str:
    return re.sub(r'(?<!\d)[.,;:!?"](?!\d)', " * ", text)


def wrapped(text: str) -> str:
    """Lines of 60 columns; text without spaces is broken between two of its letters."""
    lines = [line for part in textwrap.wrap(text, 60, break_long_words=False, break_on_hyphens=False) for line in [part]]
    return re.sub(r"([\u4e00-\u9fff]{30})(?=[\u4e00-\u9fff])", "\\1\n", "\n".join(lines))


def plain_words(text: str) -> list[str]:
    """Roughly the words of the folding kernel: enough to count them."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    return re.findall(r"[\u3040-\u9fff]|[^\W\u3040-\u9fff]+", re.sub(r"\d+(?:[.,]\d+)?", "0", bare).replace("_", " "))


def planted(name: str, n: int = 40) -> list[tuple[int, str]]:
    """Row and text of items of a file that are long enough: question and answer as they would stand in a document."""
    lines = zstandard.ZstdDecompressor().decompressobj().decompress((EVAL / f"{name}.jsonl.zst").read_bytes()).splitlines()
    chosen = []
    for row in range(0, len(lines), max(1, len(lines) // (n + 10))):
        record = json.loads(lines[row])
        text = record["prompt"] + record["target"]
        words = plain_words(text)
        if len(words) >= 8 and len(set(words) - {"0"}) >= 10:
            chosen.append((row, text))
    return chosen[:n]


NAMES = sorted(path.name.removesuffix(".jsonl.zst") for path in EVAL.glob("*.jsonl.zst")) if EVAL.is_dir() else []


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_every_planted_item_is_found(real: Contamination, name: str) -> None:
    items = planted(name)
    assert len(items) >= 30
    hosts = raw_texts("legal", 60)
    for change in (str, recased, respaced, repunctuated, wrapped):
        documents = []
        for (_, text), host in zip(items, hosts, strict=False):
            middle = host.find(" ", len(host) // 2)
            documents.append((host[:middle] + "\n\n", change(text), "\n\n" + host[middle:]))
        rows = score(real, *("".join(parts) for parts in documents))
        missed = [row for row, found in zip(items, rows, strict=False) if found["keep"]]
        assert not missed, f"{change.__name__}: {len(missed)} of {len(items)} missed, the first: {missed[0]}"
        shares = []
        for (before, text, _), found in zip(documents, rows, strict=True):
            first, size = len(before.encode()), len(text.encode())
            shares.append((min(found["end"], first + size) - max(found["start"], first)) / size)
        # Solutions are rows of numbers in part, which say nothing and end a span.
        least = {"gsm8k": 0.5, "math": 0.3, "human_eval": 0.5}.get(name, 0.8)
        assert np.mean(shares) > least, f"{change.__name__}: spans cover {np.mean(shares):.2f} of the items"


@needs_data
def test_unrelated_text_is_hardly_ever_matched(real: Contamination) -> None:
    n = {domain.name: 0 for domain in sorted((SHARED / "raw").iterdir()) if domain.is_dir()}
    found = []
    for domain in n:
        texts = raw_texts(domain, 300)
        n[domain] = len(texts)
        found += [(domain, row["reason"]) for row in score(real, *texts) if not row["keep"]]
    total = sum(n.values())
    assert total > 1500
    assert len(found) <= 0.002 * total, Counter(found)
