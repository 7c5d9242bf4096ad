"""What people look at of perplexity correlations: sentences, the card, tables, figures, the page; and what selection did."""

from __future__ import annotations

import copy
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from correlation_facts import EVIL, facts, group, target, unsure
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from rich.console import Console, Group

from curate import plots
from curate.corpus import CORRELATE, WEIGHTS_FOLDER, Corpus
from curate.correlation.weights import SCHEMA
from curate.correlations_table import MOST_TARGETS, correlations_detail, correlations_summary, shift_tables
from curate.errors import InputError
from curate.evidence.interpretation import (
    OTHERS,
    best_and_worst,
    moved,
    moved_told,
    settled_told,
    shown,
    spread_told,
    stability_told,
    times_chance,
    verdict,
)
from curate.evidence.weights_card import weights_card
from curate.manifest import StageEntry
from curate.plots import perplexity_correlations, theme
from curate.report import SECTIONS
from curate.report.correlations import correlations, shift
from curate.selection_shift import Shift, classifier_reports, classifier_told, selection_shift
from pipelines import configuration, lines, run, texts

DOMAINS = ("web", "forum", "news", "science", "books")


def printed(blocks: list[Any], width: int = 160) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(Group(*blocks))
    return console.export_text()


@pytest.mark.parametrize(
    ("deviation", "expected"),
    [(0.08, "chance"), (0.15, "chance"), (0.151, "wide"), (0.3, "wide")],
)
def test_a_spread_is_judged_by_the_null(deviation: float, expected: str) -> None:
    told = target(spread=target()["spread"] | {"deviation": deviation})
    assert verdict(told) == expected
    assert times_chance(told) == pytest.approx(deviation / 0.1)


def test_a_spread_above_chance_is_small_while_chance_gives_half_its_variance() -> None:
    null = {"mean": 0.1, "high": 0.11}
    for deviation, expected in ((0.12, "small"), (0.1414, "small"), (0.1415, "wide")):
        told = target(spread=target()["spread"] | {"deviation": deviation}, null_deviation=null)
        assert verdict(told) == expected
    assert "will change little" in spread_told(target(spread=target()["spread"] | {"deviation": 0.12}, null_deviation=null), 5)


def test_sentences_say_the_numbers() -> None:
    said = spread_told(target(), 5)
    assert "from −0.250 to 0.625" in said
    assert "standard deviation is 0.300, 3.0 times the 0.100 that permuted results give" in said
    assert "95 of 100 stay below 0.150" in said
    assert "leaves out 0 for 3 of 5 groups (60%); 40% have p below 0.05" in settled_told(target(), 5, 0.9)
    assert settled_told(target(n_negative=0), 5, 0.9).endswith("no estimate is negative: groups differ in degree.")
    assert stability_told(target()).startswith("Without openai the order of groups correlates 0.700 with that of all 2, and 20.0% of signs")
    assert "much of the estimate is that benchmark's" in stability_told(target())
    assert stability_told(target(stability=[{"left_out": "openai", "spearman": None, "flips": None}])) == ""


def test_what_is_not_known_is_not_told() -> None:
    lone = unsure()["targets"][0]
    assert verdict(lone) == "unknown"
    assert times_chance(lone) is None
    assert "What chance gives is not known" in spread_told(lone, 5)
    assert settled_told(lone, 5, 0.9) == "1 of the estimates is negative: models that predict such a group better do worse."
    assert times_chance(target(null_deviation={"mean": 0.0, "high": 0.0})) is None


