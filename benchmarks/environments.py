"""Peers in virtual environments of their own, so that no version of theirs bears on ours.

python -m benchmarks.environments          # make those that are missing
"""

from __future__ import annotations

import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

WORK = Path(__file__).parent / ".work"
DATATROVE, DATASETS, ISAL, SIMDJSON = "0.10.1", "5.2.0", "1.9.1", "7.0.2"


def requirements() -> dict[str, list[str]]:
    """What each environment holds; Arrow and orjson are those of this Python, so that only the peer differs."""
    arrow, orjson, psutil = (f"{name}=={version(name)}" for name in ("pyarrow", "orjson", "psutil"))
    return {
        "datatrove": [f"datatrove=={DATATROVE}", arrow, orjson, psutil],
        "datasets": [f"datasets=={DATASETS}", arrow, psutil],
        "floor": [f"isal=={ISAL}", f"pysimdjson=={SIMDJSON}", arrow, orjson, psutil],
    }


def python_of(name: str) -> str:
    """The interpreter of an environment; makes it if it is missing or holds other versions."""
    folder = WORK / "peers" / name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(requirements()[name]) + "\n"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {', '.join(requirements()[name])} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-input", *requirements()[name]], check=True)
        stamp.write_text(wanted)
    return str(python)


if __name__ == "__main__":
    for environment in requirements():
        print(environment, python_of(environment))
