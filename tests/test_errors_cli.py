"""Everything a person can do wrong ends with exit code 2, one screen, no traceback, and what to change."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from curate.storage import Folder
from pipelines import configuration, curate, run, write_yaml


@pytest.fixture
def file(raw, tmp_path):
    """A function from changes to a pipeline file."""

    def written(harm=None, **changes):
        config = configuration(raw, tmp_path / "out", **changes)
        if harm:
            harm(config)
        return write_yaml(config, tmp_path / "p.yaml")

    return written


def refused(answer, *words: str) -> None:
    """Exit 2; a headline and labelled parts on one screen; every word in it; no traceback."""
    told = " ".join(answer.err.split())
    assert answer.code == 2, answer
    assert answer.err.startswith("error  ")
    assert "Traceback" not in answer.err
    assert "change " in told
    assert len(answer.err.splitlines()) <= 24
    for word in words:
        assert word in told, (word, told)


WRONG = {
    "unknown key": (lambda c: c.update(sead=1), ["unknown key 'sead'", "did you mean 'seed'"]),
    "unknown scorer": (lambda c: c["score"].append({"fasttest": {}}), ["there is no scorer 'fasttest'", "did you mean 'fasttext'"]),
    "unknown mixer": (lambda c: c.update(mix={"use": "temprature"}), ["there is no mixer 'temprature'", "did you mean 'temperature'"]),
    "unknown option": (lambda c: c["score"][0]["tokens"].update(vocabsize=1), ["no option 'vocabsize'", "did you mean 'vocab_size'"]),
    "option of a wrong type": (lambda c: c["score"][0]["tokens"].update(vocab_size="many"), ["'vocab_size'", "int"]),
    "no such column to select": (
        lambda c: c["select"].append({"column": "tokens.n_tokenz", "min": 1}),
        ["tokens.n_tokenz", "did you mean 'tokens.n_tokens'"],
    ),
    "no such column to carry": (
        lambda c: c["emit"].update(carry=["token.n_tokens"]),
        ["no stage makes the column 'token.n_tokens'", "did you mean 'tokens.n_tokens'"],
    ),
    "no such length": (lambda c: c["mix"].update(length="tokens.n"), ["no stage makes the column 'tokens.n'"]),
    "length is no count": (lambda c: c["mix"].update(length="text"), ["'text' is no count"]),
    "tokens without a tokenizer": (
        lambda c: (c.update(score=[]), c["emit"].update(carry=[]), c["mix"].update(token_budget=5)),
        ["token_budget needs token counts", "- tokens: {}"],
    ),
    "packed without a tokenizer": (lambda c: (c.update(score=[]), c.update(emit={"format": "packed"})), ["packed shards need a tokenizer"]),
    "packed with another": (
        lambda c: c["emit"].update(format="packed", tokenizer="token"),
        ["no tokens scorer is called 'token'", "did you mean 'tokens'"],
    ),
    "missing tokenizer file": (
        lambda c: c["score"][0].update(tokens={"tokenizer": "/nowhere/tokenizer.json"}),
        ["/nowhere/tokenizer.json"],
    ),
    "missing model file": (
        lambda c: c["score"].append({"fasttext": {"model": "/nowhere/lid.bin"}}),
        ["the fastText model does not exist", "/nowhere/lid.bin"],
    ),
    "proportions": (
        lambda c: c.update(mix={"use": "static", "proportions": {"web": 0.5, "news": 0.4}}),
        ["sum to 0.9", "web: 0.555555556, news: 0.444444444"],
    ),
    "no such domain": (
        lambda c: c.update(mix={"use": "static", "proportions": {"web": 0.5, "newz": 0.5}}),
        ["'newz'", "did you mean 'news'"],
    ),
    "no files": (lambda c: c["ingest"].update(sources=[{"path": "nowhere/*.jsonl"}]), ["no file matches", "nowhere/*.jsonl"]),
    "no such folder": (lambda c: c["ingest"].update(sources=[{"path": "nowhere/at/all"}]), ["cannot be listed"]),
    "unknown format": (lambda c: c["ingest"].update(sources=[{"path": __file__, "domain": "x"}]), ["format", "cannot be told"]),
    "unreadable field": (lambda c: c["ingest"]["sources"][0].update(domain={"feild": "x"}), ["domain"]),
    "plugin not allowed": (lambda c: c["score"].append({"mine:Scorer": {}}), ["does not allow its import", "plugins: [mine]"]),
    "plugin not there": (lambda c: (c.update(plugins=["mine"]), c["score"].append({"mine:Scorer": {}})), ["there is no module 'mine'"]),
    "negative seed": (lambda c: c.update(seed=-1), ["seed"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_check_and_run_find_it_before_any_work(file, command, tmp_path, name):
    harm, words = WRONG[name]
    path = file(harm)
    for verb in (["check", path], ["run", path, "--engine", "process", "--quiet"]):
        refused(command(*verb), *words)
    assert not (tmp_path / "out" / "documents").exists()


def test_a_corrupt_tokenizer_and_model(file, command, tmp_path):
    for name, entry in (("tokenizer.json", "tokens: {tokenizer: "), ("lid.bin", "fasttext: {model: ")):
        (tmp_path / name).write_bytes(b"\x00garbage")
        use, option = entry.split(": {")
        scorers = [{use: {option.rstrip(": "): str(tmp_path / name)}}]
        refused(command("check", file(score=scorers, emit={}, mix={"use": "natural"})), name)


INFEASIBLE = {"use": "static", "proportions": {"books": 0.5, "web": 0.5}, "token_budget": "1M"}


def test_an_infeasible_mixture_fails_before_work_starts(file, command, tmp_path):
    answer = command("run", file(mix=INFEASIBLE), "--engine", "process", "--quiet")
    refused(answer, "'books' cannot supply its share", "needs 500,000 tokens, has", "max_epochs = 4", "lower the budget to", "on_shortage")
    assert not (tmp_path / "out" / "documents").exists()


def test_redistribution_lets_it_pass_or_tells_what_all_have(file, command, tmp_path):
    mix = INFEASIBLE | {"token_budget": "60k", "on_shortage": "redistribute"}
    assert command("run", file(mix=mix), "--engine", "process", "--quiet").code == 0
    shutil.rmtree(tmp_path / "out")
    answer = command("run", file(mix=INFEASIBLE | {"on_shortage": "redistribute"}), "--engine", "process", "--quiet")
    refused(answer, "together cannot supply 1,000,000 tokens", "lower the budget")


def test_a_domain_empty_after_selection(file, command):
    harsh = [{"column": "n_bytes", "max": 1200, "reason": "long"}]
    mix = {"use": "static", "proportions": {"books": 0.5, "web": 0.5}}
    refused(command("run", file(select=harsh, mix=mix), "--engine", "process", "--quiet"), "'books'", "empty after selection", "select")
    nothing = [{"column": "n_bytes", "max": 1, "reason": "long"}]
    refused(command("run", file(select=nothing), "--engine", "process", "--quiet"), "no document is left after selection", "select")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "seed"], ["is not key=value", "--set mix.token_budget=10M"]),
        (["--set", "seed.x=1"], ["steps into a plain value"]),
        (["--set", "sead=1"], ["unknown key 'sead'"]),
        (["--conf", "nowhere.yaml"], ["no such file", "nowhere.yaml"]),
        (["--engine", "spark"], ["'ray' or 'process'"]),
        (["--only", "langid"], ["no stage 'langid'", "ingest"]),
        (["--only", "mix", "--until", "mix"], ["exclude each other"]),
        (["--only", "mix"], ["needs ingest", "--until"]),
    ],
)
def test_bad_arguments(file, command, arguments, words):
    options = arguments if "--engine" in arguments else [*arguments, "--engine", "process"]
    refused(command("run", file(), "--quiet", *options), *words)


def test_bad_sample_size(file, command):
    refused(command("plan", file(), "--sample", "much"), "--sample", "4MB")


def test_a_duplicate_key_is_found_with_its_line(file, command):
    path = file()
    path.write_text(path.read_text() + "seed: 4\n")
    refused(command("check", path), "the key 'seed' is written twice", f"line {len(path.read_text().splitlines())}")


def test_another_pipelines_output(file, command, damaged):
    path = file(lambda c: c.update(name="other", output=str(damaged)))
    for verb in ("check", "run"):
        refused(command(verb, path), "belongs to the pipeline 'small'", "choose another `output:`")


def test_an_output_with_foreign_files(file, command, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    refused(command("run", file(), "--engine", "process"), "holds files that are not a corpus", "thesis.tex")
    assert (tmp_path / "out" / "thesis.tex").read_text() == "precious"
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_an_output_that_is_a_file(file, command, tmp_path):
    (tmp_path / "out").write_text("a file")
    refused(command("run", file(), "--engine", "process"), "out")


def test_two_runs_at_once(file, command, tmp_path):
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused(command("run", file(), "--engine", "process", "--quiet"), "another run is at work", "wait for it")
    assert command("run", file(), "--engine", "process", "--quiet").code == 0


@pytest.mark.parametrize("after", [0, 3, 8, 15, 40])
def test_a_disk_that_fills_up(file, command, tmp_path, monkeypatch, finished_rows, after):
    sync, count = os.fsync, [0]

    def full(handle):
        count[0] += 1
        if count[0] > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = command("run", file(), "--engine", "process", "--quiet")
    refused(answer, "no space left on the disk", "out/", "a rerun continues")
    assert not list((tmp_path / "out").rglob(".tmp-*"))
    assert command("run", file(), "--engine", "process", "--quiet").code == 0
    assert finished_rows(tmp_path / "out")


@pytest.fixture
def finished_rows(finished):
    """Whether an output holds the same shards as the finished run."""
    from pipelines import hashes

    return lambda output: hashes(output) == hashes(finished)


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts a disk of some bytes; only root may."""
    mounted = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot mount a small disk here: {done.stderr.decode().strip()}")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("size", ["100k", "160k", "240k", "360k"])
