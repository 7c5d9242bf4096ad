"""Decontamination: what of evaluation files is found in documents, where, and what is not."""

from __future__ import annotations

import gzip
import json
import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from curate import registry
from curate.decontamination import evaluation_files
from curate.errors import ConfigError, CurateError, InputError
from curate.scorers.contamination import Contamination
from curate.testing import check_scorer

QUESTION = "How many green bottles were still hanging on the old garden wall when two of them fell down?"
ANSWER = "Eight, since ten of them had hung there."
FILLER = "Nothing here was ever asked of anybody, least of all by those who write examinations for a living."


def write_lines(path: Path, records: Sequence[Any]) -> Path:
    content = b"".join(json.dumps(record, ensure_ascii=False).encode() + b"\n" for record in records)
    if path.suffix == ".zst":
        content = zstandard.compress(content)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def loaded(folder: Path, *files: Path | str, **options: Any) -> Contamination:
    scorer = Contamination(files=tuple(map(str, files)), **options)
    scorer.check()
    state = folder / "state"
    state.mkdir(exist_ok=True)
    scorer.fit(pa.table({"text": pa.array([], pa.large_string())}), state)
    scorer.load(state)
    return scorer


def facts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "state" / "index.json").read_text())


def score(scorer: Contamination, *texts: str | None) -> list[dict[str, Any]]:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    return scorer.score(batch).to_pylist()


def span(row: dict[str, Any], text: str) -> str:
    return text.encode()[row["start"] : row["end"]].decode()


@pytest.fixture
def quiz(tmp_path: Path) -> Path:
    records = [{"id": f"q{i}", "question": f"{FILLER} Number {'abcdefgh'[i]}?", "answer": "No."} for i in range(3)]
    return write_lines(tmp_path / "quiz.jsonl", [*records, {"id": "q3", "question": QUESTION, "answer": ANSWER}])


def test_a_question_is_found_with_its_span(tmp_path: Path, quiz: Path) -> None:
    scorer = loaded(tmp_path, quiz)
    text = f"Grüße aus Köln. „{QUESTION}“ And on it goes."
    (row,) = score(scorer, text)
    assert span(row, text) == QUESTION[:-1]
    n_words = len(QUESTION.split())
    assert row | {"start": 0, "end": 0} == {
        "keep": False,
        "reason": "contaminated:quiz",
        "n_matches": n_words - 12,
        "overlap": n_words / (n_words + 7),
        "start": 0,
        "end": 0,
        "item": "quiz:3",
    }


def test_clean_empty_and_absent_texts(tmp_path: Path, quiz: Path) -> None:
    clean, empty, null = score(loaded(tmp_path, quiz), "Twelve of these words never stood in a row in any file of ours.", "", None)
    nothing = {"keep": True, "reason": None, "n_matches": 0, "overlap": 0.0, "start": None, "end": None, "item": None}
    assert clean == nothing and empty == nothing
    assert null == dict.fromkeys(nothing)


@pytest.mark.parametrize(
    "change",
    [
        str.upper,
        lambda text: re.sub(" ", " \n\t ", text),
        lambda text: re.sub("[?,.]", " …! ", text),
        lambda text: re.sub(" ", "—", text),
        lambda text: text.replace("e", "é").replace("o", "o\u0308"),
        lambda text: textwrap.fill(text, 20),
    ],
)
def test_what_does_not_change_words_hides_nothing(tmp_path: Path, quiz: Path, change: Callable[[str], str]) -> None:
    text = f"Before. {change(QUESTION)} After."
    (row,) = score(loaded(tmp_path, quiz), text)
    assert row["item"] == "quiz:3"
    assert span(row, text).startswith(change(QUESTION)[:3])


def test_numbers_are_all_alike(tmp_path: Path) -> None:
    problem = "A farmer with {} hens sells {} eggs every morning and keeps {:.2f} of them for her own breakfast table."
    path = write_lines(tmp_path / "sums.jsonl", [{"problem": problem.format(17, 120, 3.5)}])
    assert [row["keep"] for row in score(loaded(tmp_path, path), problem.format(4, 99, 0.25))] == [False]


def test_twelve_words_are_not_thirteen(tmp_path: Path, quiz: Path) -> None:
    words = QUESTION.split()
    some = score(loaded(tmp_path, quiz), *(" ".join(["so", *words[2 : 2 + n], "so"]) for n in (12, 13)))
    assert [row["n_matches"] for row in some] == [0, 1]


