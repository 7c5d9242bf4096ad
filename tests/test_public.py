"""What users see first: the public names, the command line, the shipped files, and the documentation, which must run."""

from __future__ import annotations

import configparser
import contextlib
import dataclasses
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import causal_models
import pytest
import yaml
from typer.testing import CliRunner

import curate
from curate import config, registry
from curate.cli import app
from curate.errors import InputError
from curate.evidence import settings as evidence
from curate.ingest.sources import Extra, Source
from curate.pipeline import Pipeline
from curate.selection.rules import Rule

ROOT = Path(__file__).parents[1]
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEXTS = [*DOCS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
ERRORS = ["BadRecordsError", "ConfigError", "CurateError", "InfeasibleMixtureError", "InputError", "IntegrityError", "StaleOutputError"]
MIXING = ["Budget", "DocumentMixer", "Mixer", "Mixture"]
PUBLIC = [*ERRORS, *MIXING, "Corpus", "Pipeline", "Resources", "Sample", "Scorer", "Stream", "columns", "loader"]


def blocks(path: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def commands(path: Path) -> list[list[str]]:
    """The command lines of ``sh`` blocks, without comments."""
    return [shlex.split(line, comments=True) for block in blocks(path, "sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory with the shipped quickstart, scaled down, and its corpus."""
    folder = tmp_path_factory.mktemp("quickstart")
    data: dict[str, Any] = yaml.safe_load((ROOT / "pipelines" / "quickstart.yaml").read_text())
    data["ingest"]["sources"][0]["options"]["max_bytes_per_domain"] = 120_000
    for entry in data["score"]:
        ((use, options),) = entry.items()
        options["sample_bytes"] = 100_000
        options |= {"tokens": {"vocab_size": 400}, "ngram_perplexity": {"order": 2}, "fasttext": {"dim": 4, "bucket": 1000}}[use]
    data["mix"] |= {"token_budget": 30_000, "max_epochs": 50}
    (folder / "pipelines").mkdir()
    (folder / "pipelines" / "quickstart.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    with contextlib.chdir(folder):
        Pipeline.from_yaml("pipelines/quickstart.yaml", engine="process").run()
    return folder


def test_the_public_names_are_these() -> None:
    assert sorted(curate.__all__) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    found = getattr(curate, name)
    assert found.__name__ == name
    assert found.__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Corpsu'"):
        _ = curate.Corpsu


def test_importing_curate_loads_nothing_heavy() -> None:
    code = "import sys, curate; print([m for m in ('pyarrow', 'numpy', 'ray', 'torch', 'numba', 'pydantic') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_pipeline_without_ray_or_torch() -> None:
    """What a notebook or a debugging run loads: neither engine of a cluster nor of training."""
    code = "import sys, curate.pipeline, curate.cli; print([m for m in ('ray', 'torch', 'pyspark') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_help_names_every_verb() -> None:
    shown = CliRunner().invoke(app, ["--help"], terminal_width=200)
    assert shown.exit_code == 0
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
    assert {"check", "plan", "run", "show", "report", "why", "schema"} <= set(verbs)
    for verb in verbs:
        assert verb in shown.output
        assert CliRunner().invoke(app, [verb, "--help"]).exit_code == 0
        assert f"curate {verb}" in (ROOT / "README.md").read_text(), f"README does not show `curate {verb}`"


def stand_ins(file: Path, folder: Path) -> list[str]:
    """Overrides that put small untrained models, and results of theirs, where a pipeline has models of a laboratory."""
    if yaml.safe_load(file.read_text()).get("correlate") is None:
        return []
    names = [f"model-{i}" for i in range(3)]
    for i, name in enumerate(names):
        made = causal_models.model("pythia", causal_models.tokenizer().vocab_size, 256, seed=i)
        causal_models.saved(folder / name, made=made)
    header, row = ",".join(["benchmark", *names]), ",".join(f"{0.5 + i / 10:.1f}" for i in range(len(names)))
    benchmarks = [name for members in yaml.safe_load(file.read_text())["correlate"]["targets"].values() for name in members]
    (folder / "errors.csv").write_text("\n".join([header, *(f"{name},{row}" for name in benchmarks)]) + "\n")
    models, results = [str(folder / name) for name in names], [{"path": str(folder / "errors.csv"), "values": "error"}]
    return [f"correlate.losses.models={json.dumps(models)}", f"correlate.benchmarks={json.dumps(results)}"]


@pytest.mark.parametrize("file", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_pipelines_pass_check(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    pipeline = Pipeline.from_yaml(file, overrides=[f"output={tmp_path}/out", *stand_ins(file, tmp_path)])
    try:
        pipeline.check()
    except InputError as error:
        absent = [s.path for s in pipeline.config.ingest.sources if s.path and s.path.startswith("../shared")]
        if not absent or (ROOT.parent / "shared").exists():
            raise
        pytest.skip(f"the data of {file.name} is not here: {error.what}")


@pytest.mark.parametrize("file", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_confs_are_valid(file: Path) -> None:
    assert config.load_circumstance(file).workers > 0


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.stem)
def test_python_blocks_run(path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, in one namespace, in a folder that holds the quickstart's corpus."""
    monkeypatch.chdir(small)
    code = "\n\n".join(blocks(path, "python"))
    if code:
        # A module of its own, so that its classes pickle as a user's would.
        module = type(sys)(f"blocks_of_{path.stem.lower()}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(code, f"{path.name}, its python blocks", "exec"), module.__dict__)


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.stem)
def test_shell_blocks_run(path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """README's commands as they stand; elsewhere ``run`` is only checked, since overrides would begin the work anew."""
    monkeypatch.chdir(small)
    made = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    an_id = curate.Corpus.open("runs/quickstart").table(["doc_id"])["doc_id"][0].as_py().hex()
    for words in commands(path):
        if words[0] == "make":
            assert words[1] in made, f"{path.name}: the Makefile has no target {words[1]}"
            continue
        assert words[0] == "curate", f"{path.name}: {words}"
        arguments = [an_id if word == "DOC_ID" else word for word in words[1:]]
        if path.name != "README.md" and arguments[0] == "run":
            arguments[0] = "check"
        shown = CliRunner().invoke(app, arguments)
        assert shown.exit_code == 0, f"{path.name}: {' '.join(words)}: {shown.exception!r}"


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.stem)
def test_yaml_blocks_are_valid(path: Path) -> None:
    """Every block is a part of a pipeline; options of built-in scorers and mixers are checked, files need not exist."""
    for block in blocks(path, "yaml"):
        given = yaml.safe_load(block)
        minimal = {"name": "x", "output": "runs/x", "ingest": {"sources": [{"path": "raw"}]}}
        pipeline = config.validate(config.PipelineConfig, minimal | given, path.name)
        for score in pipeline.score:
            if ":" not in score.use:
                with contextlib.suppress(InputError):
                    registry.build(registry.scorer_class(score.use), score.options)
        if ":" not in pipeline.mix.use:
            registry.build(registry.mixer_class(pipeline.mix.use), pipeline.mix.options)


def options() -> list[tuple[str, str]]:
    """Every key a pipeline or conf file can have, with where it belongs."""
    models = [config.PipelineConfig, config.Ingest, Source, Extra, config.Mix, config.Emit, config.Circumstance, Rule]
    models += [evidence.Correlate, evidence.Losses, evidence.ModelEntry, evidence.Chunks, evidence.Benchmarks]
    found = [(m.__name__, f.alias or n) for m in models for n, f in m.model_fields.items()]
    for name in registry.SCORERS:
        found += [(name, f.name) for f in dataclasses.fields(registry.scorer_class(name))]
    for name in registry.MIXERS:
        found += [(name, name), *((name, f.name) for f in dataclasses.fields(registry.mixer_class(name)))]
    return [(where, key) for where, key in found if (where, key) != ("Mix", "options")]


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "pipelines.md").read_text()
    code = set(re.findall(r"[A-Za-z_]\w*", " ".join(re.findall(r"`[^`\n]+`|```.*?```", text, flags=re.DOTALL))))
    assert [pair for pair in options() if pair[1] not in code] == []


def test_every_layer_is_in_the_architecture() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    modules = {p.stem for p in (ROOT / "curate").glob("*.py")} | {p.parent.name for p in (ROOT / "curate").glob("*/__init__.py")}
    missing = [m for m in sorted(modules - {"__init__"}) if not re.search(rf"^    .*\b{m}\b", text, flags=re.MULTILINE)]
    assert missing == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.stem)
def test_texts_name_no_place_of_one_machine(path: Path) -> None:
    assert re.findall(r"(?<![\w.~])/(?:home|root|work|tmp|opt|usr|Users|mnt)\b[/\w]*", path.read_text()) == []


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: p.stem)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        linked = (path.parent / file) if file else path
        assert linked.exists(), f"{path.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            anchors |= set(re.findall(r'<a id="([^"]+)"', linked.read_text()))
            assert anchor in anchors, f"{path.name}: {target} is none of {sorted(anchors)}"


def test_every_declared_package_is_pinned() -> None:
    """Those of the optional extras that no test installs apart."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    listed = "\n".join([setup["options"]["install_requires"], *(extras[name] for name in extras if name not in ("spark", "s3"))])
    declared = {re.split(r"[\[><=]", line)[0] for line in listed.split()} - {"curate"}
    pins = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert {name.lower().replace("_", "-") for name in declared} <= {name.lower().replace("_", "-") for name in pins}
