"""From the rank of the target among the candidates to the hit ratio, NDCG and MRR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from core.errors import ModelError
from core.evaluation.statistics import Estimate, bootstrap_all, bootstrap_ratio

Floats = npt.NDArray[np.floating]
Ranks = npt.NDArray[np.int64]

METRICS = ("HR@1", "HR@5", "NDCG@10", "MRR")
"""Names of all metrics, in the order they are shown; each is between 0 and 1, higher is better."""

ANSWER_METRICS = (
    "HR@1",
    "HR@1 of valid",
    "ValidRatio",
    "HR@1 of valid (substring)",
    "ValidRatio (substring)",
)
"""Names of all metrics of a method that answers in words; "of valid" is over the valid answers only."""


def ranks_from_scores(scores: Floats, target_index: npt.NDArray[np.integer]) -> Ranks:
    """The target's rank among its candidates, 1 = best; ties count against the method.

    A method that gives every candidate the same score has found nothing, so it ranks last:
    rank = 1 + number of other candidates whose score is at least the target's.

    Args:
        scores: (n, c) one score per case and candidate, higher is better.
        target_index: (n,) the target's column in each row.

    Returns:
        (n,) ranks between 1 and c.

    Raises:
        ModelError: a score is not a number.
        ValueError: shapes that do not fit, or a target outside its row.
    """
    values = np.asarray(scores, dtype=np.float64)
    targets = np.asarray(target_index, dtype=np.int64)
    if values.ndim != 2 or targets.shape != values.shape[:1]:
        raise ValueError(f"scores {values.shape} and targets {targets.shape} do not fit")
    if ((targets < 0) | (targets >= values.shape[1])).any():
        raise ValueError(f"a target lies outside its {values.shape[1]} candidates")
    broken = np.isnan(values).any(axis=1)
    if broken.any():
        raise ModelError(
            f"{int(broken.sum())} of {len(values)} cases have scores that are not numbers (NaN)",
            "the training may have diverged: try a lower learning rate or another --quantize",
        )
    of_target = np.take_along_axis(values, targets[:, None], axis=1)  # (n, 1)
    # The target is at least as good as itself, which is the 1 in the formula.
    ranks: Ranks = (values >= of_target).sum(axis=1, dtype=np.int64)
    return ranks


def per_case(ranks: npt.NDArray[np.integer], metric: str) -> npt.NDArray[np.float64]:
    """One metric for each case, from ranks (n,); the metric of a set is the mean over its cases.

    HR@k is 1 where the target is among the first k (paper §4.1), NDCG@10 is 1 / log2(1 + rank) within
    the first ten (one relevant item, so the ideal gain is 1), MRR is 1 / rank.

    Raises:
        ValueError: an unknown metric, or a rank below 1.
    """
    places = np.asarray(ranks, dtype=np.float64)
    if places.size and places.min() < 1:
        raise ValueError("ranks start at 1")
    if metric == "HR@1":
        return (places <= 1).astype(np.float64)
    if metric == "HR@5":
        return (places <= 5).astype(np.float64)
    if metric == "NDCG@10":
        return (places <= 10) / np.log2(1.0 + places)
    if metric == "MRR":
        return 1.0 / places
    raise ValueError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")


def estimate_answers(
    hits: Floats, valid: Floats, substring_hit: Floats, substring_valid: Floats, users: Sequence[str]
) -> dict[str, Estimate]:
    """Metrics of answers in words, with intervals; all arguments (seeds, n) of 0 and 1 but the users (n,).

    HR@1 and ValidRatio are over all cases (paper §4.1). What is "of valid" divides by the valid answers, and
    is left out where there are none; "(substring)" is the official code's rule for what is valid.
    """
    found = bootstrap_all(
        {"HR@1": hits, "ValidRatio": valid, "ValidRatio (substring)": substring_valid}, users
    )
    ratios = {"HR@1 of valid": (hits, valid), "HR@1 of valid (substring)": (substring_hit, substring_valid)}
    for name, (part, whole) in ratios.items():
        if whole.any():
            found[name] = bootstrap_ratio(part, whole, users)
    return {name: found[name] for name in ANSWER_METRICS if name in found}


def summarize(ranks: npt.NDArray[np.integer]) -> dict[str, float]:
    """Mean of every metric over ranks (n,), without intervals; for validation and progress.

    Raises:
        ValueError: no cases, for a mean over nothing is not a number.
    """
    if len(ranks) == 0:
        raise ValueError("no cases to average over")
    return {metric: float(per_case(ranks, metric).mean()) for metric in METRICS}


Scores = npt.NDArray[np.float32]
