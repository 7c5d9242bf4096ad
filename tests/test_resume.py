"""Killed at any moment, a run goes on to the same bytes, and what was committed is not computed again."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curate import storage
from curate.storage import Folder
from curate.verify import verify
from pipelines import ROOT, configuration, hashes, lines, made_when, real_configuration, run, texts, write_yaml


class Crash(BaseException):
    """The moment of a power cut: nothing in the program catches it."""


def record_files(output: Path) -> set[str]:
    """Records on disk; a walk, since a running process may remove folders under it."""
    found = set()
    for folder, _, names in os.walk(output / "records"):
        found |= {f"{folder}/{name}" for name in names if not name.startswith(storage.TEMPORARY)}
    return found


def committed(output: Path) -> dict[str, tuple[int, int]]:
    """(inode, mtime) of every data file that a record on disk names."""
    named = set()
    for record in record_files(output):
        named |= json.loads(Path(record).read_bytes())["files"].keys()
    return {path: made for path, made in made_when(output).items() if path in named}


def untouched(before: dict[str, tuple[int, int]], output: Path) -> None:
    """No committed file was written again."""
    after = made_when(output)
    assert {path: after.get(path) for path in before} == before


@pytest.fixture(scope="module")
def n_writes(raw, tmp_path_factory) -> int:
    """How many files a whole run writes."""
    count = [0]
    create = Folder.create

    def counting(self, *arguments, **more):
        count[0] += 1
        return create(self, *arguments, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "create", counting)
        run(configuration(raw, tmp_path_factory.mktemp("count") / "out"))
    return count[0]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write(raw, finished, tmp_path, monkeypatch, n_writes, moment):
    """Every seventh write of the run in turn is the last thing it does: before its file has a name, or just after."""
    create = Folder.create
    assert n_writes > 60
    for last in range(0 if moment == "before" else 3, n_writes, 7):
        left = [last]

        @contextlib.contextmanager
        def crashing(self, *arguments, left=left, **more):
            left[0] -= 1
            with create(self, *arguments, **more) as out:
                yield out
                if left[0] < 0 and moment == "before":
                    raise Crash
            if left[0] < 0:
                raise Crash

        output = tmp_path / "out"
        config = configuration(raw, output)
        with monkeypatch.context() as patch:
            patch.setattr(Folder, "create", crashing)
            with pytest.raises(Crash):
                run(config)
        kept = committed(output)
        run(config)
        untouched(kept, output)
        assert hashes(output) == hashes(finished), last
        verify(str(output))
        shutil.rmtree(output)


def test_splits_cut_otherwise_between_two_attempts(raw, finished, tmp_path, monkeypatch):
    """How files are cut is no part of the identity, so the spool of the first attempt must not be taken for the second's."""
    scanned = []
    from curate.stages import ingest as stage

    scan = stage.ingest.scan_split

    def third_crashes(*arguments):
        scanned.append(arguments)
        if len(scanned) == 3:
            raise Crash
        return scan(*arguments)

    config = configuration(raw, tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(stage.ingest, "scan_split", third_crashes)
        with pytest.raises(Crash):
            run(config)
    config["ingest"] = config["ingest"] | {"split_bytes": 30_000}
    assert run(config).n_documents == 204
    assert hashes(tmp_path / "out") == hashes(finished)


def test_a_crash_under_one_configuration_leaves_nothing_to_the_next(raw, tmp_path, monkeypatch):
    """Shards with a file and no record, cut for another size, are not there for whoever globs the folder."""
    from curate.manifest import Record

    config = configuration(raw, tmp_path / "out", emit={"shard_bytes": 9_000})
    commit = Record.commit

    def crashing(self, corpus):
        if self.stage.startswith("emit/"):
            raise Crash
        commit(self, corpus)

    with monkeypatch.context() as patch:
        patch.setattr(Record, "commit", crashing)
        with pytest.raises(Crash):
            run(config)
    assert len(list((tmp_path / "out" / "mixes" / "default").glob("*.arrow"))) == 1
    run(config | {"emit": {"shard_bytes": 30_000}})
    names = {path.name.split("-of-")[1] for path in (tmp_path / "out" / "mixes" / "default").glob("*.arrow")}
    assert len(names) == 1
    verify(str(tmp_path / "out"))


def test_a_crash_leaves_no_temporary_file_after_the_next_run(raw, tmp_path, monkeypatch):
    config = configuration(raw, tmp_path / "out")
    run(config, until="ingest")
    (tmp_path / "out" / "scores" / "tokens").mkdir(parents=True)
    litter = tmp_path / "out" / "scores" / "tokens" / f"{storage.TEMPORARY}abc-part-00000.parquet"
    litter.write_bytes(b"half")
    run(config)
    assert not litter.exists()


class Started:
    """A `curate run` in a process of its own, to be killed."""

    def __init__(self, file: Path, *options: str) -> None:
        command = [sys.executable, "-m", "curate.cli", "run", str(file), "--quiet", *options]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def kill_after(self, output: Path, n_commits: int, delay: float) -> bool:
        """SIGKILL once that many more records are committed and a moment has passed; False when the run was done before."""
        known = record_files(output)
        while self.process.poll() is None and len(record_files(output) - known) < n_commits:
            time.sleep(0.002)
        time.sleep(delay)
        if self.process.poll() is not None:
            self.succeeded()
            return False
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()
        return True

    def succeeded(self) -> None:
        _, errors = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, errors.decode()


@pytest.fixture
def real(ci_small, tmp_path):
    """A pipeline over real text with scorers that learn, in some forty shards: (file, output, hashes it must come to)."""
    config = real_configuration(ci_small, tmp_path / "whole")
    run(config)
    output = tmp_path / "out"
    return write_yaml(config | {"output": str(output)}, tmp_path / "p.yaml"), output, tmp_path / "whole"


def same(output: Path, whole: Path) -> None:
    for pattern in ("mixes/*/*.arrow", "documents/*", "scores/*/*", "selection/*", "mixes/*/weights/*", "models/*/*"):
        assert hashes(output, pattern) == hashes(whole, pattern)
    verify(str(output))


def test_twenty_kills(real):
    file, output, whole = real
    total = len(record_files(whole))
    assert total > 80
    dice = random.Random(20)
    kills = 0
    while kills < 20:
        before = committed(output)
        attempt = Started(file, "--engine", "process")
        if attempt.kill_after(output, dice.randint(1, total // 8), dice.uniform(0, 0.02)):
            kills += 1
            untouched(before, output)
        else:  # done early: begin again
            same(output, whole)
            shutil.rmtree(output)
    before = committed(output)
    Started(file, "--engine", "process").succeeded()
    untouched(before, output)
    same(output, whole)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(400)
def test_kills_under_ray(real):
    """Three times the run itself is killed, with Ray left behind to notice; then a worker; then it is let finish."""
    file, output, whole = real
    dice = random.Random(3)
    for _ in range(3):
        before = committed(output)
        if Started(file, "--workers", "2").kill_after(output, dice.randint(3, 20), dice.uniform(0, 0.2)):
            untouched(before, output)
    last = Started(file, "--workers", "2")
    victim = None
    while victim is None and last.process.poll() is None:
        with contextlib.suppress(psutil.Error):
            children = psutil.Process(last.process.pid).children(recursive=True)
            victim = next((p for p in children if " ".join(p.cmdline()).startswith("ray::Worker")), None)
    if victim is not None:
        with contextlib.suppress(psutil.Error):
            victim.kill()
    last.succeeded()
    same(output, whole)


PEAK = """
import sys
sys.argv = ["curate", "run", sys.argv[1], "--engine", "process", "--quiet"]
from curate.cli import main
try:
    main()
except SystemExit as leaving:
    assert not leaving.code
# The kernel's own record of this program: ru_maxrss would also know of the process that started it.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak from /proc")
@pytest.mark.timeout(600)
def test_memory_does_not_grow_with_the_corpus(tmp_path):
    """The same pipeline over 24 MB and over 96 MB of different texts, in one process each: 40 MB more at most."""
    peaks = {}
    for times in (1, 4):
        raw = tmp_path / f"raw{times}"
        (raw / "web").mkdir(parents=True)
        for i in range(6 * times):
            (raw / "web" / f"{i:02d}.jsonl").write_bytes(lines(texts(3500, 1000 * times + i, (100, 400))))
        config = configuration(raw, tmp_path / f"out{times}", emit={"shard_bytes": "4MB"})
        config["ingest"] = {"sources": [{"path": str(raw), "domain": {"directory": 0}}], "shard_bytes": "4MB", "split_bytes": "4MB"}
        file = write_yaml(config, tmp_path / f"{times}.yaml")
        done = subprocess.run([sys.executable, "-c", PEAK, str(file)], cwd=ROOT, check=True, timeout=280, capture_output=True, text=True)
        peaks[times] = int(done.stdout) / 1024
    n_bytes = {t: sum(p.stat().st_size for p in (tmp_path / f"raw{t}").rglob("*.jsonl")) for t in (1, 4)}
    assert n_bytes[4] > 3.5 * n_bytes[1]
    assert n_bytes[1] > 20_000_000
    assert peaks[1] > 100
    assert peaks[4] < peaks[1] + 40, peaks
