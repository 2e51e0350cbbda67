"""What wakes each expert, in words: genres and decades of the histories to which the gate gives it weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

CLEAR = 0.1
"""Correlations below this say nothing."""
RARE = 0.02
"""Traits in a smaller share of all histories' items are left out: a handful of users would name an expert."""


@dataclass(frozen=True)
class Trait:
    """One thing that raises an expert's weight."""

    name: str
    correlation: float
    """Between the share of a history's items that have the trait and the expert's weight, over histories."""


@dataclass(frozen=True)
class Profile:
    """One expert in words."""

    words: str
    """Such as "Horror, Thriller · 1990s"; says so where nothing stands out."""
    mean: float
    """Mean weight over the histories."""
    traits: tuple[Trait, ...]
    """The clearest ones, strongest first."""
    n: int
    """Histories that this rests on."""


def decade(year: str) -> str:
    """ "1990s" for "1994"; nothing for nothing."""
    return f"{year[:3]}0s" if len(year) == 4 and year.isdigit() else ""


def trait_shares(
    histories: Sequence[Sequence[int]], traits: Sequence[Sequence[str]]
) -> tuple[list[str], npt.NDArray[np.float64]]:
    """Names of all traits, and (histories, traits) the share of each history's items that have each.

    Args:
        histories: item sequences, none empty.
        traits: per catalogue item, its genres or tags.
    """
    names = sorted({name for of_item in traits for name in of_item})
    place = {name: column for column, name in enumerate(names)}
    has = np.zeros((len(traits), len(names)))
    for item, of_item in enumerate(traits):
        has[item, [place[name] for name in of_item]] = 1.0
    shares = np.stack([has[list(history)].mean(axis=0) for history in histories])
    return names, shares


def describe_experts(
    weights: npt.NDArray[np.floating],
    histories: Sequence[Sequence[int]],
    tags: Sequence[Sequence[str]],
    years: Sequence[str],
) -> list[Profile]:
    """One profile per expert, from correlations over histories.

    Args:
        weights: omega, (histories, K).
        histories: what the gate read, one per row.
        tags: genres per catalogue item.
        years: release year per catalogue item, empty where unknown.
    """
    genres, genre_shares = trait_shares(histories, tags)
    decades, decade_shares = trait_shares(histories, [[decade(year)] if year else [] for year in years])
    profiles = []
    for expert in range(weights.shape[1]):
        omega = weights[:, expert].astype(np.float64)
        liked = _clearest(genres, genre_shares, omega)[:2]
        times = _clearest(decades, decade_shares, omega)[:1]
        parts = [", ".join(trait.name for trait in found) for found in (liked, times) if found]
        words = " · ".join(parts) or "nothing stands out"
        traits = tuple(sorted((*liked, *times), key=lambda trait: -trait.correlation))
        profiles.append(Profile(words, float(omega.mean()), traits, len(omega)))
    return profiles


def one_sidedness(weights: npt.ArrayLike) -> list[float]:
    """Per row, 1 - entropy / log K: 0 for even weights, 1 where one expert has everything."""
    rows = np.asarray(weights, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] < 2:
        return [0.0] * len(rows)
    safe = np.where(rows > 0, rows, 1.0)
    entropy = -(rows * np.log(safe)).sum(axis=1)
    return [float(value) for value in 1 - entropy / np.log(rows.shape[1])]


def _clearest(
    names: Sequence[str], shares: npt.NDArray[np.float64], omega: npt.NDArray[np.float64]
) -> list[Trait]:
    """Traits that go with the weight, strongest first."""
    found = []
    for name, share in zip(names, shares.T, strict=True):
        if share.mean() < RARE or share.std() == 0 or omega.std() == 0:
            continue
        correlation = float(np.corrcoef(share, omega)[0, 1])
        if correlation >= CLEAR:
            found.append(Trait(name, correlation))
    return sorted(found, key=lambda trait: -trait.correlation)
