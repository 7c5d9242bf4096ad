"""What other settings of a mix would do, for a person to choose by: tables on the screen, or the whole grid as a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from rich.console import Group
from rich.table import Table
from rich.text import Text

from curate.corpus import Corpus
from curate.errors import ConfigError
from curate.mix_statistics import mix_statistics, setting_of
from curate.mixers.samplemix_sweep import ALPHAS, BUDGETS, TEMPERATURES, Setting, grid, sweep
from curate.quantities import count, size

MOST_DOMAINS = 16
FILES = (".csv", ".parquet")


def show_sweep(url: str, mix: str | None = None, out: Path | None = None) -> Group:
    """Settings around those of a mix, one changed at a time; with ``out``, every combination as CSV or Parquet.

    Raises:
        InputError: there is no such mix, or its mixer leaves no statistics.
        ConfigError: a file of another kind is asked for.
    """
    corpus = Corpus.open(url, mix=mix)
    statistics, mixed = mix_statistics(corpus)
    made = setting_of(mixed)
    total = float(pc.sum(statistics["amount"]).as_py())
    blocks: list[Any] = [Text.assemble(("mix ", "dim"), (corpus.mix, "bold"), f"   {_settings(made, mixed['unit'])}"), Text()]
    varied = {
        "alpha": [Setting(a, made.temperature, made.budget, made.max_epochs, made.mode) for a in _with(ALPHAS, made.alpha)],
        "temperature": [Setting(made.alpha, t, made.budget, made.max_epochs, made.mode) for t in _with(TEMPERATURES, made.temperature)],
        "budget": [
            Setting(made.alpha, made.temperature, b, made.max_epochs, made.mode)
            for b in _with([share * total for share in BUDGETS], made.budget)
        ],
    }
    for name, settings in varied.items():
        blocks += [*_tables(name, settings, made, sweep(statistics, settings), mixed["unit"]), Text()]
    if out is not None:
        alphas, temperatures, budgets = ([float(getattr(s, name)) for s in settings] for name, settings in varied.items())
        blocks.append(_write(out, statistics, grid(alphas, temperatures, budgets, made.max_epochs, made.mode)))
    return Group(*blocks)


def _with(values: Sequence[float], own: float) -> list[float]:
    """The values and the mix's own, in order."""
    return sorted({*(v for v in values if abs(v - own) > 1e-6 * max(abs(own), 1e-12)), own})


def _settings(made: Setting, unit: str) -> str:
    return (
        f"alpha {made.alpha:g}, temperature {made.temperature:g}, budget {_amount(made.budget, unit)}, "
        f"max_epochs {made.max_epochs:g}, mode {made.mode}"
    )


def _amount(value: float, unit: str) -> str:
    return size(value) if unit == "bytes" else f"{count(value)} tokens"


def _tables(name: str, settings: Sequence[Setting], made: Setting, found: pa.Table, unit: str) -> list[Table]:
    """How often documents are seen under each setting, and the shares of domains."""
    labels = [_amount(s.budget, unit) if name == "budget" else f"{getattr(s, name):g}" for s in settings]
    styles = ["bold" if getattr(s, name) == getattr(made, name) else "" for s in settings]
    often = Table(title=f"{name}, the rest as it is", title_justify="left", box=None, pad_edge=False, title_style="bold")
    often.add_column(name, justify="right")
    columns = ("dropped", "once", "twice", "more", "heaviest", "quality", "diversity")
    for column in columns:
        often.add_column(column, justify="right")
    for label, style, row in zip(labels, styles, found.to_pylist(), strict=True):
        cells = [_cell(column, row[column]) for column in columns] if row["feasible"] else ["beyond the caps"]
        often.add_row(label, *cells, style=style)
    return [often, _shares(labels, styles, found)]


def _cell(column: str, value: float) -> str:
    return f"{value:.2%}" if column in ("dropped", "once", "twice", "more") else f"{value:.3f}"


def _shares(labels: list[str], styles: list[str], found: pa.Table) -> Table:
    """Domains as rows, settings as columns: the largest domains first."""
    names = [name for name in found.column_names if name.startswith("share:")]
    means = {name: pc.mean(found[name]).as_py() or 0.0 for name in names}
    shown = sorted(names, key=lambda name: (-means[name], name))
    table = Table(box=None, pad_edge=False)
    table.add_column("share of")
    for label, style in zip(labels, styles, strict=True):
        table.add_column(label, justify="right", style=style)
    for name in shown[:MOST_DOMAINS]:
        table.add_row(name.removeprefix("share:"), *("" if v is None else f"{v:.2%}" for v in found[name].to_pylist()))
    if len(shown) > MOST_DOMAINS:
        table.add_row(f"and {len(shown) - MOST_DOMAINS} more")
    return table


def _write(out: Path, statistics: pa.Table, settings: list[Setting]) -> Text:
    """The grid as a file."""
    if out.suffix not in FILES:
        raise ConfigError(f"{out} is neither CSV nor Parquet", where="--out", expected="a name ending in .csv or .parquet", fix="rename it")
    found = sweep(statistics, settings)
    if out.suffix == ".csv":
        pa_csv.write_csv(found, out)
    else:
        pq.write_table(found, out)
    return Text(f"{len(settings):,} settings in {out}")
