"""From a tokenizer's name to a file on this machine: a path, a folder, or an id on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from curate.errors import InputError

FILE_NAME = "tokenizer.json"


def locate(name: str | Path) -> Path:
    """The ``tokenizer.json`` that a name stands for.

    Args:
        name: a file, a directory holding ``tokenizer.json``, or a hub id such as ``openai-community/gpt2``
            (fetched once into the hub's own cache, which is also where it is found when offline).

    Raises:
        InputError: nothing is there, or the hub cannot give it.
    """
    path = Path(name)
    if path.is_file():
        return path
    if (path / FILE_NAME).is_file():
        return path / FILE_NAME
    if path.is_dir() or not may_be_hub_id(str(name)):
        raise InputError(
            "there is no tokenizer at this path",
            where=str(path),
            expected=f"a {FILE_NAME}, or a directory that holds one",
            fix="correct `tokenizer:`, or leave it out to train one on the corpus",
        )
    return _from_hub(str(name))


def may_be_hub_id(name: str) -> bool:
    """``name`` or ``owner/name``, in the hub's alphabet; paths begin with a dot or a slash, or end in .json."""
    parts = name.split("/")
    plain = all(part and part[0] not in ".~" and part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in parts)
    return len(parts) <= 2 and plain and not name.endswith(".json")


def _from_hub(name: str) -> Path:
    """Download what ``tokenizers.Tokenizer.from_pretrained`` would, keeping the file: its content is what we fingerprint."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(name, FILE_NAME, local_files_only=True))
    except (OSError, ValueError):
        pass
    try:
        return Path(hf_hub_download(name, FILE_NAME))
    except Exception as error:
        raise InputError(
            f"the tokenizer {name!r} is no local path, not in the hub's cache, and the hub did not give it",
            where=f"tokenizer: {name}",
            expected=f"a path to a {FILE_NAME}, or a hub id that this machine can reach ({type(error).__name__})",
            fix=f"check the name and the network, or copy its {FILE_NAME} here and give that path",
        ) from error