def test_ngrams_reach_from_question_to_answer_but_not_from_item_to_item(tmp_path: Path, quiz: Path) -> None:
    scorer = loaded(tmp_path, quiz)
    across = " ".join(QUESTION.split()[-7:] + ANSWER.split()[:6])
    items = f"{' '.join(FILLER.split()[-5:])} Number c? No. {' '.join(QUESTION.split()[:5])}"
    assert [row["keep"] for row in score(scorer, across, items)] == [False, True]


def test_short_items_are_matched_whole(tmp_path: Path) -> None:
    short, too_short = "Which river flows through the whole city of Lyon", "Who wrote the letters of Junius"
    path = write_lines(tmp_path / "short.jsonl", [{"q": short}, {"q": too_short}])
    scorer = loaded(tmp_path, path)
    rows = score(scorer, f"I ask: {short.upper()}?", " ".join(short.split()[:8]), f"So {too_short}?", f"{short} {short}")
    assert [row["n_matches"] for row in rows] == [1, 0, 0, 2]
    assert rows[3]["overlap"] == 1.0 and rows[3]["end"] == 2 * len(short) + 1
    (file,) = facts(tmp_path)["files"]
    assert (file["n_items"], file["n_whole"], file["n_short"]) == (2, 1, 1)
    without = loaded(tmp_path, path, shortest=9)
    assert score(without, short)[0]["n_matches"] == 1


def test_templates_are_left_out_and_passages_are_not(tmp_path: Path) -> None:
    names = ["Anna", "Bert", "Cleo", "Dora", "Emil", "Fritz", "Gerd", "Hans", "Ida", "Jan", "Karl", "Lisa"]
    phrase = "pick the option which answers the question above best and explain your choice"
    passage = " ".join(f"{name} met {other} near the {other.lower()}house" for name, other in zip(names, names[1:], strict=False))
    template = write_lines(
        tmp_path / "template.jsonl", [{"q": f"{n} asks whether {n.lower()}ish things exist, {phrase}, says {n}"} for n in names]
    )
    about = [{"q": f"{passage}. What about {n} and her {n.lower()}ish friends?"} for n in names]
    shared = write_lines(tmp_path / "passage.jsonl", [*about, {"q": QUESTION}])
    scorer = loaded(tmp_path, template, shared)
    rows = score(scorer, phrase, f"It said: {passage}", f"Anna asks whether annaish things exist, {phrase}, says Anna")
    assert [row["reason"] for row in rows] == [None, "contaminated:passage", "contaminated:template"]
    assert facts(tmp_path)["files"][0]["n_template"] == 4, "two words before the phrase and one behind it are in every item too"
    assert score(loaded(tmp_path, template, shared, common=12), phrase)[0]["reason"] == "contaminated:template"


def test_words_around_every_value_may_be_absent(tmp_path: Path) -> None:
    asked = [f"what is the {word} of a very old tree called" for word in ("bark", "leaf", "root", "crown", "stem", "sap")]
    asked += [f"who climbed the {word} of a rather young tree first" for word in ("bark", "leaf", "root", "crown", "stem", "sap")]
    path = write_lines(tmp_path / "wrapped.jsonl", [{"prompt": f"Question: {q}?\nAnswer:", "target": "it"} for q in asked])
    rows = score(
        loaded(tmp_path, path), f"Say, {asked[4]}?", f"Question: {asked[7]}? Answer: it", "Who climbed the sap of a rather young tree?"
    )
    assert [row["item"] for row in rows] == ["wrapped:4", "wrapped:7", None]
    assert rows[1]["overlap"] == 1.0


def test_rows_of_numbers_match_nothing(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "sums.jsonl", [{"q": "1 2 3 4 5 6 7 8 9 10 11 12 13 14"}, {"q": QUESTION}])
    assert score(loaded(tmp_path, path), "table " + " ".join(map(str, range(100))))[0]["keep"]
    assert facts(tmp_path)["files"][0]["n_left_out"] == 1
    assert not score(loaded(tmp_path, path, distinct=1, common=1, shortest=8), QUESTION)[0]["keep"]


