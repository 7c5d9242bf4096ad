"""The training stream: one order for any ranks and workers, exact resume, and what it refuses."""

from __future__ import annotations

import builtins
import json
from itertools import islice
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.documents import DOC_ID, DOMAIN
from curate.epoch_order import EpochOrder
from curate.errors import ConfigError, InputError, IntegrityError, StaleOutputError
from curate.hashing import seed_of
from curate.stream import Stream, loader

SCHEMA = pa.schema(
    [
        pa.field("doc_id", DOC_ID),
        pa.field("text", pa.large_string()),
        pa.field("domain", DOMAIN),
        pa.field("n_bytes", pa.int64()),
        pa.field("source_row", pa.int64()),
        pa.field("weight", pa.float32()),
        pa.field("copy", pa.int16()),
        pa.field("score", pa.float64()),
        pa.field("input_ids", pa.list_(pa.int32())),
        pa.field("doc_ids", pa.list_(DOC_ID)),
    ]
)
SIZES = ((4, 7, 1), (5, 3, 6, 2), (9,))
N_ROWS = sum(map(sum, SIZES))


def batch_of(first: int, n: int) -> pa.RecordBatch:
    """Rows numbered from ``first``; every value follows from the number."""
    ids = [i.to_bytes(16, "big") for i in range(first, first + n)]
    rows = {
        "doc_id": pa.array(ids, DOC_ID),
        "text": pa.array([f"dócument {i} " * (i % 4) for i in range(first, first + n)], pa.large_string()),
        "domain": pa.array([f"domain {i % 3}" for i in range(first, first + n)]).dictionary_encode(),
        "n_bytes": pa.array(range(n), pa.int64()),
        "source_row": pa.array(range(first, first + n), pa.int64()),
        "weight": pa.array([0.5 * i for i in range(first, first + n)], pa.float32()),
        "copy": pa.array([i % 2 for i in range(first, first + n)], pa.int16()),
        "score": pa.array([None if i % 5 == 0 else i / 7 for i in range(first, first + n)], pa.float64()),
        "input_ids": pa.array([[i, i + 1, i + 2] for i in range(first, first + n)], pa.list_(pa.int32())),
        "doc_ids": pa.array([ids[j : j + 2] for j in range(n)], pa.list_(DOC_ID)),
    }
    return pa.record_batch(list(rows.values()), schema=SCHEMA)


def write(folder: Path, sizes: tuple[tuple[int, ...], ...] = SIZES, **options: object) -> Path:
    """Shards whose rows are numbered 0, 1, 2 … in ``source_row``."""
    folder.mkdir(parents=True, exist_ok=True)
    first = 0
    for number, shard in enumerate(sizes):
        path = folder / f"shard-{number:05d}-of-{len(sizes):05d}.arrow"
        with pa.ipc.new_stream(str(path), SCHEMA, options=pa.ipc.IpcWriteOptions(**options)) as out:
            for n in shard:
                out.write_batch(batch_of(first, n))
                first += n
    return folder


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("mix"))


def numbers(rows: object) -> list[int]:
    return [row["source_row"] for row in rows]  # type: ignore[attr-defined]


def whole(mix: Path, **options: object) -> list[int]:
    return numbers(Stream(mix, **options).iter_rows())  # type: ignore[arg-type]


def merged(ranks: list[list[int]]) -> list[int]:
    """What the ranks read, one row each in turn."""
    return [rows[k] for k in range(max(map(len, ranks))) for rows in ranks if k < len(rows)]


def test_rows_are_those_of_datasets(mix: Path) -> None:
    files = [str(p) for p in sorted(mix.glob("*.arrow"))]
    expected = list(datasets.concatenate_datasets([datasets.Dataset.from_file(f) for f in files]))
    rows = list(Stream(mix))
    assert len(rows) == N_ROWS
    for row, other in zip(rows, expected, strict=True):
        row["input_ids"] = row["input_ids"].tolist()
        assert row == other
    assert type(rows[0]["weight"]) is float
    assert type(rows[0]["copy"]) is int


