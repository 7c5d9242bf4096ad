"""MinHash signatures as columns: what near-duplicate removal joins on.

Two documents whose sets of ``ngram``-word shingles have Jaccard similarity J share a band key with probability
1 - (1 - J^rows)^bands. Which pairs count as duplicates is decided later, over all parts of the corpus at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.documents import text_bytes
from curate.errors import ConfigError
from curate.kernels.minhash import band_keys, band_name, permutations, signatures, sketch
from curate.scorers.scorer import Scorer, columns

MOST_PERMUTATIONS = 1024


@dataclass
class MinHash(Scorer):
    """Band keys and a sketch of each document's normalised word n-grams.

    All columns are null where the text is null or has no words (``curate.kernels.folding`` says what a word is).

    Args:
        ngram: words of a shingle; a document of fewer is one shingle.
        bands: keys per document; two documents become candidates when one is equal.
        rows: minima that a key is made of.
        seed: of the permutations; signatures of different seeds cannot be compared.
    """

    ngram: int = 5
    bands: int = 14
    rows: int = 8
    seed: int = 1

    @property
    def outputs(self) -> pa.Schema:
        """One key per band, one byte per permutation, and the number of shingles, repeated ones included."""
        keys = {band_name(band): (pa.uint64(), "band key", "none") for band in range(self.bands)}
        sketch_type = pa.binary(self.bands * self.rows)
        return columns(**keys, sketch=(sketch_type, "1 byte of each minimum", "none"), n_shingles=(pa.int64(), "shingles", "none"))

    def check(self) -> None:
        """Refuse counts below 1, and more permutations than any threshold needs."""
        for name in ("ngram", "bands", "rows"):
            if getattr(self, name) < 1:
                raise ConfigError(
                    f"{name} is {getattr(self, name)}",
                    where=f"minhash.{name}",
                    expected="at least 1",
                    fix="ngram 5, bands 14, rows 8 are usual",
                )
        if self.bands * self.rows > MOST_PERMUTATIONS:
            raise ConfigError(
                f"{self.bands} bands of {self.rows} rows are {self.bands * self.rows} permutations",
                where="minhash.bands, minhash.rows",
                expected=f"at most {MOST_PERMUTATIONS} together",
                fix="use fewer of either; 14 bands of 8 rows are usual",
            )

    def score(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Band keys, sketch and number of shingles of every document of the batch."""
        text = batch["text"]
        data, offsets = text_bytes(text)
        minima, n_shingles = signatures(data, offsets, self.ngram, permutations(self.seed, self.bands * self.rows))
        missing = n_shingles == 0
        if text.null_count:
            missing |= np.asarray(pc.is_null(text))
        keys = band_keys(minima, self.bands, self.rows)
        arrays = [pa.array(np.ascontiguousarray(keys[:, band]), pa.uint64(), mask=missing) for band in range(self.bands)]
        arrays.append(_fixed_size(sketch(minima), missing))
        arrays.append(pa.array(n_shingles, pa.int64(), mask=missing))
        return pa.record_batch(arrays, schema=self.outputs)


def _fixed_size(rows: np.ndarray, missing: np.ndarray) -> pa.Array:
    """(N, P) uint8 as N binaries of P bytes, null where ``missing``."""
    present = pa.py_buffer(np.packbits(~missing, bitorder="little").tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(rows.shape[1]), len(rows), [present, pa.py_buffer(rows.tobytes())])
