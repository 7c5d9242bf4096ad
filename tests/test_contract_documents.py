"""The contract suite of mixers of documents catches each way of breaking it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from documents_to_mix import QUALITY, documents

from curate import testing
from curate.errors import InfeasibleMixtureError
from curate.mixers.document_mixer import Budget, DocumentMixer


@dataclass
class Tilted(DocumentMixer):
    """A correct mixer: documents above the middle of the scale weigh twice as much as those below, under the cap."""

    inputs = (QUALITY,)  # type: ignore[assignment]

    def facts(self, table: pa.Table, length_N: np.ndarray, learned: Any) -> Any:
        high_N = table[QUALITY].to_numpy() > 4.5
        return int(length_N[high_N].sum()), int(length_N[~high_N].sum())

    def learn(self, facts: Sequence[Any], learned: Any, budget: Budget) -> Any:
        high, low = (sum(column) for column in zip(*facts, strict=True))
        wanted = budget.amount or high + low
        if wanted > budget.max_epochs * (high + low):
            raise InfeasibleMixtureError("too much is asked")
        double = min(2 * wanted / (2 * high + low), budget.max_epochs)
        return double, (wanted - double * high) / low, wanted

    def is_ready(self, learned: Any) -> bool:
        return True

    def budget(self, learned: Any) -> float:
        return float(learned[2])

    def weights(self, table: pa.Table, learned: Any) -> np.ndarray:
        return np.where(table[QUALITY].to_numpy() > 4.5, learned[0], learned[1])


class Negative(Tilted):
    def weights(self, table: pa.Table, learned: Any) -> np.ndarray:
        return super().weights(table, learned) - 1.0


class SinglePrecision(Tilted):
    def weights(self, table: pa.Table, learned: Any) -> np.ndarray:
        return super().weights(table, learned).astype(np.float32)


class LosesADocument(Tilted):
    def weights(self, table: pa.Table, learned: Any) -> np.ndarray:
        return super().weights(table, learned)[1:]


class WeighsNothing(Tilted):
    def weights(self, table: pa.Table, learned: Any) -> np.ndarray:
        return np.zeros(table.num_rows)


class ByPart(Tilted):
    """Scales by what its own part holds."""

    def weights(self, table: pa.Table, learned: Any) -> np.ndarray:
        return super().weights(table, learned) * (1 + 0.001 * table.num_rows)


class RoundsOnTheWay(Tilted):
    """Adds floats in the order of parts."""

    def facts(self, table: pa.Table, length_N: np.ndarray, learned: Any) -> Any:
        return tuple(float(np.float32(x / 3)) for x in super().facts(table, length_N, learned))


class Impure(Tilted):
    calls = 0

    def learn(self, facts: Sequence[Any], learned: Any, budget: Budget) -> Any:
        type(self).calls += 1
        double, single, wanted = super().learn(facts, learned, budget)
        return double, single * (1 + 1e-12 * type(self).calls), wanted


class NoCaps(Tilted):
    def learn(self, facts: Sequence[Any], learned: Any, budget: Budget) -> Any:
        return super().learn(facts, learned, Budget(budget.amount, 1e9))


class OwnBudget(Tilted):
    def budget(self, learned: Any) -> float:
        return 1.0


class KeepsALock(Tilted):
    def learn(self, facts: Sequence[Any], learned: Any, budget: Budget) -> Any:
        return (*super().learn(facts, learned, budget), threading.Lock())


class OtherColumns(Tilted):
    def columns(self, table: pa.Table, learned: Any) -> pa.Table:
        return pa.table({"more": np.zeros(table.num_rows)})


class BinsSome(Tilted):
    def bins(self, table: pa.Table, learned: Any) -> np.ndarray:
        return np.where(np.arange(table.num_rows) % 2 == 0, 0, -1)


@dataclass
class ReadsMore(Tilted):
    inputs = (QUALITY, "clusters.size")  # type: ignore[assignment]


def test_a_correct_mixer_passes() -> None:
    testing.check_document_mixer(Tilted(), *documents(100, classes=None))


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (Negative, "weights: some are negative"),
        (SinglePrecision, "weights: they are float32"),
        (LosesADocument, "weights: their shape"),
        (WeighsNothing, "weights: all are 0"),
        (ByPart, "parts: documents shuffled"),
        (RoundsOnTheWay, "parts: documents shuffled"),
        (Impure, "pure: the same documents"),
        (NoCaps, "infeasible raises"),
        (OwnBudget, "budget: it is 1.0"),
        (OtherColumns, "columns: they are"),
        (BinsSome, "bins: documents without a weight"),
        (ReadsMore, "sample: it lacks clusters.size"),
    ],
)
def test_the_suite_catches_a_broken_mixer(broken: type[DocumentMixer], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        testing.check_document_mixer(broken(), *documents(100, classes=None))


def test_what_cannot_be_sent_to_a_worker_is_caught() -> None:
    with pytest.raises(TypeError, match="pickle"):
        testing.check_document_mixer(KeepsALock(), *documents(100, classes=None))
