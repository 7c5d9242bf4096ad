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
DOLMA, DATA_JUICER, NEMO_CURATOR, TEXT_DEDUP = "1.1.2", "1.6.1", "1.4.0", "0.4.0"
# What datatrove's filters and MinHash import, and its own requirements leave out; it hashes str, which xxhash 4 refuses.
DATATROVE_NEEDS = ["spacy==3.8.18", "regex==2026.11.15", "tokenizers==0.23.3", "xxhash==3.6.0"]
# One set of versions that satisfies dolma's bounds; left alone, pip tries hundreds of old releases of boto3 and s3fs.
DOLMA_CLOUD = ["aiobotocore==3.10.0", "boto3==1.43.117", "s3fs==2026.9.0", "cached-path==1.8.10", "huggingface-hub==0.36.2"]
# Two peers import torch; the build for CPUs, since the one for GPUs brings gigabytes that no job here uses.
CPU_TORCH = "torch==2.13.0+cpu"
# What data-juicer would otherwise install itself, with versions of its own choosing, in the middle of a job.
DATA_JUICER_NEEDS = ["aiohttp==3.14.5", "scipy==1.17.1", "ray==2.60.0", "av==18.1.0", CPU_TORCH]


def requirements() -> dict[str, list[str]]:
    """What each environment holds; Arrow and orjson are those of this Python, so that only the peer differs."""
    arrow, orjson, psutil = (f"{name}=={version(name)}" for name in ("pyarrow", "orjson", "psutil"))
    return {
        "datatrove": [f"datatrove=={DATATROVE}", *DATATROVE_NEEDS, arrow, orjson, psutil],
        "datasets": [f"datasets=={DATASETS}", arrow, psutil],
        "floor": [f"isal=={ISAL}", f"pysimdjson=={SIMDJSON}", arrow, orjson, psutil],
        "dolma": [f"dolma=={DOLMA}", *DOLMA_CLOUD, psutil],
        "data_juicer": [f"py-data-juicer=={DATA_JUICER}", *DATA_JUICER_NEEDS, arrow, psutil],
        "nemo_curator": [f"nemo-curator[text_cpu]=={NEMO_CURATOR}", CPU_TORCH, arrow, psutil],
        "text_dedup": [f"text-dedup=={TEXT_DEDUP}", arrow, psutil],
    }


def python_of(name: str) -> str:
    """The interpreter of an environment; makes it if it is missing or holds other versions."""
    folder = WORK / "peers" / name
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    wanted = "\n".join(requirements()[name]) + "\n"
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"installing {', '.join(requirements()[name])} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True, clear=True)
        if subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-input", *requirements()[name]], check=False).returncode:
            raise SystemExit(
                f"pip could not install {name}; the build of torch for CPUs is in PyTorch's own index: name it in PIP_EXTRA_INDEX_URL"
            )
        stamp.write_text(wanted)
    return str(python)


if __name__ == "__main__":
    for environment in requirements():
        print(environment, python_of(environment))
