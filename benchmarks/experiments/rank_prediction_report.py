"""The tables on predicted ranks in docs/methods/perplexity_correlations.md, from the rows of the experiment."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from curate.correlation import estimate
from curate.correlation.bootstrap import Bootstrap

ALL = "all"
"""The benchmark made of all benchmarks of a table, by mean rank."""
MEANS = "mean of the benchmarks"
SHOWN = ("spearman", "linear", "ranks")
"""Estimator, projection and features of the tables that show one arm."""
_N_REPLICATES, _CONFIDENCE = 1000, 0.95

Row = dict[str, Any]


def report(results: pa.Table) -> str:
    """All tables."""
    rows = results.to_pylist()
    shown = [row for row in rows if _arm(row) == SHOWN]
    return "\n\n".join([_overview(shown), _tables(shown), _arms(rows), _spread(shown), _benchmarks(shown)])


def _arm(row: Row) -> tuple[str, str, str]:
    return row["estimator"], row["projection"], row["features"]


def _names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["table"] for row in rows))


def _mean(rows: list[Row], table: str) -> Row:
    return next(row for row in rows if row["table"] == table and row["benchmark"] == MEANS)


def _single(rows: list[Row], table: str) -> list[Row]:
    """Benchmarks that are one each."""
    return [row for row in rows if row["table"] == table and row["benchmark"] not in (ALL, MEANS)]


def _markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)])


def _number(value: float, digits: int = 3, sign: str = "") -> str:
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def _difference(row: Row, name: str, scale: float = 1, digits: int = 3) -> str:
    """``+0.012 [+0.004, +0.021]``, bold where the interval leaves out zero."""
    low, high = row[f"{name}_low"] * scale, row[f"{name}_high"] * scale
    of_all = (row[name] - row[f"mean_loss_{name}"]) * scale
    text = f"{_number(of_all, digits, '+')} [{_number(low, digits, '+')}, {_number(high, digits, '+')}]"
    return f"**{text}**" if low > 0 or high < 0 else text


def _overview(rows: list[Row]) -> str:
    """What the tables are, and how far estimates of groups lie apart."""
    lines = []
    for table in _names(rows):
        row, n_benchmarks = _mean(rows, table), len(_single(rows, table))
        sizes = [str(row[name]) for name in ("n_models", "n_families", "n_losses")]
        lines.append([table, *sizes, str(n_benchmarks), *(_number(row[f"estimate_{q}"], 2) for q in (5, 50, 95))])
    return _markdown(["table", "models", "families", "losses", "benchmarks", "estimates: 5 %", "median", "95 %"], lines)


def _tables(rows: list[Row]) -> str:
    """The estimate against the mean loss, averaged over the benchmarks of each table."""
    head = ["table", "ρ: mean loss", "ρ: estimate", "Δρ", "better / open / worse", "where the median estimate is above 0"]
    head += ["distance, %: mean loss", "estimate", "Δ"]
    lines = []
    for table in _names(rows):
        row, single = _mean(rows, table), _single(rows, table)
        counts = [_counts(single), _counts([r for r in single if r["estimate_50"] > 0])]
        rho = [_number(row["mean_loss_spearman"]), _number(row["spearman"]), _difference(row, "spearman")]
        distance = [_number(100 * row[name], 1) for name in ("mean_loss_rank_error", "rank_error")]
        lines.append([table, *rho, *counts, *distance, _difference(row, "rank_error", 100, 1)])
    return _markdown(head, lines)


def _counts(rows: list[Row]) -> str:
    """Benchmarks whose interval is above zero, has it inside, is below."""
    better, worse = sum(row["spearman_low"] > 0 for row in rows), sum(row["spearman_high"] < 0 for row in rows)
    return f"{better} / {len(rows) - better - worse} / {worse}"


def _arms(rows: list[Row]) -> str:
    """Differences of correlations for every way of estimating, averaged over benchmarks."""
    tables = _names(rows)
    lines = []
    for arm in dict.fromkeys(map(_arm, rows)):
        of_arm = [row for row in rows if _arm(row) == arm]
        lines.append([", ".join(arm), *(_difference(_mean(of_arm, table), "spearman", digits=2) for table in tables)])
    return _markdown(["Δρ: estimator, projection, features", *tables], lines)


def _spread(rows: list[Row]) -> str:
    """How the gain goes with the spread of estimates, and with the mean loss's own correlation: in tables, and between them."""
    lines = []
    groups = {table: _single(rows, table) for table in _names(rows)}
    for name, group in (groups | {"between tables": [_mean(rows, table) for table in groups]}).items():
        spread_T = np.array([row["estimate_95"] - row["estimate_5"] for row in group])
        gain_T = np.array([row["spearman"] - row["mean_loss_spearman"] for row in group])
        before_T = np.array([row["mean_loss_spearman"] for row in group])
        means = [_number(spread_T.mean(), 2), _number(gain_T.mean(), 3, "+")]
        lines.append([name, str(len(group)), *means, _rank_correlation(spread_T, gain_T), _rank_correlation(before_T, gain_T)])
    return _markdown(["table", "benchmarks", "mean spread", "mean Δρ", "ρ(spread, Δρ)", "ρ(mean loss's ρ, Δρ)"], lines)


def _rank_correlation(first_T: np.ndarray, second_T: np.ndarray) -> str:
    """Spearman's, with a bootstrap interval over benchmarks, bold where it leaves out zero."""
    pair = first_T[:, None], second_T[:, None]
    families = [str(t) for t in range(len(first_T))]
    found = Bootstrap(pair[1], families, n=_N_REPLICATES).intervals(pair[0], _CONFIDENCE)
    row = {
        "rho": float(estimate(*pair)[0, 0]),
        "mean_loss_rho": 0.0,
        "rho_low": float(found.low_TD[0, 0]),
        "rho_high": float(found.high_TD[0, 0]),
    }
    return _difference(row, "rho", digits=2)


def _benchmarks(rows: list[Row]) -> str:
    """Every benchmark."""
    lines = []
    for row in (row for row in rows if row["benchmark"] != MEANS):
        estimates = [_number(row[f"estimate_{q}"], 2) for q in (5, 50, 95)]
        rho = [_number(row["mean_loss_spearman"]), _number(row["spearman"]), _difference(row, "spearman")]
        lines.append([f"{row['table']}: {row['benchmark']}", *estimates, *rho])
    return _markdown(["benchmark", "estimates: 5 %", "median", "95 %", "ρ: mean loss", "ρ: estimate", "Δρ"], lines)
