"""The contract of mixers of domains as a suite."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.correlation.weights import BY, FILTER_RATIO
from curate.correlation.weights import SCHEMA as WEIGHTS
from curate.errors import CurateError
from curate.mixers.mixer import Mixer, Mixture

SIMPLEX_TOLERANCE = 1e-9


def sample_domains() -> pa.Table:
    """The table a mixer sees for three domains of unequal size."""
    return _domains(["books", "code", "web"], [900, 6_000, 40_000])


def sample_weights(groups: list[str], by: str = "domain", target: str = "sample") -> pa.Table:
    """Weights as ``correlate:`` makes them: estimates that fall from group to group, the first half with weight; the last unsettled."""
    n = len(groups)
    estimates = [0.9 - 1.2 * i / max(n - 1, 1) for i in range(n)]
    half = -(-n // 2)
    columns: dict[str, list[object]] = {
        "target": [target] * n,
        "group": list(groups),
        "estimate": list(estimates),
        "low": [e - 0.1 for e in estimates],
        "high": [e + 0.1 if i < n - 1 else 0.5 for i, e in enumerate(estimates)],
        "p_value": [0.05] * n,
        "settled": [i < n - 1 for i in range(n)],
        "n_models": [12] * n,
        "natural": [1 / n] * n,
        "tau": [2 / n] * n,
        "weight": [1 / half if i < half else 0.0 for i in range(n)],
        "included": [i < half for i in range(n)],
        "inclusion": [1.0 if i < half else 0.0 for i in range(n)],
    }
    return pa.table(columns, schema=WEIGHTS.with_metadata({BY: by.encode(), FILTER_RATIO: b"0.5"}))


def check_mixer(mixer: Mixer, table: pa.Table | None = None, evidence: pa.Table | None = None) -> None:
    """Raise AssertionError unless the mixer keeps the contract of ``curate.mixers.mixer``.

    Args:
        mixer: as built.
        table: domains it can mix, all with a positive amount; None for its own ``names()``, or ``sample_domains()``.
        evidence: what it reads besides; None for nothing, or for ``sample_weights`` of the domains where it reads weights.
    """
    mixer.check()
    if table is None:
        names = list(mixer.names())
        table = _domains(names, [1_000 * 3**i for i in range(len(names))]) if names else sample_domains()
    if evidence is None and mixer.reads_weights() is not None:
        evidence = sample_weights(table["domain"].to_pylist())
    before, proportions_D = table.to_pydict(), _simplex(mixer, table, evidence, "simplex")
    again_D = _simplex(mixer, table, evidence, "pure")
    assert np.array_equal(proportions_D, again_D), f"pure: the same table gave {proportions_D}, then {again_D}"
    assert table.to_pydict() == before, "pure: mix changed the table it was given"
    order = list(reversed(range(table.num_rows)))
    turned_D = _simplex(mixer, table.take(order), evidence, "domain-permutation equivariance")
    close = np.allclose(turned_D, proportions_D[order], rtol=1e-9, atol=1e-12)
    assert close, f"domain-permutation equivariance: reversed domains gave {turned_D}, expected {proportions_D[order]}"
    _one_domain(mixer, table, evidence)
    _empty_domain(mixer, table, evidence)
    for clause, unmixable in (("no domains", table.slice(0, 0)), ("nothing in any domain", _emptied(table, list(range(table.num_rows))))):
        outcome = _mixed(mixer, unmixable, evidence, clause)
        assert outcome is None, f"infeasible raises: {clause} gave proportions {outcome}, expected a CurateError"


def _domains(names: list[str], amounts: list[int]) -> pa.Table:
    whole = pa.array(amounts, pa.int64())
    counts = pa.array([max(1, amount // 100) for amount in amounts], pa.int64())
    return pa.table({"domain": pa.array(names, pa.string()), "n_documents": counts, "n_bytes": pc.multiply(whole, 4), "amount": whole})


def _emptied(table: pa.Table, rows: list[int]) -> pa.Table:
    """The table with nothing left in these domains."""
    for name in ("n_documents", "n_bytes", "amount"):
        values = [0 if i in rows else value for i, value in enumerate(table[name].to_pylist())]
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.int64()))
    return table


def _mixed(mixer: Mixer, table: pa.Table, evidence: pa.Table | None, clause: str) -> np.ndarray | None:
    """Proportions, or None where the mixer says why it cannot; any other error breaks the contract."""
    try:
        mixture = mixer.mix(table, evidence)
    except CurateError:
        return None
    except Exception as error:
        raise AssertionError(f"{clause}: mix raised {type(error).__name__}: {error}; expected a CurateError or proportions") from error
    assert isinstance(mixture, Mixture), f"{clause}: mix returned a {type(mixture).__name__}, expected a Mixture"
    return np.asarray(mixture.proportions_D)


def _simplex(mixer: Mixer, table: pa.Table, evidence: pa.Table | None, clause: str) -> np.ndarray:
    found = _mixed(mixer, table, evidence, clause)
    assert found is not None, f"{clause}: mix raised a CurateError on domains that all have something"
    return _on_simplex(found, table, clause)


def _on_simplex(found: np.ndarray, table: pa.Table, clause: str) -> np.ndarray:
    assert found.shape == (table.num_rows,), f"{clause}: proportions have shape {found.shape}, expected ({table.num_rows},)"
    assert found.dtype == np.float64, f"{clause}: proportions are {found.dtype}, expected float64"
    assert bool(np.all(np.isfinite(found))) and bool(np.all(found >= 0)), f"{clause}: proportions {found} are not all finite and 0 or more"
    total = float(found.sum())
    assert abs(total - 1) <= SIMPLEX_TOLERANCE, f"{clause}: proportions sum to {total!r}, expected 1 within {SIMPLEX_TOLERANCE}"
    return found


def _one_domain(mixer: Mixer, table: pa.Table, evidence: pa.Table | None) -> None:
    """A single domain gets everything, unless the mixer refuses because it names others."""
    alone = table.slice(0, 1)
    found = _mixed(mixer, alone, evidence, "one domain")
    assert found is not None or len(mixer.names()) > 1, "one domain: mix raised a CurateError, expected [1.0]"
    if found is not None:
        _on_simplex(found, alone, "one domain")


def _empty_domain(mixer: Mixer, table: pa.Table, evidence: pa.Table | None) -> None:
    """A domain with nothing gets nothing, or the mixer refuses."""
    if table.num_rows < 2:
        return
    found = _mixed(mixer, _emptied(table, [0]), evidence, "zero-amount domain")
    if found is not None:
        _on_simplex(found, table, "zero-amount domain")
        assert found[0] == 0, f"zero-amount domain: a domain with nothing in it got {found[0]} of the budget"
