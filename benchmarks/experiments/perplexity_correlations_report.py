"""The tables of docs/methods/perplexity_correlations.md that tell of trained proxies, from the rows of the experiment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from benchmarks.experiments.intervals import paired, shown

CORPUS = "pool"
TARGET = "english"
TARGET_BENCHMARKS = (
    "arc_challenge", "arc_easy", "boolq", "commonsense_qa", "jeopardy_all", "lambada_openai", "openbook_qa", "piqa",
    "triviaqa_sm_sub", "winogrande", "xquad_en",
)  # fmt: skip
ARMS = ("random", "human", "questions", "correlation", "matched", "groups")
"""In the order they are run; ``matched`` needs what ``correlation`` chose."""
CONTROL, CHOSEN = "random", "correlation"
SHOWN = ("correlation", "groups", "matched", "questions", "human")
LABELS = {"correlation": "correlations", "groups": "correlations, whole groups", "matched": "random, same domains"}
ENDS = 8
"""Groups shown of each end."""


class Rows:
    """Figures by arm, name and seed."""

    def __init__(self, results: pa.Table) -> None:
        rows = results.to_pylist()
        self._values = {(row["arm"], row["name"], row["seed"]): row["value"] for row in rows}
        found = {seed: {row["arm"] for row in rows if row["seed"] == seed} for seed in {row["seed"] for row in rows}}
        self.seeds = sorted(seed for seed, arms in found.items() if arms >= set(ARMS))
        """Those whose arms are all there."""

    def names(self, arm: str, start: str) -> list[str]:
        """Figures of an arm that begin so."""
        return sorted({name for a, name, _ in self._values if a == arm and name.startswith(start)})

    def values(self, arm: str, name: str) -> list[float]:
        """By seed; ``target`` and ``others`` are means over the benchmarks that the target has and has not."""
        if name in ("target", "others"):
            names = [n for n in self.names(arm, "eval/") if (n.removeprefix("eval/") in TARGET_BENCHMARKS) == (name == "target")]
            return np.mean([self.values(arm, n) for n in names], axis=0).tolist()
        return [self._values[arm, name, seed] for seed in self.seeds]

    def seen(self, arm: str, name: str) -> list[float]:
        """By the seeds that have it: a group may be too small in a pool."""
        return [self._values[arm, name, seed] for seed in self.seeds if (arm, name, seed) in self._values]

    def mean(self, arm: str, name: str) -> float:
        """Over seeds."""
        return float(np.mean(self.values(arm, name)))


def report(results: pa.Table) -> str:
    """All tables."""
    rows = Rows(results)
    if not rows.seeds:
        return "no seed is done"
    benchmarks = [f"eval/{name}" for name in TARGET_BENCHMARKS]
    others = [name for name in rows.names(CONTROL, "eval/") if name not in benchmarks]
    blocks = [
        _evidence(rows),
        _groups(rows),
        _shares(rows),
        _scores(rows, ["target", "others", "held_out"]),
        _against(rows),
        _scores(rows, benchmarks),
        _scores(rows, [*others, *rows.names(CONTROL, "held_out/")]),
    ]
    return "\n\n".join(blocks)


def label(arm: str) -> str:
    """As tables have it."""
    return LABELS.get(arm, arm)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(f"| {' | '.join(line)} |" for line in lines)])


def _evidence(rows: Rows) -> str:
    """What is known before anything is trained, seed by seed."""
    names = {
        "groups": ("groups", "{:.0f}"),
        "estimate/0.05": ("estimate, 5 % of groups below", "{:.2f}"),
        "estimate/0.5": ("median", "{:.2f}"),
        "estimate/0.95": ("95 % below", "{:.2f}"),
        "settled": ("sign settled", "{:.0%}"),
        "included": ("groups included", "{:.0f}"),
        "inclusion": ("how often bootstrap includes them", "{:.0%}"),
        "classifier/roc_auc": ("page classifier, area under ROC", "{:.3f}"),
        "classifier/precision_above_0.5": ("precision", "{:.0%}"),
        "classifier/recall_above_0.5": ("recall", "{:.0%}"),
    }
    lines = [
        [title, *(form.format(value).replace("-", "−") for value in rows.values(CHOSEN, name))] for name, (title, form) in names.items()
    ]
    return _table(["before training", *(f"seed {seed}" for seed in rows.seeds)], lines)


def _groups(rows: Rows) -> str:
    """The groups with the highest and lowest estimates, means over seeds."""
    found = {name.split("/", 1)[1].rsplit("/", 1)[0] for name in rows.names(CHOSEN, "group/")}
    estimates = {group: float(np.mean(rows.seen(CHOSEN, f"group/{group}/estimate"))) for group in found}
    ordered = sorted(found, key=lambda group: (-estimates[group], group))
    lines = []
    for high, low in zip(ordered[:ENDS], reversed(ordered[-ENDS:]), strict=True):
        lines.append([part for group in (high, low) for part in (group, f"{estimates[group]:+.2f}".replace("-", "−"))])
    return _table(["highest", "estimate", "lowest", "estimate"], lines)


def _shares(rows: Rows) -> str:
    """What the arms are trained on."""
    lines = [["pages", *(f"{rows.mean(arm, 'pages'):,.0f}" for arm in (CONTROL, *SHOWN))]]
    lines += [["bytes of a page", *(f"{rows.mean(arm, 'page_bytes'):,.0f}" for arm in (CONTROL, *SHOWN))]]
    names = rows.names(CONTROL, "share/")
    lines += [[name.removeprefix("share/"), *(f"{rows.mean(arm, name):.1%}" for arm in (CONTROL, *SHOWN))] for name in names]
    return _table(["share of tokens", *map(label, (CONTROL, *SHOWN))], lines)


def _scores(rows: Rows, names: Sequence[str]) -> str:
    """Bits per byte, as differences from random pages."""
    lines = []
    for name in names:
        control = rows.values(CONTROL, name)
        lines.append([name, f"{np.mean(control):.3f}", *(shown(*paired(rows.values(arm, name), control)) for arm in SHOWN)])
    return _table(["bits per byte on", CONTROL, *map(label, SHOWN)], lines)


def _against(rows: Rows) -> str:
    """Correlations against every other arm."""
    lines = []
    for arm in (arm for arm in ARMS if arm != CHOSEN):
        found = [shown(*paired(rows.values(CHOSEN, name), rows.values(arm, name))) for name in ("target", "others", "held_out")]
        lines.append([f"{label(CHOSEN)} − {label(arm)}", *found])
    return _table(["bits per byte", "target", "others", "held_out"], lines)
