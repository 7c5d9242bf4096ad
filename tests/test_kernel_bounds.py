"""Kernels that work on addresses stay within their buffers: else these children die of it.

The numba compiler checks no index, and an address knows no end. So texts, offsets, tables and working memory are laid
next to pages that may not be touched (``guarded``), at every length from 0 to 130 bytes and at half a megabyte of the worst.
What kernels allocate for themselves cannot be laid there; there the compiler is asked to check every index.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import curate
from curate.kernels.shingles import shingle_sets

PACKAGE = Path(curate.__file__).parent
CHILD = Path(__file__).parent / "bounds_child.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")


def outcome(part: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """Exit status of the child, what it tried last, and the end of what it said."""
    notes = folder / "notes"
    command = [sys.executable, str(CHILD), part, str(notes), str(folder)]
    child = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, timeout=280, check=False)
    tried = notes.read_text(encoding="utf-8", errors="replace").strip() if notes.exists() else "nothing yet"
    return child.returncode, tried, child.stderr[-3000:]


@pytest.fixture(scope="module")
def compiled(pytestconfig: pytest.Config) -> dict[str, str]:
    """For the environment: where the children keep what they compile, another place for every state of the kernels.

    The compiler's own cache goes by the file of the function called, and keeps what that took in from other files.
    """
    cache = pytestconfig.cache
    assert cache is not None
    sources = sorted(path for folder in ("kernels", "heuristics") for path in (PACKAGE / folder).glob("*.py"))
    state = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    kept = cache.mkdir("compiled_kernels")
    for other in kept.iterdir():
        if other.name != state:
            shutil.rmtree(other)
    return {"NUMBA_CACHE_DIR": str(kept / state)}


def survives(part: str, folder: Path, **environment: str) -> None:
    status, tried, said = outcome(part, folder, **environment)
    if status < 0:
        pytest.fail(f"{signal.Signals(-status).name}: a kernel left its buffers at: {tried}")
    assert status == 0, f"{tried}\n{said}"
    assert tried.endswith("done")


@pytest.mark.parametrize("part", ["read beyond the end", "read before the start", "short memory"])
def test_who_leaves_a_buffer_dies(part: str, tmp_path: Path, compiled: dict[str, str]) -> None:
    status, tried, said = outcome(part, tmp_path, **compiled)
    assert status in (-signal.SIGSEGV, -signal.SIGBUS), f"{status} at {tried}: {said}"


@pytest.mark.parametrize("part", ["folding", "heuristics", "large folding", "large heuristics"])
def test_kernels_stay_within_their_buffers(part: str, tmp_path: Path, compiled: dict[str, str]) -> None:
    survives(part, tmp_path, **compiled)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("spacy") is None, reason="spaCy is not installed")
def test_words_of_spacy_stay_within_their_buffers(tmp_path: Path, compiled: dict[str, str]) -> None:
    survives("spacy", tmp_path, **compiled)


@pytest.fixture(scope="module")
def every_index_checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For the environment: the compiler tests indices, and keeps what it compiles apart from what others run."""
    return {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path_factory.mktemp("compiled"))}


@pytest.mark.slow
@pytest.mark.parametrize("part", ["folding", "heuristics", "large folding", "large heuristics"])
def test_indices_stay_within_their_arrays(part: str, tmp_path: Path, every_index_checked: dict[str, str]) -> None:
    """Those of the arrays that kernels allocate for themselves among them."""
    survives(part, tmp_path, **every_index_checked)


@pytest.mark.slow
def test_checked_indices_are_found(tmp_path: Path, every_index_checked: dict[str, str]) -> None:
    status, tried, said = outcome("short memory", tmp_path, **every_index_checked)
    assert status == 1, tried
    assert "IndexError" in said


@pytest.mark.parametrize("repeated", ["a b ", "中a", "ʼa", "ʼ", "é中"])
def test_sets_of_shingles_take_in_every_word(repeated: str) -> None:
    """Their room is for the most words there can be in so many bytes; words that did not fit were left out."""
    both = []
    for text in (repeated * 999, repeated * 999 + " last"):
        data = np.frombuffer(text.encode(), np.uint8)
        both.append(set(shingle_sets(data, np.array([0, len(data)], np.int64), 1)[1].tolist()))
    assert len(both[1] - both[0]) == 1
