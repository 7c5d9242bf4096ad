"""Training a fastText classifier so that the same examples give the same file, byte for byte.

fastText 0.9 with one thread fills only the first tenth of its input matrix and leaves the
rest as the allocator returned it (facebookresearch/fastText issue 1061): in a process that
has already run, that is old memory, so models differ from run to run and small ones end in
NaN. Training therefore runs in a process of its own in which glibc hands out zeroed memory.
That also keeps a crash of the library out of the worker. N examples, D labels.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.documents import DOC_ID, doc_ids
from curate.errors import ConfigError, InputError
from curate.hashing import id_keys, unit_interval
from curate.scorers.fasttext_model import PREFIX, Predictor, flat_lines, inspect

_CHILD = """
import json, sys
import fasttext
options = json.load(sys.stdin)
model = options.pop("model_file")
try:
    fasttext.train_supervised(**options).save_model(model)
except (RuntimeError, ValueError, MemoryError) as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
_ZEROED = {"MALLOC_PERTURB_": "255"}  # glibc fills new memory with the complement of this byte
_SEPARATORS = re.compile("[%\0\t\n\v\f\r ]")
_ESCAPE = re.compile("%([0-9A-F]{2})")


@dataclass(frozen=True)
class Examples:
    """What a classifier learns from: N texts, the labels of each, and the content hash of each.

    Args:
        text: (N,) large_string.
        labels: N tuples of labels; a fastText line may carry several.
        ids: (N,) doc_id.
        n_skipped: records without text or without label.
    """

    text: pa.Array
    labels: list[tuple[str, ...]]
    ids: pa.Array
    n_skipped: int

    def take(self, rows: np.ndarray) -> Examples:
        """The examples at these positions, in that order."""
        return Examples(self.text.take(pa.array(rows)), [self.labels[i] for i in rows], self.ids.take(pa.array(rows)), self.n_skipped)

    def counts(self) -> dict[str, int]:
        """Examples of each label, by name."""
        return dict(sorted(Counter(label for row in self.labels for label in row).items()))


def from_table(table: pa.Table, text: str, label: str, threshold: float | None, where: str) -> Examples:
    """Examples from two columns of a table; rows where either is null or blank are skipped.

    A number with a fraction needs ``threshold``: at or above it the label is ``high``, else ``low``.
    """
    values = table.unify_dictionaries()[label].combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if threshold is not None:
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            raise ConfigError(
                "`threshold` needs a column of numbers",
                where=f"{where}: {label}",
                expected="an integer or floating column",
                fix="remove `threshold`",
            )
        values = pc.if_else(pc.greater_equal(values, threshold), "high", "low")
    elif pa.types.is_floating(values.type):
        raise ConfigError(
            f"{label} is a number with a fraction, so almost every document would have a label of its own",
            where=where,
            expected="a label, or a number with `threshold:`",
            fix="set `threshold:`; at or above it the label is `high`, below it `low`",
        )
    names = values.cast(pa.string()).to_pylist()
    content = table[text].combine_chunks().cast(pa.large_string())
    ids = table["doc_id"].combine_chunks() if "doc_id" in table.column_names else doc_ids(pc.fill_null(content, ""))
    return _kept(content, [(name,) if name else () for name in names], ids)


def from_files(paths: Sequence[Path], text: str, label: str, threshold: float | None) -> Examples:
    """Examples from labelled files: Parquet, JSONL, or fastText lines (any other name), plain or compressed.

    Raises:
        InputError: a file is missing, holds no such field, or a line is no JSON object.
    """
    parts = [_from_file(path, text, label, threshold) for path in paths]
    return Examples(
        pa.concat_arrays([part.text for part in parts]),
        [row for part in parts for row in part.labels],
        pa.concat_arrays([part.ids for part in parts]),
        sum(part.n_skipped for part in parts),
    )


def _from_file(path: Path, text: str, label: str, threshold: float | None) -> Examples:
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    try:
        if name.endswith(".parquet"):
            return from_table(pq.read_table(path, columns=[text, label]), text, label, threshold, str(path))
        if name.endswith((".jsonl", ".ndjson")):
            records = list(_json_records(path, text, label))
            table = pa.table({text: pa.array([r[0] for r in records], pa.large_string()), label: pa.array([r[1] for r in records])})
            return from_table(table, text, label, threshold, str(path))
        return _from_lines(path)
    except FileNotFoundError:
        raise InputError(
            "the labelled file does not exist", where=str(path), expected="Parquet, JSONL or fastText lines", fix="change `labelled:`"
        ) from None
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, UnicodeDecodeError) as error:
        raise InputError(f"the labelled file cannot be read: {error}", where=str(path), expected=f"fields {text!r} and {label!r}") from None


def _lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines, split on newline only: other separators occur inside text."""
    with pa.input_stream(str(path), compression="detect") as stream:
        content = stream.read()
    return ((n, line) for n, line in enumerate(content.split(b"\n"), start=1) if line.strip())


def _json_records(path: Path, text: str, label: str) -> Iterator[tuple[Any, Any]]:
    for number, line in _lines_of(path):
        try:
            record = orjson.loads(line)
            yield record[text], record[label]
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            raise InputError(
                f"line {number} of the labelled file has no usable record: {error!r}",
                where=str(path),
                expected=f"one JSON object per line with {text!r} and {label!r}",
                fix="set `text_field:` and `label_field:`, or mend the line",
            ) from None


def _from_lines(path: Path) -> Examples:
    """fastText's own format: words, of which those that start with ``__label__`` are labels."""
    content, labels = [], []
    for _, line in _lines_of(path):
        words = line.decode().split(" ")
        labels.append(tuple(word.removeprefix(PREFIX) for word in words if word.startswith(PREFIX)))
        content.append(" ".join(word for word in words if not word.startswith(PREFIX)))
    text = pa.array(content, pa.large_string())
    return _kept(text, labels, doc_ids(text))


