"""Can quality and diversity see what is planted? Candidates for both, measured on one planted pool before any training.

``python -m benchmarks.experiments.samplemix_signals --data ../shared/data`` prints the tables of docs/methods/samplemix.md.
Quality should be low for shuffled documents; clusters should give near copies a low compactness times separation.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.experiments.documents import pipeline_of
from benchmarks.experiments.planting import COPIES, plant, shuffled
from benchmarks.experiments.ranking import auc, within
from benchmarks.experiments.samplemix import PLANTED, parts_of
from curate.hashing import id_keys
from curate.mixers.cluster_diversity import cluster_facts, clusters_of
from curate.ranks import spearman
from curate.scorers.ngram_perplexity import NgramPerplexity

GRADES = 4
"""Classes of the rater's labels: a document of class 3 is whole, of class 0 has all its words shuffled."""
DIMENSIONS = (64, 128, 256)
CLUSTERS = (25, 50, 100, 200, 400)


def labelled(table: pa.Table, seed: int) -> pa.Table:
    """Documents with 0, 1/3, 2/3 or all of their words shuffled: columns ``text`` and ``label`` (3 to 0, by a keyed hash)."""
    keys = id_keys(seed, "grade", table["doc_id"])
    label_N = (keys % np.uint64(GRADES)).astype(np.int64)
    shares = 1 - label_N / (GRADES - 1)
    texts = [shuffled(text, key, share) for text, key, share in zip(table["text"].to_pylist(), keys, shares, strict=True)]
    return pa.table({"text": pa.array(texts, pa.large_string()), "label": label_N})


def diversity(table: pa.Table, clusters: str) -> np.ndarray:
    """The mixer's diversity of every document, on [0, 1] by range."""
    number, distance, separation = (table[f"{clusters}.{c}"].to_numpy().astype(float) for c in ("cluster", "distance", "separation"))
    cluster_N = np.where(np.isnan(number), -1, number).astype(np.int64)
    found = clusters_of([cluster_facts(cluster_N, distance, separation)], "range", 0.0, clusters)
    return np.append(found.diversity_K, 0.0)[cluster_N]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.experiments.samplemix_signals", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="a folder with raw/")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--copies", type=int, default=COPIES, help="near copies made of one document")
    parser.add_argument("--scratch", type=Path)
    given = parser.parse_args()
    folder = given.scratch or Path(tempfile.gettempdir()) / f"samplemix_signals_{given.seed}_{given.copies}"
    folder.mkdir(parents=True, exist_ok=True)
    pool, _, others = parts_of(given.data, folder, given.seed, 1)
    pq.write_table(plant(pool, given.seed, PLANTED, given.copies), folder / "pool.parquet")
    pq.write_table(labelled(others, given.seed), folder / "labels.parquet")
    (folder / "ngram").mkdir(exist_ok=True)
    NgramPerplexity().fit(others, folder / "ngram")
    print(report(_scored(folder, given.seed)))


def _scored(folder: Path, seed: int) -> pa.Table:
    """The pool with all candidates' columns."""
    score: list[dict[str, Any]] = [
        {"ngram_perplexity": {"name": "pool_ngram", "sample_bytes": 1_000_000}},
        {"ngram_perplexity": {"name": "other_ngram", "model": str(folder / "ngram")}},
    ]
    for dimension in DIMENSIONS:
        score.append({"static_embedding": {"name": f"pairs{dimension}", "ngram": 2, "dimension": dimension}})
        rater = {"name": f"rater{dimension}", "labelled": str(folder / "labels.parquet"), "embedding": f"pairs{dimension}.vector"}
        score.append({"ordinal_rater": rater})
        score.append({"static_embedding": {"name": f"words{dimension}", "dimension": dimension}})
        clusters = [{"name": f"clusters{dimension}_{k}", "embedding": f"words{dimension}.vector", "k": k} for k in CLUSTERS]
        score += [{"clusters": options} for options in clusters]
    source = {"path": str(folder / "pool.parquet"), "domain": {"field": "domain"}, "extras": {"planted": {"type": "string"}}}
    config = {"name": "signals", "output": str(folder / "corpus"), "seed": seed, "ingest": {"sources": [source]}, "score": score}
    names = [n for s in score for n in _columns(*next(iter(s.items())))]
    return pipeline_of(config).run().table(["doc_id", "domain", "planted", *names])


def _columns(kind: str, options: dict[str, Any]) -> list[str]:
    read = {"ngram_perplexity": ["perplexity"], "ordinal_rater": ["rating"], "clusters": ["cluster", "distance", "separation"]}
    return [f"{options['name']}.{column}" for column in read.get(kind, [])]


def report(table: pa.Table) -> str:
    """Tables of both signals' candidates."""
    planted, domain = (np.asarray(table[c].to_pylist(), dtype=object) for c in ("planted", "domain"))
    is_shuffled, is_copied = planted == "shuffled", planted == "copied"
    lines = [f"{len(table):,} documents: {is_shuffled.sum():,} shuffled, {is_copied.sum():,} copied", ""]
    lines += ["| quality | AUC of whole documents | within domains | Spearman | mean rank of copies |", "|---|---|---|---|---|"]
    names = [n for n in table.column_names if n.endswith((".perplexity", ".rating"))]
    for name in names:
        values = np.nan_to_num(table[name].to_numpy().astype(float), nan=-1e9)
        values = -values if name.endswith(".perplexity") else values
        rank = np.argsort(np.argsort(values, kind="stable")) / len(values)
        figures = auc(values, ~is_shuffled), within(values, ~is_shuffled, domain), spearman(values, (~is_shuffled).astype(float))
        lines.append(f"| {name} | {figures[0]:.3f} | {figures[1]:.3f} | {figures[2]:.3f} | {rank[is_copied].mean():.2f} |")
    lines += ["", "| dimension, clusters | diversity of copies | of shuffled | of others | AUC of others | purity of copies | singletons |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for name in (n.removesuffix(".cluster") for n in table.column_names if n.endswith(".cluster")):
        values, cluster = diversity(table, name), table[f"{name}.cluster"].to_numpy().astype(float)
        known = ~np.isnan(cluster)
        number = cluster[known].astype(np.int64)
        n_K, copied_K = np.bincount(number), np.bincount(number, is_copied[known])
        pure = float((copied_K[copied_K > 0] ** 2 / n_K[copied_K > 0]).sum() / copied_K.sum())
        means = [values[rows].mean() for rows in (is_copied, is_shuffled, planted == "")]
        shown = " | ".join(f"{mean:.2f}" for mean in means)
        title = name.removeprefix("clusters").replace("_", ", ")
        lines.append(f"| {title} | {shown} | {auc(values, ~is_copied):.3f} | {pure:.0%} | {(n_K == 1).sum()} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
