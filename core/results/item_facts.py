"""What is known of the items and histories behind a set of cases, kept beside the results.

One file per set of cases (`cases/NAME.items.json`), so that coverage, popularity and genres of what methods
recommend come from disk, without the dataset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from core.data.types import Dataset, Place, Samples
from core.files import atomic_write
from core.results.case_facts import FORMAT, facts_in, facts_path, json_lines


@dataclass(frozen=True)
class ItemFacts:
    """The catalogue as training saw it, and what the users of the test cases had before."""

    ids: tuple[str, ...]
    """The source's identifiers, as ranking files have them."""
    counts: npt.NDArray[np.float64]
    """(items,) interactions in the training part."""
    genres: tuple[tuple[str, ...], ...]
    """Genres or tags of each item; all empty where the source has none."""
    histories: Mapping[Place, tuple[int, ...]]
    """User and position of every case -> the items that methods read, oldest first."""


def item_facts_of(dataset: Dataset, samples: Samples, counts: npt.NDArray[np.floating]) -> ItemFacts:
    """The facts behind every test case.

    Args:
        dataset: for its catalogue.
        samples: the cases.
        counts: (items,) training interactions of each item.
    """
    catalogue = dataset.catalogue
    histories = {place: tuple(case.history) for place, case in samples.asked.items()}
    return ItemFacts(catalogue.ids, np.asarray(counts, np.float64), catalogue.tags, histories)


def item_facts_path(out: Path, dataset: str, split: str, samples_sha256: str) -> Path:
    """Where the facts behind these cases lie below the output folder."""
    return facts_path(out, dataset, split, samples_sha256).with_suffix(".items.json")


def save_item_facts(facts: ItemFacts, samples: Samples, out: Path) -> Path:
    """Writes the facts whole and returns their path."""
    items = zip(facts.ids, facts.counts.astype(int).tolist(), map(list, facts.genres), strict=True)
    histories = ([*place, list(items)] for place, items in facts.histories.items())
    head = {
        "format": FORMAT,
        "samples_sha256": samples.sha256,
        "columns": {"items": ["id", "interactions", "genres"], "histories": ["user", "position", "items"]},
    }
    parts = [json.dumps(head, ensure_ascii=False)[:-1]]
    parts += [
        f'"{name}": [\n  {json_lines(rows)}\n]'
        for name, rows in (("items", list(items)), ("histories", list(histories)))
    ]
    path = item_facts_path(out, samples.dataset, samples.split, samples.sha256)
    return atomic_write(path, ", ".join(parts) + "}\n")


def load_item_facts(out: Path, dataset: str, split: str, samples_sha256: str) -> ItemFacts | None:
    """The facts behind these cases; None where the folder holds none.

    Raises:
        ResultError: the file is damaged, or of other cases.
    """
    return facts_in(item_facts_path(out, dataset, split, samples_sha256), samples_sha256, _facts)


def _facts(record: Mapping[str, Any]) -> ItemFacts:
    items = [(str(item), float(count), tuple(map(str, genres))) for item, count, genres in record["items"]]
    histories = {
        (str(user), int(position)): tuple(map(int, read)) for user, position, read in record["histories"]
    }
    ids, counts, genres = zip(*items, strict=True)
    found = np.array(counts)
    if len(set(ids)) < len(ids) or not np.isfinite(found).all() or found.min() < 0:
        raise ValueError("an item twice, or a count that is none")
    if any(not 0 <= item < len(ids) for read in histories.values() for item in read):
        raise ValueError("a history of unknown items")
    return ItemFacts(ids, found, genres, histories)
