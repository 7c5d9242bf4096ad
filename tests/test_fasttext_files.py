"""Damaged model files are refused by structure, before the library could crash on them."""

from __future__ import annotations

import struct
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.errors import InputError
from curate.scorers.fasttext import FastText
from curate.scorers.fasttext_model import MAGIC, Predictor, flat_lines, inspect
from curate.testing import sample_documents


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    FastText(label="domain", dim=4, bucket=300, epoch=2).fit(sample_documents(), folder)
    return folder / "model.bin"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"abc", "ends at byte 3"),
        (b"garbage" * 100, "starts with"),
        (struct.pack("<ii", MAGIC, 99), "version 99"),
        (struct.pack("<ii", MAGIC, 12) + b"\xff" * 400, "fastText model"),
        (struct.pack("<ii", MAGIC, 12) + b"\0" * 400, "do not fit together"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    for attempt in (lambda: inspect(path), lambda: FastText(model=path).check(), lambda: FastText(model=path).load(None)):
        with pytest.raises(InputError, match=message) as caught:
            attempt()
        assert caught.value.where == str(path)
        assert ".bin or .ftz" in caught.value.expected


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        inspect(tmp_path / "absent")
    with pytest.raises(InputError, match="cannot be read"):
        inspect(tmp_path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_cut_or_lengthened_file_is_refused(model: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = model.read_bytes()
    cut = data.draw(st.integers(0, len(content) - 1))
    path = tmp_path / "cut.bin"
    for damaged in (content[:cut], content + b"\0" * (1 + cut % 9)):
        path.write_bytes(damaged)
        with pytest.raises(InputError):
            inspect(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 91), value=st.integers(0, 255))
def test_a_changed_header_never_crashes_the_interpreter(model: Path, tmp_path: Path, at: int, value: int) -> None:
    content = bytearray(model.read_bytes())
    content[at] = value
    path = tmp_path / "changed.bin"
    path.write_bytes(content)
    try:
        inspect(path)
    except InputError as error:
        assert error.where == str(path)


def test_quantized_models_serve(model: Path, tmp_path: Path) -> None:
    import fasttext

    texts = sample_documents()["text"].combine_chunks()
    lines, _ = flat_lines(texts)
    source = tmp_path / "train.txt"
    source.write_bytes(b"".join(b"__label__a " + line for line in lines))
    for i, options in enumerate(({}, {"qnorm": True}, {"cutoff": 300, "retrain": True, "input": str(source)})):
        quantized = fasttext.load_model(str(model))
        quantized.quantize(verbose=0, thread=1, **options)
        path = tmp_path / f"{i}.ftz"
        quantized.save_model(str(path))
        assert set(inspect(path).labels) == {"cooking", "law", "code"}
        scorer = FastText(model=path)
        scorer.check()
        scorer.load(None)
        found = scorer.score(pa.record_batch([texts, sample_documents()["doc_id"].combine_chunks()], names=["text", "doc_id"]))
        expected = [labels[0] for labels in quantized.predict([line.decode()[:-1] for line in lines])[0]]
        assert found["label"].to_pylist() == [label.removeprefix("__label__") for label in expected]
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(InputError):
            inspect(path)


def test_word_vectors_are_no_classifier(model: Path, tmp_path: Path) -> None:
    content = bytearray(model.read_bytes())
    kind_at = 4 * 9  # magic, version, dim, ws, epoch, minCount, neg, wordNgrams, loss, model
    assert struct.unpack_from("<i", content, kind_at) == (3,)
    struct.pack_into("<i", content, kind_at, 2)  # skip-gram
    path = tmp_path / "vectors.bin"
    path.write_bytes(content)
    for attempt in (lambda: Predictor(path), lambda: FastText(model=path).check()):
        with pytest.raises(InputError, match="predicts no labels"):
            attempt()
