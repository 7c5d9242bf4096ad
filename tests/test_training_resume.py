"""Training that is killed at any moment goes on from its checkpoint and ends with the same bits."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from proxy_training import streams, tiny_shapes
from safetensors.torch import load_file
from training_child import LOSSES, N_STEPS, STEPS, WEIGHTS, run_pipeline, server, train_and_write, trained

from curate.proxy import Checkpoints, Trained, training
from curate.proxy.resume import LATEST, STATE, TENSORS, Saved
from curate.storage import Folder
from curate.verify import verify
from pipelines import configuration, hashes, run

pytestmark = pytest.mark.usefixtures(tiny_shapes.__name__)

KILLS = 6


class Crash(BaseException):
    """The moment of a power cut: nothing in the program catches it."""


def published(folder: Path) -> int:
    """Steps of the last whole checkpoint, 0 without one."""
    with contextlib.suppress(FileNotFoundError):
        return int(json.loads((folder / LATEST).read_bytes())["step"])
    return 0


def killed_at(step: int, kept: Path, delay: float, target: Callable[..., None], *arguments: Any) -> bool:
    """Start it, and SIGKILL it a moment after the checkpoint of that step; False when it was done before."""
    process = server().Process(target=target, args=arguments)
    process.start()
    while process.is_alive() and published(kept) < step:
        time.sleep(0.001)
    time.sleep(delay)
    process.kill()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return bool(process.exitcode)


def finished(target: Callable[..., None], *arguments: Any) -> None:
    """Start it, and let it end."""
    process = server().Process(target=target, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny_shapes: None) -> Trained:
    """The training undisturbed, without any checkpoint."""
    return trained(tmp_path_factory.mktemp("whole"), streams(), checkpoints=False)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = tmp_path / "place"
    made.mkdir()
    return made


def asked(place: Path) -> list[int]:
    """The steps that the mixture was asked for, in all attempts."""
    return [int(line) for line in (place / STEPS).read_text().split()]


def same(found: Trained, wanted: Trained) -> None:
    """Bit for bit."""
    ours, theirs = dict(found.model.named_parameters()), dict(wanted.model.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(weight, theirs[name]) for name, weight in ours.items())
    assert found.losses.equals(wanted.losses, check_metadata=True)
    assert found.epochs.tolist() == wanted.epochs.tolist()


@pytest.mark.slow
def test_killed_at_random_steps_it_ends_with_the_same_bits(whole, place):
    dice = random.Random(11)
    kills, reached = 0, 0
    kept = place / "kept"
    while kills < KILLS:
        n_asked = len(asked(place)) if (place / STEPS).exists() else 0
        assert killed_at(min(reached + dice.randint(1, 3), N_STEPS - 2), kept, dice.uniform(0, 0.01), train_and_write, place, streams())
        if n_asked:
            # It went on from what was published, not from the beginning.
            assert asked(place)[n_asked] == reached
        kills, reached = kills + 1, published(kept)
        assert reached > 0
    assert reached < N_STEPS
    finished(train_and_write, place, streams())
    assert asked(place).count(0) == 1
    weights = load_file(place / WEIGHTS)
    assert weights.keys() == dict(whole.model.named_parameters()).keys()
    assert all(torch.equal(weight, weights[name]) for name, weight in whole.model.named_parameters())
    assert pq.read_table(place / LOSSES).equals(whole.losses)
    assert np.unique(whole.losses["proportion"].to_numpy()).size > N_STEPS


def crash_at(monkeypatch: pytest.MonkeyPatch, n_files: int, moment: str) -> None:
    """The power goes when this many files of checkpoints have been written: before the last has its name, or just after."""
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    create, left = Folder.create, [n_files]

    @contextlib.contextmanager
    def crashing(self, *arguments, **more):
        left[0] -= 1
        with create(self, *arguments, **more) as out:
            yield out
            if left[0] == 0 and moment == "before":
                raise Crash
        if left[0] == 0:
            raise Crash

    monkeypatch.setattr(Folder, "create", crashing)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("n_files", range(1, 9))
def test_a_kill_between_the_files_of_a_checkpoint_falls_back_to_the_one_before(whole, place, n_files, moment):
    """A checkpoint is four files, of which the last makes it one."""
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, n_files, moment)
        with pytest.raises(Crash):
            trained(place, streams())
    complete = (n_files if moment == "after" else n_files - 1) // 4
    assert published(place / "kept") == complete
    before = len(asked(place))
    same(trained(place, streams()), whole)
    assert asked(place)[before:] == list(range(complete, N_STEPS))


def test_a_kill_before_the_older_checkpoint_is_removed_leaves_the_newer(whole, place):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
        removed = []

        def crashing(self: Folder, below: str) -> None:
            removed.append(below)
            raise Crash

        patch.setattr(Folder, "remove", crashing)
        with pytest.raises(Crash):
            trained(place, streams())
    assert removed[0].startswith("step-00000001/")
    assert published(place / "kept") == 2
    before = len(asked(place))
    same(trained(place, streams()), whole)
    assert asked(place)[before:] == list(range(2, N_STEPS))


def test_a_checkpoint_of_another_identity_is_not_taken_up_and_goes_with_the_next(whole, place, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, 9, "after")
        with pytest.raises(Crash):
            trained(place, streams(), identity="another", seed=3)
    assert published(place / "kept") == 2
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    same(trained(place, streams(), identity="one"), whole)
    latest = json.loads((place / "kept" / LATEST).read_bytes())
    assert latest == {"step": N_STEPS - 1, "identity": "one"}
    assert {p.parent.name for p in (place / "kept").rglob("*") if p.is_file()} == {"kept", f"step-{N_STEPS - 1:08d}"}


def test_checkpoints_change_no_bit_and_the_last_step_leaves_none(whole, place, monkeypatch):
    steps: list[int] = []
    save = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda self, saved: steps.append(saved.step) or save(self, saved))
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    same(trained(place, streams()), whole)
    assert steps == list(range(1, N_STEPS))


def test_checkpoints_are_a_matter_of_time(place, monkeypatch):
    """A quick training leaves none."""
    monkeypatch.setattr(Checkpoints, "save", lambda *_: pytest.fail("a training of less than a minute left a checkpoint"))
    trained(place, streams())


def test_a_checkpoint_is_read_as_it_was_written(tmp_path, whole):
    kept = Checkpoints(Folder(str(tmp_path / "kept")), "one")
    assert kept.latest() is None
    tensors = {"weight.a": torch.arange(6.0).reshape(2, 3), "first.a": torch.tensor([1e-45, -0.0, 3e38])}
    state = {"draws": {"taken": [1, 2], "owed": [(0.1).hex(), (-0.3).hex()]}, "mixture": {}}
    kept.save(Saved(7, tensors, state, whole.losses))
    found = kept.latest()
    assert found is not None
    assert found.step == 7
    assert found.state == state
    assert found.losses.equals(whole.losses, check_metadata=True)
    assert found.tensors.keys() == tensors.keys()
    assert all(torch.equal(tensors[name].view(torch.int32), tensor.view(torch.int32)) for name, tensor in found.tensors.items())
    kept.clear()
    assert kept.latest() is None
    assert Folder(str(tmp_path / "kept")).names() == []


def test_a_checkpoint_holds_weights_moments_draws_and_the_mixtures_memory(place, monkeypatch):
    with pytest.MonkeyPatch.context() as patch:
        crash_at(patch, 12, "after")
        with pytest.raises(Crash):
            trained(place, streams())
    folder = place / "kept" / "step-00000003"
    names = load_file(folder / TENSORS).keys()
    assert {name.partition(".")[0] for name in names} == {"weight", "first", "second"}
    state = json.loads((folder / STATE).read_bytes())
    assert state.keys() == {"draws", "mixture"}
    assert sum(state["draws"]["taken"]) == 3 * 8
    assert len(state["mixture"]["sums"]) == 2


def reference_pipeline(raw: Path, output: Path) -> dict[str, Any]:
    """A pipeline that trains a tiny reference model and scores with it."""
    train = {
        "size": "llama-tiny", "vocab_size": 300, "context": 32, "tokens": "4K", "batch_tokens": 256, "learning_rate": 0.003,
        "threads": 1, "fraction": 0.3,
    }  # fmt: skip
    changes = {"score": [{"bits_per_byte": {"train": train}}], "select": None, "emit": {"shard_bytes": 60_000}}
    return configuration(raw, output, **changes) | {"ingest": configuration(raw, output)["ingest"] | {"shard_bytes": 60_000}}


@pytest.mark.slow
def test_a_run_killed_while_it_fits_goes_on_at_its_checkpoint_to_the_same_bytes(raw, tmp_path):
    undisturbed, output, log = tmp_path / "whole", tmp_path / "out", tmp_path / "began.txt"
    run(reference_pipeline(raw, undisturbed))
    config = reference_pipeline(raw, output)
    kept = output / ".checkpoints" / "bits_per_byte"
    reached = 0
    for more in (3, 4):
        assert killed_at(reached + more, kept, 0.0, run_pipeline, config, log)
        reached = published(kept)
        assert (output / ".progress" / "fit" / "bits_per_byte" / "model.json").exists()
    assert not (output / "models").exists()
    finished(run_pipeline, config, log)
    began = [int(line) for line in log.read_text().split()]
    assert began[0] == 0
    assert began[1] >= 3
    assert began[2] == reached >= began[1] + 4
    for pattern in ("models/bits_per_byte/*", "scores/bits_per_byte/*", "mixes/*/*.arrow"):
        assert hashes(output, pattern) == hashes(undisturbed, pattern) != {}
    verify(str(output))
    assert not [path for folder in (".checkpoints", ".progress") for path in (output / folder).rglob("*") if path.is_file()]
