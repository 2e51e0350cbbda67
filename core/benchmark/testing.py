"""Ranks the test cases with a trained method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.benchmark.catalogue import Items, Pool
from core.data.types import Sample
from core.errors import Interrupted
from core.evaluation.answer_matching import WrittenAnswer
from core.evaluation.metrics import Scores, ranks_from_scores
from core.events import Stopped
from core.recommenders.base import Recommender, Task
from core.results.format import Case, CaseAnswer
from core.results.rankings import Ranking, ranking
from core.run_time import run_seconds
from core.training import parallel

CHUNK = 16
"""Test cases scored between two looks at the clock."""


@dataclass(frozen=True)
class Tested:
    """What testing a method gave."""

    cases: list[Case]
    """The target's rank in every case of every test set."""
    rankings: list[Ranking]
    """One for each case and kind of candidates, once where it belongs to several test sets."""
    seconds: float
    """What asking took."""


def rank_cases(recommender: Recommender, task: Task) -> tuple[list[Case], float]:
    """The target's rank in every test case, and the seconds that asking took; see `ask_all`."""
    found = ask_all(recommender, task)
    return found.cases, found.seconds


def ask_all(recommender: Recommender, task: Task) -> Tested:
    """Asks a trained method every test case.

    A case that belongs to several test sets is asked once for each kind of candidates. A method that answers
    in words gives no ranking: the target has rank 1 where it is the answer, else the last.

    Raises:
        Interrupted: the task asked to stop.
    """
    samples = task.samples.questions
    started = run_seconds()
    asked = parallel.share_out(samples, lambda own: _asked(recommender, task, own))
    pools = [sample.pool for sample in samples]
    found = {(case.place, pool): case for (case, _), pool in zip(asked, pools, strict=True)}
    seconds = run_seconds() - started
    cases = [
        replace(found[case.place, case.pool], set=name)
        for name, members in task.samples.test.items()
        for case in members
    ]
    rankings = [ranked._replace(pool=pool) for (_, ranked), pool in zip(asked, pools, strict=True)]
    return Tested(cases, rankings, seconds)


def _asked(recommender: Recommender, task: Task, samples: Sequence[Sample]) -> list[tuple[Case, Ranking]]:
    """What a method makes of each of these samples, some of them at a time."""
    cases: list[tuple[Case, Ranking]] = []
    stage = task.watch(recommender.name).stage("test", len(samples))
    recommender.after_batch = stage.advance
    pool = Pool(recommender, task) if task.config.data.whole else None
    try:
        for some, passed in _portions(samples, pool):
            if parallel.told_to_stop(task.should_stop):
                raise Interrupted
            if pool is None:
                cases += _ask(recommender, some, [case.candidates for case in some])
            elif passed is not None:
                cases += _rerank(recommender, some, pool, passed)
            else:
                cases += _rank_all(recommender, some, pool)
            stage.advance(len(cases) - stage.done)  # what a method did not count itself
    except Interrupted:
        task.emit(Stopped(recommender.name, task.seed, "test", stage.done))
        raise
    finally:
        recommender.after_batch = None
    return cases


def _portions(
    samples: Sequence[Sample], pool: Pool | None
) -> Iterator[tuple[Sequence[Sample], list[Items] | None]]:
    """Samples that are asked together, and for each what an encoder passes on, where it chooses.

    Encoders score more cases at once than language models do; how many is the same whether they rank or
    choose, so that both come to the same numbers.
    """
    block = pool.block if pool is not None else CHUNK
    for start in range(0, len(samples), block):
        some = samples[start : start + block]
        if pool is None or not pool.retrieve:
            yield some, None
            continue
        passed = pool.retrieved(some)
        for place in range(0, len(some), CHUNK):
            yield some[place : place + CHUNK], passed[place : place + CHUNK]


def _ask(
    recommender: Recommender, samples: Sequence[Sample], candidates: Sequence[Sequence[int]]
) -> list[tuple[Case, Ranking]]:
    """Samples as cases of no set yet, each with its rank and, where the method gave one, its answer.

    Where the target is not among the candidates, its place is one behind the last.
    """
    histories = [case.history for case in samples]
    answers = recommender.answers(histories, candidates)
    if answers is not None:
        return [
            _answered(case, answer, offered)
            for case, answer, offered in zip(samples, answers, candidates, strict=True)
        ]
    scores = recommender.score(histories, candidates)
    return [
        _ranked(case, offered, row) for case, offered, row in zip(samples, candidates, scores, strict=True)
    ]


def _rank_all(recommender: Recommender, samples: Sequence[Sample], pool: Pool) -> list[tuple[Case, Ranking]]:
    """Samples ranked against everything that their users have not had."""
    scores = recommender.score_all([case.history for case in samples], pool.items)
    found = []
    for case, row in zip(samples, scores, strict=True):
        items = pool.of(case)
        found.append(_ranked(case, items, row[items]))
    return found


def _rerank(
    recommender: Recommender, samples: Sequence[Sample], pool: Pool, chosen: Sequence[Items]
) -> list[tuple[Case, Ranking]]:
    """Samples whose encoder passes its best items on; a target that is not among them is the pool's last."""
    passed = [items.tolist() for items in chosen]
    found: dict[int, tuple[Case, Ranking]] = {}
    for length in sorted(set(map(len, passed))):  # rows of one call are equally long
        rows = [row for row, items in enumerate(passed) if len(items) == length]
        asked = _ask(recommender, [samples[row] for row in rows], [passed[row] for row in rows])
        found |= dict(zip(rows, asked, strict=True))
    return [_with_misses(*found[row], passed[row], len(pool.of(case))) for row, case in enumerate(samples)]


def _with_misses(case: Case, ranked: Ranking, passed: Sequence[int], pool: int) -> tuple[Case, Ranking]:
    """A case, with whether the encoder passed the target on; if not, its rank is that of the pool's last."""
    if ranked.target in passed:
        return replace(case, retrieved=True), ranked
    ranks = np.where(ranked.items == ranked.target, pool, ranked.ranks).astype(np.int32)
    return replace(case, rank=pool, retrieved=False), ranked._replace(ranks=ranks)


def _ranked(sample: Sample, candidates: Sequence[int] | Items, scores: Scores) -> tuple[Case, Ranking]:
    """A sample whose candidates were scored."""
    place, target = sample.place, sample.target
    column = np.flatnonzero(np.asarray(candidates) == target)[:1]
    if not len(column):
        ranks_from_scores(scores[None], np.zeros(1, dtype=np.int64))  # are they numbers?
        rank = len(candidates) + 1
    else:
        rank = int(ranks_from_scores(scores[None], column)[0])
    return Case("", *place, rank), ranking(place, candidates, scores, target, rank)


def _answered(sample: Sample, answer: WrittenAnswer, candidates: Sequence[int]) -> tuple[Case, Ranking]:
    """A sample that was answered in words: the answer is all that its ranking holds beside the target."""
    column = candidates.index(sample.target) if sample.target in candidates else -1
    rank, kept = _judge(answer, column, len(candidates))
    chosen = [] if answer.choice is None else [candidates[answer.choice]]
    named = ranking(sample.place, chosen, np.ones(len(chosen)), sample.target, rank)
    return Case("", *sample.place, rank, kept), named


def _judge(answer: WrittenAnswer, column: int, candidates: int) -> tuple[int, CaseAnswer]:
    """The target's rank under an answer, and what the result file keeps of the answer."""
    rank = 1 if answer.choice == column else candidates
    by_substring = answer.substring_choice is not None, answer.substring_choice == column
    return rank, CaseAnswer(answer.text, answer.valid, *by_substring)
