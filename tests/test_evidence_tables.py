"""Tables of losses: what is written is read again, whatever the blocks, and what is no table of losses is refused."""

from __future__ import annotations

import gzip
import io
import os
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import ConfigError, CurateError, InputError
from curate.evidence.imported_losses import import_losses, imported_models
from curate.evidence.loss_table import ROWS, LossTable, LossTableWriter, card_markdown, write_loss_table
from curate.evidence.matrix_files import model_name
from curate.evidence.settings import Losses
from curate.storage import Folder
from pipelines import SHARED

TABLES = SHARED / "data" / "tables" / "perplexity_correlations"
needs_tables = pytest.mark.skipif(not TABLES.is_dir(), reason="no shared/data/tables beside the repository")

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(
    lambda name: name == name.strip() and name not in ("group", "n_pages", "n_bytes") and not name.startswith("(")
)
LOSSES = st.one_of(st.floats(0, 1e6, allow_subnormal=False), st.just(float("nan")))


@st.composite
def matrices(draw: st.DrawFn) -> tuple[list[str], list[str], np.ndarray]:
    """Groups, models and losses (N, D) of which each model has at least one."""
    groups = draw(st.lists(NAMES, min_size=1, max_size=9, unique=True))
    models = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    rows = [draw(st.lists(LOSSES, min_size=len(groups), max_size=len(groups))) for _ in models]
    losses_ND = np.array(rows) + 0.0
    losses_ND[np.isnan(losses_ND).all(axis=1), 0] = 1.5
    return groups, models, losses_ND


def csv_of(groups: list[str], models: list[str], losses_ND: np.ndarray) -> str:
    """The matrix as pandas writes it."""
    return pd.DataFrame(losses_ND.T, index=pd.Index(groups, name="domain"), columns=models).to_csv()


def whole(table: LossTable, size: int = ROWS, models: list[str] | None = None) -> tuple[list[str], np.ndarray]:
    """All blocks side by side."""
    blocks = list(table.blocks(models, size))
    assert all(losses_ND.dtype == np.float64 and losses_ND.shape[1] == len(groups) <= size for groups, losses_ND in blocks)
    return [name for groups, _ in blocks for name in groups.to_pylist()], np.concatenate([losses_ND for _, losses_ND in blocks], axis=1)


