"""Signals of documents from their ids alone: the same wherever a document lies."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from curate import Scorer, columns
from curate.hashing import id_keys, unit_interval


@dataclass
class Signals(Scorer):
    """A quality, and clusters with distances and separations."""

    inputs = ("doc_id",)
    outputs = columns(
        quality=(pa.float64(), "quality", "higher"),
        cluster=(pa.int32(), "cluster", "none"),
        distance=(pa.float32(), "distance", "none"),
        separation=(pa.float32(), "distance", "none"),
    )

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """From keyed hashes."""
        quality, cluster, distance = (unit_interval(id_keys(0, name, batch["doc_id"])) for name in ("quality", "cluster", "distance"))
        cluster = (cluster * 9).astype(np.int32)
        made = (quality, cluster, (distance * (cluster + 1)).astype(np.float32), (1 / (cluster + 1)).astype(np.float32))
        return pa.record_batch([pa.array(values) for values in made], schema=self.outputs)
