"""From the hidden states of a document's tokens to one vector: which of them count.

Mean: the average over all tokens that were read, begin and end tokens included (Reimers & Gurevych 2019,
arXiv:1908.10084). Cls: the first token. Which of them a model was trained for is written in the folders of the
sentence-transformers library; vectors by the other one are worth little.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from curate.causal_lm.model_folder import read_json, read_object, wrong_value
from curate.errors import ConfigError

if TYPE_CHECKING:
    import torch

Pooling = Literal["mean", "cls"]
MODULES, SETTINGS, USUAL_PLACE = "modules.json", "config.json", "1_Pooling"
KNOWN = ("Transformer", "Pooling", "Normalize")
NAMES = {
    "pooling_mode_mean_tokens": "mean",
    "mean_tokens": "mean",
    # A mean times the root of the number of tokens has the mean's direction, and lengths are normalised.
    "pooling_mode_mean_sqrt_len_tokens": "mean",
    "mean_sqrt_len_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "cls_token": "cls",
}
"""Of the library's settings, old and new, to ours."""


def stated(folder: Path) -> Pooling:
    """How the model's own folder says that vectors are made; mean where it says nothing.

    Raises:
        ConfigError: in a way that is not made here: other tokens, several at once, or a further layer on top.
        InputError: the files say something that is no such setting.
    """
    modules = _modules(folder)
    further = [name for name, _ in modules if name not in KNOWN]
    if further:
        raise _unknown(f"{', '.join(further)} on top of its encoder", folder / MODULES)
    file = _place(folder, modules) / SETTINGS
    settings = read_object(file)
    new = settings.get("pooling_mode")
    asked: Any = [new] if isinstance(new, str) else [] if new is None else new
    if not (isinstance(asked, list) and all(isinstance(name, str) for name in asked)):
        raise wrong_value(file, "`pooling_mode`", new, "the name of a way to pool, such as mean, or a list of them")
    asked = asked + [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    found: list[str] = list(dict.fromkeys(NAMES.get(name, name) for name in asked)) or ["mean"]
    if len(found) > 1 or found[0] not in get_args(Pooling):
        raise _unknown(f"the pooling {' and '.join(found)}", file)
    return "cls" if found[0] == "cls" else "mean"


def leaves_out_prompts(folder: Path) -> bool:
    """Whether the model's own folder says that the tokens of a prompt do not count."""
    return read_object(_place(folder, _modules(folder)) / SETTINGS).get("include_prompt") is False


def files(folder: Path) -> tuple[Path, ...]:
    """What ``stated`` reads, as far as it is there."""
    wanted = (folder / MODULES, _place(folder, _modules(folder)) / SETTINGS)
    return tuple(path for path in wanted if path.is_file() and path != folder / SETTINGS)


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Class name and place of every part of the model, in order."""
    found = read_json(folder / MODULES)
    if not isinstance(found, list):
        if found:
            raise wrong_value(folder / MODULES, "the file's content", found, "a list of the model's parts")
        return []
    for part in found:
        values: list[Any] = [part.get("type"), part.get("path", "")] if isinstance(part, dict) else [None]
        if not all(isinstance(value, str) for value in values) or Path(values[1]).is_absolute() or ".." in Path(values[1]).parts:
            raise wrong_value(
                folder / MODULES, "a part of the model", part, "an object of `type` and `path`, the path of a folder within it"
            )
    return [(part["type"].rpartition(".")[2], part.get("path", "")) for part in found]


def _place(folder: Path, modules: list[tuple[str, str]]) -> Path:
    return folder / next((path for name, path in modules if name == "Pooling"), USUAL_PLACE)


def _unknown(what: str, where: Path) -> ConfigError:
    return ConfigError(
        f"the model's vectors are made by {what}, which is not done here",
        where=str(where),
        expected="the mean of all tokens, or the first one",
        fix="give another model, or set `pooling:` to mean or cls and take vectors that it was not trained to give",
    )


def pool(hidden: torch.Tensor, kept: torch.Tensor | None, pooling: Pooling) -> torch.Tensor:
    """Vectors (rows, width) float32 of L2 norm 1.

    Args:
        hidden: states of the last layer (rows, positions, width).
        kept: which positions are tokens and no padding (rows, positions) bool; None for all.
        pooling: ``mean`` or ``cls``.
    """
    from torch.nn.functional import normalize

    if pooling == "cls":
        return normalize(hidden[:, 0].float(), dim=1)
    states: Any = hidden.float()
    # A sum will do: the length is normalised.
    return normalize(states.sum(1) if kept is None else (states * kept[:, :, None]).sum(1), dim=1)
