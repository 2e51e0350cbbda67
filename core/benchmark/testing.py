"""Ranks the test cases with a trained method."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.data.types import Sample
from core.errors import Interrupted
from core.evaluation.answer_matching import Answer
from core.evaluation.metrics import Scores, ranks_from_scores
from core.events import Stopped
from core.recommenders.base import Recommender, Task
from core.results.format import Case, CaseAnswer
from core.results.rankings import Ranking, ranking
from core.training import parallel

CHUNK = 16
"""Test cases scored between two looks at the clock."""


@dataclass(frozen=True)
class Tested:
    """What testing a method gave."""

    cases: list[Case]
    """The target's rank in every case of every test set."""
    rankings: list[Ranking]
    """One for each case, once where it belongs to several test sets."""
    seconds: float
    """What asking took."""


def rank_cases(recommender: Recommender, task: Task) -> tuple[list[Case], float]:
    """The target's rank in every test case, and the seconds that asking took; see `ask_all`."""
    found = ask_all(recommender, task)
    return found.cases, found.seconds


def ask_all(recommender: Recommender, task: Task) -> Tested:
    """Asks a trained method every test case.

    A case that belongs to several test sets is asked once. A method that answers in words gives no ranking:
    the target has rank 1 where it is the answer, else the last.

    Raises:
        Interrupted: the task asked to stop.
    """
    samples = list(task.samples.asked.values())
    started = time.monotonic()
    asked = parallel.share_out(samples, lambda own: _asked(recommender, task, own))
    found = {case.place: case for case, _ in asked}
    seconds = time.monotonic() - started
    cases = [
        replace(found[case.place], set=name)
        for name, members in task.samples.test.items()
        for case in members
    ]
    return Tested(cases, [ranked for _, ranked in asked], seconds)


def _asked(recommender: Recommender, task: Task, samples: Sequence[Sample]) -> list[tuple[Case, Ranking]]:
    """What a method makes of each of these samples, some of them at a time."""
    cases: list[tuple[Case, Ranking]] = []
    stage = task.watch(recommender.name).stage("test", len(samples))
    recommender.after_batch = stage.advance
    try:
        for start in range(0, len(samples), CHUNK):
            if parallel.told_to_stop(task.should_stop):
                raise Interrupted
            cases += _ask(recommender, samples[start : start + CHUNK])
            stage.advance(len(cases) - stage.done)  # what a method did not count itself
    except Interrupted:
        task.emit(Stopped(recommender.name, task.seed, "test", stage.done))
        raise
    finally:
        recommender.after_batch = None
    return cases


def _ask(recommender: Recommender, samples: Sequence[Sample]) -> list[tuple[Case, Ranking]]:
    """Samples as cases of no set yet, each with its rank and, where the method gave one, its answer."""
    histories, candidates = [case.history for case in samples], [case.candidates for case in samples]
    columns = np.array([case.candidates.index(case.target) for case in samples])
    answers = recommender.answers(histories, candidates)
    if answers is not None:
        return [
            _answered(case, answer, int(column))
            for case, answer, column in zip(samples, answers, columns, strict=True)
        ]
    scores = recommender.score(histories, candidates)
    ranks = ranks_from_scores(scores, columns)
    return [_ranked(case, row, int(rank)) for case, row, rank in zip(samples, scores, ranks, strict=True)]


def _ranked(sample: Sample, scores: Scores, rank: int) -> tuple[Case, Ranking]:
    """A sample whose candidates were scored."""
    place = sample.place
    return Case("", *place, rank), ranking(place, sample.candidates, scores, sample.target, rank)


def _answered(sample: Sample, answer: Answer, column: int) -> tuple[Case, Ranking]:
    """A sample that was answered in words: the answer is all that its ranking holds beside the target."""
    rank, kept = _judge(answer, column, len(sample.candidates))
    chosen = [] if answer.choice is None else [sample.candidates[answer.choice]]
    named = ranking(sample.place, chosen, np.ones(len(chosen)), sample.target, rank)
    return Case("", *sample.place, rank, kept), named


def _judge(answer: Answer, column: int, candidates: int) -> tuple[int, CaseAnswer]:
    """The target's rank under an answer, and what the result file keeps of the answer."""
    rank = 1 if answer.choice == column else candidates
    by_substring = answer.substring_choice is not None, answer.substring_choice == column
    return rank, CaseAnswer(answer.text, answer.valid, *by_substring)
