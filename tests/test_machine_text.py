"""Text found on this machine: domains, determinism, what a broken file becomes, and roff to words."""

from __future__ import annotations

import gzip
import inspect
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curate.errors import ConfigError
from curate.ingest.machine_text import Places, machine_documents, this_machine
from curate.ingest.manual_pages import manual_text, plain
from curate.ingest.readers.reader import BadRecord, Limits, reader_of
from curate.ingest.sources import Extra, Source, list_inputs

LONG = " ".join(["A sentence that a reader may find useful, or not."] * 8)


@pytest.fixture(scope="module")
def here() -> list[dict[str, Any]]:
    return list(machine_documents(300_000))


@pytest.fixture
def places(tmp_path: Path) -> Places:
    found = Places(tmp_path / "lib", (tmp_path / "site", tmp_path / "second"), tmp_path / "share")
    for folder in (found.library, *found.packages, found.share):
        folder.mkdir()
    return found


def put(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def texts(places: Places, domain: str, **options: int) -> dict[tuple[str, int], str]:
    rows = [row for row in machine_documents(places=places, **options) if row["domain"] == domain]
    return {(row["source"], row["row"]): row.get("text", row.get("bad")) for row in rows}


def test_python_alone_gives_five_domains(here: list[dict[str, Any]]) -> None:
    alone = Places(this_machine().library, this_machine().packages, Path("nowhere"))
    size = Counter[str]()
    for row in machine_documents(300_000, places=alone):
        size[row["domain"]] += len(row.get("text", "").encode())
    assert {d for d, n in size.items() if n > 100_000} >= {"code", "docstrings", "licences", "package_docs", "reference"}
    assert max(size.values()) <= 300_000


def test_what_this_machine_gives(here: list[dict[str, Any]]) -> None:
    assert here == list(machine_documents(300_000))
    keys = [(row["source"], row["row"]) for row in here]
    assert len(set(keys)) == len(keys)
    assert not any(source.startswith("/") or str(Path.home()) in source or sys.prefix in source for source, _ in keys)
    good = [row for row in here if "bad" not in row]
    assert all(set(row) == {"text", "domain", "source", "row"} and row["text"].strip() for row in good)
    assert len(here) - len(good) < 0.01 * len(here)


def test_a_pipeline_reads_the_same(here: list[dict[str, Any]]) -> None:
    options = {"max_bytes_per_domain": 300_000, "domains": ["reference", "licences"]}
    source = Source(format="machine_text", options=options, extras={"file": Extra(type="string"), "nr": Extra(type="int64", field="row")})
    files = list_inputs([source], ".").files
    assert sorted((file.source, file.domain) for file in files) == [("machine/licences", "licences"), ("machine/reference", "reference")]
    for file in files:
        items = list(reader_of("machine_text").read(file.piece(), source, Limits(block_bytes=50_000), {}))
        good = [item for item in items if not isinstance(item, BadRecord)]
        expected = [row for row in here if row["domain"] == file.domain]
        texts = [text for item in good for text in item.text.to_pylist()]
        places = [place for item in good for place in zip(*(item.extras[n].to_pylist() for n in ("file", "nr")), strict=True)]
        assert texts == [row["text"] for row in expected if "text" in row]
        assert places == [(row["source"], row["row"]) for row in expected if "text" in row]
        rows = [row for item in items for row in ([item.row] if isinstance(item, BadRecord) else item.rows_N.tolist())]
        assert sorted(rows) == list(range(len(expected)))
        assert len(good) > 2


@pytest.mark.parametrize("options", [{"max_bytes": 1}, {"domains": ["cod"]}])
def test_misspelt_options(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"machine_text has no (option|domain)"):
        list_inputs([Source(format="machine_text", options=options)], ".")


def test_bad_files_are_quarantined(monkeypatch: pytest.MonkeyPatch, places: Places) -> None:
    put(places.library / "a.py", b"# " + LONG.encode() + b"\xff")
    put(places.library / "b.py", f"# {LONG}")
    put(places.library / "c.py", f"# {LONG * 3}")
    monkeypatch.setattr("curate.ingest.machine_text.this_machine", lambda: places)
    source = Source(format="machine_text", options={"domains": ["code"]})
    (file,) = list_inputs([source], ".").files
    bad, long, good = reader_of("machine_text").read(file.piece(), source, Limits(max_record_bytes=len(LONG) + 9), {})
    assert isinstance(bad, BadRecord)
    assert (bad.row, bad.reason) == (0, "unreadable_file")
    assert bad.detail == f"python/lib/a.py: not valid UTF-8 at byte {2 + len(LONG)}"
    assert isinstance(long, BadRecord)
    assert (long.row, long.reason) == (2, "over_long_record")
    assert good.rows_N.tolist() == [1]


def test_docstrings_are_those_python_shows(here: list[dict[str, Any]]) -> None:
    import abc

    found = [row["text"] for row in here if row["source"] == "python/lib/abc.py#docstrings"]
    assert inspect.cleandoc(abc.ABCMeta.__doc__ or "") in found


def test_reference_holds_what_help_prints(here: list[dict[str, Any]]) -> None:
    from pydoc_data.topics import topics

    found = {row["text"] for row in here if row["source"].endswith("topics.py")}
    assert topics["assert"] in found
    assert found <= set(topics.values())


def test_nothing_is_executed(places: Places) -> None:
    put(places.library / "bomb.py", f'"""{LONG}"""\nraise SystemExit("executed")\n')
    assert list(texts(places, "docstrings").values()) == [LONG.strip()]


def test_docstrings_of_every_definition_in_order(places: Places) -> None:
    body = "".join(
        [
            f'"""module {LONG}"""\n',
            f'class A:\n    """class\n\n    {LONG}"""\n    def f(self):\n        """method {LONG}"""\n',
            f'if True:\n    async def g():\n        """short"""\n        def h():\n            """inner {LONG}"""\n',
            f'try:\n    pass\nexcept Exception:\n    def k():\n        """handler {LONG}"""\n',
        ]
    )
    put(places.packages[0] / "m.py", body)
    found = texts(places, "docstrings")
    first_words = [(row, text.split()[0]) for (_, row), text in found.items()]
    assert first_words == [(0, "module"), (1, "class"), (2, "method"), (4, "inner"), (5, "handler")]
    assert found[("site-packages/m.py#docstrings", 1)] == f"class\n\n{LONG.strip()}"


def test_broken_files_are_reported_not_raised(places: Places) -> None:
    put(places.library / "latin.py", b'"""' + LONG.encode() + b'\xe9"""')
    put(places.library / "syntax.py", f'"""{LONG}""" if\n')
    put(places.library / "nul.py", f'"""{LONG}"""\n\0')
    put(places.library / "half.py", f'"""{LONG} \\ud800"""')
    put(places.library / "fine.py", f'"""{LONG}"""')
    put(places.share / "man" / "man1" / "cut.1.gz", "x")
    (places.share / "man" / "man1" / "cut.1.gz").write_bytes(gzip.compress(LONG.encode())[:-9])
    (places.library / "dangling.py").symlink_to("nowhere")
    (places.library / "folder.py").mkdir()
    rows = list(machine_documents(places=places))
    bad = {(row["domain"], row["source"].removeprefix("python/lib/")): row["bad"] for row in rows if "bad" in row}
    assert bad == {
        ("code", "dangling.py"): "not a file",
        ("code", "latin.py"): f"not valid UTF-8 at byte {3 + len(LONG)}",
        ("docstrings", "dangling.py#docstrings"): "not a file",
        ("docstrings", "half.py#docstrings"): "holds half of a surrogate pair",
        ("docstrings", "latin.py#docstrings"): f"not valid UTF-8 at byte {3 + len(LONG)}",
        ("docstrings", "nul.py#docstrings"): bad["docstrings", "nul.py#docstrings"],
        ("docstrings", "syntax.py#docstrings"): "not Python: SyntaxError",
        ("manuals", "man/man1/cut.1.gz"): "cannot be read: EOFError",
    }
    assert bad["docstrings", "nul.py#docstrings"].startswith("not Python: ")
    assert all(isinstance(row["raw"], bytes) and "text" not in row for row in rows if "bad" in row)
    assert [row["source"] for row in rows if row["domain"] == "docstrings" and "text" in row] == ["python/lib/fine.py#docstrings"]


def test_the_cap_and_the_tests_last(places: Places) -> None:
    for name in ("a.py", "test/b.py", "z.py"):
        put(places.library / name, f"# {name} {LONG}")
    put(places.library / "giant.py", LONG * 20)
    size = len(f"# z.py {LONG}")
    found = texts(places, "code", max_bytes_per_domain=12 * size)
    assert [source for source, _ in found] == ["python/lib/a.py", "python/lib/z.py", "python/lib/test/b.py"]
    many = places.packages[0] / "many.dist-info" / "licenses"
    for i in range(30):
        put(many / f"LICENSE.{i:02d}", LONG)
    capped = texts(places, "licences", max_bytes_per_domain=11 * len(LONG))
    assert list(capped) == [(f"site-packages/many.dist-info/licenses/LICENSE.{i:02d}", 0) for i in range(11)]


def test_the_first_of_two_packages_of_one_name_counts(places: Places) -> None:
    put(places.packages[0] / "p" / "README.md", f"first {LONG}")
    put(places.packages[1] / "p" / "README.md", f"second {LONG}")
    assert list(texts(places, "package_docs").values()) == [f"first {LONG}"]


def test_package_and_system_documents(places: Places) -> None:
    put(places.packages[0] / "p-1.dist-info" / "METADATA", f"Name: p\nVersion: 1\n\n# p\n\n{LONG}")
    put(places.packages[0] / "q-1.dist-info" / "METADATA", "Name: q\nVersion: 1\n")
    put(places.packages[0] / "p" / "data.txt", LONG)
    put(places.share / "doc" / "bash" / "README.gz", LONG)
    put(places.share / "doc" / "bash" / "copyright", f"Copyright {LONG}")
    put(places.share / "common-licenses" / "GPL-3", f"GPL {LONG}")
    assert texts(places, "package_docs") == {("site-packages/p-1.dist-info/METADATA", 0): f"# p\n\n{LONG}", ("doc/bash/README.gz", 0): LONG}
    assert [source for source, _ in texts(places, "licences")] == ["common-licenses/GPL-3", "doc/bash/copyright"]


def test_web_pages_lose_their_tags(places: Places) -> None:
    put(places.library / "idlelib" / "help.html", f"<html><style>p {{x}}</style><h1>Menus &amp; keys</h1>\n\n\n\n<p>{LONG}</p></html>")
    assert texts(places, "reference") == {("python/lib/idlelib/help.html", 0): f"Menus & keys\n\n{LONG.rstrip()}"}


def test_a_manual_page_by_hand() -> None:
    page = r"""'\" t
.\" comment
.de Sp
.if t .sp .5v
..
.ie n \{\
.ds -- \(*W-
.\}
.el .ds x y
.TH LS "1" "May 2026" "GNU"
.SH NAME
ls \- list \fIdirectory\fR contents
.SH SYNOPSIS
.B ls
[\fI\,OPTION\/\fR]...
.BR grep (1),
.PP
First line,
second \(lqquoted\(rq \[u00E9]t\[u00E9].
.TP
\fB\-a\fR, \fB\-\-all\fR
do not ignore
.nf
  a  b
  c
.fi
.TS
l l.
x	y
.TE
"""
    assert manual_text(page).split("\n\n") == [
        "LS(1)",
        "NAME",
        "ls - list directory contents",
        "SYNOPSIS",
        "ls [OPTION]... grep(1),",
        "First line, second “quoted” été.",
        "-a, --all do not ignore",
        "  a  b\n  c",
        "x\ty",
    ]


def test_an_mdoc_page_by_hand() -> None:
    page = ".Dd May 1, 2026\n.Dt SSH 1\n.Os\n.Sh NAME\n.Nm ssh\n.Nd remote login\n.Sh DESCRIPTION\n.Nm\n.Op Fl p Ar port ,\nconnects.\n"
    assert manual_text(page).split("\n\n") == ["SSH(1)", "NAME", "ssh remote login", "DESCRIPTION", "ssh -p port, connects."]


def test_a_page_that_stands_for_another_is_empty() -> None:
    assert manual_text(".so man1/gzip.1\n") == ""


@pytest.mark.parametrize(
    ("roff", "text"),
    [
        (r"a\eb", r"a\b"),
        (r"\s-1AB\s0", "AB"),
        (r"x\h'2m'y", "xy"),
        (r"a\ b\&.", "a b."),
        ("end\\", "end"),
        (r"\[uD800]\[zz]", ""),
        (r"\f(CWx\fP", "x"),
    ],
)
def test_escapes(roff: str, text: str) -> None:
    assert plain(roff) == text
