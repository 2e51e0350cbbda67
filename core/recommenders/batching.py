"""Scores and answers in batches of similar length, shared among processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from core.data.types import Sample
from core.encoders.job import target_columns
from core.errors import Interrupted, ModelError
from core.evaluation.answer_matching import WrittenAnswer, read_answer
from core.evaluation.metrics import Scores, ranks_from_scores
from core.events import ShouldStop, never
from core.recommenders.base import Task
from core.stages import Watch
from core.training import parallel

Score = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], Tensor]
Ask = Callable[[Sequence[Sequence[int]], Sequence[Sequence[int]]], list[str]]


def spaced(samples: Sequence[Sample], count: int) -> list[Sample]:
    """At most `count` of the samples, evenly spaced."""
    if len(samples) <= count:
        return list(samples)
    return [samples[i * len(samples) // count] for i in range(count)]


def validation_cases(task: Task, count: int) -> list[Sample]:
    """At most `count` validation cases, evenly spaced; of several datasets as one, as many of each."""
    cases, parts = task.samples.validation, task.dataset.parts
    if not parts:
        return spaced(cases, count)
    own = [[case for case in cases if case.user.startswith(f"{part.name}:")] for part in parts]
    return [case for of_part in own for case in spaced(of_part, max(1, count // len(parts)))]


@torch.no_grad()
def score_in_batches(
    score: Score,
    histories: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[int]],
    size: int,
    should_stop: ShouldStop = never,
    after: Callable[[int], None] | None = None,
) -> Scores:
    """(n, c) scores, computed `size` rows at a time, rows of similar length together.

    Args:
        score: gives the scores of some rows.
        histories: n item sequences.
        candidates: n lists of items.
        size: rows in a batch.
        should_stop: asked before every batch.
        after: told after every batch how many rows it had; it may raise `Interrupted`, too.

    Raises:
        Interrupted: `should_stop` said so.
        ModelError: a score is not a finite number.
    """
    order = sorted(range(len(histories)), key=lambda i: len(histories[i]))
    parts = []
    for start in range(0, len(order), size):
        if parallel.told_to_stop(should_stop):
            raise Interrupted
        rows = order[start : start + size]
        parts.append(score([histories[i] for i in rows], [candidates[i] for i in rows]).float().cpu().numpy())
        if after is not None:
            after(len(rows))
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise ModelError("the model's scores are not numbers", "its weights are damaged: get it anew")
    scores = np.empty_like(found)
    scores[order] = found
    return scores


def shared_ranks(
    score: Score, cases: Sequence[Sample], size: int, watch: Watch, countings: int = 1
) -> npt.NDArray[np.int64]:
    """(n, countings) the target's rank in every validation case; each process scores its share.

    Args:
        score: gives the scores of some cases; those of several countings stand side by side.
        cases: what is ranked.
        size: cases in a batch.
        watch: is told of the stage `validate`, and may stop it.
        countings: how many scores each candidate gets.

    Raises:
        Interrupted: the watch asked to stop.
    """

    def ranks(own: Sequence[Sample]) -> list[list[int]]:
        stage = watch.stage("validate", len(own))
        histories, candidates = [case.history for case in own], [case.candidates for case in own]
        scores = score_in_batches(score, histories, candidates, size, watch.should_stop, stage.advance)
        columns = target_columns(own)
        found = [ranks_from_scores(part, columns) for part in np.split(scores, countings, axis=1)]
        return np.stack(found, axis=1).tolist()  # type: ignore[no-any-return]

    return np.array(parallel.share_out(cases, ranks))


def answer_in_batches(
    ask: Ask,
    title: Callable[[int], str],
    histories: Sequence[Sequence[int]],
    candidates: Sequence[Sequence[int]],
    size: int,
    after: Callable[[int], None] | None = None,
) -> list[WrittenAnswer]:
    """Answers read against the candidates' titles, `size` at a time, rows of similar length together."""
    order = sorted(range(len(histories)), key=lambda i: len(histories[i]))
    found: dict[int, WrittenAnswer] = {}
    for start in range(0, len(order), size):
        rows = order[start : start + size]
        texts = ask([histories[i] for i in rows], [candidates[i] for i in rows])
        for i, text in zip(rows, texts, strict=True):
            found[i] = read_answer(text, [title(item) for item in candidates[i]])
        if after is not None:
            after(len(rows))
    return [found[i] for i in range(len(order))]


def notes_on_answers(task: Task) -> list[str]:
    """What a result must say about how the model was asked."""
    notes = {
        "rank": "candidates are ranked by the likelihood of their titles as the answer",
        "generate": "the answer is written freely; a case whose answer is not the target has the last rank",
        "constrained": "the answer is written within the candidates' titles; a case whose answer is not the "
        "target has the last rank",
    }
    found = [notes[task.config.answering.protocol]]
    if task.config.training.curriculum:
        found.append("batches went from text-only to hybrid prompts over all of training")
    if not task.config.training.item_slots:
        found.append("prompts were text alone")
    return found