@pytest.mark.parametrize("options", [{}, {"compression": "zstd"}, {"compression": "lz4"}, {"emit_dictionary_deltas": True}])
def test_every_way_of_writing_reads_the_same(mix: Path, tmp_path: Path, options: dict[str, object]) -> None:
    assert str(list(Stream(write(tmp_path / "other", **options)))) == str(list(Stream(mix)))


def test_batches_hold_the_same_rows(mix: Path) -> None:
    rows = list(Stream(mix, shuffle=True, window=3))
    batches = list(Stream(mix, shuffle=True, window=3).iter_batches(5))
    assert [len(b["text"]) for b in batches] == [5] * (N_ROWS // 5) + [N_ROWS % 5]
    assert all(b["input_ids"].shape == (len(b["text"]), 3) and b["input_ids"].dtype == np.int32 for b in batches)
    for name in ("text", "domain", "doc_id", "doc_ids"):
        assert [v for b in batches for v in b[name]] == [r[name] for r in rows]
    for name in ("input_ids", "weight", "source_row"):
        assert np.array_equal(np.concatenate([b[name] for b in batches]), np.array([r[name] for r in rows]))
    missing = np.concatenate([np.isnan(b["score"]) for b in batches])
    assert missing.tolist() == [r["score"] is None for r in rows]
    assert len(list(Stream(mix).iter_batches(5, drop_last=True))) == N_ROWS // 5


def test_a_short_row_makes_its_batch_a_list(tmp_path: Path) -> None:
    schema = pa.schema([pa.field("input_ids", pa.list_(pa.int32()))])
    with pa.ipc.new_stream(str(tmp_path / "shard-00000-of-00001.arrow"), schema) as out:
        out.write_batch(pa.record_batch([pa.array([[1, 2], [3, 4], [5]], pa.list_(pa.int32()))], schema=schema))
    full, short = Stream(tmp_path).iter_batches(2)
    assert full["input_ids"].tolist() == [[1, 2], [3, 4]]
    assert [row.tolist() for row in short["input_ids"]] == [[5]]


@settings(max_examples=60, deadline=None)
@given(world=st.integers(1, 7), window=st.integers(0, 9), seed=st.integers(0, 2**40), epoch=st.integers(0, 5))
def test_ranks_share_the_rows(mix: Path, world: int, window: int, seed: int, epoch: int) -> None:
    options = {"shuffle": window > 0, "window": window or 1, "seed": seed}
    one = Stream(mix, **options)
    one.set_epoch(epoch)
    order = numbers(one)
    assert sorted(order) == list(range(N_ROWS))
    ranks = []
    for rank in range(world):
        stream = Stream(mix, rank, world, **options)
        stream.set_epoch(epoch)
        ranks.append(numbers(stream))
    assert merged(ranks) == order
    assert [order[i] for i in range(N_ROWS) if i % world == 0] == ranks[0]


@settings(max_examples=80, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(1, 6), st.integers(0, 9)), min_size=1, max_size=6),
    window=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_resume_on_other_ranks_reads_the_rest_once(mix: Path, steps: list[tuple[int, int]], window: int, seed: int) -> None:
    options = {"shuffle": window > 0, "window": window or 1, "seed": seed}
    order = whole(mix, **options)
    state = Stream(mix, **options).state_dict()
    seen: list[int] = []
    for world, n_steps in steps:
        if len(seen) + world * n_steps >= N_ROWS:
            break
        ranks = [Stream(mix, rank, world, **options) for rank in range(world)]
        for stream in ranks:
            stream.load_state_dict(json.loads(json.dumps(state)))
        read = [numbers(islice(stream.iter_rows(), n_steps)) for stream in ranks]
        assert len({json.dumps(stream.state_dict()) for stream in ranks}) == 1
        state = ranks[0].state_dict()
        seen += [number for rows in read for number in rows]
    assert state["position"] == len(seen)
    assert sorted(seen) == sorted(order[: len(seen)])
    rest = Stream(mix, **options)
    rest.load_state_dict(state)
    assert numbers(rest) == order[len(seen) :]


def test_empty_batches_and_shards(tmp_path: Path) -> None:
    folder = write(tmp_path / "mix", ((0, 3, 0), (), (0,), (2, 0)))
    assert whole(folder) == list(range(5))
    for window in (1, 2, 9):
        assert sorted(whole(folder, shuffle=True, window=window)) == list(range(5))
    assert whole(write(tmp_path / "none", ((), (0,)))) == []


