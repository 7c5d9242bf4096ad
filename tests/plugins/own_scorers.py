"""Scorers as a user would write them, for tests of `plugins:`."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate.scorers.scorer import Sample, Scorer, columns


@dataclass
class Capitals(Scorer):
    """Share of letters of the range A to Z among all characters."""

    scale: float = 1.0
    outputs = columns(share=(pa.float64(), "fraction", "none"))

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        share = [self.scale * sum("A" <= c <= "Z" for c in t) / len(t) for t in batch["text"].to_pylist()]
        return pa.record_batch([pa.array(share, pa.float64())], schema=self.outputs)


@dataclass
class Doubled(Scorer):
    """Reads another scorer's column and a document's."""

    inputs = ("capitals.share", "n_bytes")
    outputs = columns(twice=(pa.float64(), "fraction", "none"), size=(pa.int64(), "bytes", "none"))

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([pc.multiply(batch["capitals.share"], 2.0), batch["n_bytes"]], schema=self.outputs)


@dataclass
class Average(Scorer):
    """Learns from another scorer's column, and tells how far a document is from what it learned."""

    inputs = ("capitals.share",)
    outputs = columns(distance=(pa.float64(), "fraction", "none"))

    def sample(self) -> Sample:
        return Sample(n_bytes=30_000, columns=("capitals.share",))

    def fit(self, sample: pa.Table, state) -> None:
        (state / "average.txt").write_text(repr(pc.mean(sample["capitals.share"]).as_py()))

    def load(self, state) -> None:
        self._average = float((state / "average.txt").read_text())

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([pc.subtract(batch["capitals.share"], self._average)], schema=self.outputs)


@dataclass
class Circle(Scorer):
    """Reads what reads it."""

    other: str = "b"
    outputs = columns(value=(pa.int64(), "none", "none"))

    @property
    def inputs(self) -> tuple[str, ...]:
        return (f"{self.other}.value",)

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([batch[0]], schema=self.outputs)


@dataclass
class Short(Scorer):
    """Loses a row."""

    outputs = columns(n=(pa.int64(), "none", "none"))

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([pa.array([1] * (batch.num_rows - 1), pa.int64())], schema=self.outputs)


@dataclass
class Fails(Scorer):
    """Has a mistake."""

    outputs = columns(n=(pa.int64(), "none", "none"))

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        raise ZeroDivisionError("the scorer's own mistake")


@dataclass
class Wrong(Scorer):
    """Gives floats where it announced whole numbers."""

    outputs = columns(n=(pa.int64(), "none", "none"))

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        return pa.record_batch([pa.array([0.5] * batch.num_rows)], names=["n"])
