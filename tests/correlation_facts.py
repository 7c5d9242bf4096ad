"""Facts as the stage ``correlate`` leaves them in the manifest, with round numbers, for tests of what people look at."""

from __future__ import annotations

from typing import Any

EVIL = "<script>|`x`\n# no"


def group(name: str, estimate: float, **changes: Any) -> dict[str, Any]:
    line = {"group": name, "estimate": estimate, "low": estimate - 0.2, "high": estimate + 0.2, "p_value": 0.01}
    line |= {"settled": abs(estimate) > 0.2, "natural": 0.2, "tau": 0.4, "weight": 0.4 * (estimate > 0.3), "inclusion": 0.7}
    return line | changes


def target(name: str = "lambada", **changes: Any) -> dict[str, Any]:
    """Facts of one target over five groups, with round numbers."""
    found: dict[str, Any] = {
        "target": name,
        "benchmarks": ["openai", "standard"],
        "n_models": 12,
        "spread": {"least": -0.25, "q10": -0.1, "median": 0.2, "q90": 0.5, "most": 0.625, "deviation": 0.3},
        "histogram": {"edges": [-0.5, 0.0, 0.5, 1.0], "counts": [1, 2, 2], "null": [2.5, 2.5, 0.0]},
        "null_deviation": {"mean": 0.1, "high": 0.15},
        "n_settled": 3,
        "n_negative": 1,
        "share_p05": 0.4,
        "stability": [{"left_out": "openai", "spearman": 0.7, "flips": 0.2}, {"left_out": "standard", "spearman": 0.9, "flips": 0.0}],
        "included": {"n_groups": 2, "natural": 0.4, "inclusion": 0.75},
        "best": [group("web", 0.625), group("news", 0.5), group("books", 0.2)],
        "worst": [group("forum", -0.25), group(EVIL, 0.1)],
        "composition": {
            "domain": [{"value": "web", "before": 0.25, "after": 0.5}, {"value": "news", "before": 0.25, "after": 0.5},
                       {"value": "forum", "before": 0.5, "after": 0.0}],
            "lang": [{"value": "en", "before": 0.6, "after": 0.98}, {"value": "de", "before": 0.3, "after": 0.02}],
        },
    }  # fmt: skip
    return found | changes


def facts(*targets: dict[str, Any], **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "unit": "tokens", "by": "domain", "estimator": "spearman", "ties": "mid", "grouped": "rank", "projection": "linear",
        "filter_ratio": 0.5, "confidence": 0.9, "bootstrap": 200, "permutations": 100, "missing": "refuse",
        "models": [f"org/model-{i}" for i in range(12)], "n_families": 4, "n_groups": 5, "groups_left_out": {"few_pages": 3},
        "without_estimate": {"n_groups": 2, "share": 0.08, "examples": ["a.org", "b.org"]}, "notes": ["two models are the same"],
        "targets": list(targets) or [target()],
    }  # fmt: skip
    return found | changes


def unsure() -> dict[str, Any]:
    """Facts where nothing was resampled or permuted."""
    blank = {"low": None, "high": None, "p_value": None, "settled": None, "inclusion": None}
    ends = {end: [line | blank for line in target()[end]] for end in ("best", "worst")}
    included = {"n_groups": 2, "natural": 0.4, "inclusion": None}
    lone = target(null_deviation=None, share_p05=None, stability=[], included=included, benchmarks=["one"], n_settled=0, **ends)
    lone["histogram"]["null"] = [0.0, 0.0, 0.0]
    return facts(lone, bootstrap=0, permutations=0)