def imported(tmp_path: Path, text: str, name: str = "bpb.csv", **losses: object) -> LossTable:
    """The table imported from a file with this text."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    return import_losses(Losses(table=str(tmp_path / name), **losses), Folder(str(tmp_path / "out")))


def refusal(tmp_path: Path, text: str, name: str = "bpb.csv", **losses: object) -> CurateError:
    """Why it is not imported; nothing is left behind."""
    with pytest.raises(CurateError) as caught:
        imported(tmp_path, text, name, **losses)
    assert not (tmp_path / "out" / "table.parquet").exists()
    return caught.value


def test_a_written_table_says_what_it_holds():
    out = io.BytesIO()
    losses = {"a/m-1.4b": np.array([1.0, np.nan, 0.5]), "a/m-1": np.array([2.0, 3.0, 4.0])}
    described = {"a/m-1.4b": {"family": "m", "tokenizer": "abc", "source": "hub"}}
    write_loss_table(out, pa.array(["x", "y", "z"]), np.array([1, 2, 3]), None, losses, described, "domain", {"formula": "exact"})
    schema = pq.read_schema(io.BytesIO(out.getvalue()))
    assert schema.names == ["group", "n_pages", "n_bytes", "a/m-1.4b", "a/m-1"]
    assert schema.field("a/m-1.4b").type == pa.float64()
    told = {k.decode(): v.decode() for k, v in schema.field("a/m-1.4b").metadata.items() if not k.startswith(b"PARQUET")}
    assert told == {"unit": "bits per UTF-8 byte", "direction": "lower", "family": "m", "tokenizer": "abc", "source": "hub"}
    assert schema.metadata[b"by"] == b"domain" and schema.metadata[b"card"] == b'{"formula": "exact"}'
    plain = pq.read_table(io.BytesIO(out.getvalue()))
    assert plain["a/m-1.4b"].to_pylist() == [1.0, None, 0.5] and plain["n_bytes"].null_count == 3


def test_a_table_is_read_as_it_was_written(tmp_path):
    with (tmp_path / "table.parquet").open("wb") as out:
        losses = {"m.1": np.array([1.0, np.nan]), "m": np.array([2.0, 3.0])}
        write_loss_table(
            out, pa.array(["x", "y"]), np.array([5, 6]), np.array([50, 60]), losses, {"m": {"family": "f"}}, "web.host", {"seed": 1}
        )
    table = LossTable.at(tmp_path / "table.parquet")
    assert (table.models, table.by, table.card, table.n_groups) == (["m.1", "m"], "web.host", {"seed": 1}, 2)
    assert table.families == {"m.1": "m.1", "m": "f"} and table.n_missing == {"m.1": 1, "m": 0}
    assert table.groups.to_pylist() == ["x", "y"]
    assert table.amounts().to_pydict() == {"n_pages": [5, 6], "n_bytes": [50, 60]}
    _, losses_ND = whole(table, models=["m", "m.1"])
    np.testing.assert_array_equal(losses_ND, [[2.0, 3.0], [1.0, np.nan]])
    with pytest.raises(InputError, match=r"no losses of 'm\.2'"):
        next(table.blocks(["m.2"]))


def test_blocks_in_and_out_change_nothing():
    random = np.random.default_rng(0)
    n = 2 * ROWS + 7
    losses_ND, groups = random.random((3, n)), pa.array([f"g{i}" for i in range(n)])
    losses_ND[1, ::3] = np.nan
    written = []
    for step in (n, ROWS, 9973):
        out = io.BytesIO()
        with LossTableWriter(out, ["a", "b", "c"], {}, "domain", {}) as writer:
            for i in range(0, n, step):
                writer.write(groups[i : i + step], losses_ND[:, i : i + step])
        written.append(out.getvalue())
    assert written[0] == written[1] == written[2]
    metadata = pq.read_metadata(io.BytesIO(written[0]))
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [ROWS, ROWS, 7]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "table.parquet").write_bytes(written[0])
        table = LossTable(Folder(folder))
        for size in (n, ROWS, 50_000):
            names, found = whole(table, size)
            assert names == groups.to_pylist()
            np.testing.assert_array_equal(found, losses_ND)


@pytest.mark.parametrize(
    ("groups", "losses", "says"),
    [
        (["x", "x"], {"a": [1, 2]}, "'x'"),
        (["x", ""], {"a": [1, 2]}, "without a name"),
        (["x", None], {"a": [1, 2]}, "without a name"),
        (["x", "y"], {"a": [1, 2], "b": [1, -2]}, "negative"),
        (["x", "y"], {"a": [1, np.inf]}, "not finite"),
        (["x", "y"], {"a": [1, 2], "b": [np.nan, np.nan]}, "without a single loss: 'b'"),
        (["x", "y"], {}, "no models"),
        ([], {"a": []}, "no groups"),
        (["x", "y"], {"group": [1, 2]}, "called 'group'"),
    ],
)
def test_what_is_no_table_of_losses_is_not_written(groups, losses, says):
    columns = {name: np.array(values, dtype=float) for name, values in losses.items()}
    with pytest.raises(InputError, match=says):
        write_loss_table(io.BytesIO(), pa.array(groups, pa.string()), None, None, columns, {}, "domain", {})


@settings(max_examples=20, deadline=None)
@given(matrices(), st.integers(1, 4))
def test_import_of_an_import_is_the_identity(matrix, size):
    groups, models, losses_ND = matrix
    with tempfile.TemporaryDirectory() as folder:
        first = imported(Path(folder), csv_of(groups, models, losses_ND))
        names, found = whole(first, size)
        assert names == groups and first.models == models
        np.testing.assert_array_equal(found, losses_ND)
        again = import_losses(Losses(table=f"{folder}/out/table.parquet"), Folder(f"{folder}/again"))
        assert Path(folder, "again/table.parquet").read_bytes() == Path(folder, "out/table.parquet").read_bytes()
        assert Path(folder, "again/README.md").read_bytes() == Path(folder, "out/README.md").read_bytes()
        assert again.card == first.card


@settings(max_examples=15, deadline=None)
@given(matrices(), st.randoms(use_true_random=False))
def test_the_order_of_rows_and_columns_changes_nothing_but_order(matrix, random):
    groups, models, losses_ND = matrix
    rows, columns = random.sample(range(len(groups)), len(groups)), random.sample(range(len(models)), len(models))
    with tempfile.TemporaryDirectory() as folder:
        turned = losses_ND[columns][:, rows]
        table = imported(Path(folder), csv_of([groups[d] for d in rows], [models[n] for n in columns], turned))
        assert table.groups.to_pylist() == [groups[d] for d in rows]
        _, found = whole(table, models=models)
        np.testing.assert_array_equal(found[:, np.argsort(rows)], losses_ND)


def test_csv_in_all_its_forms(tmp_path):
    text = 'site,"a, b",c\r\n"two\nlines",1e-1, 2 \r\n\r\n"said ""so""",NaN,n/a\r\nplain,3,4\r\n'
    expected = [[0.1, np.nan, 3.0], [2.0, np.nan, 4.0]]
    plain = tmp_path / "t.csv"
    plain.write_bytes(b"\xef\xbb\xbf" + text.encode())
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "t.csv.zst").write_bytes(zstandard.compress(plain.read_bytes()))
    (tmp_path / "t.tsv").write_text("site\ta, b\tc\ntwo\nplain\t3\t4\n".replace("two\n", '"two\nlines"\t0.1\t2\n"said ""so"""\t\t-\n'))
    for name in ("t.csv", "t.csv.gz", "t.csv.zst", "t.tsv"):
        table = import_losses(Losses(table=str(tmp_path / name)), Folder(str(tmp_path / f"out-{name}")))
        groups, losses_ND = whole(table)
        assert groups == ["two\nlines", 'said "so"', "plain"] and table.models == ["a, b", "c"]
        np.testing.assert_array_equal(losses_ND, expected)
        assert imported_models(Losses(table=str(tmp_path / name))) == table.models