def _kept(text: pa.Array, labels: list[tuple[str, ...]], ids: pa.Array) -> Examples:
    _, empty = flat_lines(text)
    rows = np.flatnonzero(~empty & np.array([any(row) for row in labels], dtype=bool))
    every = Examples(text, labels, ids.cast(DOC_ID), len(text) - len(rows))
    return every.take(rows)


def split(examples: Examples, held_out: float, seed: int) -> tuple[Examples, Examples]:
    """(training, held-out) examples, both in the order of a hash of their content.

    Exact copies fall on the same side, whatever the order they came in; the hash order also
    mixes the labels, which stochastic gradient descent needs.

    Raises:
        InputError: the training part has fewer than two labels.
    """
    order = np.lexsort((np.array([" ".join(row) for row in examples.labels]), id_keys(seed, "fasttext-order", examples.ids)))
    examples = examples.take(order)
    aside = unit_interval(id_keys(seed, "fasttext-held-out", examples.ids)) < held_out
    training = examples.take(np.flatnonzero(~aside))
    seen = training.counts()
    if len(seen) < 2:
        raise InputError(
            f"a classifier needs two labels, the training sample has {len(seen)}",
            where=f"{len(training.labels)} examples; labels seen: {', '.join(seen) or 'none'}; {examples.n_skipped} without text or label",
            expected="at least two labels",
            fix="add examples, raise `sample_bytes`, or name another `label`",
        )
    return training, examples.take(np.flatnonzero(aside))


def encode_label(label: str) -> str:
    """A label as one fastText word, without its prefix: separators and % become %XX."""
    return _SEPARATORS.sub(lambda found: f"%{ord(found[0]):02X}", label)


def decode_label(word: str) -> str:
    """The label behind a word made by ``encode_label``."""
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), word)


def train(examples: Examples, options: dict[str, Any], model: Path) -> None:
    """Train on the examples in their order and write ``model``; the same bytes for the same examples and options.

    Raises:
        ConfigError: fastText met NaN, an empty dictionary or the end of memory with these options.
    """
    lines, _ = flat_lines(examples.text)
    with tempfile.TemporaryDirectory(prefix="curate-fasttext-") as folder:
        source = Path(folder) / "examples.txt"
        with source.open("wb") as out:
            for line, labels in zip(lines, examples.labels, strict=True):
                out.write("".join(f"{PREFIX}{encode_label(label)} " for label in labels).encode() + line)
        request = {**options, "thread": 1, "verbose": 0, "input": str(source), "model_file": str(model)}
        environment = {**os.environ, **_ZEROED, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        done = subprocess.run([sys.executable, "-c", _CHILD], input=json.dumps(request), env=environment, capture_output=True, text=True)
    if done.returncode:
        raise _failed(done.stderr.strip() or f"it was ended by signal {-done.returncode}", options)
    if inspect(model).n_words == 0:
        raise ConfigError(
            "fastText found no word often enough",
            where=f"{len(lines)} examples, min_count={options['minCount']}",
            expected="some words in the dictionary",
            fix="lower `min_count`, or add examples",
        )


def _failed(message: str, options: dict[str, Any]) -> ConfigError:
    last = message.splitlines()[-1]
    where = ", ".join(f"{name}={value}" for name, value in sorted(options.items()))
    if "NaN" in last:
        return ConfigError(
            "fastText training diverged (it met NaN)",
            where=where,
            expected="finite weights",
            fix=f"lower `lr` (now {options['lr']}), or `epoch`",
        )
    if "Memory" in last or "bad_alloc" in last or "signal" in last:
        size = (options["bucket"] * options["dim"] * 4) / 1e9
        return ConfigError(
            f"fastText training ended: {last}",
            where=where,
            expected=f"{size:.1f} GB for the matrix of n-grams",
            fix="lower `bucket` or `dim`",
        )
    return ConfigError(f"fastText training failed: {last}", where=where, fix="check the values")


def report(predictor: Predictor, training: Examples, held_out: Examples) -> dict[str, Any]:
    """How the model does on the held-out examples, as a JSON-able table.

    ``accuracy`` is the share whose most probable label is among their own; ``majority`` is the accuracy
    of always answering the most frequent training label. Null where the held-out part has nothing to count.
    """
    lines, _ = flat_lines(held_out.text)
    best = [decode_label(row[0].removeprefix(PREFIX)) if row else "" for row in predictor.top(lines, 1)[0]]
    right = Counter(label for label, true in zip(best, held_out.labels, strict=True) if label in true)
    answered, trained, true = Counter(best), training.counts(), held_out.counts()
    majority = max(trained, key=lambda label: (trained[label], label))
    n = len(best)
    return {
        "n_train": len(training.labels),
        "n_held_out": n,
        "n_skipped": training.n_skipped,
        "accuracy": _share(sum(right.values()), n),
        "majority": _share(sum(majority in row for row in held_out.labels), n),
        "labels": {
            label: {
                "n_train": trained.get(label, 0),
                "n_held_out": true.get(label, 0),
                "precision": _share(right[label], answered[label]),
                "recall": _share(right[label], true.get(label, 0)),
            }
            for label in sorted({*trained, *true})
        },
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
