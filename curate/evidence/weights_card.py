"""The README beside a table of weights, as a dataset card: users ask for finished weights because losses are dear to recompute."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from curate.correlation.weights import SCHEMA
from curate.evidence.interpretation import (
    PUBLISHED,
    has_intervals,
    included_told,
    settled_told,
    spread_told,
    stability_told,
    times_chance,
)

TABLE = "table.parquet"
_TIES = {"mid": "equal values share the middle of their ranks", "order": "equal values are ranked in the order they come in"}
MOST_TARGETS = 50  # told in sentences; the table of spreads has them all
_CITATION = """@article{thrush2024perplexitycorrelations,
  title  = {Improving Pretraining Data Using Perplexity Correlations},
  author = {Thrush, Tristan and Potts, Christopher and Hashimoto, Tatsunori},
  year   = {2024},
  note   = {arXiv:2409.05816}
}"""


def weights_card(facts: Mapping[str, Any]) -> str:
    """Markdown with YAML front matter: what the weights are, how they came about, how sure they are, how to use them.

    The same facts give the same text: it holds no time and no name of a machine.

    Args:
        facts: what the stage ``correlate`` leaves in the manifest.
    """
    from curate import __version__

    names = [target["target"] for target in facts["targets"]]
    lines = [
        *("---", "tags:", "- perplexity-correlations", "- data-selection"),
        *("configs:", "- config_name: default", f"  data_files: {TABLE}", "---", ""),
        *("# Weights of groups of pages by perplexity correlations", ""),
        f"`{TABLE}`: how the loss of {_models(facts)} on each of {facts['n_groups']:,} groups of pages goes with their errors on "
        f"{len(names):,} target{'s' * (len(names) != 1)}, and the weight that each group gets for it. A row is a target and a group; "
        f"a group is a value of `{facts['by']}`. A positive estimate: models that predict the group better make fewer errors. "
        "Weights are of groups and not of pages, and tell nothing of the quality of a page.",
        *("", "## How it was made", "", *_how(facts)),
        *("", "## Spread", "", *_spread(facts)),
        *("", "## Targets", "", *_targets(facts)),
        *("", "## Models", "", f"{', '.join(_code(name) for name in facts['models'])}"),
        *_notes(facts),
        *("", "## Columns", "", *_columns()),
        *("", "## Use it", "", *_use(names, facts["by"])),
        *("", "## Citation", "", "```bibtex", _CITATION, "```"),
        *("", f"Written by curate {__version__}.", ""),
    ]
    return "\n".join(lines)


def _models(facts: Mapping[str, Any]) -> str:
    families = facts["n_families"]
    return f"{len(facts['models']):,} models of {families:,} famil{'y' if families == 1 else 'ies'}"


def _how(facts: Mapping[str, Any]) -> list[str]:
    """One line for each setting."""
    lines = [
        f"- estimator: {facts['estimator']}; {_TIES[facts['ties']]}",
        f"- benchmarks of one target averaged by {facts['grouped']}",
        f"- projection: {facts['projection']}, no weight above the group's share of {facts['unit']} divided by {facts['filter_ratio']:g}",
        f"- intervals: {facts['confidence']:.0%}, {facts['bootstrap']:,} bootstrap replicates over families of models",
        f"- null: {facts['permutations']:,} permutations of results over models",
        f"- missing values: {facts['missing']}",
    ]
    lines += [f"- groups left out, {reason.replace('_', ' ')}: {n:,}" for reason, n in sorted(facts["groups_left_out"].items())]
    if facts.get("groups_without_text"):
        lines.append(f"- groups of which the corpus has no text: {facts['groups_without_text']:,}")
    unknown = facts["without_estimate"]
    if unknown["n_groups"]:
        examples = ", ".join(_code(name) for name in unknown["examples"])
        lines.append(
            f"- groups of the corpus without an estimate: {unknown['n_groups']:,}, {unknown['share']:.1%} of {facts['unit']}: {examples}"
        )
    return lines


def _spread(facts: Mapping[str, Any]) -> list[str]:
    """The table of all targets: spread of estimates beside the null's, and what is included."""
    heads = ["target", "models", "10 %", "median", "90 %", "deviation", "of permuted", "times", "settled", "included", "their share"]
    rows = []
    for target in facts["targets"]:
        spread, null, times = target["spread"], target["null_deviation"], times_chance(target)
        rows.append(
            [
                _cell(target["target"]), f"{target['n_models']:,}", *(f"{spread[q]:.3f}" for q in ("q10", "median", "q90")),
                f"{spread['deviation']:.4f}", f"{null['mean']:.4f}" if null else "", f"{times:.2f}" if times is not None else "",
                f"{target['n_settled']:,}" if has_intervals(target) else "", f"{target['included']['n_groups']:,}",
                f"{target['included']['natural']:.2%}",
            ]
        )  # fmt: skip
    return [
        "Where groups hardly differ in what they tell about a target, selecting by them changes little. The yardstick is the standard "
        f"deviation of estimates over groups when results are permuted over models. {PUBLISHED}",
        "",
        *_table(heads, rows, left=1),
    ]