@pytest.mark.parametrize("before", ["\n", "\n\n", "\r\n"])
def test_empty_lines_may_come_first(tmp_path, before):
    (tmp_path / "t.csv").write_text(f'{before}"do\nmain",a,b\nx,1,2\n')
    assert whole(import_losses(Losses(table=str(tmp_path / "t.csv")), Folder(str(tmp_path))))[1].tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize("n_pages", ["99999999999999999999", "-1", "0.5"])
def test_amounts_that_are_none_are_told(tmp_path, n_pages):
    (tmp_path / "t.csv").write_text(f"domain,n_pages,a\nx,{n_pages},1\n")
    with pytest.raises(InputError, match="no whole number"):
        import_losses(Losses(table=str(tmp_path / "t.csv")), Folder(str(tmp_path)))


@pytest.mark.parametrize("path", ["nowhere://a/b.csv", "s3://a/b.csv", f"/{'x' * 5000}.csv"])
def test_what_is_out_of_reach_is_told(path):
    with pytest.raises(InputError, match=r"cannot be read|no such table"):
        imported_models(Losses(table=path))


def test_what_settings_say_of_a_table_is_checked_by_its_header(tmp_path):
    (tmp_path / "t.csv").write_text("domain,a\nx,1\n")
    with pytest.raises(ConfigError, match="no model 'b'"):
        imported_models(Losses(table=str(tmp_path / "t.csv"), families={"b": "c"}))
    import_losses(Losses(table=str(tmp_path / "t.csv")), Folder(str(tmp_path)))
    for wrong, says in (({"by": "site"}, "not of 'site'"), ({"id": "a"}, "not in 'a'")):
        with pytest.raises(ConfigError, match=says):
            imported_models(Losses(table=str(tmp_path / "table.parquet"), **wrong))
    assert imported_models(Losses(table=str(tmp_path / "table.parquet"), id="group")) == ["a"]


