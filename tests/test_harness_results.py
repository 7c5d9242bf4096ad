"""Benchmark results: result files of lm-evaluation-harness and tables, both ways round, as errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ConfigError, CurateError, InputError
from curate.evidence.benchmark_results import BenchmarkResults, read_benchmarks
from curate.evidence.result_files import result_files
from curate.evidence.settings import Benchmarks
from pipelines import SHARED

TABLES = SHARED / "data" / "tables"
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="no shared/data/tables beside the repository")

ARC = {"alias": "arc_easy", "acc,none": 0.25, "acc_stderr,none": 0.01, "acc_norm,none": 0.5, "acc_norm_stderr,none": "N/A", "sample_len": 7}
LAMBADA = {"alias": "lambada", "acc,none": 0.75, "perplexity,none": 12.5, "perplexity_stderr,none": 0.5}
HIGHER = {"arc_easy": {"acc": True, "acc_norm": True}, "lambada_openai": {"acc": True, "perplexity": False}}


def result_file(path: Path, model: str | None = "o/m", **more: Any) -> Path:
    """A file as version 0.4 writes it."""
    told: dict[str, Any] = {"results": {"arc_easy": ARC, "lambada_openai": LAMBADA}, "higher_is_better": HIGHER}
    told |= {"model_name": model, "config": {"model": "hf", "model_args": f"pretrained={model},dtype=float16"}} if model else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told | more))
    return path


def read(path: Path | str, values: str = "accuracy", known: tuple[str, ...] = ("o/m", "a", "b"), **entry: Any) -> BenchmarkResults:
    """The results of one entry."""
    return read_benchmarks([Benchmarks(path=str(path), values=values, **entry)], known)


def cells(results: BenchmarkResults) -> dict[tuple[str, str], float]:
    """The results that there are."""
    told = {(m, b): float(results.errors_NB[i, j]) for i, m in enumerate(results.models) for j, b in enumerate(results.names_B)}
    return {key: error for key, error in told.items() if not np.isnan(error)}


def refusal(path: Path | str, values: str = "accuracy", known: tuple[str, ...] = ("o/m", "a", "b"), **entry: Any) -> CurateError:
    """Why results are not read."""
    with pytest.raises(CurateError) as caught:
        read(path, values, known, **entry)
    return caught.value


def test_accuracies_become_errors(tmp_path):
    results = read(result_file(tmp_path / "results_1.json"), metric="acc")
    assert cells(results) == {("o/m", "arc_easy"): 0.75, ("o/m", "lambada_openai"): 0.25}
    assert results.names_B == ("arc_easy", "lambada_openai") and results.sources == ("results_1.json",) and results.notes == []


def test_errors_stay_and_other_tasks_are_left_out_with_a_note(tmp_path):
    results = read(result_file(tmp_path / "results_1.json"), "error", metric="perplexity")
    assert cells(results) == {("o/m", "lambada_openai"): 12.5}
    assert results.notes == ["1 task without the metric left out: 'arc_easy'"]


def test_a_metric_may_be_named_with_its_filter(tmp_path):
    gsm = {"exact_match,strict-match": 0.125, "exact_match,flexible-extract": 0.25}
    path = result_file(tmp_path / "r.json", results={"gsm8k": gsm}, higher_is_better={"gsm8k": {"exact_match": True}})
    assert cells(read(path, metric="exact_match,strict-match")) == {("o/m", "gsm8k"): 0.875}
    assert "exact_match,strict-match, exact_match,flexible-extract" in refusal(path, metric="exact_match").expected


def test_several_metrics_are_told_and_one_needs_no_name(tmp_path):
    error = refusal(result_file(tmp_path / "r.json"))
    assert "arc_easy" in error.what and "r.json" in error.where and error.expected == "one of: acc,none, acc_norm,none"
    path = result_file(tmp_path / "r.json", results={"t": {"acc,none": 0.5, "acc_stderr,none": 0.1, "alias": "t"}})
    assert cells(read(path)) == {("o/m", "t"): 0.5}


def test_files_before_0_4_have_metrics_without_filters(tmp_path):
    told = {"results": {"piqa": {"acc": 0.75, "acc_stderr": 0.01}}, "config": {"model": "hf-causal", "model_args": "pretrained=o/m"}}
    (tmp_path / "old.json").write_text(json.dumps(told | {"versions": {"piqa": 0}}))
    assert cells(read(tmp_path / "old.json", metric="acc")) == {("o/m", "piqa"): 0.25}


@pytest.mark.parametrize(
    ("config", "name", "called"),
    [
        ({"model_args": "pretrained=o/m,dtype=bfloat16"}, None, "o/m"),
        ({"model_args": {"pretrained": "o/m", "dtype": "auto"}}, None, "o/m"),
        ({"model_args": "pretrained=o/m,revision=step1000"}, "o/m", "o/m@step1000"),
        ({"model_args": "pretrained=o/m,revision=main", "model_revision": "main"}, "o/m", "o/m"),
        ({"model_args": "pretrained=/data/models/a"}, None, "a"),
        ({"model_args": "pretrained=o/base,peft=o/m"}, None, "o/m"),
        (None, "o/m", "o/m"),
    ],
)
def test_which_model_a_file_is_of(tmp_path, config, name, called):
    path = result_file(tmp_path / "r.json", None, config=config, model_name=name)
    assert read(path, metric="acc").models == (called,)


def test_a_file_of_no_model_is_refused(tmp_path):
    assert "which model" in refusal(result_file(tmp_path / "r.json", None, config={"model_args": ""}), metric="acc").what


def test_models_are_renamed_and_a_name_that_is_not_there_is_told(tmp_path):
    path = result_file(tmp_path / "r.json", "EleutherAI/pythia-70m")
    assert read(path, metric="acc", models={"EleutherAI/pythia-70m": "a"}).models == ("a",)
    error = refusal(path, metric="acc", models={"EleutherAI/pythia-70": "a"})
    assert isinstance(error, ConfigError) and "did you mean 'EleutherAI/pythia-70m'" in error.fix


def test_a_direction_that_the_file_contradicts_is_refused(tmp_path):
    path = result_file(tmp_path / "r.json")
    error = refusal(path, "error", metric="acc")
    assert "acc of 'arc_easy' is declared as error" in error.what and "r.json" in error.where and "values: accuracy" in error.expected
    assert "lower is better" in refusal(path, "accuracy", metric="perplexity", tasks=["lambada_openai"]).what


def test_averages_over_groups_are_left_out_unless_named(tmp_path):
    results = {"mmlu": {"acc,none": 0.5}, "mmlu_a": {"acc,none": 0.25}, "mmlu_b": {"acc,none": 0.75}}
    told = {"results": results, "groups": {"mmlu": results["mmlu"]}, "group_subtasks": {"mmlu": ["mmlu_a", "mmlu_b"], "mmlu_a": []}}
    path = result_file(tmp_path / "r.json", **told)
    assert read(path).names_B == ("mmlu_a", "mmlu_b")
    assert read(path).notes == ["1 average over tasks left out: 'mmlu'"]
    assert read(path, tasks=["mmlu"]).names_B == ("mmlu",)
    for key in ("groups", "group_subtasks"):
        less = {name: value for name, value in told.items() if name != key}
        assert read(result_file(tmp_path / "s.json", **less)).names_B == ("mmlu_a", "mmlu_b")


def test_tasks_are_chosen_and_unknown_ones_told(tmp_path):
    path = result_file(tmp_path / "r.json")
    assert read(path, metric="acc", tasks=["lambada_openai"]).names_B == ("lambada_openai",)
    assert "did you mean 'arc_easy'" in refusal(path, metric="acc", tasks=["arc_easi"]).fix
    assert "no metric 'acc_norm'" in refusal(path, metric="acc_norm", tasks=["lambada_openai"]).what


def test_files_are_found_in_folders_and_by_patterns(tmp_path):
    result_file(tmp_path / "x" / "o__m" / "results_2024-01-01T00-00-00.json")
    result_file(tmp_path / "x" / "a" / "results_2024-01-02T00-00-00.json", "a")
    (tmp_path / "x" / "a" / "samples_arc_easy.jsonl").write_text("{}")
    result_file(tmp_path / "y" / "b.json", "b")
    assert read(tmp_path / "x", metric="acc").models == ("a", "o/m")
    assert read(tmp_path / "*" / "*.json", metric="acc").models == ("b",)
    assert read(tmp_path / "**" / "*.json", metric="acc").models == ("a", "b", "o/m")
    assert result_files(Benchmarks(path=f"file://{tmp_path}/y/*.json", values="error")) == [f"file://{tmp_path}/y/b.json"]
    assert len(result_files(Benchmarks(path=f"file://{tmp_path}/x", values="error"))) == 2
    for nothing in ("z", "y", "*.json", "absent.json"):
        assert "no benchmark results" in refusal(tmp_path / nothing).what


def test_files_of_one_model_are_merged_and_contradictions_refused(tmp_path):
    result_file(tmp_path / "results_1.json")
    result_file(tmp_path / "results_2.json", results={"piqa": {"acc,none": 0.5}, "arc_easy": {"acc,none": 0.25}})
    results = read(tmp_path, metric="acc")
    assert set(cells(results)) == {("o/m", "arc_easy"), ("o/m", "lambada_openai"), ("o/m", "piqa")}
    assert results.notes == ["1 result more than once, with equal values"]
    result_file(tmp_path / "results_3.json", results={"arc_easy": {"acc,none": 0.5}})
    error = refusal(tmp_path, metric="acc")
    assert "'arc_easy': errors 0.75 and 0.5" in error.what and "results_1.json" in error.where and "results_3.json" in error.where


def test_values_that_are_no_numbers_are_missing(tmp_path):
    path = tmp_path / "r.json"
    path.write_text('{"model_name": "o/m", "results": {"t": {"acc,none": NaN}, "u": {"acc,none": 0.5}, "v": {"acc,none": "N/A"}}}')
    assert cells(read(path, metric="acc")) == {("o/m", "u"): 0.5}


@pytest.mark.parametrize(("text", "says"), [("{", "no JSON"), ("[1]", "no results"), ('{"results": [1]}', "no results")])
def test_what_is_no_result_file_is_refused(tmp_path, text, says):
    (tmp_path / "r.json").write_text(text)
    error = refusal(tmp_path / "r.json")
    assert says in error.what and "r.json" in error.where


@pytest.mark.parametrize(
    ("more", "n_results"),
    [
        ({"group_subtasks": ["arc_easy"]}, 2),
        ({"groups": 3}, 2),
        ({"higher_is_better": ["acc"]}, 2),
        ({"higher_is_better": {"arc_easy": 1}}, 2),
    ],
)
def test_odd_files_are_read_as_far_as_they_go(tmp_path, more, n_results):
    assert len(cells(read(result_file(tmp_path / "r.json", **more), metric="acc"))) == n_results


def test_odd_values_are_refused(tmp_path):
    assert "inf is no accuracy" in refusal(result_file(tmp_path / "r.json", results={"t": {"acc,none": 10**400}})).what
    (tmp_path / "deep.json").write_text("[" * 100_000)
    assert "no JSON" in refusal(tmp_path / "deep.json").what
    path = result_file(tmp_path / "named.json", model_name=["o/m"])
    assert cells(read(path, metric="acc")), "pretrained= says it"


@pytest.mark.parametrize("path", ["nowhere://a/b.csv", "s3://a/b.json", f"/{'x' * 5000}.csv"])
def test_what_is_out_of_reach_is_told(path):
    assert refusal(path).what.startswith("benchmark results cannot be listed")


def test_keys_that_would_do_nothing_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("task,a,b\nx,0.5,0.25\n")
    assert "`metric: acc`" in refusal(tmp_path / "t.csv", metric="acc").what
    assert "`id: task`" in refusal(result_file(tmp_path / "r.json"), metric="acc", id="task").what


def test_a_column_of_words_is_left_out_of_a_table_of_benchmarks(tmp_path):
    (tmp_path / "t.csv").write_text("task,a,kind,b\nx,0.5,reading,0.25\n")
    results = read(tmp_path / "t.csv")
    assert cells(results) == {("a", "x"): 0.5, ("b", "x"): 0.75}
    assert results.notes == ["t.csv: 1 column without numbers left out: 'kind'"]
    (tmp_path / "t.csv").write_text("task,a,b\nx,0.5,high\n")
    assert "'high' is no number" in refusal(tmp_path / "t.csv").what


def test_row_numbers_are_no_benchmark(tmp_path):
    pd.DataFrame({"model": ["a", "b"], "x": [0.5, 0.25]}).to_csv(tmp_path / "t.csv")
    assert "column 1 has no name" in refusal(tmp_path / "t.csv", "error", id="model").what
    assert len(cells(read(tmp_path / "t.csv", "error", id="model", tasks=["x"]))) == 2


def test_several_entries_make_one_matrix(tmp_path):
    path = str(result_file(tmp_path / "r.json"))
    (tmp_path / "t.csv").write_text("benchmark,o/m,a\npiqa,0.5,\nsciq,,0.125\n")
    entries = [
        Benchmarks(path=path, values="accuracy", metric="acc", tasks=["arc_easy"]),
        Benchmarks(path=path, values="error", metric="perplexity", tasks=["lambada_openai"]),
        Benchmarks(path=str(tmp_path / "t.csv"), values="error"),
    ]
    results = read_benchmarks(entries, ["o/m", "a"])
    assert results.models == ("a", "o/m") and results.names_B == ("arc_easy", "lambada_openai", "piqa", "sciq")
    np.testing.assert_array_equal(results.errors_NB, [[np.nan, np.nan, np.nan, 0.125], [0.75, 12.5, 0.5, np.nan]])
    np.testing.assert_array_equal(results.of_targets({"t": ["sciq", "piqa"]}).errors_NB, results.errors_NB[:, 2:])
    assert results.of_targets({}) is results
    with pytest.raises(ConfigError, match="no results of 'pipa'"):
        results.of_targets({"t": ["pipa"]})
    with pytest.raises(ConfigError, match="no results of 't'"):
        results.check_confirmed(["piqa", "t"])


@settings(max_examples=25, deadline=None)
@given(st.permutations(["a", "b", "o/m"]), st.permutations(["t", "u", "v", "w"]), st.booleans())
def test_a_table_may_lie_either_way(tmp_path_factory, models, benchmarks, turned):
    folder = tmp_path_factory.mktemp("t")
    errors = pd.DataFrame(np.arange(12).reshape(3, 4) / 16, index=["a", "b", "o/m"], columns=["t", "u", "v", "w"]).loc[models, benchmarks]
    (errors if turned else errors.T).to_csv(folder / "t.csv")
    results = read(folder / "t.csv", "error")
    assert results.models == ("a", "b", "o/m") and results.names_B == tuple(benchmarks)
    assert cells(results) == {(m, b): errors.loc[m, b] for m in models for b in benchmarks}


def test_columns_without_numbers_are_left_out_of_a_table_of_models(tmp_path):
    (tmp_path / "t.csv").write_text("name,data,t,empty\na,c4,0.5,\nb,rpj,0.25,\n")
    results = read(tmp_path / "t.csv")
    assert results.names_B == ("t",)
    assert results.notes == ["t.csv: 1 column without numbers left out: 'data'", "t.csv: 1 benchmark without a result left out: 'empty'"]
    assert "'c4' is no number" in refusal(tmp_path / "t.csv", tasks=["data"]).what
    (tmp_path / "t.csv").write_text("name,t\na,0.5\nb,half\n")
    assert "'half' is no number" in refusal(tmp_path / "t.csv").what


def test_axes_that_names_do_not_settle_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("benchmark,m1,m2\nt,0.5,0.5\n")
    error = refusal(tmp_path / "t.csv")
    assert "no model of the losses is in the table" in error.what and "models:" in error.fix and "turn" in error.fix
    assert read(tmp_path / "t.csv", models={"m1": "a", "m2": "b"}).models == ("a", "b")
    (tmp_path / "t.csv").write_text("benchmark,a,b\na,0.5,0.5\n")
    assert "both" in refusal(tmp_path / "t.csv").what


@pytest.mark.parametrize(
    ("values", "cell", "says"),
    [
        ("accuracy", "52.5", "per cent"), ("accuracy", "-0.1", "no accuracy"), ("error", "-1", "no error"),
        ("error", "inf", "no error"), ("error", "x", "no number"),
    ],
)  # fmt: skip
def test_values_out_of_range_are_refused(tmp_path, values, cell, says):
    (tmp_path / "t.csv").write_text(f"benchmark,a,b\nt,0.5,{cell}\n")
    error = refusal(tmp_path / "t.csv", values)
    assert says in str(error) and "t.csv" in error.where and "b" in error.where


def test_errors_may_be_perplexities(tmp_path):
    (tmp_path / "t.csv").write_text("benchmark,a,b\nt,1375.5,0\n")
    assert cells(read(tmp_path / "t.csv", "error")) == {("a", "t"): 1375.5, ("b", "t"): 0.0}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("benchmark,a\nt,1\nt,1\n", "benchmarks are there twice"), ("benchmark,a,a\nt,1,1\n", "'a' is there 2 times"),
        ("benchmark,a\n,1\n", "no name"), ("benchmark,a\n", "no results"), ("benchmark,a\nt,\n", "no benchmark results"),
    ],
)  # fmt: skip
def test_tables_that_hold_no_results_are_refused(tmp_path, text, says):
    (tmp_path / "t.csv").write_text(text)
    error = refusal(tmp_path / "t.csv", "error")
    assert says in error.what and "t.csv" in error.where


def test_a_model_under_two_families_counts_as_often_as_the_losses_have_it(tmp_path):
    (tmp_path / "t.csv").write_text("benchmark,\"('z', 'o/m')\",\"('y', 'o/m')\"\nt,0.5,0.5\n")
    both = read(tmp_path / "t.csv", known=("o/m", "o/m (z)"))
    assert both.models == ("o/m", "o/m (z)") and both.families == {"o/m": "y", "o/m (z)": "y"}
    once = read(tmp_path / "t.csv", known=("o/m",))
    assert once.models == ("o/m",) and "counts once" in once.notes[0]
    (tmp_path / "t.csv").write_text("benchmark,\"('z', 'o/m')\",\"('y', 'o/m')\"\nt,0.5,0.25\n")
    assert "numbers that differ" in refusal(tmp_path / "t.csv").what


@needs_tables
def test_the_released_errors_are_read_as_they_are():
    path = TABLES / "perplexity_correlations" / "error.csv"
    frame = pd.read_csv(path, index_col=0)
    results = read(path, "error", known=("JackFram/llama-160m",), tasks=["sciq", "lambada_openai"])
    assert results.names_B == ("sciq", "lambada_openai") and len(results.models) == 89 and "LLM360/Amber is there twice" in results.notes[0]
    at = results.models.index("JackFram/llama-160m")
    expected = frame.loc[["sciq", "lambada_openai"], "('jackfram', 'JackFram/llama-160m')"]
    np.testing.assert_allclose(results.errors_NB[at], expected, rtol=1e-15)
    assert "an accuracy is" in refusal(path, "accuracy", known=("JackFram/llama-160m",)).what


@needs_tables
def test_a_real_table_of_models_in_rows_is_read_as_accuracies():
    path = TABLES / "scaling" / "models_c4_rpj.csv"
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    tasks = [name for name in header if name.startswith("acc/")]
    results = read(path, known=(rows[0][0], rows[5][0]), tasks=tasks)
    frame = pd.read_csv(path, index_col="name")[tasks].loc[list(results.models)]
    assert results.errors_NB.shape == (69, 46)
    np.testing.assert_allclose(results.errors_NB, 1 - frame.to_numpy(), rtol=1e-15)
    error = refusal(path, known=(rows[0][0],))
    assert "'params'" in error.where and "tasks" in error.fix


def test_a_missing_table_is_told():
    with pytest.raises(InputError, match="no benchmark results"):
        read("absent.csv")
