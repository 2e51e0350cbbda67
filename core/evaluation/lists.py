"""What else a list of recommendations is, beside right or wrong: popular, new, alike, like the history.

Definitions are those of LensKit (2025.8.1: popularity rank, overlap; 2026.4.0: similarity), Elliot 0.3.1
(popularity, self-information) and Steck 2018 (calibration). Lists are (n, k) items, best first; `NOTHING`
fills the rows of shorter ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Lists = npt.NDArray[np.int64]
Array = npt.NDArray[np.float64]

NOTHING = -1
"""Stands where a list has no item."""
PATIENCE = 0.85
"""How likely somebody who looks at one place also looks at the next (LensKit's GeometricRankWeight)."""
SMOOTHING = 0.01
"""Share of the history's genres in the list's, so that no logarithm is of nothing (Steck 2018, eq. 7)."""
_CELLS = 2_000_000  # numbers worked on at a time


def mean_over(values: Array, lists: Lists) -> Array:
    """The mean of a figure over the items of each list, (n,); NaN for an empty one.

    Args:
        values: (items,) the figure of each item.
        lists: (n, k).
    """
    there = lists != NOTHING
    with np.errstate(invalid="ignore"):
        means: Array = np.where(there, values[lists], 0.0).sum(axis=1) / there.sum(axis=1)
    return means


def popularity_ranks(counts: Array) -> Array:
    """(items,) the share of the trained items that are no more popular, 1 = the most popular; 0 untrained.

    Equal counts share their mean rank (LensKit: MeanPopRank, with `count="interactions"`).
    """
    known, place, times = np.unique(counts, return_inverse=True, return_counts=True)
    times = np.where(known > 0, times, 0)
    ends = np.cumsum(times)
    shared = (ends - times + 1 + ends) / 2
    ranks: Array = np.where(known > 0, shared / max(1, ends[-1]), 0.0)[place]
    return ranks


def self_information(counts: Array) -> Array:
    """(items,) bits: -log2 of the item's share in all training interactions.

    An untrained item is as new as the rarest trained one (Elliot: the item novelty of EFD).

    Raises:
        ValueError: nothing was trained on.
    """
    if not (counts > 0).any():
        raise ValueError("no item was trained on")
    rarest = counts[counts > 0].min()
    bits: Array = -np.log2(np.maximum(counts, rarest) / counts.sum())
    return bits


def genre_table(genres: Sequence[Sequence[str]]) -> Array:
    """(items, g) 1 where an item has a genre; g is 0 where no item has any."""
    names = {name: column for column, name in enumerate(sorted({name for own in genres for name in own}))}
    table = np.zeros((len(genres), len(names)))
    for row, own in enumerate(genres):
        table[row, [names[name] for name in own]] = 1.0
    return table


def similarity(lists: Lists, table: Array) -> Array:
    """(n,) mean cosine of the genres of every two items of a list (LensKit: ILS with unit vectors).

    An item without a genre is like none. A list of one item has 1, an empty one NaN.

    Args:
        lists: (n, k).
        table: from `genre_table`.
    """
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    unit = np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0)
    found = np.empty(len(lists))
    for rows in _parts(lists, table.shape[1]):
        there = lists[rows] != NOTHING
        vectors = np.where(there[:, :, None], unit[lists[rows]], 0.0)  # (rows, k, g)
        size = there.sum(axis=1)
        both = (vectors.sum(axis=1) ** 2).sum(axis=1) - (vectors**2).sum(axis=(1, 2))
        with np.errstate(invalid="ignore"):
            found[rows] = np.where(size == 1, 1.0, both / (size * (size - 1)))
    return found


def shares(lists: Lists, table: Array) -> Array:
    """(n, g) how a list's items spread over genres (Steck 2018, eq. 2 and 3, items weighed alike).

    An item's genres share it evenly; items without one do not count. All zero where no item has any.
    """
    totals = table.sum(axis=1, keepdims=True)
    parts = np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)
    found = np.empty((len(lists), table.shape[1]))
    for rows in _parts(lists, table.shape[1]):
        summed = np.where((lists[rows] != NOTHING)[:, :, None], parts[lists[rows]], 0.0).sum(axis=1)
        whole = summed.sum(axis=1, keepdims=True)
        found[rows] = np.divide(summed, whole, out=np.zeros_like(summed), where=whole > 0)
    return found


def miscalibration(histories: Lists, lists: Lists, table: Array) -> Array:
    """(n,) Kullback-Leibler divergence of each list's genres from its history's, in nats.

    0 where both spread alike (Steck 2018, eq. 6 and 7, alpha .01). NaN for a history without genres.
    """
    wanted, given = shares(histories, table), shares(lists, table)
    smooth = (1 - SMOOTHING) * given + SMOOTHING * wanted
    ratio = np.divide(wanted, smooth, out=np.ones_like(wanted), where=wanted > 0)
    found: Array = (wanted * np.log(ratio)).sum(axis=1)
    return np.where(wanted.any(axis=1), found, np.nan)


def overlap(a: Lists, b: Lists) -> Array:
    """(n,) rank-biased overlap of two lists each, 1 = the same order (LensKit: rank_biased_overlap).

    The share of items that two lists have in common down to a place, over all k places, the first ones
    weighing most; truncated at k and divided by the sum of the weights.

    Args:
        a: (n, k).
        b: (n, k).
    """
    depth = np.arange(1, a.shape[1] + 1)
    weights = PATIENCE ** (depth - 1.0)
    found = np.empty(len(a))
    for rows in _parts(a, a.shape[1]):
        same = (a[rows][:, :, None] == b[rows][:, None, :]) & (a[rows] != NOTHING)[:, :, None]
        common = np.diagonal(same.cumsum(axis=1).cumsum(axis=2), axis1=1, axis2=2)  # (rows, k)
        found[rows] = (common / depth) @ weights / weights.sum()
    return found


def _parts(lists: Lists, width: int) -> Iterator[slice]:
    """Rows that are worked on at a time, for arrays of (rows, k, width)."""
    step = max(1, _CELLS // max(1, lists.shape[1] * width))
    return (slice(start, start + step) for start in range(0, len(lists), step))
