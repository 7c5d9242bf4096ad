"""Names resolve to classes in one place, and never to code the pipeline did not allow."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pytest
import xxhash

from curate import registry
from curate.errors import ConfigError, InputError
from curate.hashing import fingerprint
from curate.mixers.document_mixer import DocumentMixer
from curate.mixers.mixer import Mixer
from curate.scorers.scorer import Scorer, columns

PLUGIN = '''
from dataclasses import dataclass
import pyarrow as pa
from curate.scorers.scorer import Scorer, columns

@dataclass
class Shouting(Scorer):
    """Share of capital letters."""
    minimum: int = 1
    outputs = columns(share=(pa.float64(), "fraction", "none"))

    def score(self, batch):
        return pa.record_batch([pa.array([0.0] * batch.num_rows)], schema=self.outputs)

class Undecorated(Shouting):
    other: int = 2

class Unfinished(Scorer):
    pass

NUMBER = 3
'''


@dataclass
class Part:
    weight: float = 1.0


@dataclass
class Sample(Scorer):
    """A scorer with a field of every kind."""

    model: Path
    name: str = "x"
    size: int = 3
    kind: Literal["a", "b"] = "a"
    labels: tuple[str, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    part: Part = field(default_factory=Part)
    outputs = columns(n=(pa.int64(), "rows", "none"))

    def check(self) -> None:
        if self.size < 0:
            raise ConfigError("size is negative", expected="0 or more")

    def artifacts(self) -> tuple[Path, ...]:
        return (self.model,)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([pa.array([0] * batch.num_rows)], schema=self.outputs)


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "my_scorers_for_test.py").write_text(PLUGIN)
    return tmp_path


def test_every_built_in_name_resolves() -> None:
    for name in registry.SCORERS:
        assert issubclass(registry.scorer_class(name), Scorer)
    for name in registry.MIXERS:
        assert issubclass(registry.mixer_class(name), Mixer | DocumentMixer)


def test_unknown_names_show_the_nearest_and_the_known() -> None:
    with pytest.raises(ConfigError) as caught:
        registry.scorer_class("fastext")
    assert "did you mean 'fasttext'?" in caught.value.fix
    assert "tokens" in caught.value.fix
    with pytest.raises(ConfigError, match="no mixer 'fasttext'"):
        registry.mixer_class("fasttext")


def test_a_far_name_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"known: .*fasttext"):
        registry.scorer_class("zzz")


def test_own_code_needs_the_allow_list(plugin: Path) -> None:
    name = "my_scorers_for_test:Shouting"
    for plugins in ([], ["other"], ["my_scorers"], ["my_scorers_for_test.inner"]):
        with pytest.raises(ConfigError, match="does not allow its import") as caught:
            registry.scorer_class(name, plugins, [plugin])
        assert "add `plugins: [my_scorers_for_test]`" in caught.value.fix
    assert "my_scorers_for_test" not in sys.modules
    before = list(sys.path)
    cls = registry.scorer_class(name, ["my_scorers_for_test"], [plugin])
    assert cls.__name__ == "Shouting"
    assert sys.path == before
    assert registry.build(cls, {"minimum": 2}).minimum == 2  # type: ignore[attr-defined]


def test_own_code_that_cannot_serve(plugin: Path) -> None:
    allowed = (["my_scorers_for_test"], [plugin])
    with pytest.raises(ConfigError, match="has no 'Shoutin'") as caught:
        registry.scorer_class("my_scorers_for_test:Shoutin", *allowed)
    assert "did you mean 'Shouting'?" in caught.value.fix
    with pytest.raises(ConfigError, match="would be ignored"):
        registry.scorer_class("my_scorers_for_test:Undecorated", *allowed)
    with pytest.raises(ConfigError, match="not finished"):
        registry.scorer_class("my_scorers_for_test:Unfinished", *allowed)
    with pytest.raises(ConfigError, match="is no scorer"):
        registry.scorer_class("my_scorers_for_test:NUMBER", *allowed)
    with pytest.raises(ConfigError, match="is no mixer"):
        registry.mixer_class("my_scorers_for_test:Shouting", *allowed)
    with pytest.raises(ConfigError, match="there is no module 'my_absent_module'"):
        registry.scorer_class("my_absent_module:X", ["my_absent_module"], [plugin])
    with pytest.raises(ConfigError, match="names no scorer"):
        registry.scorer_class("__import__('os'):system", ["os"])


def test_modules_that_fail_on_import(tmp_path: Path) -> None:
    (tmp_path / "broken_for_test.py").write_text("1 / 0\n")
    (tmp_path / "needy_for_test.py").write_text("import surely_absent_package\n")
    with pytest.raises(ConfigError, match="cannot be imported: ZeroDivisionError"):
        registry.scorer_class("broken_for_test:X", ["broken_for_test"], [tmp_path])
    with pytest.raises(ConfigError, match="needs the package 'surely_absent_package'"):
        registry.scorer_class("needy_for_test:X", ["needy_for_test"], [tmp_path])


def test_entry_points_answer_to_a_bare_name(tmp_path: Path) -> None:
    info = tmp_path / "shouting_for_test-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shouting-for-test\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[curate.scorers]\nshouting = entry_for_test:Shouting\n")
    (tmp_path / "entry_for_test.py").write_text(PLUGIN)
    code = "from curate import registry; print(registry.scorer_class('shouting'), 'shouting' in registry.scorer_names())"
    root = Path(__file__).parents[1]
    environment = {"PYTHONPATH": f"{tmp_path}:{root}", "PATH": "/usr/bin:/bin"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "<class 'entry_for_test.Shouting'> True"


def test_importing_the_registry_imports_no_scorer() -> None:
    code = "import sys, curate.registry; print({'fasttext', 'torch', 'tokenizers', 'curate.scorers.fasttext'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1])
    assert found.stdout.strip() == "set()"


def test_build_converts_and_defaults(tmp_path: Path) -> None:
    made = registry.build(Sample, {"model": str(tmp_path / "m"), "labels": ["a", "b"], "shares": {"x": "1e-3"}, "part": {"weight": 2}})
    assert made == Sample(tmp_path / "m", labels=("a", "b"), shares={"x": 0.001}, part=Part(2.0))
    assert isinstance(made.model, Path)
    assert made.size == 3


@pytest.mark.parametrize(
    ("options", "what", "expected", "fix"),
    [
        ({"model": "m", "sise": 3}, "no option 'sise'", "an option it has", "did you mean 'size'?"),
        ({"model": "m", "size": "three"}, "'size' of Sample is 'three' (str)", "int: a valid integer", "correct"),
        ({"model": "m", "kind": "c"}, "'kind' of Sample is 'c' (str)", "'a' or 'b'", "correct"),
        ({"model": "m", "labels": 3}, "'labels' of Sample is 3 (int)", "tuple", "correct"),
        ({"model": "m", "shares": {"x": "much"}}, "'shares.x' of Sample is 'much' (str)", "number", "correct"),
        ({"model": "m", "part": {"wight": 2}}, "no option 'part.wight'", "an option it has", "did you mean 'weight'?"),
        ({}, "needs the option 'model'", "a value", "add model:"),
        ([1], "list [1]", "a mapping", "write"),
    ],
)
def test_build_says_what_is_wrong(options: object, what: str, expected: str, fix: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.build(Sample, options, where="scorers.quality")  # type: ignore[arg-type]
    assert what in caught.value.what
    assert expected in caught.value.expected
    assert fix in caught.value.fix
    assert caught.value.where.startswith("scorers.quality")


def test_build_checks_and_counts_further_problems() -> None:
    with pytest.raises(ConfigError, match="size is negative"):
        registry.build(Sample, {"model": "m", "size": -1})
    with pytest.raises(ConfigError, match="and 1 more: shares"):
        registry.build(Sample, {"model": "m", "size": "x", "shares": 3})


def test_schema_describes_the_fields() -> None:
    schema = registry.options_schema(registry.scorer_class("fasttext"))
    assert schema["additionalProperties"] is False
    assert schema["properties"]["loss"]["enum"] == ["softmax", "hs", "ova", "ns"]
    assert schema["properties"]["dim"]["type"] == "integer"
    assert "dataclass" not in json.dumps(schema)
    assert registry.options_schema(Sample)["required"] == ["model"]


def test_identity_is_content_and_not_place(tmp_path: Path) -> None:
    first, second = tmp_path / "a.bin", tmp_path / "sub" / "b.bin"
    second.parent.mkdir()
    first.write_bytes(b"weights")
    second.write_bytes(b"weights")
    one, two = registry.identity(Sample(first)), registry.identity(Sample(second))
    assert one == two
    assert one["options"]["model"] == {"xxh3_128": xxhash.xxh3_128_hexdigest(b"weights")}
    assert one["files"] == [xxhash.xxh3_128_hexdigest(b"weights")]
    assert one["class"] == f"{__name__}:Sample"
    assert one["source"] == xxhash.xxh3_128_hexdigest(Path(__file__).read_bytes())
    assert fingerprint(one) == fingerprint(json.loads(json.dumps(one)))
    second.write_bytes(b"other")
    assert registry.identity(Sample(second)) != one
    assert registry.identity(Sample(first, shares={"x": float("inf")}))["options"]["shares"] == {"x": "inf"}
    assert registry.identity(Sample(first, size=4)) != one


def test_identity_of_a_built_in_has_no_source_and_misses_files(tmp_path: Path) -> None:
    assert "source" not in registry.identity(registry.build(registry.mixer_class("natural"), None))
    with pytest.raises(InputError, match="cannot be read"):
        registry.identity(Sample(tmp_path / "absent"))
