"""A scorer of one's own: allowed by name, given columns, run by either engine, refused where it cannot be right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.compute as pc
import pytest

from curate.errors import ConfigError, CurateError, IntegrityError
from pipelines import configuration, hashes, made_when, pipeline, run

PLUGIN = Path(__file__).parent / "plugins" / "own_scorers.py"
CAPITALS = {"own_scorers:Capitals": {"name": "capitals"}}


@pytest.fixture
def own(raw, tmp_path):
    """A function from scorers to a configuration with the plugin beside its pipeline file."""
    shutil.copy(PLUGIN, tmp_path / PLUGIN.name)

    def configured(*scorers, **changes):
        mine = {"plugins": ["own_scorers"], "score": list(scorers), "emit": {"shard_bytes": 16_000}}
        return configuration(raw, tmp_path / "out", **mine | changes)

    return configured


def test_a_scorer_of_ones_own(own):
    corpus = run(own(CAPITALS, emit={"carry": ["capitals.share"]}))
    for row in corpus.table(["text", "capitals.share"]).slice(0, 20).to_pylist():
        assert row["capitals.share"] == sum("A" <= c <= "Z" for c in row["text"]) / len(row["text"])
    assert corpus.columns()["capitals.share"].metadata == {b"unit": b"fraction", b"direction": b"none"}


def test_without_plugins_it_is_not_imported(own):
    with pytest.raises(ConfigError) as caught:
        pipeline(own(CAPITALS, plugins=[])).check()
    assert "does not allow its import" in caught.value.what
    assert "plugins: [own_scorers]" in caught.value.fix
    assert "score.capitals" in caught.value.where


def test_its_columns_feed_another_whatever_the_order_in_the_file(own):
    corpus = run(own({"own_scorers:Doubled": {"name": "doubled"}}, {"own_scorers:Average": {"name": "average"}}, CAPITALS))
    table = corpus.table(["n_bytes", "capitals.share", "doubled.twice", "doubled.size", "average.distance"])
    assert table["doubled.twice"].equals(pc.multiply(table["capitals.share"], 2.0))
    assert table["doubled.size"].to_pylist() == table["n_bytes"].to_pylist()
    learned = pc.subtract(table["capitals.share"], table["average.distance"])
    assert pc.max(learned).as_py() == pytest.approx(pc.min(learned).as_py())
    entry = corpus.manifest.stages["score/average"]
    assert set(entry.parents) == {"ingest", "fit/average"}.union({"score/capitals"})


def test_a_changed_hyperparameter_recomputes_it_and_its_readers_only(own):
    scorers = [CAPITALS, {"own_scorers:Doubled": {"name": "doubled"}}, {"own_scorers:Capitals": {"name": "other"}}]
    config = own(*scorers)
    corpus = run(config)
    before = made_when(Path(config["output"]))
    twice = corpus.table(["doubled.twice"])["doubled.twice"]
    config["score"][0] = {"own_scorers:Capitals": {"name": "capitals", "scale": 2.0}}
    corpus = run(config)
    after = made_when(Path(config["output"]))
    assert {p.rsplit("/", 1)[0] for p in after if after[p] != before.get(p)} == {"scores/capitals", "scores/doubled"}
    assert corpus.table(["doubled.twice"])["doubled.twice"].equals(pc.multiply(twice, 2.0))


def test_changed_source_code_is_a_changed_scorer(own, tmp_path):
    config = own(CAPITALS)
    run(config)
    (tmp_path / PLUGIN.name).write_text(PLUGIN.read_text() + "\n# another line\n")
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    states = {s.stage.name: s for s in _fresh(config).status()}
    assert states["score/capitals"].state == "changed"
    assert any("source" in change for change in states["score/capitals"].changes)


def _fresh(config):
    """The pipeline as another process would see it: the plugin is imported again."""
    import sys

    sys.modules.pop("own_scorers", None)
    return pipeline(config)


@pytest.mark.parametrize(
    ("scorers", "what"),
    [
        (
            [{"own_scorers:Circle": {"name": "a", "other": "b"}}, {"own_scorers:Circle": {"name": "b", "other": "a"}}],
            "read each other in a circle: a, b",
        ),
        ([{"own_scorers:Circle": {"name": "a", "other": "a"}}], "circle"),
        ([{"own_scorers:Doubled": {"name": "doubled"}}], "no stage makes the column 'capitals.share'"),
        ([{"own_scorers:Average": {"name": "average"}}], "no stage makes the column 'capitals.share'"),
        ([{"own_scorers:Capitalz": {}}], "the module has no 'Capitalz'"),
        ([{"own_scorers:Capitals": {"scael": 2}}], "has no option 'scael'"),
        ([{"own_scorers:Capitals": {"scale": "big"}}], "the option 'scale' of Capitals is 'big'"),
        ([{"own_scorers:Sample": {}}], "is no scorer"),
    ],
)
def test_what_cannot_be_right_is_refused_before_work(own, tmp_path, scorers, what):
    with pytest.raises(ConfigError) as caught:
        run(own(*scorers))
    assert what in str(caught.value)
    assert not (tmp_path / "out" / "documents").exists()


def test_a_scorer_that_loses_a_row_commits_nothing(own, tmp_path):
    with pytest.raises(IntegrityError, match=r"returned \d+ rows"):
        run(own({"own_scorers:Short": {"name": "short"}}))
    assert not list((tmp_path / "out").glob("scores/short/*"))
    assert not list((tmp_path / "out").glob("records/score/short/*"))


def test_a_scorer_of_another_type_than_announced_is_told_so(own, tmp_path):
    with pytest.raises(CurateError) as caught:
        run(own({"own_scorers:Wrong": {"name": "wrong"}}))
    assert "'wrong'" in caught.value.what and "int64" in caught.value.expected
    assert not list((tmp_path / "out").glob("scores/wrong/*"))


def test_a_scorers_own_mistake_is_shown_with_its_traceback(own):
    with pytest.raises(ZeroDivisionError, match="the scorer's own mistake") as caught:
        run(own({"own_scorers:Fails": {"name": "fails"}}))
    assert "own_scorers.py" in str(caught.traceback[-1].path)


@pytest.mark.ray
def test_under_ray(own, tmp_path, ray_engine):
    config = own(CAPITALS, {"own_scorers:Doubled": {"name": "doubled"}}, {"own_scorers:Average": {"name": "average"}})
    pipeline(config).run(engine=ray_engine(tmp_path))
    in_rays = hashes(tmp_path / "out", "scores/*/*")
    shutil.rmtree(tmp_path / "out")
    run(config)
    assert hashes(tmp_path / "out", "scores/*/*") == in_rays


@pytest.mark.ray
def test_a_mistake_under_ray_is_the_scorers_own(own, tmp_path, ray_engine):
    with pytest.raises(ZeroDivisionError, match="the scorer's own mistake"):
        pipeline(own({"own_scorers:Fails": {"name": "fails"}})).run(engine=ray_engine(tmp_path))
