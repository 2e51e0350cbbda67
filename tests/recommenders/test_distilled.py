"""A student learns its teacher's order, sees no label, and goes on where it was stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from core.config.distillation import DistillationConfig
from core.config.settings import EncoderConfig, RunConfig
from core.data.types import Sample
from core.encoders.base import Encoder, new_encoder
from core.encoders.job import LIKENESS, SAME_FIRST, DistilJob, Scored, score_lists, score_samples
from core.errors import InputError, Interrupted
from core.evaluation.metrics import Scores, pairs_alike
from core.events import Event, Notice, StepLogged
from core.recommenders import lessons as module
from core.recommenders.adapter import AdapterRecommender
from core.recommenders.base import Task
from core.recommenders.distilled import COMPARED, Distilled, compared
from core.recommenders.lessons import Offers, lessons
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")
SETTINGS = DistillationConfig("a-run", "abc", histories=60, candidates=8)


class Contrary(AdapterRecommender):
    """An adapter that prefers what the encoder does not expect: the next item but one, then the one after."""

    name = "ilora"

    def __init__(self) -> None:
        self.encoder = tiny.encoder()
        self.model = SimpleNamespace(llm=SimpleNamespace(dtype=torch.float32))  # type: ignore[assignment]
        self.asked = 0

    def own_encoder(self) -> Encoder:
        return self.encoder

    def score(self, histories: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Scores:
        last = np.array([history[-1] for history in histories])[:, None]
        away = (np.asarray(candidates) - last - 2) % tiny.ITEMS
        self.asked += len(histories)
        if self.after_batch is not None:
            self.after_batch(len(histories))
        return -away.astype(np.float32) / 4


def task_of(folder: Path, teacher: AdapterRecommender, epochs: int = 2, **more: Any) -> Task:
    config: RunConfig = replace(tiny.config(), distillation=replace(SETTINGS, **more.pop("settings", {})))
    config = replace(
        config,
        encoder=replace(config.encoder, epochs=epochs, dropout=0.0, patience=epochs, learning_rate=1e-2),
    )
    return tiny.task(config, folder, trained=teacher, **more)


def test_a_student_that_learns_long_enough_orders_as_its_teacher(tmp_path: Path) -> None:
    teacher = Contrary()
    task = task_of(tmp_path, teacher, settings={"histories": 10_000, "candidates": 16})
    taught = lessons(teacher, task, "distilled")
    torch.manual_seed(1)
    settings = EncoderConfig(width=16, layers=1, heads=2, dropout=0.0)
    model, untaught = (new_encoder("sasrec", tiny.ITEMS, settings, 10) for _ in range(2))
    job = DistilJob(model, taught.train, taught.validation, task.samples.validation, 1.0)
    optimizer = torch.optim.AdamW(model.parameters(), 5e-3)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        with job.loss(range(len(job)), 0) as (loss, count):
            (loss / count).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item() / count)
    assert losses[-1] < losses[0] / 10
    cases = list(task.samples.asked.values())
    given = [case.history for case in cases], [case.candidates for case in cases]
    before = pairs_alike(score_samples(untaught, cases), teacher.score(*given)).mean()
    after = pairs_alike(score_samples(model, cases), teacher.score(*given)).mean()
    learnt = score_lists(model, taught.train.histories, taught.train.candidates)
    assert pairs_alike(learnt, taught.train.scores).mean() > 0.9
    assert before < 0.6 and after > 0.75


def test_the_loss_is_nothing_where_both_agree_at_any_temperature() -> None:
    model = tiny.encoder()
    histories, candidates = tiny.histories(5), np.array(tiny.candidates(5, 6))
    own = model.score(model.represent(histories), torch.from_numpy(candidates)).detach().numpy()
    for temperature in (0.5, 1.0, 3.0):
        same = Scored(histories, candidates, own)
        job = DistilJob(model, same, same, (), temperature)
        with job.loss([0, 2, 4], 0) as (loss, count):
            assert (loss.item(), count) == (pytest.approx(0.0, abs=1e-5), 3)
        other = same._replace(scores=own + np.eye(6, dtype=np.float32)[:5])
        job = DistilJob(model, other, same, (), temperature)
        with job.loss([0], 0) as (loss, _):
            assert loss.item() > 0.001


def test_candidates_are_new_to_the_user_half_of_them_the_encoders_best(tmp_path: Path) -> None:
    teacher = Contrary()
    task = task_of(tmp_path, teacher)
    offers = Offers(task, teacher.encoder)
    cases = list(offers.cases())[:20]
    rows = offers.of(cases)
    assert rows.shape == (20, 8)
    best_met = 0
    for case, row in zip(cases, rows, strict=True):
        had = set(task.dataset.sequences[case.user].items[: case.position].tolist())
        assert len(set(row.tolist())) == 8 and not had & set(row.tolist())
        z = teacher.encoder.represent([case.history])
        order = [item for item in (-teacher.encoder.logits(z)[0]).argsort().tolist() if item not in had]
        assert set(order[:4]) <= set(row.tolist())
        best_met += row.tolist()[:4] == order[:4]
    assert best_met < 3  # their places say nothing
    np.testing.assert_array_equal(offers.of(cases), rows)


@pytest.mark.parametrize("split", ["paper", "leave-one-out"])
def test_what_is_asked_depends_on_no_test_or_validation_target(tmp_path: Path, split: str) -> None:
    """Every item that is a target of a test or validation case, and all after it, may be anything."""

    def asked(change: int) -> tuple[list[tuple[int, ...]], np.ndarray]:
        teacher = Contrary()
        task = task_of(tmp_path / str(change), teacher, settings={"histories": 10_000})
        task = replace(task, config=replace(task.config, data=replace(task.config.data, split=split)))
        dataset, samples = tiny.load(task.config)
        held = [*samples.validation, *samples.asked.values()]
        first = {user: min(c.position for c in held if c.user == user) for user in {c.user for c in held}}
        if split == "leave-one-out":  # validation targets train nobody either
            assert set(first) == {case.user for case in samples.train}
        for user, place in first.items():
            items = dataset.sequences[user].items
            items[place:] = (items[place:] + change) % tiny.ITEMS
            dataset.sequences[user].met[:] = 0
        found = lessons(teacher, replace(task, dataset=dataset, samples=samples), "distilled").train
        return found.histories, found.candidates

    histories, candidates = asked(0)
    others, rows = asked(17)
    assert histories == others and len(histories) > 50
    np.testing.assert_array_equal(candidates, rows)
    if split == "paper":
        held = {"3", "9", "15", "21", "4", "10", "16"}
        task = task_of(tmp_path, Contrary())
        assert not held & {case.user for case in Offers(task, tiny.encoder()).cases()}


def test_a_label_changes_nothing(tmp_path: Path) -> None:
    teacher = Contrary()
    task = task_of(tmp_path, teacher)
    plain = [replace(case, target=0) for case in task.samples.train]
    blind = replace(task, samples=replace(task.samples, train=plain))
    offers, others = Offers(task, teacher.encoder), Offers(blind, teacher.encoder)
    cases: list[Sample] = list(offers.cases())
    assert [case.place for case in others.cases()] == [case.place for case in cases]
    np.testing.assert_array_equal(others.of(list(others.cases())[:30]), offers.of(cases[:30]))


def fitted(task: Task) -> dict[str, torch.Tensor]:
    student = Distilled()
    student.fit(task)
    return student.model.state_dict()


def test_a_student_that_was_stopped_anywhere_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 8)
    whole = fitted(task_of(tmp_path / "whole", Contrary()))
    teacher, seen, left = Contrary(), [0], [3]

    def emit(event: Event) -> None:
        seen[0] += isinstance(event, StepLogged)

    def stop() -> bool:
        left[0] -= 1
        return left[0] < 0

    for tries in range(60):
        try:
            found = fitted(task_of(tmp_path / "parts", teacher, emit=emit, should_stop=stop))
            break
        except Interrupted:
            left[0] = 3 + tries // 16
    assert tries > 2 and seen[0]
    assert teacher.asked < 2 * SETTINGS.histories  # what was scored is not scored again
    assert all(torch.equal(found[name], tensor) for name, tensor in whole.items())


def test_more_histories_go_on_with_fewer_and_another_student_asks_nothing(tmp_path: Path) -> None:
    teacher = Contrary()
    few = lessons(teacher, task_of(tmp_path, teacher, settings={"histories": 40}), "distilled")
    assert teacher.asked == 40 + len(few.validation.histories)
    more = lessons(teacher, task_of(tmp_path, teacher, settings={"temperature": 2.0}), "distilled")
    asked = 60 + len(few.validation.histories)
    assert teacher.asked == asked
    np.testing.assert_array_equal(more.train.candidates[:40], few.train.candidates)
    again = lessons(teacher, task_of(tmp_path, teacher, settings={"histories": 40}), "distilled")
    assert teacher.asked == asked
    np.testing.assert_array_equal(again.train.scores, few.train.scores)
    np.testing.assert_array_equal(again.validation.scores, few.validation.scores)
    lessons(teacher, task_of(tmp_path, teacher, settings={"weights": "other"}), "distilled")
    assert teacher.asked == 2 * asked


def test_a_damaged_part_is_said_and_scored_again(tmp_path: Path) -> None:
    teacher, told = Contrary(), []
    first = lessons(teacher, task_of(tmp_path, teacher), "distilled")
    (part,) = (tmp_path / "lessons").glob("*/*.safetensors")
    part.write_bytes(part.read_bytes()[:100])
    again = lessons(teacher, task_of(tmp_path, teacher, emit=told.append), "distilled")
    assert ["damaged" in event.text for event in told if isinstance(event, Notice)] == [True]
    np.testing.assert_array_equal(again.train.scores, first.train.scores)


def test_the_epoch_is_kept_that_is_most_like_the_teacher(tmp_path: Path) -> None:
    """Whatever the labels of validation users say of it."""
    teacher = Contrary()
    student = Distilled()
    settings = {"histories": 200, "learning_rate": 1e-2}
    task = task_of(tmp_path, teacher, epochs=20, settings=settings)
    report = student.fit(task)
    alike = [row[LIKENESS] for row in report.curve]
    assert max(alike) > 0.7 * alike[0] and max(alike) <= 0
    held = lessons(teacher, task, "distilled").validation
    own = student.score(held.histories, held.candidates.tolist())
    sides = [torch.from_numpy(side).log_softmax(1) for side in (held.scores, own)]
    away = (sides[0].exp() * (sides[0] - sides[1])).sum(1).mean()
    assert -float(away) == pytest.approx(max(alike), abs=1e-5)
    best = alike.index(max(alike))
    same = (own.argmax(1) == held.scores.argmax(1)).mean()
    assert report.curve[best][SAME_FIRST] == pytest.approx(same)
    assert f"chose epoch {best} of" in " ".join(report.notes)


def test_teacher_and_student_are_asked_the_same_cases(tmp_path: Path) -> None:
    teacher = Contrary()
    task = task_of(tmp_path, teacher)
    same = compared(teacher, teacher, task)
    assert (same.same_first.value, same.same_pairs.value) == (1.0, 1.0)
    assert same.same_first.n == len(task.samples.asked) <= COMPARED
    student = Distilled()
    student.fit(task)
    notes = student.remarks()
    assert "teacher's first candidate first" in notes[0] and "ms a case" in notes[1]
    student.finish()
    assert not student.remarks()


def test_a_catalogue_that_is_too_small_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no training user of tiny has 40 items left"):
        lessons(Contrary(), task_of(tmp_path, Contrary(), settings={"candidates": 40}), "distilled")