def _targets(facts: Mapping[str, Any]) -> list[str]:
    """Each target in sentences."""
    lines = []
    for target in facts["targets"][:MOST_TARGETS]:
        told = [
            spread_told(target, facts["n_groups"]),
            settled_told(target, facts["n_groups"], facts["confidence"]),
            included_told(target, facts["filter_ratio"]),
            stability_told(target),
        ]
        of = ", ".join(_code(name) for name in target["benchmarks"])
        lines += [f"### {_cell(target['target'])}", "", f"Of {of}.", _text(" ".join(part for part in told if part)), ""]
    more = len(facts["targets"]) - MOST_TARGETS
    return [*lines, f"And {more:,} more targets."] if more > 0 else lines[:-1]


def _notes(facts: Mapping[str, Any]) -> list[str]:
    return ["", "## Warnings", "", *(f"- {_text(note)}" for note in facts["notes"])] if facts["notes"] else []


def _columns() -> list[str]:
    rows = [
        [_code(field.name), str(field.type), _cell((field.metadata or {}).get(b"unit", b"").decode() or _NAMES[field.name])]
        for field in SCHEMA
    ]
    return _table(["column", "type", "what it is"], rows, left=3)


_NAMES = {"target": "what the weights are for: a benchmark or several", "group": "the group of pages"}


def _use(names: Sequence[str], by: str) -> list[str]:
    """A pipeline that reads the weights where there are no losses and results; and the numbers themselves."""
    target = _yaml(names[0]) if names else "NAME"
    return [
        "A classifier of pages, over another corpus:",
        "",
        "```yaml",
        "score:",
        f"  - correlation_classifier: {{name: pages, weights: {TABLE}, target: {target}, by: {_yaml(by)}}}",
        "select:",
        "  - {column: pages.score, window: high, rate: 0.1, reason: pages}",
        "```",
        "",
        "Proportions of domains, in a pipeline whose `correlate:` makes these weights:",
        "",
        "```yaml",
        f"mix: {{use: perplexity_correlation, target: {target}}}",
        "```",
        "",
        f'Or `pyarrow.parquet.read_table("{TABLE}")`: the schema\'s metadata has `by`, `filter_ratio` and `card`.',
    ]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], left: int) -> list[str]:
    rule = ["---" if i < left else "---:" for i in range(len(heads))]
    return [f"| {' | '.join(line)} |" for line in ([*heads], rule, *rows)]


def _yaml(name: str) -> str:
    """A name inside YAML: a JSON string, which YAML reads, so that no name is taken for a number or a key."""
    return json.dumps(name, ensure_ascii=False)


def _code(name: object) -> str:
    """A name from data as code, which no Markdown in it can leave."""
    return f"`{_flat(name).replace('`', chr(39))}`"


def _cell(text: object) -> str:
    """Text that cannot break a table or begin an element."""
    return _text(text).replace("|", "\\|")


def _text(text: object) -> str:
    """One line of text in which nothing begins an element."""
    return _flat(text).replace("<", "&lt;")


def _flat(text: object) -> str:
    return " ".join(str(text).split())
