"""YAML to configuration: every mistake is an error that names the field, and nothing is dropped in silence."""

from __future__ import annotations

import copy
import json

import pytest
import yaml

from curate.config import Circumstance, load_circumstance, load_pipeline
from curate.errors import ConfigError
from curate.json_schema import json_schema
from curate.quantities import parse_bytes, parse_count
from pipelines import ROOT, configuration, write_yaml

SHIPPED = sorted((ROOT / "pipelines").glob("*.yaml"))
CONFS = sorted((ROOT / "conf").glob("*.yaml"))


@pytest.fixture
def base(tmp_path):
    return configuration(tmp_path / "raw", tmp_path / "out")


def loaded(config, tmp_path, *overrides):
    return load_pipeline(write_yaml(config, tmp_path / "p.yaml"), list(overrides))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_pipelines_load(path):
    assert load_pipeline(path).name == path.stem


@pytest.mark.parametrize("path", CONFS, ids=lambda p: p.stem)
def test_shipped_confs_load(path):
    assert load_circumstance(path).engine in ("ray", "process")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_shipped_pipelines_fit_the_schema(path):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema("pipeline"))


def test_the_schema_finds_what_the_program_finds(base):
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema("pipeline")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(base, schema)
    for harm in (
        lambda c: c.update(sead=1),
        lambda c: c["mix"].update(temprature=1),
        lambda c: c["score"].append({"tokens": {"vocab": 3}}),
        lambda c: c["score"].append({"tokanz": {}}),
        lambda c: c.pop("output"),
        lambda c: c["emit"].update(format="json"),
    ):
        config = copy.deepcopy(base)
        harm(config)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(config, schema)


def test_the_schema_is_json_and_names_every_scorer_and_mixer():
    text = json.dumps(json_schema("pipeline"))
    assert all(f'"{name}"' in text for name in ("tokens", "fasttext", "ngram_perplexity", "temperature", "static", "natural"))
    assert "workers" in json.dumps(json_schema("conf"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [("64MiB", 2**26), ("1.5GB", 1_500_000_000), ("10 kb", 10_000), ("7", 7), (9, 9), ("1_000", 1000), ("2TiB", 2**41)],
)
def test_sizes(given, expected):
    assert parse_bytes(given) == expected


@pytest.mark.parametrize(("given", "expected"), [("10M", 10**7), ("1.5B", 1_500_000_000), ("3k", 3000), ("2T", 2 * 10**12)])
def test_counts(given, expected):
    assert parse_count(given) == expected


@pytest.mark.parametrize("given", ["", "MB", "1 parsec", "-5", "1e9", "1,000"])
def test_what_is_no_size(given):
    with pytest.raises(ValueError, match="expected a size such as 64MiB"):
        parse_bytes(given)


MISTAKES = {
    "unknown key": (lambda c: c.update(sead=1), "unknown key 'sead'", "did you mean 'seed'"),
    "unknown key below": (lambda c: c["ingest"].update(shard_byte=1), "unknown key 'shard_byte'", "did you mean 'shard_bytes'"),
    "unknown key of a source": (lambda c: c["ingest"]["sources"][0].update(pth=1), "unknown key 'pth'", "did you mean 'path'"),
    "missing": (lambda c: c.pop("output"), "output is missing", "add `output:`"),
    "no sources": (lambda c: c["ingest"].update(sources=[]), "sources", ""),
    "size": (lambda c: c["ingest"].update(shard_bytes="big"), "expected a size such as 64MiB", ""),
    "negative": (lambda c: c["emit"].update(shard_bytes=0), "greater than 0", ""),
    "choice": (lambda c: c["emit"].update(format="json"), "'text' or 'packed'", ""),
    "two budgets": (lambda c: c["mix"].update(token_budget=1, byte_budget=1), "exclude each other", ""),
    "two scorers of one name": (lambda c: c["score"].append({"tokens": {}}), "two scorers are called 'tokens'", ""),
    "reserved name": (lambda c: c["score"].append({"tokens": {"name": "mix"}}), "cannot be called 'mix'", ""),
    "scorer entry of two": (lambda c: c["score"].append({"tokens": {}, "fasttext": {}}), "", ""),
    "name with a slash": (lambda c: c.update(name="a/b"), "name", ""),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_its_field(base, tmp_path, name):
    harm, what, fix = MISTAKES[name]
    harm(base)
    with pytest.raises(ConfigError) as caught:
        loaded(base, tmp_path)
    assert what in caught.value.what
    assert fix in caught.value.fix
    assert "p.yaml" in caught.value.where


def test_several_mistakes_in_one_message(base, tmp_path):
    base |= {"sead": 1, "naem": 2}
    base.pop("name")
    with pytest.raises(ConfigError, match="3 fields are wrong") as caught:
        loaded(base, tmp_path)
    assert all(word in caught.value.what for word in ("'sead'", "'naem'", "name is missing"))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("name: a\nname: b\n", "the key 'name' is written twice"),
        ("name: {a: 1, a: 2}\n", "the key 'a' is written twice"),
        ("name: [\n", "not valid YAML"),
        ("output: {{ run }}\n", "a key is a mapping or a list"),
        ("? [a, b]\n: 1\n", "a key is a mapping or a list"),
        ("", "the file holds no mapping"),
        ("- a\n- b\n", "the file holds no mapping"),
        ("just words\n", "the file holds no mapping"),
        ("name: !!python/object:os.system x\n", "not valid YAML"),
    ],
)
def test_files_that_are_no_pipeline(tmp_path, text, what):
    path = tmp_path / "p.yaml"
    path.write_text(text)
    for overrides in ([], ["seed=1"]):
        with pytest.raises(ConfigError) as caught:
            load_pipeline(path, overrides)
        assert what in caught.value.what
        assert str(path) in caught.value.where