def test_each_epoch_has_an_order_of_its_own(mix: Path) -> None:
    stream = Stream(mix, shuffle=True, window=2, seed=5)
    first, second = numbers(stream), numbers(stream)
    assert stream.state_dict()["epoch"] == 2
    assert first != second
    assert sorted(first) == sorted(second) == list(range(N_ROWS))
    again = Stream(mix, shuffle=True, window=2, seed=5)
    again.set_epoch(1)
    assert numbers(again) == second
    assert whole(mix, shuffle=True, window=2, seed=6) != first
    plain = Stream(mix)
    assert numbers(plain) == numbers(plain) == list(range(N_ROWS))


def test_the_order_never_changes_between_versions() -> None:
    """Saved states depend on it."""
    batch, row = EpochOrder(np.array([2, 3, 1]), 2, 7, 0).locate(np.arange(6))
    assert list(zip(batch.tolist(), row.tolist(), strict=True)) == [(0, 0), (1, 2), (1, 1), (0, 1), (1, 0), (2, 0)]


def split_mix(x: int) -> int:
    """The finaliser in plain integers."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12), window=st.integers(1, 5), epoch=st.integers(0, 9))
def test_the_order_is_the_one_described(sizes: list[int], window: int, epoch: int) -> None:
    key = [split_mix(b ^ seed_of(3, f"stream epoch {epoch}")) for b in range(len(sizes))]
    batches = sorted(range(len(sizes)), key=lambda b: key[b])
    expected: list[tuple[int, int]] = []
    for first in range(0, len(batches), window):
        pool = [(b, r) for b in batches[first : first + window] for r in range(sizes[b])]
        expected += sorted(pool, key=lambda place: split_mix(key[place[0]] ^ split_mix(place[1])))
    batch, row = EpochOrder(np.array(sizes), window, 3, epoch).locate(np.arange(sum(sizes)))
    assert list(zip(batch.tolist(), row.tolist(), strict=True)) == expected


def test_a_shuffle_is_even() -> None:
    """With one pool every row reaches every place about equally often (chi-square, 23 degrees of freedom)."""
    n, epochs = 24, 2400
    counts = np.zeros((n, n))
    for epoch in range(epochs):
        batch, row = EpochOrder(np.full(4, 6), 4, 1, epoch).locate(np.arange(n))
        counts[np.arange(n), batch * 6 + row] += 1
    chi_square = ((counts - epochs / n) ** 2 / (epochs / n)).sum(axis=1)
    assert chi_square.max() < 60  # p ≈ 3e-5 for one place


def test_rows_stay_inside_their_pool() -> None:
    sizes = np.array([5, 1, 8, 2, 4, 4, 3])
    batch, _ = EpochOrder(sizes, 3, 0, 0).locate(np.arange(sizes.sum()))
    seen: list[int] = []
    for number in batch.tolist():
        if number not in seen:
            seen.append(number)
    for pool in (seen[:3], seen[3:6], seen[6:]):
        places = np.flatnonzero(np.isin(batch, pool))
        assert places.max() - places.min() + 1 == sizes[pool].sum()


def test_even_gives_every_rank_as_many(mix: Path) -> None:
    ranks = [numbers(Stream(mix, rank, 5, even=True)) for rank in range(5)]
    assert {len(rows) for rows in ranks} == {N_ROWS // 5}
    assert merged(ranks) == list(range(N_ROWS - N_ROWS % 5))


def test_set_epoch_keeps_a_resumed_position(mix: Path) -> None:
    stream = Stream(mix)
    next(stream.iter_rows())
    resumed = Stream(mix)
    resumed.load_state_dict(stream.state_dict())
    resumed.set_epoch(0)
    assert numbers(resumed) == list(range(1, N_ROWS))
    resumed.set_epoch(3)
    assert (resumed.epoch, resumed.position) == (3, 0)


def test_resume_reads_no_skipped_batch(mix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Stream(mix, columns=["source_row"])
    state = {**stream.state_dict(), "position": 28}
    read: list[int] = []
    original = stream._shards.batch
    monkeypatch.setattr(stream._shards, "batch", lambda number, columns: (read.append(number), original(number, columns))[1])
    stream.load_state_dict(state)
    assert numbers(stream) == list(range(28, N_ROWS))
    assert read == [7]


def test_columns(mix: Path) -> None:
    assert list(Stream(mix, columns=["domain", "copy"]))[:2] == [{"domain": "domain 0", "copy": 0}, {"domain": "domain 1", "copy": 1}]
    with pytest.raises(ConfigError, match="no column 'txt'") as error:
        Stream(mix, columns=["txt"])
    assert "text" in error.value.expected


@pytest.mark.parametrize("change", ["seed", "window", "shards", "batches", "mixture"])
def test_a_state_of_another_stream_is_refused(mix: Path, tmp_path: Path, change: str) -> None:
    state = Stream(mix, shuffle=True, window=2).state_dict()
    if change == "seed":
        other = Stream(mix, shuffle=True, window=2, seed=1)
    elif change == "window":
        other = Stream(mix)
    else:
        sizes = {"shards": SIZES[:2], "batches": ((7, 4, 1), *SIZES[1:]), "mixture": SIZES}[change]
        write(tmp_path / "other", sizes)
        if change == "mixture":
            (tmp_path / "other" / "mixture.json").write_text('{"fingerprint": "ab"}')
        other = Stream(tmp_path / "other", shuffle=True, window=2)
    with pytest.raises(StaleOutputError) as error:
        other.load_state_dict(state)
    assert (change if change in ("seed", "window") else "fingerprint") in error.value.where


def test_the_fingerprint_of_the_mixture_counts_not_its_other_words(mix: Path, tmp_path: Path) -> None:
    folder = write(tmp_path / "other")
    prints = []
    for content in ('{"fingerprint": "ab", "note": 1}', '{"fingerprint": "ab"}', '{"fingerprint": "cd"}', "{}"):
        (folder / "mixture.json").write_text(content)
        prints.append(Stream(folder).fingerprint)
    assert prints[0] == prints[1]
    assert len({*prints, Stream(mix).fingerprint}) == 4


def test_broken_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Arrow shards"):
        Stream(tmp_path)
    folder = write(tmp_path / "mix")
    last = folder / "shard-00002-of-00003.arrow"
    content = last.read_bytes()
    for cut in (len(content) - 1, len(content) - 8, len(content) // 2, 5, 0):
        last.write_bytes(content[:cut])
        with pytest.raises(IntegrityError, match="cut short") as error:
            Stream(folder)
        assert last.name in error.value.where
    last.write_bytes(b"PAR1" + content)
    with pytest.raises(IntegrityError, match="not an Arrow IPC stream"):
        Stream(folder)
    last.unlink()
    with pytest.raises(IntegrityError, match="not the number"):
        Stream(folder)
    with pa.ipc.new_stream(str(last), pa.schema([pa.field("text", pa.string())])) as out:
        out.write_batch(pa.record_batch([pa.array(["a"])], names=["text"]))
    with pytest.raises(IntegrityError, match="different columns"):
        Stream(folder)


@pytest.mark.parametrize("wrong", [{"rank": 2, "world_size": 2}, {"rank": -1}, {"window": 0, "shuffle": True}, {"columns": []}])
def test_impossible_arguments(mix: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Stream(mix, **wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        next(Stream(mix).iter_batches(0))


def test_reads_a_remote_folder(mix: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for path in mix.glob("*.arrow"):
        memory.pipe(f"/stream-test/{path.name}", path.read_bytes())
    assert str(list(Stream("memory://stream-test", shuffle=True))) == str(list(Stream(mix, shuffle=True)))
    assert Stream("memory://stream-test").fingerprint == Stream(mix).fingerprint


def test_works_without_torch(mix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def no_torch(name: str, *args: object, **kwargs: object) -> object:
        if name.split(".")[0] == "torch":
            raise ImportError(name)
        return original(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", no_torch)
    stream = Stream(mix)
    assert numbers(stream.iter_rows()) == list(range(N_ROWS))
    with pytest.raises(ConfigError, match="needs torch") as error:
        loader(stream, 4)
    assert "curate[stream]" in error.value.fix
