"""Ranks the test cases with a trained method."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.data.types import Sample
from core.errors import Interrupted
from core.evaluation.answer_matching import Answer
from core.evaluation.metrics import ranks_from_scores
from core.events import Stopped
from core.recommenders.base import Recommender, Task
from core.results.format import Case, CaseAnswer
from core.training import parallel

CHUNK = 16
"""Test cases scored between two looks at the clock."""


def rank_cases(recommender: Recommender, task: Task) -> tuple[list[Case], float]:
    """The target's rank in every test case, and the seconds that asking took.

    A case that belongs to several test sets is asked once. A method that answers in words gives no ranking:
    the target has rank 1 where it is the answer, else the last.

    Raises:
        Interrupted: the task asked to stop.
    """
    samples = list(task.samples.asked.values())
    started = time.monotonic()
    asked = parallel.share_out(samples, lambda own: _asked(recommender, task, own))
    found = {case.place: case for case in asked}
    seconds = time.monotonic() - started
    cases = [
        replace(found[case.place], set=name)
        for name, members in task.samples.test.items()
        for case in members
    ]
    return cases, seconds


def _asked(recommender: Recommender, task: Task, samples: Sequence[Sample]) -> list[Case]:
    """What a method makes of each of these samples, some of them at a time."""
    cases: list[Case] = []
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


def _ask(recommender: Recommender, samples: Sequence[Sample]) -> list[Case]:
    """Samples as cases of no set yet, each with its rank and, where the method gave one, its answer."""
    histories, candidates = [case.history for case in samples], [case.candidates for case in samples]
    columns = np.array([case.candidates.index(case.target) for case in samples])
    answers = recommender.answers(histories, candidates)
    if answers is not None:
        return [
            Case("", *case.place, *_judge(answer, int(column), len(case.candidates)))
            for case, answer, column in zip(samples, answers, columns, strict=True)
        ]
    ranks = ranks_from_scores(recommender.score(histories, candidates), columns)
    return [Case("", *case.place, int(rank)) for case, rank in zip(samples, ranks, strict=True)]


def _judge(answer: Answer, column: int, candidates: int) -> tuple[int, CaseAnswer]:
    """The target's rank under an answer, and what the result file keeps of the answer."""
    rank = 1 if answer.choice == column else candidates
    by_substring = answer.substring_choice is not None, answer.substring_choice == column
    return rank, CaseAnswer(answer.text, answer.valid, *by_substring)
