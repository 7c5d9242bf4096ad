"""The Ray engine: the same results as this process, whatever the number of workers, and whoever dies."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from curate.engine import InProcess
from curate.errors import ConfigError, CurateError, InputError
from curate.scorers.scorer import Resources
from pipelines import configuration, hashes, pipeline, real_configuration, run

HERE = Path(__file__).parent
pytestmark = pytest.mark.ray


def square(x: int) -> int:
    return x * x


def pid(x: int) -> int:
    time.sleep(0.05)
    return os.getpid()


def dies_once(marker: str) -> str:
    """The first worker to take this is killed; the next one does it."""
    path = Path(marker)
    if not path.exists():
        path.write_text("tried")
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def dies_always(marker: str) -> None:
    with Path(marker).open("a") as tries:
        tries.write("x")
    os.kill(os.getpid(), signal.SIGKILL)


def worker() -> psutil.Process | None:
    """Some worker process of this process's Ray."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if " ".join(process.cmdline()).startswith("ray::Worker"):
                return process
    return None


def refuses(x: int) -> int:
    if x == 2:
        raise InputError("file two is missing", where="two", expected="a file", fix="bring it back")
    return x


@pytest.fixture
def engine(ray_engine):
    return ray_engine(HERE)


def test_results_come_in_the_order_of_the_arguments(engine):
    seen = {}
    found = engine.map(square, list(range(50)), done=lambda i, result: seen.setdefault(i, result))
    assert found == [x * x for x in range(50)] == InProcess().map(square, list(range(50)))
    assert seen == {x: x * x for x in range(50)}
    assert engine.map(square, []) == []


def test_workers_keep_their_process(engine):
    pids = engine.map(pid, list(range(12)))
    assert len(set(pids)) == 2
    assert os.getpid() not in pids
    assert set(engine.map(pid, list(range(12)))) == set(pids)


def test_a_pool_of_another_shape_takes_the_place_of_the_first(engine):
    first = set(engine.map(pid, list(range(4))))
    # Two workers are wanted, and there is room for one of that size.
    wide = set(engine.map(pid, list(range(4)), resources=Resources(cpus=2.0)))
    assert len(wide) == 1 and not wide & first
    assert engine.map(square, [3], resources=Resources(cpus=0.5)) == [9]
    with pytest.raises(ConfigError, match="asks for 99 CPUs") as caught:
        engine.map(square, [3], resources=Resources(cpus=99.0))
    assert "at most 2 CPUs" in caught.value.expected


def test_a_lost_worker_costs_only_its_shard(engine, tmp_path):
    found = engine.map(dies_once, [str(tmp_path / str(i)) for i in range(6)])
    assert found == [str(i) for i in range(6)]


def test_a_shard_that_kills_its_worker_every_time_stops_the_run(engine, tmp_path):
    with pytest.raises(CurateError, match="a worker died 4 times on the same shard") as caught:
        engine.map(dies_always, [str(tmp_path / "tries")])
    assert (tmp_path / "tries").read_text() == "xxxx"
    assert "memory" in caught.value.fix
    assert engine.map(square, [2]) == [4]


def test_an_error_of_a_task_arrives_with_its_parts(engine):
    with pytest.raises(InputError) as caught:
        engine.map(refuses, list(range(5)))
    assert (caught.value.what, caught.value.where, caught.value.fix) == ("file two is missing", "two", "bring it back")


@pytest.mark.parametrize("workers", [1, 2])
def test_real_text_gives_the_same_bytes_under_ray(ci_small, tmp_path, ray_engine, workers):
    config = real_configuration(ci_small, tmp_path / "rays")
    pipeline(config).run(engine=ray_engine(workers=workers))
    run(config | {"output": str(tmp_path / "here")})
    for pattern in ("mixes/*/*.arrow", "documents/*", "scores/*/*", "selection/*", "models/*/*"):
        assert hashes(tmp_path / "rays", pattern) == hashes(tmp_path / "here", pattern)
    assert len(hashes(tmp_path / "here")) > 3


@pytest.mark.slow
def test_workers_killed_from_outside_change_nothing(raw, finished, tmp_path, ray_engine):
    """Workers are killed as they commit their shards; the run goes on to the same bytes."""
    engine = ray_engine()
    config = configuration(raw, tmp_path / "out")
    killed = []
    commits = iter(range(10**6))

    class Killing:
        """The engine, with a worker killed after every fifth shard."""

        name, workers = "ray", 2

        def map(self, task, arguments, *, resources=Resources(), done=None):  # noqa: B008
            def kill_one(index, result):
                if done:
                    done(index, result)
                if next(commits) % 8 == 4 and (victim := worker()):
                    victim.kill()
                    killed.append(victim.pid)

            return engine.map(task, arguments, resources=resources, done=kill_one)

        def close(self):
            engine.close_pools()

    pipeline(config).run(engine=Killing())
    assert len(killed) >= 3
    assert hashes(tmp_path / "out") == hashes(finished)