def test_text_that_moves_between_values() -> None:
    told = target()["composition"]
    assert moved(told["domain"]) == pytest.approx(0.5)
    # 0.1 before and nothing after are of values that are not among the lines.
    assert moved(told["lang"]) == pytest.approx((0.38 + 0.28 + 0.1) / 2)
    said = moved_told("lang", told["lang"], "The weights move")
    assert said.startswith("The weights move at least 38.0% of the text between values of lang, most for en: 60.0% to 98.0%.")
    assert "only a control with the same shares of lang" in said
    assert "control" not in moved_told("domain", told["domain"], "The weights move")
    assert "control" not in moved_told(
        "lang", [{"value": "en", "before": 0.95, "after": 1.0}, {"value": None, "before": 0.05, "after": 0}], "It"
    )
    assert moved_told("lang", [], "It moves") == ""


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=20), st.integers(1, 25))
def test_shown_shares_add_up(amounts: list[tuple[int, int]], most: int) -> None:
    totals = [sum(pair[side] for pair in amounts) for side in (0, 1)]
    assume(all(totals))
    values = [{"value": f"v{i}", "before": a / totals[0], "after": b / totals[1]} for i, (a, b) in enumerate(amounts)]
    found = shown(values, most)
    assert len(found) <= most + 1
    for when in ("before", "after"):
        assert sum(line[when] for line in found) == pytest.approx(1)
    assert moved(found) <= moved(values) + 1e-9
    assert 0 <= moved(values) <= 1 + 1e-9
    assert [line["value"] for line in found].count(OTHERS) <= 1


def test_the_card_is_a_dataset_card_that_can_be_used() -> None:
    card = weights_card(facts(target(), target(EVIL)))
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["configs"] == [{"config_name": "default", "data_files": "table.parquet"}]
    for field in SCHEMA:
        assert f"| `{field.name}` |" in body
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", body, re.S)]
    assert blocks[0]["score"] == [
        {"correlation_classifier": {"name": "pages", "weights": "table.parquet", "target": "lambada", "by": "domain"}}
    ]
    assert blocks[1]["mix"] == {"use": "perplexity_correlation", "target": "lambada"}
    for words in (
        "arXiv:2409.05816",
        "12 models of 4 families",
        "few pages: 3",
        "2, 8.0% of tokens: `a.org`",
        "two models are the same",
        "| 3.00 |",
    ):
        assert words in body
    assert weights_card(facts(target(), target(EVIL))) == card


def test_names_cannot_break_the_card() -> None:
    odd = facts(target(EVIL, benchmarks=[EVIL]), models=[EVIL], by="x.y")
    body = weights_card(odd)
    assert "\n# no" not in body
    assert "<script>|" not in re.sub(r"```.*?```|`[^`\n]*`", "", body, flags=re.S)
    rows = [row for row in body.splitlines() if row.startswith("| ") and "script" in row]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [12]
    assert yaml.safe_load(re.findall(r"```yaml\n(.*?)```", body, re.S)[1])["mix"]["target"] == EVIL


def test_the_card_without_intervals_or_null() -> None:
    body = weights_card(unsure())
    assert "nan" not in body
    assert "None" not in re.sub(r"no estimate|None of", "", body)
    assert "What chance gives is not known" in body


def test_the_summary_has_every_target_with_its_spread() -> None:
    said = printed(correlations_summary(facts(target(), target("noise", spread=target()["spread"] | {"deviation": 0.1}))))
    assert "12 models of 4 families, 5 groups by domain" in said
    lines_of = {line.split()[0]: line for line in said.splitlines() if line.split()[:1] in (["lambada"], ["noise"]) and "than" in line}
    assert re.search(r"lambada +3 +2 +40\.0%", said)
    assert lines_of["lambada"].split()[1:8] == ["12", "-0.100", "0.200", "0.500", "0.300", "0.100", "3.0"]
    assert lines_of["lambada"].rstrip().endswith("3.0  more than chance")
    assert lines_of["noise"].rstrip().endswith("no more than chance")
    assert "without an estimate: 2 groups, 8.0% of the tokens: a.org, b.org" in said
    assert "…" not in printed(correlations_summary(facts()), 80)  # no number is cut
    assert "two models are the same" in said
    assert "None" not in printed(correlations_summary(unsure()))


