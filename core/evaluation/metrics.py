"""From the rank of the target among the candidates to the hit ratio, NDCG and MRR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.errors import ModelError
from core.evaluation.statistics import Comparison, Estimate, Users, bootstrap_all, bootstrap_ratio, compare

Floats = npt.NDArray[np.floating]
Ranks = npt.NDArray[np.int64]

HEADLINE, TIE_BREAK = "HR@1", "MRR"
"""The metric that decides which method of a table is best, and the one that decides where it is equal."""


@dataclass(frozen=True)
class Metric:
    """A figure of each single case; a test set's figure is the mean over its cases."""

    name: str
    """What it is called in files and at the head of columns."""
    of: Callable[[Floats], Floats]
    """From the targets' ranks, 1 = best, to values between 0 and 1, in the same shape."""
    higher_is_better: bool = True
    needs_ranking: bool = True
    """Whether it asks where exactly the target was placed; who answers in words says only first or not."""


def hit_ratio(k: int) -> Callable[[Floats], Floats]:
    """1 where the target is among the first k (paper §4.1)."""
    return lambda ranks: (ranks <= k).astype(np.float64)


def discounted_gain(k: int) -> Callable[[Floats], Floats]:
    """1 / log2(1 + rank) within the first k: with one relevant item the ideal gain is 1."""
    return lambda ranks: (ranks <= k) / np.log2(1.0 + ranks)


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("HR@1", hit_ratio(1), needs_ranking=False),
        Metric("HR@5", hit_ratio(5)),
        Metric("NDCG@10", discounted_gain(10)),
        Metric("MRR", lambda ranks: 1.0 / ranks),
    )
}
"""Name -> metric, in the order they are shown; everything that measures or shows asks here."""

OF_CATALOGUE: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("HR@10", hit_ratio(10)),
        Metric("HR@20", hit_ratio(20)),
        Metric("NDCG@5", discounted_gain(5)),
        Metric("NDCG@20", discounted_gain(20)),
    )
}
"""Metrics of cases that were ranked against the whole catalogue: among twenty they say little or nothing."""

RETRIEVED, OF_RETRIEVED = "Retrieved", "HR@1 of retrieved"
"""Share of the targets that an encoder passed on to be reranked, which is the most that HR@k can reach; and
HR@1 over the cases where it did. The product of the two is HR@1: the others are misses."""


def metrics_for(whole: bool) -> dict[str, Metric]:
    """Name -> metric of single cases, ranked against the whole catalogue or sampled candidates, as shown."""
    if not whole:
        return METRICS
    found = METRICS | OF_CATALOGUE
    kinds = list(dict.fromkeys(name.partition("@")[0] for name in found))

    def place(name: str) -> tuple[int, int]:
        kind, _, k = name.partition("@")
        return kinds.index(kind), int(k) if k.isdigit() else 0

    return {name: found[name] for name in sorted(found, key=place)}


VALID_RATIO = "ValidRatio"
_OF_ANSWERS = ("HR@1 of valid", VALID_RATIO, "HR@1 of valid (substring)", "ValidRatio (substring)")


def answer_metrics() -> tuple[str, ...]:
    """Names of all metrics of a method that answers in words; "of valid" is over the valid answers only."""
    return (*(name for name, metric in METRICS.items() if not metric.needs_ranking), *_OF_ANSWERS)


def in_order(found: Iterable[str]) -> list[str]:
    """Names of metrics, each once, in the order they are shown: those of single cases first."""
    names = set(found)
    known = metrics_for(whole=not names.isdisjoint(OF_CATALOGUE))
    return [*(name for name in known if name in names), *sorted(names - set(known))]


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

    Raises:
        ValueError: an unknown metric, or a rank below 1.
    """
    places = np.asarray(ranks, dtype=np.float64)
    if places.size and places.min() < 1:
        raise ValueError("ranks start at 1")
    known = metrics_for(whole=True)
    if metric not in known:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(known)}")
    return np.asarray(known[metric].of(places), dtype=np.float64)


def compare_by(metric: str, a: npt.ArrayLike, b: npt.ArrayLike, users: Users) -> Comparison:
    """`compare` of two methods' values of a metric; positive numbers favour `a`, whatever its direction."""
    better = metrics_for(whole=True)[metric].higher_is_better
    return compare(a, b, users) if better else compare(b, a, users)


def estimate_reranked(ranks: Ranks, passed: Floats, users: Sequence[str]) -> dict[str, Estimate]:
    """What an encoder's choice cost the method behind it, with intervals.

    Args:
        ranks: (seeds, n) of the targets.
        passed: (seeds, n) 1 where the encoder passed the target on.
        users: (n,) the user of each case.
    """
    found = bootstrap_all({RETRIEVED: passed}, users)
    if passed.any():
        found[OF_RETRIEVED] = bootstrap_ratio(per_case(ranks, "HR@1") * passed, passed, users)
    return found


def estimate_answers(
    ranks: Ranks, valid: Floats, substring_hit: Floats, substring_valid: Floats, users: Sequence[str]
) -> dict[str, Estimate]:
    """Metrics of answers in words, with intervals; all arguments are (seeds, n), but the users (n,).

    The ranks are 1 where the answer is the target, the others are 0 or 1.

    HR@1 and ValidRatio are over all cases (paper §4.1). What is "of valid" divides by the valid answers, and
    is left out where there are none; "(substring)" is the official code's rule for what is valid.
    """
    plain = {name: per_case(ranks, name) for name, metric in METRICS.items() if not metric.needs_ranking}
    found = bootstrap_all({**plain, VALID_RATIO: valid, "ValidRatio (substring)": substring_valid}, users)
    hits = per_case(ranks, "HR@1")
    ratios = {"HR@1 of valid": (hits, valid), "HR@1 of valid (substring)": (substring_hit, substring_valid)}
    for name, (part, whole) in ratios.items():
        if whole.any():
            found[name] = bootstrap_ratio(part, whole, users)
    return {name: found[name] for name in answer_metrics() if name in found}


def summarize(ranks: npt.NDArray[np.integer]) -> dict[str, float]:
    """Mean of every metric over ranks (n,), without intervals; for validation and progress.

    Raises:
        ValueError: no cases, for a mean over nothing is not a number.
    """
    if len(ranks) == 0:
        raise ValueError("no cases to average over")
    return {metric: float(per_case(ranks, metric).mean()) for metric in METRICS}


Scores = npt.NDArray[np.float32]


def pairs_alike(a: Scores, b: Scores) -> npt.NDArray[np.float64]:
    """(n,) the share of pairs of candidates that two (n, C) scores put in the same order."""
    signs = [np.sign(side[:, :, None] - side[:, None, :]) for side in (a, b)]
    first, second = np.triu_indices(a.shape[1], 1)
    alike: npt.NDArray[np.float64] = (signs[0] == signs[1])[:, first, second].mean(axis=1)
    return alike
