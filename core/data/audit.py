"""What test cases give away without a history: fixed places, telling negatives, repeated parts, later items.

Popular items are targets more often than random negatives are, in every honest file: a reader of candidates
alone is above chance by that much. What leaks is what the way of drawing adds to it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.data.samples import last_positions, later_than_test
from core.data.types import Dataset, Samples
from core.errors import InputError
from core.evaluation.statistics import bootstrap

SURE = 4.0
"""Standard errors from chance at which something is no accident: once in thirty thousand files."""

MARKED = 1.5
"""How many times what chance gives negatives must tell: small effects are no leak, however sure they are."""

FEW = 0.01
"""Share of a part's cases that two parts may have in common: short histories coincide."""


@dataclass(frozen=True)
class Asked:
    """One case of a candidate file, in the file's own names for items."""

    user: str
    """Empty where the file names none."""
    history: tuple[str, ...]
    target: str
    candidates: tuple[str, ...]
    """Empty where the file holds none."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    said: str
    leaks: bool = False


def audit(parts: Mapping[str, Sequence[Asked]]) -> list[Finding]:
    """Everything that the cases of one or several parts tell, each part by itself, then all together.

    Raises:
        InputError: a part is empty.
    """
    found = []
    for name, cases in parts.items():
        if not cases:
            raise InputError(f"{name} holds no case", "give a file with a history, a target and candidates")
        prefix = f"{name}: " if len(parts) > 1 else ""
        of_part = _of_part(cases)
        found += [Finding(f"{prefix}{one.name}", one.said, one.leaks) for one in of_part]
    return [*found, *_between(parts)]


def audit_split(dataset: Dataset, samples: Samples) -> list[Finding]:
    """What a split's training shares with its test: users, and interactions of a later time."""
    tested = {case.user for case in samples.asked.values()}
    trained = last_positions(samples.train)
    shared = len(tested & trained.keys())
    by_user = samples.split == "paper"
    users = f"{shared:,} of {len(tested):,} test users are trained on" + ("" if by_user else ", as is meant")
    found = [Finding("users in training and test", users, by_user and shared > 0)]
    lateness = later_than_test(dataset, samples)
    if lateness is None:
        return [*found, Finding("later items", "the data has no times")]
    interactions, later = lateness
    said = (
        f"{100 * later / interactions:.0f} % of training interactions are later than the earliest test case"
    )
    if samples.moments is not None:
        return [*found, Finding("later items", said, later > 0)]
    return [*found, Finding("later items", f"{said}: the split {samples.split} has no point in time")]


def asked_of(dataset: Dataset, samples: Samples) -> list[Asked]:
    """A dataset's own test cases."""
    ids = dataset.catalogue.ids
    return [
        Asked(
            case.user,
            tuple(ids[item] for item in case.history),
            ids[case.target],
            tuple(ids[item] for item in case.candidates),
        )
        for case in samples.asked.values()
    ]


# --- one part ----------------------------------------------------------------------------------------------


def _of_part(cases: Sequence[Asked]) -> list[Finding]:
    offered = [case for case in cases if case.candidates]
    if not offered:
        return [Finding("candidates", f"none in the file, {len(cases):,} histories and targets")]
    without = sum(case.target not in case.candidates for case in offered)
    twice = sum(len(set(case.candidates)) < len(case.candidates) for case in offered)
    met = sum(bool(({*case.candidates} - {case.target}) & {*case.history}) for case in offered)
    n = len(offered)
    found = [
        Finding("targets offered", f"{without:,} of {n:,} cases lack their target", without > 0),
        Finding("repeated candidates", f"{twice:,} of {n:,} lists name an item twice", twice > 0),
        Finding("candidates from the history", f"{met:,} of {n:,} lists offer an item that was had", met > 0),
    ]
    whole = [case for case in offered if case.target in case.candidates]
    if len(whole) < 2:
        return found
    return [*found, _places(whole), *_read_blind(whole)]


def _places(cases: Sequence[Asked]) -> Finding:
    """Whether targets stand at some places more often than at others."""
    widths = {len(case.candidates) for case in cases}
    if len(widths) > 1:
        return Finding("places of targets", "lists are of several lengths, so places are not compared")
    width = widths.pop()
    counts = Counter(case.candidates.index(case.target) for case in cases)
    due = len(cases) / width
    strayed = sum((counts[place] - due) ** 2 / due for place in range(width))
    place, most = counts.most_common(1)[0]
    said = f"place {place + 1} of {width} has most: {most:,} of {len(cases):,} targets"
    return Finding("places of targets", said, width > 1 and _normal_of(strayed, width - 1) > SURE)


