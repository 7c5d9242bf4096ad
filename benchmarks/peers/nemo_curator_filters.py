"""NeMo Curator's heuristic filters on Ray Data.

The filters and thresholds are those of its own ``heuristic_filter_english_pipeline.yaml``, as one chain in one
stage: a dropped document is not seen by the filters after it. Starting Ray is inside the time, and told apart.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import ray
from nemo_curator.backends.ray_data import RayDataExecutor
from nemo_curator.pipeline import Pipeline
from nemo_curator.stages.text.filters import ScoreFilter
from nemo_curator.stages.text.filters.heuristic import repetition, string
from nemo_curator.stages.text.io.reader import ParquetReader
from nemo_curator.stages.text.io.writer import ParquetWriter

from benchmarks import child
from benchmarks.peers import verdicts

TOP_NGRAMS = {2: 0.2, 3: 0.18, 4: 0.16}
DUPLICATE_NGRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1}


def chain() -> list[Any]:
    """Its English pipeline, in its order."""
    found: list[Any] = [
        string.NonAlphaNumericFilter(max_non_alpha_numeric_to_text_ratio=0.25),
        string.SymbolsToWordsFilter(max_symbol_to_word_ratio=0.1),
        string.NumbersFilter(max_number_to_text_ratio=0.15),
        string.UrlsFilter(max_url_to_text_ratio=0.2),
        string.WhiteSpaceFilter(max_white_space_ratio=0.25),
        string.ParenthesesFilter(max_parentheses_ratio=0.1),
        string.BoilerPlateStringFilter(remove_if_at_top_or_bottom=True, max_boilerplate_string_ratio=0.4),
        repetition.RepeatedLinesFilter(max_repeated_line_fraction=0.7),
        repetition.RepeatedParagraphsFilter(max_repeated_paragraphs_ratio=0.7),
        repetition.RepeatedLinesByCharFilter(max_repeated_lines_char_ratio=0.8),
        repetition.RepeatedParagraphsByCharFilter(max_repeated_paragraphs_char_ratio=0.8),
        string.WordCountFilter(min_words=50, max_words=100_000),
        string.PunctuationFilter(max_num_sentences_without_endmark_ratio=0.85),
        string.WordsWithoutAlphabetsFilter(min_words_with_alphabets=0.8),
        string.CommonEnglishWordsFilter(min_num_common_words=2, stop_at_false=True),
        string.MeanWordLengthFilter(max_mean_word_length=10, min_mean_word_length=3),
        string.LongWordFilter(max_word_length=1000),
        string.EllipsisFilter(max_num_lines_ending_with_ellipsis_ratio=0.3),
    ]
    for n, most in TOP_NGRAMS.items():
        found.append(repetition.RepeatingTopNGramsFilter(n=n, max_repeating_ngram_ratio=most))
    for n, most in DUPLICATE_NGRAMS.items():
        found.append(repetition.RepeatingDuplicateNGramsFilter(n=n, max_repeating_duplicate_ngram_ratio=most))
    return [*found, string.BulletsFilter(max_bullet_lines_ratio=0.9)]


def filters(folder: str, out: str, workers: int, found: str) -> dict[str, Any]:
    """All files of a folder, one after the other on each of ``workers`` CPUs; numbers of kept documents to Parquet."""
    shutil.rmtree(out, ignore_errors=True)
    work = Pipeline(name="side")
    work.add_stage(ParquetReader(sorted(map(str, Path(folder).glob("*.parquet"))), files_per_partition=1, fields=["id", "text"]))
    work.add_stage(ScoreFilter(chain()))
    work.add_stage(ParquetWriter(path=f"{out}/kept", fields=["id"]))
    reading: dict[str, Any] = {}
    cpu, start = child.cpu_seconds(), time.perf_counter()
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    reading["startup"] = time.perf_counter() - start

    def stop() -> None:
        """Its executor shuts Ray down when it is done; the CPU time of the workers is to be had until then."""
        reading["seconds"], reading["cpu_seconds"] = time.perf_counter() - start, child.cpu_seconds() - cpu

    shutdown, ray.shutdown = ray.shutdown, stop
    work.run(RayDataExecutor())
    ray.shutdown = shutdown
    shutdown()
    kept = [number for file in sorted(Path(out).glob("kept/*.parquet")) for number in pq.read_table(file)["id"].to_pylist()]
    verdicts.write(found, kept)
    shutil.rmtree(out)
    return reading | {"kept": len(kept)}
