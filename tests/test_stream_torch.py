"""The training stream under torch: workers change neither rows nor order, and the state follows what was given out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_stream import N_ROWS, numbers, write

from curate.stream import Stream, loader

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def mix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("mix"))


def rows_of(batches: object) -> list[list[int]]:
    return [batch["source_row"].tolist() for batch in batches]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("world", "workers"), [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("shuffle", [False, True])
def test_workers_change_nothing(mix: Path, world: int, workers: int, shuffle: bool) -> None:
    for rank in range(world):
        alone = Stream(mix, rank, world, shuffle=shuffle, window=3)
        helped = Stream(mix, rank, world, shuffle=shuffle, window=3)
        single, several = loader(alone, 4), loader(helped, 4, num_workers=workers)
        for _ in range(2):  # two epochs, each with its own order
            assert rows_of(single) == rows_of(several)
            assert alone.state_dict() == helped.state_dict()
    assert alone.epoch == 2


def test_batches_are_tensors(mix: Path) -> None:
    batch = next(iter(loader(Stream(mix), 4)))
    assert batch["input_ids"].dtype == torch.int32
    assert batch["input_ids"].tolist() == [[i, i + 1, i + 2] for i in range(4)]
    assert torch.isnan(batch["score"]).tolist() == [True, False, False, False]
    assert batch["domain"] == ["domain 0", "domain 1", "domain 2", "domain 0"]


def test_the_state_ignores_what_workers_read_ahead(mix: Path) -> None:
    options = {"shuffle": True, "window": 2, "seed": 3}
    order = rows_of(loader(Stream(mix, **options), 4))  # type: ignore[arg-type]
    stream = Stream(mix, **options)  # type: ignore[arg-type]
    several = loader(stream, 4, num_workers=2, prefetch_factor=4)
    batches = iter(several)
    first = [next(batches)["source_row"].tolist() for _ in range(3)]
    state = json.loads(json.dumps(several.state_dict()))
    del batches
    assert state["position"] == 12
    resumed = loader(Stream(mix, **options), 4, num_workers=3)  # type: ignore[arg-type]
    resumed.load_state_dict(state)
    assert first + rows_of(resumed) == order


def test_resume_with_workers_on_other_ranks(mix: Path) -> None:
    seen: list[int] = []
    for rank in range(3):
        stream = Stream(mix, rank, 3, shuffle=True)
        batches = iter(loader(stream, 2, num_workers=2))
        seen += [n for _ in range(2) for n in next(batches)["source_row"].tolist()]
        state = stream.state_dict()
        del batches
    for rank in range(2):
        stream = Stream(mix, rank, 2, shuffle=True)
        stream.load_state_dict(state)
        seen += [n for batch in rows_of(loader(stream, 5, num_workers=2)) for n in batch]
    assert sorted(seen) == list(range(N_ROWS))


def test_workers_open_remote_files_of_their_own(mix: Path) -> None:
    import fsspec

    for path in mix.glob("*.arrow"):
        fsspec.filesystem("memory").pipe(f"/torch-test/{path.name}", path.read_bytes())
    stream = Stream("memory://torch-test")
    next(stream.iter_rows())  # opens a file before the worker is forked
    assert [n for batch in rows_of(loader(stream, 4, num_workers=1)) for n in batch] == list(range(1, N_ROWS))


def test_drop_last(mix: Path) -> None:
    assert rows_of(loader(Stream(mix), 4, num_workers=2, drop_last=True)) == rows_of(loader(Stream(mix), 4))[: N_ROWS // 4]


def test_a_plain_dataloader_gives_each_row_once(mix: Path) -> None:
    stream = Stream(mix, shuffle=True)
    expected = numbers(Stream(mix, shuffle=True))
    assert isinstance(stream, torch.utils.data.IterableDataset)
    assert numbers(torch.utils.data.DataLoader(stream, batch_size=None, num_workers=2)) == expected
    plain = torch.utils.data.DataLoader(stream, batch_size=4, num_workers=3, collate_fn=list)
    assert sorted(number for batch in plain for number in numbers(batch)) == list(range(N_ROWS))


@pytest.mark.slow
def test_spawned_workers(mix: Path) -> None:
    expected = rows_of(loader(Stream(mix, shuffle=True), 4))
    assert rows_of(loader(Stream(mix, shuffle=True), 4, num_workers=2, multiprocessing_context="spawn")) == expected
