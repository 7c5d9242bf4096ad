"""How far a long task is, told through the corpus's own storage: a worker writes a small file, the driver looks.

A task that lasts less than ``QUIET_SECONDS`` writes nothing. What is told bears on no result, and a file that cannot
be written or read is passed over.
"""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from curate.errors import CurateError
from curate.storage import Folder

QUIET_SECONDS = 2.0
EVERY_SECONDS = 1.0
EVERY_SECONDS_REMOTE = 10.0
FOLDER = ".progress"


@dataclass(frozen=True)
class Told:
    """What one task said last.

    Args:
        done, of: in ``unit``.
        rate: units a second since it began.
        detail: a few words.
    """

    done: float
    of: float
    unit: str
    rate: float
    detail: str

    @property
    def seconds_left(self) -> float:
        """At that rate."""
        return (self.of - self.done) / self.rate if self.rate > 0 else 0.0


class Teller:
    """Tells how far one shard of one stage is; call it as often as you like."""

    def __init__(self, corpus: Folder, stage: str, shard: str) -> None:
        self._corpus, self._name = corpus, f"{FOLDER}/{stage}/{shard}.json"
        self._began = self._spoke = time.monotonic()
        self._first: float | None = None
        self._every = EVERY_SECONDS if corpus.local is not None else EVERY_SECONDS_REMOTE
        self._written = False

    def __call__(self, done: float, of: float, unit: str, detail: str) -> None:
        """Say that ``done`` of ``of`` is done."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = done, now
        if now - self._began < QUIET_SECONDS or now - self._spoke < self._every:
            return
        self._spoke = now
        rate = (done - self._first) / (now - self._began)
        content = {"done": done, "of": of, "unit": unit, "rate": rate, "detail": detail}
        with contextlib.suppress(OSError, CurateError), self._corpus.create(self._name, durable=False) as out:
            out.write(json.dumps(content).encode())
            self._written = True

    def close(self) -> None:
        """The shard is done."""
        if self._written:
            with contextlib.suppress(OSError):
                self._corpus.remove(self._name)


@contextlib.contextmanager
def listening(corpus: Folder, stage: str, hear: Callable[[dict[str, Told]], None]) -> Iterator[None]:
    """Hear what the shards of a stage tell, while the block runs.

    Args:
        hear: called from a thread with what each shard said last.
    """
    # A run that was killed cannot have removed what its workers said.
    _forget(corpus, stage)
    over = threading.Event()
    every = EVERY_SECONDS if corpus.local is not None else EVERY_SECONDS_REMOTE

    def look() -> None:
        while not over.wait(every):
            with contextlib.suppress(OSError, ValueError, TypeError):
                hear(_heard(corpus, stage))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _forget(corpus, stage)


def _forget(corpus: Folder, stage: str) -> None:
    with contextlib.suppress(OSError):
        corpus.remove(f"{FOLDER}/{stage}")


def _heard(corpus: Folder, stage: str) -> dict[str, Told]:
    found = {}
    for name in corpus.names(f"{FOLDER}/{stage}"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found[name.rpartition("/")[2].removesuffix(".json")] = Told(**json.loads(corpus.read(name)))
    return found
