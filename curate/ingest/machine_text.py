"""Text that every machine with Python already has, as a first corpus that needs no download.

    code          the standard library's source files
    docstrings    of the standard library and the installed packages, one document per docstring
    licences      of the installed packages, of Python, and of the system where it keeps any
    manuals       manual pages, where there are any
    package_docs  descriptions and READMEs of installed packages, then READMEs and changelogs of system packages
    reference     the language reference (the texts behind ``help('assert')``) and other prose of the standard library

Nothing is imported or executed: Python files are read as text and as syntax trees. Sources are
named from the library or packages folder on, so they are the same wherever Python is installed;
the documents are those of the installed versions. Exact copies (one licence in forty packages) are left in.

In a pipeline it is a format without a path, one source ``machine/DOMAIN`` for each domain:

    - format: machine_text
      options: {max_bytes_per_domain: 2000000, domains: [code, docstrings]}
      extras: {file: {type: string}}        # where each document lies, if wanted
"""

from __future__ import annotations

import ast
import gzip
import inspect
import os
import site
import sys
import sysconfig
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.errors import ConfigError, nearest
from curate.hashing import fingerprint
from curate.ingest.manual_pages import manual_text
from curate.ingest.readers.fields import Unfit, fit_extra, look_up
from curate.ingest.readers.reader import BadRecord, Limits, Options, Piece, Raw, Reader, Records, over_long, register
from curate.ingest.sources import EXTRA_TYPES, InputFile, Source

FORMAT = "machine_text"
MAX_BYTES_PER_DOMAIN = 8_000_000
LARGEST_FILE = 16 << 20
SHORTEST_BYTES = 200
TESTS = {"test", "tests", "idle_test"}
LICENCE_NAMES = ("license", "licence", "copying", "notice", "authors", "copyright")
README_NAMES = ("readme", "changelog", "changes", "news", "history", "todo", "faq")
HOLD_STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
TOPICS = "pydoc_data/topics.py"


@dataclass(frozen=True)
class Places:
    """Where the text lies; a folder that does not exist gives nothing.

    Args:
        library: the standard library.
        packages: folders of installed packages; of two files with one name the first counts, as in an import.
        share: the system's shared documents (``man``, ``doc``, ``common-licenses``).
    """

    library: Path
    packages: tuple[Path, ...]
    share: Path = Path("/usr/share")


def this_machine() -> Places:
    """The places of the running interpreter."""
    paths = sysconfig.get_paths()
    packages = dict.fromkeys(Path(p).resolve() for p in [paths["purelib"], paths["platlib"], *site.getsitepackages()])
    return Places(Path(paths["stdlib"]), tuple(packages))


class _UnreadableError(Exception):
    """A file that cannot be had as text; the message says why."""

    def __init__(self, reason: str, raw: bytes = b"") -> None:
        super().__init__(reason)
        self.raw = raw


@dataclass(frozen=True)
class _File:
    path: Path
    source: str


Found = Iterator[tuple[str, int, str | _UnreadableError]]  # source, row, text


def machine_documents(
    max_bytes_per_domain: int = MAX_BYTES_PER_DOMAIN, domains: Sequence[str] | None = None, places: Places | None = None
) -> Iterator[dict[str, Any]]:
    """Documents of the domains above, in an order that depends on their names alone.

    A domain ends before the first document that would take it past the cap. A document of more than a tenth
    of the cap is left out, so that a domain is not a handful of giants and its cap is nearly used up. Files of
    test suites, some of them broken on purpose, come last in their domain.

    Args:
        max_bytes_per_domain: UTF-8 bytes of text to take from each domain at most.
        domains: only these; all when None.
        places: where to look; this interpreter and this system when None.

    Yields:
        ``{"text", "domain", "source", "row"}``, and for what cannot be read as text
        ``{"bad": reason, "raw": bytes, "domain", "source", "row"}``; (source, row) is unique.
    """
    places = places or this_machine()
    for domain in DOMAINS if domains is None else domains:
        n_bytes = 0
        for source, row, text in DOMAINS[domain](places):
            where = {"domain": domain, "source": source, "row": row}
            try:
                size = len(_utf8(text))
            except _UnreadableError as problem:
                yield {"bad": str(problem), "raw": problem.raw, **where}
                continue
            if size > max_bytes_per_domain // 10:
                continue
            if n_bytes + size > max_bytes_per_domain:
                break
            n_bytes += size
            yield {"text": text, **where}


def _utf8(text: str | _UnreadableError) -> bytes:
    """A text's bytes; raises what was found in its place, or what keeps it from being encoded."""
    if isinstance(text, _UnreadableError):
        raise text
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _UnreadableError("holds half of a surrogate pair", text.encode(errors="surrogatepass")) from error


def _code(places: Places) -> Found:
    for file in _python_files(places.library, "python/lib"):
        if not file.source.endswith(TOPICS):
            yield from _document(file)


