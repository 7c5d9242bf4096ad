"""The fastText scorer against fastText's own bulk prediction, on text already in memory.

    python benchmarks/fasttext_speed.py DATA_FOLDER [--model model.bin] [--megabytes 20] [--repeats 5] [--dim 100]

Both sides run in this process, on one thread, with the same model, by turns. The library
is given Python strings without newlines, made beforehand: its two bulk entries are timed
and the faster one counts. The scorer is given Arrow batches with the text as it is, and
flattens it, finds blank documents and builds its output columns within the measured time.
Prints one JSON line; `ratio` is scorer speed over library speed, from medians.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.documents import doc_ids
from curate.scorers.fasttext import FastText

BATCH = 1024


def texts_of(folder: Path, n_bytes: int) -> tuple[list[str], list[str]]:
    """About n_bytes of text, an equal part from each domain (sub-folder or file) of the folder, and the domains."""
    domains = sorted(path for path in folder.iterdir() if not path.name.startswith((".", "_")))
    texts, names = [], []
    for domain in domains:
        files = sorted(path for path in (domain.rglob("*") if domain.is_dir() else [domain]) if path.is_file())
        left = n_bytes // len(domains)
        for text in (text for file in files for text in read(file)):
            if left <= 0:
                break
            texts.append(text)
            names.append(domain.name.split(".")[0])
            left -= len(text.encode())
    return texts, names


def read(file: Path) -> list[str]:
    """The `text` field of a Parquet or (compressed) JSONL file, or a .txt file whole."""
    if file.name.startswith("_"):
        return []
    if file.suffix == ".parquet":
        return [text for text in pq.read_table(file, columns=["text"])["text"].to_pylist() if text]
    if file.suffix == ".txt":
        return [file.read_text(encoding="utf-8", errors="replace")]
    with pa.input_stream(str(file), compression="detect") as stream:
        return [orjson.loads(line)["text"] for line in stream.read().split(b"\n") if line.strip()]


def seconds(work: Callable[[], object]) -> float:
    """CPU seconds of this process, so that other load on the machine does not decide."""
    start = time.process_time()
    work()
    return time.process_time() - start


def model_of(arguments: argparse.Namespace, table: pa.Table, folder: Path) -> Path:
    """The model file: the one given, or one trained on the domains of this text."""
    if arguments.model:
        return arguments.model
    trainer = FastText(label="domain", dim=arguments.dim, epoch=2)
    trainer.fit(table, folder)
    return folder / "model.bin"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--positive", default="", help="measure P(this label) too, which asks for every label")
    arguments = parser.parse_args()
    texts, domains = texts_of(arguments.data, int(arguments.megabytes * 1e6))
    column = pa.array(texts, pa.large_string())
    table = pa.table({"text": column, "domain": domains, "doc_id": doc_ids(column)})
    batches = table.to_batches(max_chunksize=BATCH)
    flat = [text.replace("\n", " ") for text in texts]
    groups = [flat[i : i + BATCH] for i in range(0, len(flat), BATCH)]
    k = -1 if arguments.positive else 1
    with tempfile.TemporaryDirectory() as folder:
        model_file = model_of(arguments, table, Path(folder))
        scorer = FastText(model=model_file, positive=arguments.positive or ())
        scorer.check()
        scorer.load(None)
        import fasttext

        library = fasttext.load_model(str(model_file))
    ended = [[text + "\n" for text in group] for group in groups]
    sides: dict[str, Callable[[], object]] = {
        "scorer": lambda: [scorer.score(batch) for batch in batches],
        "predict": lambda: [library.predict(group, k=k) for group in groups],
        "multiline": lambda: [library.f.multilinePredict(group, k, 0.0, "strict") for group in ended],
    }
    for work in sides.values():
        work()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.repeats):
        for name, work in sides.items():
            times[name].append(seconds(work))
    size = column.nbytes / 1e6
    speed = {name: size / statistics.median(found) for name, found in times.items()}
    best = max(speed["predict"], speed["multiline"])
    shown = {f"{name}_MB_s": round(value, 2) for name, value in speed.items()}
    print(json.dumps({"documents": len(texts), "MB": round(size, 1), "k": k, **shown, "ratio": round(speed["scorer"] / best, 3)}))


if __name__ == "__main__":
    main()