def test_yaml_anchors_and_merges(base, tmp_path):
    path = tmp_path / "p.yaml"
    text = yaml.safe_dump({k: v for k, v in base.items() if k != "mix"})
    path.write_text(text + "mix: &m {use: temperature, temperature: 2.0}\n")
    assert load_pipeline(path).mix.options == {"temperature": 2.0}
    path.write_text(text + "mix:\n  <<: {use: temperature, temperature: 2.0}\n  temperature: 3.0\n")
    assert load_pipeline(path).mix.options == {"temperature": 3.0}


def test_a_misspelt_file_name(tmp_path, base):
    write_yaml(base, tmp_path / "mine.yaml")
    with pytest.raises(ConfigError) as caught:
        load_pipeline(tmp_path / "mime.yaml")
    assert f"did you mean {tmp_path / 'mine.yaml'}" in caught.value.fix


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("seed=11", lambda c: c.seed == 11),
        ("mix.temperature=5", lambda c: c.mix.options["temperature"] == 5),
        ("mix.token_budget=10M", lambda c: c.mix.token_budget == 10**7),
        ("score.tokens.vocab_size=512", lambda c: c.score[0].options["vocab_size"] == 512),
        ("score.0.tokens.vocab_size=512", lambda c: c.score[0].options["vocab_size"] == 512),
        ("ingest.sources.0.path=other", lambda c: c.ingest.sources[0].path == "other"),
        ("emit.carry=[]", lambda c: c.emit.carry == []),
        ("select.0.min=1", lambda c: c.select[0].min == 1),
        ("ingest.sources.0.domain={field: kind}", lambda c: c.ingest.sources[0].domain.field == "kind"),
    ],
)
def test_set(base, tmp_path, override, read):
    assert read(loaded(base, tmp_path, override))


def test_set_reaches_a_scorer_written_short(base, tmp_path):
    base["score"] = ["tokens"]
    assert loaded(base, tmp_path, "score.tokens.vocab_size=512").score[0].options == {"vocab_size": 512}


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("seed", "is not key=value"),
        ("=3", "is not key=value"),
        ("seed.deeper=1", "steps into a plain value"),
        ("name.a.b=1", "steps into a plain value"),
        ("score.tokenz.vocab_size=1", "no entry 'tokenz'"),
        ("ingest.sources.7.path=x", "no entry '7'"),
        ("seed={", "is not YAML"),
        ("sead=1", "unknown key 'sead'"),
    ],
)
def test_a_bad_set(base, tmp_path, override, what):
    with pytest.raises(ConfigError) as caught:
        loaded(base, tmp_path, override)
    assert what in caught.value.what and caught.value.fix


def test_circumstances(tmp_path):
    assert load_circumstance(None, {"workers": 3, "engine": None}) == Circumstance(workers=3)
    with pytest.raises(ConfigError, match="'ray' or 'process'"):
        load_circumstance(None, {"engine": "spark"})
    (tmp_path / "c.yaml").write_text("wrokers: 3\n")
    with pytest.raises(ConfigError) as caught:
        load_circumstance(tmp_path / "c.yaml")
    assert "did you mean 'workers'" in caught.value.fix
    assert "secret" not in repr(Circumstance(storage_options={"key": "secret"}))
