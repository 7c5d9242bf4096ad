"""Long tasks say how far they are; short ones, and broken files, cost nothing."""

from __future__ import annotations

import json
import threading

import pytest

from curate import telling
from curate.storage import Folder
from curate.telling import Teller, Told, listening

STAGE, FILE = "fit/x", ".progress/fit/x/model.json"


class Clock:
    """A clock that stands still until it is put forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(telling, "time", made)
    return made


@pytest.fixture
def corpus(tmp_path) -> Folder:
    return Folder(str(tmp_path))


def said(corpus: Folder) -> dict[str, object]:
    return json.loads(corpus.read(FILE))


def test_a_quick_task_writes_nothing(corpus, clock):
    tell = Teller(corpus, STAGE, "model")
    for done in range(100):
        tell(done, 100, "tokens", "")
        clock.now += telling.QUIET_SECONDS / 101
    tell.close()
    assert corpus.names() == []


def test_a_long_one_writes_its_rate_since_it_began_and_removes_it_at_the_end(corpus, clock):
    """A task that goes on from a checkpoint did not do the first part now."""
    clock.now += 500  # made ready before it begins
    tell = Teller(corpus, STAGE, "model")
    clock.now += 7
    tell(600, 1000, "tokens", "step 6")
    clock.now += 4
    tell(700, 1000, "tokens", "step 7")
    assert said(corpus) == {"done": 700, "of": 1000, "unit": "tokens", "rate": 25.0, "detail": "step 7"}
    assert Told(**said(corpus)).seconds_left == 12.0
    clock.now += telling.EVERY_SECONDS / 2
    tell(710, 1000, "tokens", "too soon to be said")
    assert said(corpus)["done"] == 700
    clock.now += telling.EVERY_SECONDS
    tell(720, 1000, "tokens", "step 7")
    assert said(corpus)["done"] == 720
    tell.close()
    assert corpus.names() == []


def test_what_cannot_be_written_is_passed_over(tmp_path, clock):
    (tmp_path / ".progress").write_text("a file where the folder should be")
    tell = Teller(Folder(str(tmp_path)), STAGE, "model")
    tell(0, 10, "bytes", "")
    clock.now += 10
    tell(5, 10, "bytes", "")
    tell.close()
    assert [p.name for p in tmp_path.iterdir()] == [".progress"]


def test_without_a_rate_nothing_is_said_of_the_time_left():
    assert Told(0, 10, "bytes", 0.0, "").seconds_left == 0.0


class Ear:
    """What was heard; waits for it."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Told]] = []
        self._new = threading.Condition()

    def __call__(self, told: dict[str, Told]) -> None:
        with self._new:
            self.heard.append(told)
            self._new.notify_all()

    def await_(self, shards: set[str]) -> dict[str, Told]:
        """The first report of just these shards from now on."""
        with self._new:
            n = len(self.heard)
            assert self._new.wait_for(lambda: any(set(h) == shards for h in self.heard[n:]), timeout=60)
            return next(h for h in self.heard[n:] if set(h) == shards)


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(telling, "EVERY_SECONDS", 0.005)
    monkeypatch.setattr(telling, "QUIET_SECONDS", 0.001)


def test_who_listens_hears_each_shard_of_the_stage_and_leaves_no_file(corpus, often):
    ear = Ear()
    with listening(corpus, STAGE, ear):
        assert ear.await_(set()) == {}
        for shard in ("part-0", "part-1"):
            tell = Teller(corpus, STAGE, shard)
            for done in range(2):
                threading.Event().wait(0.01)
                tell(done, 4, "tokens", shard)
        other = Teller(corpus, "score/y", "part-0")
        other(0, 1, "bytes", "")
        threading.Event().wait(0.01)
        other(1, 1, "bytes", "")
        heard = ear.await_({"part-0", "part-1"})
        assert [(heard[s].done, heard[s].of, heard[s].unit, heard[s].detail) for s in sorted(heard)] == [
            (1, 4, "tokens", "part-0"),
            (1, 4, "tokens", "part-1"),
        ]
        assert heard["part-0"].rate > 0
    assert corpus.names() == [".progress/score/y/part-0.json"]
    n = len(ear.heard)
    threading.Event().wait(0.03)
    assert len(ear.heard) == n


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b"3", b'{"done": 1}', b'{"done": 1, "more": 2}', b"\xff\xfe"])
def test_files_that_cannot_be_read_are_passed_over(corpus, often, content):
    ear = Ear()
    with listening(corpus, STAGE, ear):
        corpus.write(".progress/fit/x/part-0.json", content)
        corpus.write(".progress/fit/x/part-1.json", json.dumps({"done": 1, "of": 2, "unit": "u", "rate": 3.0, "detail": ""}).encode())
        assert ear.await_({"part-1"})["part-1"] == Told(1, 2, "u", 3.0, "")


def test_a_listener_that_stumbles_is_called_again(corpus, often):
    ear = Ear()
    stumbles = [ValueError("a number that is none"), TypeError("a word for a number")]

    def hear(told: dict[str, Told]) -> None:
        if stumbles:
            raise stumbles.pop()
        ear(told)

    with listening(corpus, STAGE, hear):
        ear.await_(set())
    assert not stumbles


def test_what_a_killed_run_said_is_not_heard_in_the_next(corpus, often):
    corpus.write(FILE, json.dumps({"done": 9, "of": 10, "unit": "tokens", "rate": 1.0, "detail": "before"}).encode())
    ear = Ear()
    with listening(corpus, STAGE, ear):
        ear.await_(set())
    assert all(not told for told in ear.heard)


def test_an_error_of_the_work_passes_through_and_the_files_go(corpus, often):
    with pytest.raises(RuntimeError, match="work"), listening(corpus, STAGE, Ear()):
        corpus.write(FILE, b"{}")
        raise RuntimeError("work")
    assert corpus.names() == []