def _docstrings(places: Places) -> Found:
    packages = (_python_files(folder, "site-packages") for folder in places.packages)
    files = _first_of_name(chain(_python_files(places.library, "python/lib"), *packages))
    for file in sorted(files, key=_is_test):
        source = f"{file.source}#docstrings"
        try:
            found = _docstrings_of(_read(file.path))
        except _UnreadableError as problem:
            yield source, 0, problem
            continue
        yield from ((source, row, text) for row, text in enumerate(found) if len(text) >= SHORTEST_BYTES)


def _licences(places: Places) -> Found:
    packages = chain.from_iterable(_files(folder, "site-packages") for folder in places.packages)
    system = chain(_files(places.share / "common-licenses", "common-licenses"), _files(places.share / "doc", "doc"))
    for file in chain(_files(places.library, "python/lib"), _first_of_name(packages), system):
        in_folder = file.path.parent.name.lower() in ("licenses", "licences", "common-licenses")
        if in_folder or (_starts(file, LICENCE_NAMES) and file.path.suffix in ("", ".txt", ".md", ".rst", ".gz")):
            yield from _document(file)


def _manuals(places: Places) -> Found:
    for file in _files(places.share / "man", "man"):
        if file.source.startswith("man/man"):  # others are translations
            yield from _document(file, manual_text)


def _package_docs(places: Places) -> Found:
    for file in _first_of_name(chain.from_iterable(_files(folder, "site-packages") for folder in places.packages)):
        if file.path.name == "METADATA":
            yield from _document(file, _description)
        elif not _starts(file, LICENCE_NAMES) and file.path.parent.name not in ("licenses", "licences"):
            is_prose = file.path.suffix in (".rst", ".md") or (_starts(file, README_NAMES) and file.path.suffix in ("", ".txt"))
            yield from _document(file) if is_prose else ()
    for file in _files(places.share / "doc", "doc"):
        if _starts(file, README_NAMES) and not file.path.suffix.lower().startswith(".htm"):
            yield from _document(file)


def _reference(places: Places) -> Found:
    yield from _topics(_File(places.library / TOPICS, f"python/lib/{TOPICS}"))
    for file in _files(places.library, "python/lib"):
        is_prose = file.path.suffix in (".txt", ".rst", ".md", ".html") and not _starts(file, LICENCE_NAMES)
        if is_prose and not _is_test(file):
            yield from _document(file, _without_tags if file.path.suffix == ".html" else str)


DOMAINS: dict[str, Callable[[Places], Found]] = {
    "code": _code,
    "docstrings": _docstrings,
    "licences": _licences,
    "manuals": _manuals,
    "package_docs": _package_docs,
    "reference": _reference,
}


def _files(folder: Path, label: str) -> Iterator[_File]:
    """Every file below a folder by sorted name; other packages, caches, hidden names and aliases left out."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in ("__pycache__", "site-packages", "dist-packages") and name[0] != ".")
        for name in sorted(names):
            path = Path(parent, name)
            if name[0] == "." or (label in ("man", "doc", "common-licenses") and path.is_symlink()):
                continue
            below = path.relative_to(folder).as_posix()
            yield _File(path, f"{label}/{below}".encode(errors="backslashreplace").decode())


def _python_files(folder: Path, label: str) -> list[_File]:
    """The Python files below a folder, those of test suites last."""
    return sorted((file for file in _files(folder, label) if file.path.suffix == ".py"), key=_is_test)


def _first_of_name(files: Iterable[_File]) -> Iterator[_File]:
    seen: set[str] = set()
    for file in files:
        if file.source not in seen:
            seen.add(file.source)
            yield file


def _is_test(file: _File) -> bool:
    return not TESTS.isdisjoint(file.source.split("/")[:-1])


def _starts(file: _File, names: tuple[str, ...]) -> bool:
    return file.path.name.lower().startswith(names)


def _document(file: _File, convert: Callable[[str], str] = str) -> Found:
    """A file as one document, unless there is next to nothing in it."""
    try:
        text = convert(_read(file.path))
    except _UnreadableError as problem:
        yield file.source, 0, problem
        return
    if len(text.strip()) >= SHORTEST_BYTES:
        yield file.source, 0, text


def _read(path: Path) -> str:
    """A file's text, unpacked when its name ends in .gz."""
    if not path.is_file():  # a pipe would be waited on for ever
        raise _UnreadableError("not a file")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or type(error).__name__}") from error
    if len(content) > LARGEST_FILE:
        raise _UnreadableError(f"larger than {LARGEST_FILE} bytes")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise _UnreadableError(f"not valid UTF-8 at byte {error.start}", content) from error


def _tree(source: str) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stray backslash in somebody's package is not this reader's news
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise _UnreadableError(f"not Python: {type(error).__name__}", source.encode()) from error


