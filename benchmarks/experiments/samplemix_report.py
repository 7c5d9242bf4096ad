"""The tables of docs/methods/samplemix.md, from the rows of the experiment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from benchmarks.experiments.cells import CORPORA
from benchmarks.experiments.intervals import paired, shown

ALPHAS = {"alpha0": 0.0, "alpha40": 0.4, "alpha80": 0.8, "alpha100": 1.0}
ARMS = ("natural", "alpha80", "alpha0", "alpha100", "alpha40", "stratified")
"""In the order they are run."""
SHOWN = ("stratified", *ALPHAS)
CONTROL = "natural"
IN_POOL_SHARES = "held_out, in the pool's shares"
KINDS = ("shuffled", "copied")


class Rows:
    """Figures of one corpus by arm, name and seed."""

    def __init__(self, results: pa.Table, corpus: str) -> None:
        rows = [row for row in results.to_pylist() if row["corpus"] == corpus]
        self._values = {(row["arm"], row["name"], row["seed"]): row["value"] for row in rows}
        wanted = {"pool", *ARMS}
        found = {seed: {row["arm"] for row in rows if row["seed"] == seed} for seed in {row["seed"] for row in rows}}
        self.seeds = sorted(seed for seed, arms in found.items() if arms >= wanted)
        """Those whose arms are all there."""

    def names(self, arm: str, start: str) -> list[str]:
        """Figures of an arm that begin so."""
        return sorted({name for a, name, _ in self._values if a == arm and name.startswith(start)})

    def values(self, arm: str, name: str) -> list[float]:
        """By seed."""
        if name == IN_POOL_SHARES:
            shares = self.names("pool", "share/")
            pairs = [(self.values("pool", s), self.values(arm, s.replace("share", "held_out"))) for s in shares]
            return np.sum([np.multiply(*pair) for pair in pairs], axis=0).tolist()
        return [self._values[arm, name, seed] for seed in self.seeds]

    def mean(self, arm: str, name: str) -> float:
        """Over seeds."""
        return float(np.mean(self.values(arm, name)))

    def curve(self, arm: str, seed: int) -> dict[int, float]:
        """Bits per byte by step."""
        found = {int(n.split("/")[1]): v for (a, n, s), v in self._values.items() if a == arm and s == seed and n.startswith("curve/")}
        return dict(sorted(found.items()))


def report(results: pa.Table) -> str:
    """All tables, both corpora."""
    return "\n\n".join(block for corpus in CORPORA for block in _blocks(Rows(results, corpus), corpus))


def _blocks(rows: Rows, corpus: str) -> list[str]:
    if not rows.seeds:
        return []
    documents, tokens = rows.mean("pool", "documents"), rows.mean("pool", "tokens")
    title = f"**{corpus}**, {len(rows.seeds)} seeds; pools of {documents:,.0f} documents and {tokens:,.0f} tokens on average"
    signals = [_signals(rows)] if rows.names("pool", "auc/") else []
    scores = [_scores(rows, ["held_out", IN_POOL_SHARES, "eval", *rows.names(CONTROL, "held_out/")]), _between(rows), _steps(rows)]
    return [title, *signals, _emitted(rows), _shares(rows), *scores, _scores(rows, rows.names(CONTROL, "eval/"))]


def label(arm: str) -> str:
    """As tables have it."""
    return f"α {ALPHAS[arm]:g}" if arm in ALPHAS else arm


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)])


def _signals(rows: Rows) -> str:
    """How well quality and diversity see what was planted."""
    lines = []
    for signal in ("quality", "diversity"):
        means = [f"{rows.mean('pool', f'{signal}/{kind}'):.2f}" for kind in ("others", *KINDS)]
        areas = [f"{rows.mean('pool', f'auc/{signal}{where}'):.3f}" for where in ("", " within domains")]
        lines.append([signal, *means, *areas])
    return _table(["signal", "of documents let be", "of shuffled", "of copies", "AUC", "AUC within domains"], lines)


def _emitted(rows: Rows) -> str:
    """Documents by copies, and what the emitted tokens are."""
    kinds = [kind for kind in KINDS if rows.mean("pool", kind) > 0]
    lines = []
    for arm in ("pool", CONTROL, *SHOWN):
        shares = [f"{rows.mean(arm, name):.1%}" for name in ("dropped", "once", "more", "tokens repeated", *kinds)]
        lines.append([label(arm), *shares, *(f"{rows.mean(arm, name):.3f}" for name in ("quality", "diversity"))])
    return _table(["emitted", "dropped", "once", "more", "tokens repeated", *kinds, "quality", "diversity"], lines)


def _shares(rows: Rows) -> str:
    """Domain shares of what was emitted, by tokens."""
    names = rows.names("pool", "share/")
    lines = [[name.removeprefix("share/"), *(f"{rows.mean(arm, name):.1%}" for arm in ("pool", *SHOWN))] for name in names]
    return _table(["share of tokens", *map(label, ("pool", *SHOWN))], lines)


def _scores(rows: Rows, names: Sequence[str]) -> str:
    """Bits per byte, as differences from the natural mix."""
    lines = []
    for name in names:
        control = rows.values(CONTROL, name)
        lines.append([name, f"{np.mean(control):.3f}", *(shown(*paired(rows.values(arm, name), control)) for arm in SHOWN)])
    return _table(["bits per byte on", CONTROL, *map(label, SHOWN)], lines)


def _between(rows: Rows) -> str:
    """Interior alphas against both ends."""
    pairs = [(a, b) for a in ("alpha40", "alpha80") for b in ("alpha0", "alpha100")]
    lines = []
    for a, b in pairs:
        found = [shown(*paired(rows.values(a, name), rows.values(b, name))) for name in ("held_out", IN_POOL_SHARES, "eval")]
        lines.append([f"{label(a)} − {label(b)}", *found])
    return _table(["bits per byte", "held_out", IN_POOL_SHARES, "eval"], lines)


def _steps(rows: Rows) -> str:
    """Steps to the natural mix's final loss, seed by seed."""
    lines = []
    for arm in SHOWN:
        found = []
        for seed in rows.seeds:
            control = rows.curve(CONTROL, seed)
            n_steps = max(control)
            reached = steps_to(rows.curve(arm, seed), control[n_steps])
            found.append("not reached" if reached is None else f"{n_steps / reached:.2f}")
        lines.append([label(arm), *found])
    return _table(["steps of natural / steps to its final loss", *(f"seed {seed}" for seed in rows.seeds)], lines)


def steps_to(curve: dict[int, float], target: float) -> float | None:
    """The first step at which a loss is at most the target, between two evaluations by linear interpolation; None for never."""
    before: tuple[int, float] | None = None
    for step, loss in sorted(curve.items()):
        if loss <= target:
            return float(step) if before is None else before[0] + (before[1] - target) / (before[1] - loss) * (step - before[0])
        before = step, loss
    return None