def test_the_detail_has_groups_intervals_and_composition() -> None:
    said = printed(correlations_detail(facts()))
    assert re.search(r"web +0\.625 +0\.425 to 0\.825 +0\.010 +20\.00% +40\.00% +70%", said)
    assert said.index("0.625") < said.index("0.200") < said.index("-0.250")
    ordered = [group(f"g{i}", 0.5 - i / 10) for i in range(12)]  # so few that the best are all there are
    said = printed(correlations_detail(facts(target(best=ordered, worst=[]))))
    assert said.index("g4 ") < said.index("…") < said.index("g7 ") < said.index("g11 ")
    assert "g5 " not in said
    assert re.search(r"forum +50\.00% +0\.00% +0\.00", said)
    assert re.search(r"all others +10\.00% +0\.00%", said)
    assert "None" not in printed(correlations_detail(unsure()))
    many = facts(*(target(f"t{i}") for i in range(MOST_TARGETS + 3)))
    assert "and 3 more targets" in printed(correlations_detail(many))


def test_groups_at_both_ends_are_told_once() -> None:
    ordered = [group(f"g{i}", 0.5 - i / 10) for i in range(4)]
    best, worst = best_and_worst(target(best=ordered, worst=ordered[::-1]), 3)
    assert [line["group"] for line in best] == ["g0", "g1", "g2"]
    assert [line["group"] for line in worst] == ["g3"]
    assert best_and_worst(target(best=ordered, worst=ordered[::-1]))[1] == []


def test_figures_show_what_they_are_given() -> None:
    drawn = perplexity_correlations.estimates(target()["histogram"], "spearman")
    assert theme.svg(drawn, "x" * 30).count("permuted results") == 1
    assert "permuted results" not in theme.svg(perplexity_correlations.estimates(unsure()["targets"][0]["histogram"], "spearman"), "alt")
    best, worst = best_and_worst(target())
    forest = perplexity_correlations.intervals(best, worst, "spearman")
    axes = forest.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [theme.label(line["group"], 24) for line in [*best, *worst]]
    assert axes.get_xlim()[0] < -0.45 < 0.825 < axes.get_xlim()[1]
    points = [c for c in axes.collections if isinstance(c, PathCollection) and len(c.get_offsets())]
    hollow = [c for c in points if not len(c.get_facecolor())]
    assert len(hollow) == sum(not line["settled"] for line in [*best, *worst])
    bars = perplexity_correlations.composition(target()["composition"]["lang"], ("before", "expected")).axes[0]
    assert [text.get_text() for text in bars.get_yticklabels()] == ["en", "de", OTHERS]
    for few in ([], best[:1]):
        assert isinstance(perplexity_correlations.intervals(few, [], "pearson"), Figure)


LANGUAGES = ("en", "de", None)
MODELS = [f"m{i:02}" for i in range(14)]


