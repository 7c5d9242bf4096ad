"""Points in the unit square counted in hexagons, part by part, so that millions of documents are as cheap as thousands."""

from __future__ import annotations

import numpy as np

from curate.corpus import Corpus

ACROSS = 24


def hexagons(corpus: Corpus, x: str, y: str, across: int = ACROSS) -> tuple[np.ndarray, np.ndarray]:
    """Documents by the hexagon that two columns with values from 0 to 1 put them in; those without both are left out.

    Args:
        across: hexagons side by side.

    Returns:
        Centres of the hexagons that hold any (H, 2), and how many they hold (H).
    """
    counts: dict[tuple[int, int], int] = {}
    for table in corpus.batches([x, y]):
        points_2N = np.stack([table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in (x, y)])
        points_2N = points_2N[:, np.isfinite(points_2N).all(axis=0)]
        cells, found = np.unique(_cells(points_2N, across), axis=1, return_counts=True)
        for (column, row), n in zip(cells.T.tolist(), found.tolist(), strict=True):
            counts[column, row] = counts.get((column, row), 0) + n
    places = sorted(counts)
    centres = np.array([(column / (2 * across), row * _height(across) / 2) for column, row in places]).reshape(-1, 2)
    return centres, np.array([counts[place] for place in places], np.int64)


def outline(across: int = ACROSS) -> np.ndarray:
    """The corners of a hexagon about 0 that stands on one of them, (6, 2)."""
    half, height = 1 / (2 * across), _height(across)
    return np.array([(0, height / 3), (half, height / 6), (half, -height / 6), (0, -height / 3), (-half, -height / 6), (-half, height / 6)])


def _height(across: int) -> float:
    """Twice the distance between rows: hexagons of equal sides."""
    return np.sqrt(3) / across


def _cells(points_2N: np.ndarray, across: int) -> np.ndarray:
    """The nearest centre of every point, (2, N) in half columns and half rows.

    Centres are two rectangular grids, the second half a cell to the right of and above the first.
    """
    scaled_2N = points_2N / np.array([[1 / across], [_height(across)]])
    first_2N = np.rint(scaled_2N)
    second_2N = np.floor(scaled_2N)
    stretch = np.array([[1.0], [3.0]])  # heights count by the square of sqrt(3)
    to_first, to_second = ((stretch * (scaled_2N - centre) ** 2).sum(axis=0) for centre in (first_2N, second_2N + 0.5))
    return np.where(to_first <= to_second, 2 * first_2N, 2 * second_2N + 1).astype(np.int64)
