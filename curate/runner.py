"""The Ray engine: shards as tasks on a pool of plain actors. The only module that imports ray.

One mechanism serves light and heavy work. An actor keeps its process, so that a scorer is
loaded once per worker; a shard in, a small result out, so that nothing large crosses the
object store. Losing a worker costs the shard it held: a new actor takes its place and the
shard is tried again. An error of the task itself stops the run.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.engine import Argument, Done, Result
from curate.errors import ConfigError, CurateError
from curate.scorers.scorer import Resources

LOST_WORKER_RETRIES = 3


class Ray:
    """A local Ray, or a running cluster by address.

    Args:
        workers: actors at work at the same time.
        address: of a running cluster (``ray://…`` or ``auto``); None starts a local one.
        dashboard: whether a local Ray serves its dashboard, on localhost only.
        import_paths: directories workers add to ``sys.path``, for plugins.
    """

    name = "ray"

    def __init__(self, workers: int, address: str | None = None, dashboard: bool = False, import_paths: Sequence[str] = ()) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        os.environ.setdefault("RAY_DEDUP_LOGS", "0")
        if address is not None and _has_token():
            # Clusters ask for a token by default; a client does not offer one unless told.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        # Accelerators are asked for by scorers; an actor without any must not hide them from others.
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        import ray

        self._ray, self.workers, self._paths = ray, workers, list(import_paths)
        self._started = not ray.is_initialized()
        if self._started:
            self._start(address, dashboard)
        self._pools: dict[Resources, list[Any]] = {}
        self._address = address

    def _start(self, address: str | None, dashboard: bool) -> None:
        settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "ignore_reinit_error": True}
        if address is None:
            # Without `local` Ray would join whatever cluster was last started on this machine.
            settings |= {"address": "local", "num_cpus": self.workers, "include_dashboard": dashboard, "dashboard_host": "127.0.0.1"}
        else:
            settings["address"] = address
        try:
            _knock(address)
            self._ray.init(**settings)
        except (OSError, ValueError, RuntimeError, self._ray.exceptions.RayError) as error:
            raise ConfigError(
                f"no Ray cluster answers at {address!r}",
                where="conf: address",
                expected="the address of a running cluster that takes this user's token",
                fix="start it, set RAY_AUTH_MODE as the cluster has it, or leave `address` out to run locally",
            ) from error

    def map(
        self,
        task: Callable[[Argument], Result],
        arguments: Sequence[Argument],
        *,
        resources: Resources = Resources(),  # noqa: B008 - frozen
        done: Done | None = None,
    ) -> list[Result]:
        """See Engine."""
        results: list[Any] = [None] * len(arguments)
        waiting = deque((index, 0) for index in range(len(arguments)))
        # Only workers that answer get a shard: one that finds no room yet must not hold up what others could do.
        starting = {actor.answer.remote(): actor for actor in self._pool(resources, min(self.workers, len(arguments)))}
        idle: list[Any] = []
        running: dict[Any, tuple[int, int, Any]] = {}
        while waiting or running:
            while waiting and idle:
                index, tries = waiting.popleft()
                actor = idle.pop()
                running[actor.run.remote(task, arguments[index])] = (index, tries, actor)
            (finished,), _ = self._ray.wait([*running, *(starting if waiting else ())], num_returns=1)
            if finished in starting:
                idle.append(self._answered(resources, starting.pop(finished), finished))
                continue
            index, tries, actor = running.pop(finished)
            try:
                results[index] = self._ray.get(finished)
            except self._ray.exceptions.RayTaskError as error:
                self.close_pools()
                raise _cause(error) from None
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.ObjectLostError) as error:
                if tries == LOST_WORKER_RETRIES:
                    self.close_pools()
                    raise _lost(tries + 1, error) from error
                waiting.append((index, tries + 1))
                actor = self._replace(resources, actor)
            else:
                if done:
                    done(index, results[index])
            idle.append(actor)
        return results

    def gpus(self) -> int:
        """GPUs of the cluster."""
        return int(self._ray.cluster_resources().get("GPU", 0))

    def _pool(self, resources: Resources, size: int) -> list[Any]:
        """Actors of one shape; pools of other shapes are given back, since their CPUs are needed."""
        for other in [shape for shape in self._pools if shape != resources]:
            for actor in self._pools.pop(other):
                self._ray.kill(actor)
        self._check_room(resources)
        pool = self._pools.setdefault(resources, [])
        pool += [self._actor(resources) for _ in range(size - len(pool))]
        return list(pool)

    def _actor(self, resources: Resources) -> Any:
        return self._ray.remote(Worker).options(num_cpus=resources.cpus, num_gpus=resources.gpus, max_restarts=0).remote(self._paths)

    def _answered(self, resources: Resources, actor: Any, answer: Any) -> Any:
        """A worker that can take a shard: this one, or another if it died before it was asked."""
        try:
            self._ray.get(answer)
        except self._ray.exceptions.RayActorError:
            actor = self._replace(resources, actor)
        return actor

    def _check_room(self, resources: Resources) -> None:
        """Raise ConfigError where this machine could never hold a worker; a cluster may still grow."""
        if self._address is not None:
            return
        held = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(node.get("CPU", 0) >= resources.cpus and node.get("GPU", 0) >= resources.gpus for node in held):
            raise ConfigError(
                f"a scorer asks for {resources.cpus:g} CPUs and {resources.gpus:g} GPUs",
                where="scorer, resources",
                expected=f"at most {max(n.get('CPU', 0) for n in held):g} CPUs and {max(n.get('GPU', 0) for n in held):g} GPUs",
                fix="raise `workers` in the conf, or run where there is more",
            )

    def _replace(self, resources: Resources, dead: Any) -> Any:
        self._pools[resources].remove(dead)
        self._pools[resources].append(self._actor(resources))
        return self._pools[resources][-1]

    def close_pools(self) -> None:
        """Stop all actors."""
        for pool in self._pools.values():
            for actor in pool:
                self._ray.kill(actor)
        self._pools = {}

    def close(self) -> None:
        """Stop the actors, and Ray itself if this engine started it."""
        self.close_pools()
        if self._started:
            self._ray.shutdown()


class Worker:
    """One process that runs tasks, one at a time."""

    def __init__(self, import_paths: Sequence[str]) -> None:
        import sys

        sys.path[:0] = [path for path in import_paths if path not in sys.path]

    def answer(self) -> None:
        """Tell that this worker has a process."""

    def run(self, task: Callable[[Any], Any], argument: Any) -> Any:
        """Run one task, and give back the memory it leaves cached."""
        try:
            return task(argument)
        finally:
            pa.default_memory_pool().release_unused()


def _knock(address: str | None) -> None:
    """Raise OSError at once where nobody listens; Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=5.0).close()


def _has_token() -> bool:
    """Whether this user has a Ray token, in the environment or where Ray keeps it."""
    return any(name in os.environ for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")) or (Path.home() / ".ray" / "auth_token").is_file()


def _cause(error: Any) -> BaseException:
    """The error the task raised, without Ray's wrapping."""
    return error.cause if isinstance(error.cause, BaseException) else error


def _lost(tries: int, error: Exception) -> CurateError:
    return CurateError(
        f"a worker died {tries} times on the same shard",
        where=str(error).splitlines()[0] if str(error) else "ray",
        expected="a worker that survives its shard",
        fix="most often memory: lower `workers` in the conf, or `shard_bytes` in the pipeline",
    )
