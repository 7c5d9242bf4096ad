"""How fast ingest turns .jsonl.gz into sharded Parquet, against a floor that does nothing else.

The floor is one process that decompresses (isal when installed), parses with the faster of
orjson and simdjson (when installed) and writes the text column to one Parquet file at the
same zstd level: no validation, no hashes, no order, no shards. Runs alternate, so that
a busy machine slows both; the best of each counts.

    python benchmarks/ingest_speed.py 'data/raw/*/*.jsonl.gz' --repeats 5
"""

from __future__ import annotations

import argparse
import glob
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from curate.ingest import Limits, Source, gather_shard, list_inputs, plan_shards, plan_splits, read_histogram, scan_split, slices
from curate.ingest.gather import ZSTD_LEVEL
from curate.ingest.streams import GzipFile
from curate.storage import Folder

BLOCK = 1 << 20


def with_orjson(lines: list[bytes]) -> list[str]:
    loads = orjson.loads
    return [loads(line)["text"] for line in lines]


def parsers() -> dict[str, Callable[[list[bytes]], list[str]]]:
    found: dict[str, Callable[[list[bytes]], list[str]]] = {"orjson": with_orjson}
    try:
        import simdjson
    except ImportError:
        return found
    parser = simdjson.Parser()
    found["simdjson"] = lambda lines: [parser.parse(line)["text"] for line in lines]
    return found


def lines_of(path: str) -> Iterator[list[bytes]]:
    carry = b""
    with GzipFile(path) as content:
        while block := content.read(BLOCK):
            block = carry + block
            cut = block.rfind(b"\n")
            carry = block[cut + 1 :]
            if cut >= 0:
                yield block[:cut].split(b"\n")
    if carry:
        yield [carry]


def floor(paths: list[str], out: Path, parse: Callable[[list[bytes]], list[str]]) -> None:
    schema = pa.schema([("text", pa.large_string())])
    options = {"compression": "zstd", "compression_level": ZSTD_LEVEL, "use_dictionary": False, "write_statistics": False}
    with pq.ParquetWriter(out / "floor.parquet", schema, **options) as writer:
        for path in paths:
            for lines in lines_of(path):
                writer.write_table(pa.table([pa.array(parse(lines), pa.large_string())], schema=schema))


def ingest(paths: list[str], out: Path, shard_bytes: int) -> tuple[int, dict[str, float]]:
    """Text bytes, and seconds per step."""
    clock, marks = time.perf_counter, {}
    folder = Folder(str(out))
    start = clock()
    sources = [Source(path=str(Path(path).resolve())) for path in paths]
    splits = plan_splits(list_inputs(sources, ".").files, sources, 64 << 20)
    results = [scan_split(split, sources[split.entry], folder, 0, Limits()) for split in splits]
    marks["scan"] = clock() - start
    chunks = [(chunk, read_histogram(folder, chunk)) for result in results for chunk in result.chunks]
    plan = plan_shards([histogram for _, histogram in chunks], shard_bytes)
    for i, found in enumerate(slices(plan, chunks)):
        gather_shard([(folder, s) for s in found], folder, plan.part_name(i))
    marks["gather"] = clock() - start - marks["scan"]
    return sum(result.n_bytes for result in results), marks


def timed(work: Callable[[Path], object]) -> tuple[float, object]:
    """Seconds of ``work`` on a fresh folder, and its result; clearing the folder is not counted."""
    out = Path(tempfile.mkdtemp(prefix="ingest-speed-"))
    try:
        start = time.perf_counter()
        result = work(out)
        return time.perf_counter() - start, result
    finally:
        shutil.rmtree(out)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("paths", help="a glob of .jsonl.gz files with a text field")
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--shard-mb", type=int, default=32)
    given = options.parse_args()
    paths = sorted(glob.glob(given.paths))  # noqa: PTH207  the pattern may be absolute
    if not paths:
        raise SystemExit(f"no file matches {given.paths}")
    floors: dict[str, list[float]] = {name: [] for name in parsers()}
    ours: list[float] = []
    steps: list[dict[str, float]] = []
    n_bytes = 0
    for _ in range(given.repeats):
        for name, parse in parsers().items():
            floors[name].append(timed(lambda out, parse=parse: floor(paths, out, parse))[0])
        seconds, (n_bytes, marks) = timed(lambda out: ingest(paths, out, given.shard_mb << 20))
        ours.append(seconds)
        steps.append(marks)
    print(f"{len(paths)} files, {n_bytes / 1e6:.1f} MB of text, gzip by {GzipFile.__module__}, zstd level {ZSTD_LEVEL}")
    for name, times in floors.items():
        print(f"floor ({name})  best {n_bytes / 1e6 / min(times):6.1f} MB/s   {[round(t, 2) for t in times]} s")
    best = steps[ours.index(min(ours))]
    print(f"ingest          best {n_bytes / 1e6 / min(ours):6.1f} MB/s   {[round(t, 2) for t in ours]} s")
    print(f"  of which scan {best['scan']:.2f} s, gather {best['gather']:.2f} s")
    print(f"ratio to the faster floor: {min(min(t) for t in floors.values()) / min(ours):.2f}")


if __name__ == "__main__":
    main()
