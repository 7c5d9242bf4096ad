"""Where tasks run: an interface of one method, and the engine that needs no cluster.

A task is a module-level function of one picklable argument. It does its own I/O, commits
its own shard, and returns something small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from curate.scorers.scorer import Resources

Argument = TypeVar("Argument")
Result = TypeVar("Result")
Done = Callable[[int, Any], None]


class Engine(Protocol):
    """Runs tasks over shards."""

    name: str
    workers: int

    def gpus(self) -> int:
        """GPUs that tasks can have."""
        ...

    def map(
        self,
        task: Callable[[Argument], Result],
        arguments: Sequence[Argument],
        *,
        resources: Resources = Resources(),  # noqa: B008 - frozen
        done: Done | None = None,
    ) -> list[Result]:
        """Results in the order of the arguments.

        Args:
            done: called with (index, result) as each task ends, for progress.

        Raises:
            CurateError: as raised by a task; the tasks that had committed stay committed.
        """
        ...

    def close(self) -> None:
        """Give back what was started."""
        ...


class InProcess:
    """Tasks one after another in this process: for debugging, notebooks and small work."""

    name = "process"
    workers = 1

    def gpus(self) -> int:
        """Those that torch sees; none where it is not installed."""
        try:
            import torch
        except ModuleNotFoundError:
            return 0
        return int(torch.cuda.device_count())

    def map(
        self,
        task: Callable[[Argument], Result],
        arguments: Sequence[Argument],
        *,
        resources: Resources = Resources(),  # noqa: B008 - this process is all there is
        done: Done | None = None,
    ) -> list[Result]:
        """See Engine."""
        results = []
        for index, argument in enumerate(arguments):
            results.append(task(argument))
            pa.default_memory_pool().release_unused()
            if done:
                done(index, results[-1])
        return results

    def close(self) -> None:
        """Nothing was started."""