def test_a_disk_that_is_really_full(file, command, small_disk, size):
    output = small_disk(f"size={size}") / "out"
    answer = command("run", file(lambda c: c.update(output=str(output))), "--engine", "process", "--quiet")
    refused(answer, "no space left on the disk", str(output.parent), "point `output:` at another disk")


def test_a_read_only_disk(file, command, small_disk):
    place = small_disk("size=1m")
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    answer = command("run", file(lambda c: c.update(output=str(place / "out"))), "--engine", "process", "--quiet")
    refused(answer, str(place))


def test_a_corpus_on_a_read_only_disk(file, command, small_disk, raw):
    place = small_disk("size=20m")
    path = file(lambda c: c.update(output=str(place / "out")))
    assert command("run", path, "--engine", "process", "--quiet").code == 0
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
    assert command("show", place / "out", "--verify").code == 0
    refused(command("run", path, "--engine", "process", "--quiet"), str(place))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_output_that_may_not_be_written(file, command, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    refused(command("run", file(), "--engine", "process", "--quiet"), "out")


def test_reading_what_is_no_corpus(command, tmp_path, finished):
    refused(command("show", tmp_path), "no corpus here")
    refused(command("show", tmp_path / "nowhere"), "no corpus here")
    refused(command("why", "abcd", tmp_path), "no corpus here")
    refused(command("show", finished, "--mix", "defualt"), "no mix called 'defualt'", "did you mean 'default'")
    refused(command("show", finished, "shard-00077"), "no shard 'shard-00077'")
    refused(command("schema", "pipelin"), "no schema of 'pipelin'", "did you mean 'pipeline'")


def test_a_damaged_corpus_is_told_without_verify(command, damaged):
    sorted(damaged.glob("documents/*"))[0].write_bytes(b"PAR1 nothing PAR1")
    refused(command("show", damaged))
    sorted(damaged.glob("documents/*"))[0].unlink()
    refused(command("show", damaged), "part-00000")


def test_debug_shows_the_traceback(tmp_path):
    answer = curate("--debug", "check", tmp_path / "nowhere.yaml")
    assert answer.returncode == 1
    assert "Traceback" in answer.stderr and "ConfigError" in answer.stderr


def test_as_a_process(file, raw, tmp_path):
    bad = curate("check", file(lambda c: c.update(sead=1)))
    assert bad.returncode == 2 and "unknown key 'sead'" in bad.stderr and "Traceback" not in bad.stderr and bad.stdout == ""
    good = curate("run", file(), "--engine", "process")
    assert good.returncode == 0, good.stderr
    assert "in the mix" in good.stdout and "load_from_disk" in good.stdout
    assert "Exception ignored" not in good.stderr
    again = curate("run", file(), "--engine", "process", "--quiet")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_errors_of_a_worker_arrive_whole(file, raw, tmp_path, ray_engine):
    """What a task raises in another process is the same error, with its parts."""
    from curate.errors import IntegrityError
    from curate.pipeline import Pipeline

    run(configuration(raw, tmp_path / "out"), until="mix")
    victim = sorted((tmp_path / "out").glob("records/mix/default/*"))[0]
    Folder(str(tmp_path / "out")).write(victim.relative_to(tmp_path / "out").as_posix(), b"{")
    with pytest.raises(IntegrityError) as caught:
        Pipeline.from_yaml(file()).run(engine=ray_engine())
    assert victim.name in caught.value.where and caught.value.fix