def test_lines_within_names_may_fall_on_the_end_of_a_block(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.evidence.matrix_files.BLOCK_BYTES", 64)
    groups = [f"{'line ' * (i % 5)}\n{i}" for i in range(100)]
    table = imported(tmp_path, csv_of(groups, ["m"], np.arange(100.0)[None]))
    assert whole(table)[0] == groups
    np.testing.assert_array_equal(whole(table)[1], np.arange(100.0)[None])


def test_a_table_may_lie_anywhere(tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    try:
        with memory.open("/bpb/t.csv.gz", "wb") as file:
            file.write(gzip.compress(b"domain,m\nx,1\ny,\n"))
        table = import_losses(Losses(table="memory://bpb/t.csv.gz"), Folder("memory://bpb/out"))
        groups, losses_ND = whole(table)
        assert groups == ["x", "y"] and memory.exists("/bpb/out/README.md")
        np.testing.assert_array_equal(losses_ND, [[1.0, np.nan]])
        again = import_losses(Losses(table="memory://bpb/out/table.parquet"), Folder(str(tmp_path)))
        assert again.models == ["m"] and again.card == table.card
    finally:
        memory.rm("/bpb", recursive=True)


def test_parquet_of_pandas_has_its_groups_in_the_index(tmp_path):
    frame = pd.DataFrame({"m": [1.0, None], "k": [3, 4]}, index=["x", "y"])
    frame.to_parquet(tmp_path / "t.parquet")
    table = import_losses(Losses(table=str(tmp_path / "t.parquet"), families={"k": "f"}), Folder(str(tmp_path / "out")))
    groups, losses_ND = whole(table)
    assert groups == ["x", "y"] and table.families == {"m": "m", "k": "f"}
    np.testing.assert_array_equal(losses_ND, [[1.0, np.nan], [3.0, 4.0]])


def test_amounts_of_groups_are_taken_over(tmp_path):
    table = imported(tmp_path, "domain,n_bytes,m\nx,10,1\ny,,2\n")
    assert table.models == ["m"] and table.amounts().to_pydict() == {"n_pages": [None, None], "n_bytes": [10, None]}
    (tmp_path / "other").mkdir()
    assert "no whole number" in refusal(tmp_path / "other", "domain,n_bytes,m\nx,1.5,1\n").what


@pytest.mark.parametrize(
    ("text", "what", "where"),
    [
        ("", "empty", "bpb.csv"),
        ("domain,m\n", "no groups", "bpb.csv"),
        ("domain\nx\n", "no models", "bpb.csv"),
        ("domain,m,k\nx,1,2\ny,3,good\n", "'good' is no number", "column 'k', row 2"),
        ("domain,m\nx,inf\n", "not finite", "group 'x', model 'm'"),
        ("domain,m\nx,-1\n", "negative", "group 'x', model 'm'"),
        ("domain,m\nx,1\nx,2\n", "'x'", "bpb.csv"),
        ("domain,m\n,1\n", "without a name", "bpb.csv"),
        ("domain,m,m\nx,1,1\n", "the model 'm' is there 2 times", "bpb.csv"),
        ("domain,m,k\nx,1\n", "cannot be read", "bpb.csv"),
        ("domain,m,k\nx,1,\n", "without a single loss: 'k'", "bpb.csv"),
        ("domain,,k\nx,1,2\n", "called ''", "bpb.csv"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_cell(tmp_path, text, what, where):
    error = refusal(tmp_path, text)
    assert what in error.what and "bpb.csv" in error.where and where in error.where


def test_what_cannot_be_imported_is_told(tmp_path):
    assert "kind" in refusal(tmp_path, "a,b\n", "t.xlsx").what
    assert "cannot be read" in refusal(tmp_path, "no parquet", "t.parquet").what
    assert "cannot be read" in refusal(tmp_path, "no gzip", "t.csv.gz").what
    assert "no column 'site'" in refusal(tmp_path, "domain,m\nx,1\n", id="site").what
    assert "did you mean 'pythia'" in refusal(tmp_path, "domain,pythia\nx,1\n", families={"pytia": "f"}).fix
    with pytest.raises(InputError, match="no such table"):
        import_losses(Losses(table=str(tmp_path / "absent.csv")), Folder(str(tmp_path / "out")))
    pq.write_table(pa.table({"g": [0.5], "m": [1.0]}), tmp_path / "f.parquet")
    with pytest.raises(InputError, match="column of names holds double"):
        import_losses(Losses(table=str(tmp_path / "f.parquet")), Folder(str(tmp_path / "out")))
    pq.write_table(pa.table({"g": ["x"], "m": [True]}), tmp_path / "f.parquet")
    with pytest.raises(InputError, match="holds bool"):
        import_losses(Losses(table=str(tmp_path / "f.parquet")), Folder(str(tmp_path / "out")))
    with pytest.raises(InputError, match="no table of losses"):
        LossTable.at(tmp_path / "f.parquet")
    with pytest.raises(InputError, match="there is no table of losses"):
        LossTable.at(tmp_path / "absent.parquet")


def test_groups_of_another_column_are_not_taken_for_domains(tmp_path):
    imported(tmp_path, "host,m\nx,1\n", by="web.host")
    with pytest.raises(ConfigError, match=r"values of 'web\.host', not of 'domain'") as caught:
        import_losses(Losses(table=str(tmp_path / "out/table.parquet")), Folder(str(tmp_path / "again")))
    assert "by: web.host" in caught.value.fix


@pytest.mark.parametrize(
    ("raw", "name", "family"),
    [
        ("('pythia', 'EleutherAI/pythia-70m')", "EleutherAI/pythia-70m", "pythia"),
        ('("it\'s", "a, b")', "a, b", "it's"),
        ("EleutherAI/pythia-70m", "EleutherAI/pythia-70m", None),
        ("(three, unquoted)", "(three, unquoted)", None),
        ("('a', 'b', 'c')", "('a', 'b', 'c')", None),
        ("('a', 1)", "('a', 1)", None),
        ("(__import__('os').system('false'), 'b')", "(__import__('os').system('false'), 'b')", None),
        ("(" * 3000 + ")" * 3000, "(" * 3000 + ")" * 3000, None),
    ],
)
def test_pairs_of_family_and_name_are_taken_apart(raw, name, family):
    found = model_name(raw)
    assert (found.name, found.family, found.raw) == (name, family, raw)


def test_one_model_under_two_families_is_one_family(tmp_path):
    head = "domain,\"('z', 'o/m')\",\"('a', 'o/m')\",k\n"
    table = imported(tmp_path, head + "x,1,1,3\ny,,,4\n")
    assert table.models == ["o/m (z)", "o/m", "k"] and table.families == {"o/m (z)": "a", "o/m": "a", "k": "k"}
    assert table.card["notes"] == ["o/m is there 2 times with the same losses, as 'o/m', 'o/m (z)': one family"]
    assert imported_models(Losses(table=str(tmp_path / "bpb.csv"))) == table.models
    other = tmp_path / "other"
    other.mkdir()
    assert "numbers that differ" in refusal(other, head + "x,1,1,3\ny,2,,4\n").what
    assert "2 times" in refusal(other, head.replace("'z'", "'a'") + "x,1,1,3\n").what


def test_the_card_is_a_dataset_card(tmp_path):
    text = csv_of(["x", "y"], ["a|b", "c"], np.array([[1, np.nan], [2, 3]]))
    table = imported(tmp_path, text, families={"c": "kin"})
    card = (tmp_path / "out" / "README.md").read_text()
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["tags"] == ["bits-per-byte", "perplexity-correlations"]
    assert "| a\\|b | a\\|b |  | 1 |" in body and "| c | kin |  | 0 |" in body
    assert "Missing: 1 cell (25.00%)" in body and "origin: imported" in body and "table: bpb.csv" in body
    settings_again = yaml.safe_load(body.split("```yaml\n")[1].split("```")[0])["correlate"]["losses"]
    assert Losses(**settings_again).table == "table.parquet"
    assert card == card_markdown(table) and str(tmp_path) not in card and os.uname().nodename not in body.replace("`", " ").split()


@needs_tables
@pytest.mark.parametrize(("name", "n_models", "n_groups", "n_families"), [("bpb_quality_articles", 90, 263, 39), ("error_256", 91, 9, 31)])
def test_the_released_tables_are_imported_as_they_are(tmp_path, name, n_models, n_groups, n_families):
    path = TABLES / f"{name}.csv"
    table = import_losses(Losses(table=str(path)), Folder(str(tmp_path)))
    frame = pd.read_csv(path, index_col=0)
    assert (len(table.models), table.n_groups, len(set(table.families.values()))) == (n_models, n_groups, n_families)
    groups, losses_ND = whole(table, size=50)
    assert groups == [str(group) for group in frame.index]
    np.testing.assert_allclose(losses_ND, frame.to_numpy().T, rtol=1e-15)
    notes = table.card["notes"]
    assert notes == (["LLM360/Amber is there 2 times with the same losses, as 'LLM360/Amber', 'LLM360/Amber (llm360)': one family"]
                     if name == "bpb_quality_articles" else [])  # fmt: skip
