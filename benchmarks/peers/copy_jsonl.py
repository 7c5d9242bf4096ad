"""The floor of ingest: decompress, parse, write Parquet, with the fastest library for each, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import simdjson
from isal import igzip

from benchmarks.child import timed

BLOCK = 1 << 20
ROW_GROUP_BYTES = 4 << 20
SCHEMA = pa.schema([("text", pa.large_string())])
OPTIONS: dict[str, Any] = {"compression": "zstd", "compression_level": 3, "use_dictionary": False, "write_statistics": False}


def with_orjson(lines: list[bytes]) -> list[str]:
    loads = orjson.loads
    return [loads(line)["text"] for line in lines]


def with_simdjson(lines: list[bytes]) -> list[str]:
    parse = simdjson.Parser().parse
    return [parse(line)["text"] for line in lines]


PARSERS: dict[str, Callable[[list[bytes]], list[str]]] = {"orjson": with_orjson, "simdjson": with_simdjson}


def lines_of(path: Path) -> Iterator[list[bytes]]:
    carry = b""
    with igzip.IGzipFile(path) as content:
        while block := content.read(BLOCK):
            block = carry + block
            cut = block.rfind(b"\n")
            carry = block[cut + 1 :]
            if cut >= 0:
                yield block[:cut].split(b"\n")
    if carry:
        yield [carry]


def copy(folder: str, out: str, parser: str) -> dict[str, Any]:
    """All files of a folder to one Parquet file, in one thread."""
    pa.set_cpu_count(1)
    reading: dict[str, Any] = {"rows": 0, "json_bytes": 0}
    parse = PARSERS[parser]
    with timed(reading), pq.ParquetWriter(out, SCHEMA, **OPTIONS) as writer:
        held: list[pa.Array] = []
        held_bytes = 0
        for path in sorted(Path(folder).glob("*.jsonl.gz")):
            for lines in lines_of(path):
                held.append(pa.array(parse(lines), pa.large_string()))
                held_bytes += BLOCK
                reading["rows"] += len(lines)
                reading["json_bytes"] += sum(map(len, lines)) + len(lines)
                if held_bytes >= ROW_GROUP_BYTES:
                    writer.write_table(pa.table([pa.chunked_array(held)], schema=SCHEMA))
                    held, held_bytes = [], 0
        if held:
            writer.write_table(pa.table([pa.chunked_array(held)], schema=SCHEMA))
    reading["written"] = Path(out).stat().st_size
    Path(out).unlink()
    return reading