def _read_blind(cases: Sequence[Asked]) -> list[Finding]:
    """What readers reach that see candidates alone, having learnt from the other half of the users.

    One goes by how often an item was right when it was offered. The other looks for lists that share their
    negatives, which independent draws do not: then the item that both were about is the target. How often
    that would seem so by chance is seen from lists whose negatives are those of another case.
    """
    halves = _halves(cases)
    by_odds, by_likeness = np.zeros(len(cases)), np.zeros(len(cases))
    told: list[tuple[bool, bool]] = []
    for learnt, asked in (halves, halves[::-1]):
        lists: dict[str, list[set[str]]] = defaultdict(list)
        shown: Counter[str] = Counter()
        chosen: Counter[str] = Counter()
        for case in (cases[place] for place in learnt):
            lists[case.target].append({*case.candidates})
            shown.update(case.candidates)
            chosen[case.target] += 1
        for place, other in zip(asked, [*asked[len(asked) // 2 :], *asked[: len(asked) // 2]], strict=True):
            case = cases[place]
            likeness = _likeness(case.candidates, lists)
            odds = [(chosen[item] + 1) / (shown[item] + len(case.candidates)) for item in case.candidates]
            both = list(zip(likeness, odds, strict=True))
            by_odds[place] = case.candidates[odds.index(max(odds))] == case.target
            by_likeness[place] = case.candidates[both.index(max(both))] == case.target
            if case.target in lists:
                theirs = {cases[other].target, case.target}
                negatives = [item for item in cases[other].candidates if item not in theirs]
                strange = (case.target, *negatives)
                told.append(
                    (_names(case.target, case.candidates, lists), _names(case.target, strange, lists))
                )
    telling = _telling(told)
    hits = by_likeness if telling.leaks else by_odds
    blind = bootstrap(hits, [case.user or str(place) for place, case in enumerate(cases)])
    interval = "" if math.isnan(blind.low) else f" [{blind.low:.3f}, {blind.high:.3f}]"
    chance = np.mean([1 / len(case.candidates) for case in cases])
    said = f"HR@1 {blind.value:.3f}{interval} without a history, {chance:.3f} by chance"
    return [Finding("a history-blind reader", said), telling]


def _telling(told: Sequence[tuple[bool, bool]]) -> Finding:
    """Whether negatives name a recurring target, where those of another case do not."""
    name = "telling negatives"
    if not told:
        return Finding(name, "no target recurs, so negatives cannot tell")
    right, due = (sum(side) for side in zip(*told, strict=True))
    rate = max(1, due) / len(told)
    error = math.sqrt(rate * (1 - rate) / len(told))
    said = f"negatives name {right:,} of {len(told):,} targets that recur, another case's negatives {due:,}"
    return Finding(name, said, right > MARKED * due and (right / len(told) - rate) > SURE * error)


def _names(target: str, candidates: Sequence[str], lists: Mapping[str, Sequence[set[str]]]) -> bool:
    """Whether the target's known lists are more like this one than any other candidate's."""
    likeness = _likeness(candidates, lists)
    best = max(likeness)
    return best > 0 and likeness.count(best) == 1 and candidates[likeness.index(best)] == target


def _likeness(candidates: Sequence[str], lists: Mapping[str, Sequence[set[str]]]) -> list[int]:
    """For each candidate, how many other items this list shares with one where that candidate was right."""
    offered = {*candidates}
    return [
        max((len(offered & known) - 1 for known in lists.get(item, ())), default=0) for item in candidates
    ]


def _halves(cases: Sequence[Asked]) -> tuple[list[int], list[int]]:
    """Places of the cases in two halves, every user in one; by the file's order where it names no users."""
    users = {user: place for place, user in enumerate(dict.fromkeys(case.user for case in cases))}
    if len(users) > 1:
        sides = [users[case.user] % 2 for case in cases]
    else:
        sides = [int(place >= len(cases) // 2) for place in range(len(cases))]
    first, second = ([place for place, side in enumerate(sides) if side == wanted] for wanted in (0, 1))
    return first, second


def _normal_of(value: float, degrees: int) -> float:
    """A chi-squared value as standard errors (Wilson and Hilferty 1931)."""
    part = 2 / (9 * degrees)
    return (math.cbrt(value / degrees) - (1 - part)) / math.sqrt(part)


# --- several parts -----------------------------------------------------------------------------------------


def _between(parts: Mapping[str, Sequence[Asked]]) -> list[Finding]:
    names, found = list(parts), []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            users = [{case.user for case in parts[name] if case.user} for name in (first, second)]
            cases = [{(case.history, case.target) for case in parts[name]} for name in (first, second)]
            title = f"{first} and {second}"
            shared, again = len(users[0] & users[1]), len(cases[0] & cases[1])
            if all(users):
                said = f"{shared:,} users are in both"
                found.append(Finding(f"users in {title}", said, shared > 0))
            said = f"{again:,} histories with their target are in both"
            found.append(Finding(f"cases in {title}", said, again > FEW * min(map(len, cases))))
    return found