def _docstrings_of(source: str) -> list[str]:
    """Docstrings of the module, its classes and functions, in the order they stand in the file, indentation removed."""
    if '"""' not in source and "'''" not in source:
        return []
    found: list[str] = []
    pending: list[ast.AST] = [_tree(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.append(ast.get_docstring(node, clean=False) or "")
        if not isinstance(node, ast.expr):  # no docstring lies inside an expression
            pending.extend(reversed([child for child in ast.iter_child_nodes(node) if isinstance(child, HOLD_STATEMENTS)]))
    return [inspect.cleandoc(text) for text in found if text]


def _topics(file: _File) -> Found:
    """The texts behind Python's ``help()``: the one dictionary literal of its module."""
    if not file.path.exists():
        return
    try:
        tree = _tree(_read(file.path))
    except _UnreadableError as problem:
        yield file.source, 0, problem
        return
    literals = [node.value for node in tree.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict)]
    values = [value.value for literal in literals for value in literal.values if isinstance(value, ast.Constant)]
    yield from ((file.source, row, text) for row, text in enumerate(values) if isinstance(text, str) and len(text) >= SHORTEST_BYTES)


def _description(metadata: str) -> str:
    """The long description of a distribution: what follows the headers of its METADATA."""
    return metadata.replace("\r\n", "\n").partition("\n\n")[2]


class _Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(data)


def _without_tags(html: str) -> str:
    """What a page says, blank lines folded."""
    words = _Words()
    words.feed(html)
    lines = [line.rstrip() for line in "".join(words.parts).splitlines()]
    return "\n".join(line for i, line in enumerate(lines) if line or (i and lines[i - 1]))


def inputs(source: Source, entry: int, root: str, options: Options) -> list[InputFile]:
    """One input for each domain. Raises ConfigError for an unknown option or domain."""
    cap, domains = _options(source)
    for kind, names, known in (("option", list(source.options), ["domains", "max_bytes_per_domain"]), ("domain", domains, list(DOMAINS))):
        for name in set(names) - set(known):
            what = f"{FORMAT} has no {kind} {name!r}"
            raise ConfigError(what, where=source.label, expected=nearest(name, known), fix="correct the name")
    given = source.domain if isinstance(source.domain, str) else None
    marker = fingerprint({"cap": cap, "installed": _installed()})
    return [InputFile(f"{FORMAT}:{d}", f"machine/{d}", entry, FORMAT, None, given or d, cap, marker) for d in domains]


def read(piece: Piece, source: Source, limits: Limits, options: Options) -> Iterator[Records | BadRecord]:
    """The documents of one domain; rows count them from 0, bad ones too."""
    cap, _ = _options(source)
    held: list[tuple[int, str, list[Any]]] = []
    n_bytes = 0
    for row, found in enumerate(machine_documents(cap, [piece.url.removeprefix(f"{FORMAT}:")])):
        place = {"file": found["source"], "row": found["row"]}
        try:
            extras = [fit_extra(look_up(place, tuple(e.path(n).split("."))), e.type, n) for n, e in source.extras.items()]
        except Unfit as problem:
            yield Raw(_bytes(found)).bad(row, None, problem.reason, problem.detail)
            continue
        if "bad" in found:
            yield Raw(found["raw"]).bad(row, None, "unreadable_file", f"{found['source']}: {found['bad']}")
        elif len(found["text"]) > limits.max_record_bytes or len(_bytes(found)) > limits.max_record_bytes:
            yield over_long(Raw(_bytes(found)), row, None, limits)
        else:
            held.append((row, found["text"], extras))
            n_bytes += len(found["text"])
        if n_bytes >= limits.block_bytes:
            yield _records(held, piece, source)
            held, n_bytes = [], 0
    if held:
        yield _records(held, piece, source)


def _records(held: list[tuple[int, str, list[Any]]], piece: Piece, source: Source) -> Records:
    rows, texts, extras = zip(*held, strict=True)
    columns = zip(source.extras.items(), zip(*extras, strict=True), strict=True)
    typed = {name: pa.array(values, EXTRA_TYPES[extra.type]) for (name, extra), values in columns}
    return Records(np.array(rows, np.int64), pa.array(texts, pa.large_string()), str(piece.domain), typed)


def _bytes(found: dict[str, Any]) -> bytes:
    return found["text"].encode() if "text" in found else found["raw"]


def _options(source: Source) -> tuple[int, list[str]]:
    return int(source.options.get("max_bytes_per_domain", MAX_BYTES_PER_DOMAIN)), list(source.options.get("domains", DOMAINS))


def _installed() -> list[Any]:
    """What changes when Python, its packages or the system's documents do."""
    places = this_machine()
    names = [sorted(path.name for path in folder.iterdir()) for folder in places.packages if folder.is_dir()]
    shared = [(name, (places.share / name).stat().st_mtime_ns) for name in ("man", "doc") if (places.share / name).is_dir()]
    return [sys.version, names, shared]


register(FORMAT, Reader(read=read, inputs=inputs))
