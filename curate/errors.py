"""The error tree: what is wrong, where, what was expected, and what to change.

CurateError                 anything a person can mend; the CLI prints it and exits with 2
├── ConfigError             the YAML, a --set, a --conf, a name that resolves to nothing
├── InputError              a source, model or tokenizer file that is missing or unreadable
├── BadRecordsError         more quarantined records than max_bad_fraction allows
├── InfeasibleMixtureError  a domain cannot give what the mixture asks of it
├── StaleOutputError        the output directory holds the work of another pipeline
└── IntegrityError          files and manifest disagree: a lost row, a changed shard
"""

from __future__ import annotations


class CurateError(Exception):
    """An error with the parts a reader needs, in the order they need them.

    Args:
        what: one sentence saying what is wrong.
        where: the file, field, stage or document concerned.
        expected: what would have been right.
        fix: what to change.
    """

    def __init__(self, what: str, *, where: str = "", expected: str = "", fix: str = "") -> None:
        super().__init__(what)
        self.what, self.where, self.expected, self.fix = what, where, expected, fix

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.expected, self.fix)

    def lines(self) -> list[tuple[str, str]]:
        """The labelled parts that are present, headline excluded."""
        parts = [("where", self.where), ("expected", self.expected), ("change", self.fix)]
        return [(label, text) for label, text in parts if text]

    def __str__(self) -> str:
        return "\n".join([self.what, *(f"  {label}: {text}" for label, text in self.lines())])


class ConfigError(CurateError):
    """The configuration names something that cannot be."""


class InputError(CurateError):
    """A file the run needs is missing, empty or unreadable."""


class BadRecordsError(CurateError):
    """The share of quarantined records passed ``max_bad_fraction``."""


class InfeasibleMixtureError(CurateError):
    """A domain cannot supply what the mixture asks within its caps."""


class StaleOutputError(CurateError):
    """The output directory was made by another configuration."""


class IntegrityError(CurateError):
    """What is on disk is not what the manifest or the ledger says."""


def _rebuild(kind: type[CurateError], what: str, where: str, expected: str, fix: str) -> CurateError:
    """Restore an error that crossed a process boundary."""
    return kind(what, where=where, expected=expected, fix=fix)


def nearest(name: str, known: list[str]) -> str:
    """A hint naming the closest known word, or the known words when none is close."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return "".join(f"did you mean {word!r}? " for word in close) + f"known: {', '.join(sorted(known))}"
