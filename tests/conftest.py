"""Corpora and finished runs that several test files look at; and the real data, where it lies beside the project."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pipelines import CI_SMALL, RAW, SHARED, configuration, run, write_corpus


class Answer(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small corpus of ``pipelines.write_corpus``: five domains in five formats. Not to be changed."""
    return write_corpus(tmp_path_factory.mktemp("corpus") / "raw")


@pytest.fixture(scope="session")
def finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a finished run over it. Not to be changed: see ``damaged``."""
    output = tmp_path_factory.mktemp("finished") / "output"
    run(configuration(raw, output))
    return output


@pytest.fixture
def damaged(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to do harm to."""
    return Path(shutil.copytree(finished, tmp_path / "damaged"))


@pytest.fixture(scope="session")
def ci_small() -> Path:
    """Real text of thirteen domains, a megabyte."""
    if not CI_SMALL.is_dir():
        pytest.skip(f"needs the real data in {SHARED.name}/data/ci_small beside the project")
    return CI_SMALL


@pytest.fixture(scope="session")
def real_raw() -> Path:
    """Real text of thirteen domains, 265 MB."""
    if not RAW.is_dir():
        pytest.skip(f"needs the real data in {SHARED.name}/data/raw beside the project")
    return RAW


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command line in this process: ``command("run", file, "--quiet")``."""
    from curate import cli

    def run_command(*arguments: object) -> Answer:
        monkeypatch.setenv("COLUMNS", "120")
        monkeypatch.delenv("CURATE_DEBUG", raising=False)
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as leaving:
            code = int(leaving.code or 0)
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return run_command


@pytest.fixture(scope="session")
def one_ray():
    """A local Ray of two CPUs for the whole session: it takes seconds to start."""
    import ray

    from curate.runner import Ray

    engine = Ray(2)
    yield ray
    engine.close()


@pytest.fixture
def ray_engine(one_ray):
    """``ray_engine(*import_paths, workers=2)``: an engine on the session's Ray."""
    from curate.runner import Ray

    made = []

    def engine(*import_paths: Path, workers: int = 2) -> Ray:
        made.append(Ray(workers, import_paths=[str(path) for path in import_paths]))
        return made[-1]

    yield engine
    for one in made:
        one.close()
