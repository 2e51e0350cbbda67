"""A small made-up run, measured by LensKit; `python -m tests.evaluation.with_lenskit` writes the record anew.

LensKit needs other versions of pandas than this project has in some releases: install it where you like,
`pip install lenskit`, and run the line above there (numpy is all that it needs beside).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

RECORD = Path(__file__).with_name("recorded_lenskit.json")
ITEMS, USERS, TOP = 30, 12, 6
GENRES = ("Comedy", "Crime", "Drama", "War")


def counts() -> np.ndarray:
    """(items,) training interactions; some items have none, some as many as others."""
    return np.random.RandomState(1).randint(0, 9, ITEMS).astype(np.float64)


def lists(seed: int) -> np.ndarray:
    """(users, top) different items each."""
    stream = np.random.RandomState(seed)
    return np.stack([stream.permutation(ITEMS)[:TOP] for _ in range(USERS)])


def genres() -> list[tuple[str, ...]]:
    """One to three genres of each item, but none of the last."""
    stream = np.random.RandomState(2)
    chosen = [stream.permutation(len(GENRES))[: 1 + stream.randint(3)] for _ in range(ITEMS)]
    return [tuple(GENRES[place] for place in sorted(own)) for own in chosen[:-1]] + [()]


def found_by_lenskit() -> dict[str, object]:
    """What the installed LensKit makes of the run; similarity only where it has that measure."""
    import lenskit
    import pandas as pd
    from lenskit.data import ItemList, ItemListCollection, from_interactions_df
    from lenskit.metrics import ExposureGini, MeanPopRank, RunAnalysis, rank_biased_overlap

    frame = pd.DataFrame(
        [(user, item) for item, count in enumerate(counts()) for user in range(int(count))],
        columns=["user_id", "item_id"],
    )
    known = from_interactions_df(frame, items=list(range(ITEMS)))
    made = {seed: [ItemList(item_ids=row, ordered=True) for row in lists(seed)] for seed in (3, 4)}
    runs = ItemListCollection.from_dict(dict(enumerate(made[3])), key="user_id")
    asked = ItemListCollection.from_dict(
        {user: ItemList(item_ids=[user]) for user in range(USERS)}, key="user_id"
    )
    analysis = RunAnalysis()
    analysis.add_metric(ExposureGini(TOP, items=known))
    analysis.add_metric(MeanPopRank(known, n=TOP))
    measured = analysis.measure(runs, asked)
    found: dict[str, object] = {
        "version": lenskit.__version__,
        "exposure_gini": float(measured.global_metrics()[f"ExposureGini@{TOP}"]),
        "popularity_rank": [float(value) for value in measured.list_metrics()[f"MeanPopRank@{TOP}"]],
        "rbo": [float(rank_biased_overlap(a, b, n=TOP)) for a, b in zip(made[3], made[4], strict=True)],
    }
    try:
        from lenskit.metrics.ranking._ils import intra_list_similarity
    except ImportError:
        return found
    table = np.array([[name in own for name in GENRES] for own in genres()], dtype=np.float64)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    unit = np.divide(table, lengths, out=np.zeros_like(table), where=lengths > 0)
    similar = [intra_list_similarity(own, unit[row]) for own, row in zip(made[3], lists(3), strict=True)]
    return found | {"genre_similarity": [float(value) for value in similar]}


if __name__ == "__main__":
    RECORD.write_text(json.dumps(found_by_lenskit(), indent=1) + "\n")
