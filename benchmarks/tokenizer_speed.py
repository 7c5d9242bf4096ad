"""Speed of our encoder beside the ``tokenizers`` library, one core, on the same real text.

    python benchmarks/tokenizer_speed.py DATA_DIRECTORY [--tokenizer PATH] [--mb 1.5] [--vocab-size 16384]

DATA_DIRECTORY holds one folder per domain with .txt, .parquet, .jsonl.gz or .jsonl.zst files. CPU seconds, best of
three; `cold` begins with an empty table of recent words, `warm` has seen the same text. Ids are compared too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tokenizers
import zstandard

from curate.tokenization import Tokenizer, train_bpe


def documents(path: Path) -> Iterator[str]:
    if path.suffix == ".txt":
        yield path.read_bytes().decode("utf-8-sig")
    elif path.suffix == ".parquet":
        yield from pq.read_table(path, columns=["text"])["text"].to_pylist()
    elif path.suffix in (".gz", ".zst"):
        with gzip.open(path) if path.suffix == ".gz" else zstandard.open(path, "rb") as stream:
            yield from (json.loads(line)["text"] for line in stream.read().split(b"\n") if line)


def first_bytes(folder: Path, n_bytes: float) -> list[str]:
    texts, taken = [], 0
    for path in sorted(folder.iterdir()):
        for text in documents(path):
            texts.append(text)
            taken += len(text.encode())
            if taken >= n_bytes:
                return texts
    return texts


def seconds(call: Callable[[], object], before: Callable[[], object] = lambda: None, repeats: int = 3) -> float:
    best = float("inf")
    for _ in range(repeats):
        before()
        start = time.process_time()
        call()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("data", type=Path)
    options.add_argument("--tokenizer")
    options.add_argument("--mb", type=float, default=1.5)
    options.add_argument("--vocab-size", type=int, default=16_384)
    chosen = options.parse_args()
    texts = {folder.name: first_bytes(folder, chosen.mb * 1e6) for folder in sorted(chosen.data.iterdir()) if folder.is_dir()}
    if chosen.tokenizer is None:
        start = time.perf_counter()
        tokenizer = train_bpe([text for domain in texts.values() for text in domain], chosen.vocab_size)
        print(f"trained {tokenizer.vocab_size} ids in {time.perf_counter() - start:.1f} s")
    else:
        tokenizer = Tokenizer.open(chosen.tokenizer)
    start = time.perf_counter()
    tokenizer = Tokenizer(tokenizer.content)
    print(f"opened in {time.perf_counter() - start:.2f} s, {'library: ' + tokenizer.slow_because if tokenizer.slow_because else 'fast'}")
    library = tokenizers.Tokenizer.from_str(tokenizer.content.decode())
    library.encode_special_tokens = True
    print(f"{'MB/s':14s}{'encode cold':>12s}{'warm':>8s}{'count warm':>12s}{'library':>9s}{'ratio cold':>12s}{'warm':>6s}  same ids")
    totals = np.zeros(5)
    for name, domain in texts.items():
        row = measure(tokenizer, library, domain)
        totals += row[:5]
        print_row(name, row[:5], bool(row[5]))
    print_row("all", totals, True)


def measure(tokenizer: Tokenizer, library: tokenizers.Tokenizer, domain: list[str]) -> np.ndarray:
    """Bytes; seconds cold, warm, counting, of the library; whether the ids agree."""
    text = pa.array(domain, pa.large_string())
    forget = tokenizer._fast._idle.clear if tokenizer._fast is not None else (lambda: None)
    cold = seconds(lambda: tokenizer.encode_arrow(text), forget)
    warm = seconds(lambda: tokenizer.encode_arrow(text))
    counting = seconds(lambda: tokenizer.count(text))
    theirs = seconds(lambda: library.encode_batch_fast(domain, add_special_tokens=False), repeats=1)
    expected = [encoding.ids for encoding in library.encode_batch_fast(domain, add_special_tokens=False)]
    same = np.array_equal(tokenizer.encode_arrow(text)[0], np.concatenate([np.array(ids, np.int32) for ids in expected]))
    return np.array([sum(len(t.encode()) for t in domain), cold, warm, counting, theirs, same])


def print_row(name: str, row: np.ndarray, same: bool) -> None:
    n_bytes, cold, warm, counting, theirs = row
    speeds = f"{n_bytes / cold / 1e6:12.1f}{n_bytes / warm / 1e6:8.1f}{n_bytes / counting / 1e6:12.1f}{n_bytes / theirs / 1e6:9.2f}"
    print(f"{name:14s}{speeds}{theirs / cold:12.1f}{theirs / warm:6.1f}  {same}")


if __name__ == "__main__":
    main()
