"""Speed of the n-gram scorer beside KenLM's Python loop: same model, same text, one process.

Ours reads Arrow batches of documents as they are. KenLM gets what its users prepare: a Python list of
sentences, split and joined beforehand, not timed. Both score every line as a sentence; repeats alternate.

    python benchmarks/ngram_speed.py TEXT.parquet ... [--build-binary PROGRAM] [--train-mb 30] [--test-mb 8]

TEXT.parquet is any Parquet file with a ``text`` column. KenLM loads the ARPA file learned here, into its probing
table; given the path of KenLM's own ``build_binary`` program, its binary form is measured too.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import kenlm
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.documents import doc_ids, text_bytes
from curate.ngram import arpa, kneser_ney
from curate.ngram.model import read_only
from curate.scorers.ngram_perplexity import NgramPerplexity

REPEATS = 7


def timed(work):
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("text", type=Path, nargs="+")
    parser.add_argument("--build-binary", type=Path)
    parser.add_argument("--train-mb", type=float, default=30)
    parser.add_argument("--test-mb", type=float, default=8)
    parser.add_argument("--order", type=int, default=5)
    parser.add_argument("--prune", type=int, nargs="+", default=[0, 0, 1])
    options = parser.parse_args()

    text = (
        pa.concat_tables([pq.read_table(path, columns=["text"]) for path in options.text])["text"].cast(pa.large_string()).combine_chunks()
    )
    text = text.take(pa.array(np.random.default_rng(0).permutation(len(text))))
    ends = text_bytes(text)[1][1:]
    n_test, n_both = np.searchsorted(ends, [options.test_mb * 1e6, (options.test_mb + options.train_mb) * 1e6])
    test, train = pa.concat_arrays([text.slice(0, n_test)]), text.slice(n_test, n_both - n_test)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.arpa"
        data, bounds = text_bytes(train)
        seconds, learned = timed(
            lambda: kneser_ney.estimate(read_only(data), read_only(bounds), order=options.order, by_line=True, prune=options.prune)
        )
        n_bytes = bounds[-1] - bounds[0]
        grams = [len(level.log10_p_R) for level in learned.rows.levels]
        print(f"learned from {n_bytes / 1e6:.1f} MB in {seconds:.1f} s: n-grams {grams}")
        arpa.write(learned.rows, path)
        scorer = NgramPerplexity(model=str(path))
        scorer.load(None)
        theirs = {"arpa": kenlm.Model(str(path))}
        if options.build_binary:
            subprocess.run([options.build_binary, "probing", path, path.with_suffix(".bin")], check=True, capture_output=True)
            theirs["binary"] = kenlm.Model(str(path.with_suffix(".bin")))
        compare(scorer, theirs, pa.record_batch([test, doc_ids(test)], names=["text", "doc_id"]))


def compare(scorer: NgramPerplexity, theirs: dict[str, kenlm.Model], batch: pa.RecordBatch) -> None:
    lines = [" ".join(words) for t in batch["text"].to_pylist() for line in t.split("\n") if (words := decoded(line))]
    n_bytes = int(np.diff(text_bytes(batch["text"])[1]).sum())
    scorer.score(batch)
    for form, model in theirs.items():
        score = model.score
        ours_s, theirs_s = [], []
        for _ in range(REPEATS):
            seconds, scored = timed(lambda: scorer.score(batch))
            ours_s.append(seconds)
            seconds, sums = timed(lambda: [score(line) for line in lines])  # noqa: B023 - called at once
            theirs_s.append(seconds)
        ours, other = statistics.median(ours_s), statistics.median(theirs_s)
        nats = sum(v for v in scored["nats"].to_pylist())
        n = sum(scored["n_predicted"].to_pylist())
        print(f"kenlm {form}: {other:.3f} s, {n / other / 1e6:.2f} M words/s, {n_bytes / other / 1e6:.1f} MB/s")
        print(f"curate:     {ours:.3f} s, {n / ours / 1e6:.2f} M words/s, {n_bytes / ours / 1e6:.1f} MB/s")
        print(f"ratio {other / ours:.2f}   (nats {nats:.1f}, kenlm {-sum(sums) * np.log(10):.1f})")


def decoded(line: str) -> list[str]:
    return [word.decode() for word in line.encode().replace(b"\0", b" ").split()]


if __name__ == "__main__":
    main()