def test_the_span_is_that_of_the_longest_match_and_names_its_item(tmp_path: Path, quiz: Path) -> None:
    other = write_lines(tmp_path / "other.jsonl", [{"text": "x y"}, {"text": f"{FILLER} {QUESTION} {ANSWER}"}])
    scorer = loaded(tmp_path, quiz, other)
    text = f"{FILLER} So. {QUESTION} {ANSWER}"
    (row,) = score(scorer, text)
    assert span(row, text) == f"{QUESTION} {ANSWER}"[:-1]
    # The quiz has every n-gram of the span too, and comes first.
    assert (row["item"], row["reason"]) == ("quiz:3", "contaminated:quiz")
    (longer,) = score(scorer, f"{FILLER} {QUESTION} {ANSWER}")
    assert (longer["item"], longer["reason"]) == ("other:1", "contaminated:other")


def test_bounds(tmp_path: Path, quiz: Path) -> None:
    text = f"{QUESTION} {FILLER.replace('ever', 'never').replace('by', 'of')}"
    share = len(QUESTION.split()) / len(text.split())

    def kept(**options: Any) -> bool:
        return score(loaded(tmp_path, quiz, **options), text)[0]["keep"]

    assert not kept() and not kept(max_overlap=0.0) and not kept(max_overlap=share - 0.01)
    assert kept(max_overlap=share) and not kept(min_matches=6) and kept(min_matches=7)
    assert not kept(max_overlap=share, min_matches=6), "either bound is enough"


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.txt"])
def test_formats(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        pq.write_table(pa.table({"id": ["1", "2"], "q": [FILLER, QUESTION]}), path)
    elif name.endswith(".txt"):
        path.write_text(f"\ufeff{FILLER}\n{QUESTION}\n", encoding="utf-8")
    else:
        write_lines(path, [{"q": FILLER}, {"q": QUESTION}])
    assert [row["item"] for row in score(loaded(tmp_path, path), QUESTION, FILLER)] == ["a:1", "a:0"]


def test_rows_count_blank_lines(tmp_path: Path) -> None:
    path = tmp_path / "gaps.jsonl"
    path.write_text(f"\n\n{json.dumps({'q': QUESTION})}\n")
    assert score(loaded(tmp_path, path), QUESTION)[0]["item"] == "gaps:2"


def test_which_fields_are_text(tmp_path: Path) -> None:
    record = {
        "id": FILLER,
        "provenance": {"note": FILLER},
        "question_id": FILLER,
        "metadata": [FILLER],
        "question": {"stem": QUESTION, "choices": [{"label": "A", "text": ANSWER}, {"label": "B", "text": None}]},
        "gold": 3,
    }
    write_lines(tmp_path / "nested.jsonl", [record])
    (items,) = evaluation_files.read(evaluation_files.find([str(tmp_path / "nested.jsonl")]))
    assert items[0].texts == [QUESTION, "A", ANSWER, "B"] and items[0].n_single == 1
    assert items[0].fields == ["question.stem", "question.choices.label", "question.choices.text", "question.choices.label"]
    found = evaluation_files.find([str(tmp_path / "nested.jsonl")])
    (items,) = evaluation_files.read(found, ["question.choices.text", "question.stem"])
    assert items[0].texts == [QUESTION, ANSWER], "a question stands before its choices"
    (items,) = evaluation_files.read(found, ["metadata"])
    assert items[0].texts == [FILLER], "what is asked for is text whatever it is called"


def test_a_string_that_repeats_within_a_record_counts_once(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "choice.jsonl", [{"q": "Where?", "target": " here", "choices": ["there", "here"]}])
    ((item,),) = evaluation_files.read(evaluation_files.find([str(path)]))
    assert item.texts == ["Where?", " here", "there"]


def test_names(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        write_lines(tmp_path / folder / "test.jsonl.gz", [{"q": QUESTION}])
    paths = sorted(str(path) for path in tmp_path.glob("*/test.jsonl.gz"))
    assert [file.name for file in evaluation_files.find([f"{tmp_path}/*/test.jsonl.gz"])] == ["x/test", "y/test"]
    assert [file.name for file in evaluation_files.find([*paths[:1], paths[0]])] == ["test"]
    scorer = Contamination(files=f"{tmp_path}/*/*")
    assert scorer.outputs.field("reason").metadata[b"codes"] == b"contaminated:x/test,contaminated:y/test"
    assert [str(path) for path in scorer.artifacts()] == paths


def test_every_batch_lists_all_reasons_in_order(tmp_path: Path, quiz: Path) -> None:
    other = write_lines(tmp_path / "a_other.jsonl", [{"q": QUESTION}])
    scorer = loaded(tmp_path, quiz, other)
    codes = scorer.outputs.field("reason").metadata[b"codes"].decode().split(",")
    assert codes == ["contaminated:quiz", "contaminated:a_other"]
    for texts in ([], ["clean"], [FILLER]):
        found = scorer.score(pa.record_batch({"text": pa.array(texts, pa.large_string())}))
        assert found["reason"].dictionary.to_pylist() == codes


def test_content_makes_the_identity(tmp_path: Path, quiz: Path) -> None:
    before = registry.identity(Contamination(files=str(quiz)))
    assert before == registry.identity(Contamination(files=str(quiz)))
    quiz.write_bytes(quiz.read_bytes().replace(b"green", b"brown"))
    assert registry.identity(Contamination(files=str(quiz))) != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": ()}, "`files`"),
        ({"fields": ()}, "`fields`"),
        ({"ngram": 3}, "`ngram` is 3"),
        ({"shortest": 14}, "`shortest` is 14"),
        ({"common": 0}, "`common` is 0"),
        ({"distinct": 9}, "`distinct` is 9"),
        ({"max_overlap": 1.0}, "`max_overlap` is 1.0"),
        ({"max_overlap": float("nan")}, "`max_overlap` is nan"),
        ({"min_matches": 0}, "`min_matches` is 0"),
        ({"fields": ("question", "solution")}, "no record has text in 'solution'"),
        ({"fields": ("solution",)}, "no record of 'quiz' has text in solution"),
        ({"files": ("absent/*.jsonl",)}, "no evaluation file matches 'absent/\\*.jsonl'"),
        ({"files": ("s3://bucket/a.jsonl",)}, "local disks"),
    ],
)
def test_options_that_cannot_be(quiz: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Contamination(**{"files": (str(quiz),)} | options).check()
    assert caught.value.expected and caught.value.fix


def test_a_field_that_is_not_there_names_those_that_are(quiz: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        Contamination(files=str(quiz), fields=("solution",)).check()
    assert "answer, id, question" in caught.value.expected


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("a.jsonl", b'{"q": "x"}\n{"q": \n', InputError, "line 2"),
        ("a.jsonl", b'{"q": "x"}\n\n["x"]\n', InputError, "line 3"),
        ("a.txt", b"fine\n\xff\n", InputError, "line 2"),
        ("a.jsonl", b"", InputError, "holds no record"),
        ("a.jsonl.gz", b"no gzip at all", InputError, "cannot be read"),
        ("a.jsonl.zst", zstandard.compress(b'{"q": "x"}\n' * 9)[:-6], InputError, "cannot be read|line"),
        ("a.parquet", b"PAR1", InputError, "cannot be read"),
        ("a.csv", b"q\nx\n", ConfigError, "no format known"),
        ("a,b.txt", b"words\n", ConfigError, "reason code"),
        ("a.jsonl", b'{"id": "x"}\n', ConfigError, "no record of 'a' has text"),
    ],
)
def test_files_that_cannot_be(tmp_path: Path, name: str, content: bytes, kind: type[CurateError], message: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(kind, match=message) as caught:
        Contamination(files=str(path)).check()
    assert str(path) in caught.value.where


def test_a_folder_is_no_file_and_nothing_to_match_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        Contamination(files=str(tmp_path)).check()
    path = write_lines(tmp_path / "words.jsonl", [{"q": "one"}, {"q": "1 2 3 4 5 6 7 8"}])
    with pytest.raises(ConfigError, match="of 2 items, 1 have fewer than 8 words and 1 only"):
        loaded(tmp_path, path)


def test_a_damaged_state_is_told(tmp_path: Path, quiz: Path) -> None:
    scorer = loaded(tmp_path, quiz)
    (tmp_path / "state" / "keys.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match="cannot be read"):
        scorer.load(tmp_path / "state")
    with pytest.raises(ConfigError, match="indexed nowhere"):
        scorer.load(None)


def test_contract(tmp_path: Path) -> None:
    cooking = "stir the onion until it is golden then add flour and butter to the warm pan"
    path = write_lines(tmp_path / "meals.jsonl", [{"q": cooking}, {"q": QUESTION}])
    check_scorer(Contamination(files=str(path)))
    check_scorer(Contamination(files=str(path), ngram=5, shortest=4, distinct=2, max_overlap=0.2, min_matches=3))