@pytest.fixture(scope="module")
def correlated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five domains of three languages, imported losses of which some go with the results, a page classifier, a selection."""
    folder = tmp_path_factory.mktemp("correlated")
    rows = []
    for d, domain in enumerate(DOMAINS):
        for i, text in enumerate(texts(24, d, (20, 60 + 40 * d))):
            rows.append({"text": f"{domain} {text} {domain}", "d": domain, "lang": LANGUAGES[(i * (d + 1)) % 3]})
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    random = np.random.default_rng(5)
    skill_N = np.linspace(-1, 1, len(MODELS))
    losses_ND = 1 + np.outer(-skill_N, [0.3, 0.2, 0.1, 0.02, -0.1]) + 0.05 * random.normal(size=(len(MODELS), len(DOMAINS)))
    head = ",".join(["domain", *MODELS])
    (folder / "losses.csv").write_text(
        head + "\n" + "".join(f"{name},{','.join(map(str, column))}\n" for name, column in zip(DOMAINS, losses_ND.T, strict=True))
    )
    errors = {name: 0.5 - 0.2 * skill_N + 0.05 * random.normal(size=len(MODELS)) for name in ("easy", "hard")}
    table = "".join(f"{name},{','.join(map(str, column))}\n" for name, column in errors.items())
    (folder / "errors.csv").write_text(head.replace("domain", "benchmark") + "\n" + table)
    config = configuration(
        folder, folder / "out",
        ingest={
            "shard_bytes": 12_000,
            "sources": [{"path": str(folder / "a.jsonl"), "domain": {"field": "d"}, "extras": {"lang": {"type": "string"}}}],
        },
        score=[
            {"tokens": {"vocab_size": 300, "sample_bytes": 20_000}},
            {"correlation_classifier": {"name": "pages", "target": "both", "within": "lang", "bucket": 1000, "dim": 4, "held_out": 0.3}},
        ],
        correlate={
            "losses": {"table": str(folder / "losses.csv")},
            "benchmarks": [{"path": str(folder / "errors.csv"), "values": "error"}],
            "targets": {"both": ["easy", "hard"], "hard": ["hard"]},
            "filter_ratio": 0.4,
            "describe": ["lang"],
            "bootstrap": 50,
            "permutations": 50,
        },
        select=[{"column": "pages.score", "window": "high", "rate": 0.4, "by": "tokens.n_tokens", "reason": "pages"}],
        mix={"use": "natural"},
    )  # fmt: skip
    run(config)
    return folder / "out"


def test_the_shift_is_that_of_the_columns(correlated: Path) -> None:
    corpus = Corpus.open(str(correlated))
    found = selection_shift(corpus)
    assert found is not None
    frame = corpus.table(["domain", "lang", "tokens.n_tokens", "n_bytes", "selection.keep"]).to_pandas()
    kept = frame[frame["selection.keep"]]
    assert found.unit == "tokens"
    assert found.n_documents == (len(frame), len(kept))
    assert 0 < len(kept) < len(frame)
    assert found.amount == (frame["tokens.n_tokens"].sum(), kept["tokens.n_tokens"].sum())
    for column, told in found.composition.items():
        for line in told:
            for when, rows in (("before", frame), ("after", kept)):
                own = rows[rows[column].isna() if line["value"] is None else rows[column] == line["value"]]
                assert line[when] == pytest.approx(own["tokens.n_tokens"].sum() / rows["tokens.n_tokens"].sum())
        assert {line["value"] for line in told} == set(DOMAINS if column == "domain" else LANGUAGES)
    for ends, rows in zip(found.lengths, (frame, kept), strict=True):
        exact = np.quantile(rows["n_bytes"], (0.1, 0.5, 0.9), method="inverted_cdf")
        np.testing.assert_allclose(ends, exact, rtol=0.016)


def test_classifiers_are_told_as_what_they_are(correlated: Path) -> None:
    corpus = Corpus.open(str(correlated))
    found = classifier_reports(corpus)
    assert list(found) == ["pages"]
    said = classifier_told(found["pages"])
    assert "of groups with weight for 'both'" in said
    assert "Inside each lang" in said
    assert said.endswith("Labels are those of groups: a good page of a group without weight counts as an error.")


def measured(**changes: Any) -> dict[str, Any]:
    figures = {"n_include": 10, "n_exclude": 30, "precision_above_0.5": 0.75, "recall_above_0.5": 0.1, "roc_auc": 0.8}
    return {"target": "t", "measured": figures | changes}


def test_a_classifier_that_only_tells_languages_apart_is_called_so() -> None:
    said = classifier_told(measured())
    assert "Of 40 pages held out, 10 (25%) are of groups with weight for 't'." in said
    assert "75% are of such groups (precision), and 10% of the pages of such groups have one (recall)." in said
    assert "80.0% of pairs (area under ROC; chance gives 50%)" in said
    assert "lang itself" in classifier_told(measured(within="lang", roc_auc_inside=0.6))
    assert "lang itself" not in classifier_told(measured(within="lang", roc_auc_inside=0.7))
    nothing = {"precision_above_0.5": None, "recall_above_0.5": None, "roc_auc": None}
    assert "None has a score above 0.5" in classifier_told(measured(**nothing))


def test_what_a_run_and_show_print(correlated: Path, command: Any) -> None:
    said = command("show", correlated).out
    for words in ("perplexity correlations: 14 models", "groups for both", "groups for hard", "by lang, as the weights would have it",
                  "what the selection did:", "bytes of a document", "pages: Of", "The paper gained"):  # fmt: skip
        assert words in said, words


def test_the_page_has_both_sections(correlated: Path) -> None:
    corpus = Corpus.open(str(correlated))
    assert [name for name in SECTIONS if name in ("correlations", "shift")] == ["correlations", "shift"]
    page = correlations(corpus) + shift(corpus)
    assert re.findall(r'<section id="(correlations|shift)">', page) == ["correlations", "shift"]
    for words in (
        "Perplexity correlations",
        "Best and worst groups",
        "By lang",
        "Classifier pages",
        "Inside values of lang",
        "The paper gained",
    ):
        assert words in page
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    again = Corpus.open(str(correlated))
    assert page == correlations(again) + shift(again)


def test_long_words_on_the_page_are_whole_and_escaped(correlated: Path) -> None:
    corpus = copy.deepcopy(Corpus.open(str(correlated)))
    long = facts(target(EVIL), notes=["x " * 300 + ". end of the note"])
    corpus.manifest.stages[CORRELATE].totals = long
    page = correlations(corpus)
    assert "<script" not in page
    assert "much of the estimate is that benchmark" in page  # the last words of a long paragraph
    corpus.manifest.stages[CORRELATE].totals = unsure()
    assert ">None<" not in correlations(corpus)


def test_plots_of_a_notebook(correlated: Path, finished: Path) -> None:
    corpus = Corpus.open(str(correlated))
    drawn = [plots.estimates(corpus), plots.group_intervals(corpus, "hard"), plots.expected_composition(corpus, "both", "lang"),
             plots.kept_composition(corpus)]  # fmt: skip
    for figure in drawn:
        assert figure.get_size_inches()[0] * 72 == pytest.approx(theme.WIDTH)
    with pytest.raises(InputError, match="no target 'soft'"):
        plots.estimates(corpus, "soft")
    with pytest.raises(InputError, match="'color' is not described"):
        plots.expected_composition(corpus, None, "color")
    with pytest.raises(InputError, match="there are no correlations"):
        plots.estimates(Corpus.open(str(finished)))
    with pytest.raises(InputError, match="to compare"):
        plots.kept_composition(Corpus.open(str(finished)))


def test_a_corpus_without_correlations_has_nothing_to_show(finished: Path) -> None:
    corpus = Corpus.open(str(finished))
    assert selection_shift(corpus) is None
    assert correlations(corpus) is None
    assert shift(corpus) is None
    assert classifier_reports(corpus) == {}


def test_a_selection_that_keeps_nothing_has_no_lengths() -> None:
    nothing = Shift("bytes", {"domain": [{"value": "web", "before": 1.0, "after": 0.0}]}, (3, 0), (30, 0), ((1, 2, 3), None))
    assert "0 of 3 documents" in printed(shift_tables(nothing))


def test_the_card_beside_the_weights_is_that_of_the_facts(correlated: Path) -> None:
    entry: StageEntry = Corpus.open(str(correlated)).manifest.stages[CORRELATE]
    card = (correlated / WEIGHTS_FOLDER / "README.md").read_text(encoding="utf-8")
    assert card == weights_card(entry.totals)
    assert not math.isnan(entry.totals["targets"][0]["spread"]["deviation"])


def test_a_damaged_report_is_an_error_a_person_can_mend(correlated: Path, tmp_path: Path) -> None:
    import shutil

    elsewhere = Path(shutil.copytree(correlated, tmp_path / "out"))
    (elsewhere / "models" / "pages" / "report.json").write_bytes(lines(["x"]))
    with pytest.raises(InputError, match="page classifier has left is damaged"):
        classifier_reports(Corpus.open(str(elsewhere)))
