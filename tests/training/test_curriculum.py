"""From text-only to hybrid over all of training, whatever epochs, stops and micro-batches come between."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from core.errors import Interrupted
from core.ilora.model import REST_FILE, AdaptedModel
from core.lm.likelihood import Wording
from core.recommenders import adapter
from core.recommenders.adapter import checkpoint_folder
from core.recommenders.base import Task
from core.recommenders.registry import method_class
from core.training.curriculum import hybrid_chance, is_hybrid, pick_template
from tests import tiny

STEPS = 10


def test_the_chance_rises_over_all_of_training_and_ends_at_one() -> None:
    chances = [hybrid_chance(step, 200) for step in range(200)]
    assert chances == sorted(chances)
    assert chances[0] == pytest.approx(1 / 200)
    assert chances[-1] == 1


def test_the_share_of_hybrid_batches_follows_the_chance() -> None:
    drawn = np.array([[is_hybrid(seed, step, 200) for step in range(200)] for seed in range(100)])
    quarters = drawn.reshape(100, 4, 50).mean(axis=(0, 2))
    np.testing.assert_allclose(quarters, [0.1275, 0.3775, 0.6275, 0.8775], atol=0.025)
    assert drawn[:, -1].all()


def test_a_draw_depends_on_seed_and_step_alone() -> None:
    assert [is_hybrid(3, step, 50) for step in range(50)] == [is_hybrid(3, step, 50) for step in range(50)]
    assert [is_hybrid(3, step, 50) for step in range(50)] != [is_hybrid(4, step, 50) for step in range(50)]


def test_every_template_is_drawn_equally_often_and_anew_each_epoch() -> None:
    drawn = [pick_template(0, sample, 0, 3) for sample in range(3000)]
    np.testing.assert_allclose(np.bincount(drawn) / 3000, 1 / 3, atol=0.03)
    assert drawn != [pick_template(0, sample, 1, 3) for sample in range(3000)]
    assert drawn == [pick_template(0, sample, 0, 3) for sample in range(3000)]
    assert {pick_template(0, sample, 0, 1) for sample in range(50)} == {0}


# --- in training -------------------------------------------------------------------------------------------


def small(task: Task) -> Task:
    """Eight training samples, so that ten steps of four are five epochs."""
    return dataclasses.replace(task, samples=dataclasses.replace(task.samples, train=task.samples.train[:8]))


@contextmanager
def wordings() -> Iterator[list[Wording]]:
    """How every micro-batch that is trained on was asked."""
    seen: list[Wording] = []
    real = AdaptedModel.loss

    def loss(model: AdaptedModel, *asked: Any) -> Any:
        seen.append(asked[3])
        return real(model, *asked)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AdaptedModel, "loss", loss)
        yield seen


def settings(model: Path, **training: Any) -> Any:
    return tiny.config(model, objective="language-model", samples=4 * STEPS, curriculum=True, **training)


@pytest.mark.usefixtures("tiny_home")
def test_batches_follow_the_schedule_across_epochs(tmp_path: Path, tiny_model: Path) -> None:
    for size in (4, 2):  # a batch is hybrid as a whole, however it is cut
        task = small(tiny.task(settings(tiny_model, micro_batch_size=size), tmp_path / str(size), seed=5))
        with wordings() as seen:
            method_class("lora")().fit(task)
        flags = [wording.hybrid for wording in seen]
        pieces = len(flags) // STEPS
        assert flags == [is_hybrid(5, step, STEPS) for step in range(STEPS) for _ in range(pieces)]
        assert True in flags and False in flags


@pytest.mark.usefixtures("tiny_home")
def test_a_stopped_run_goes_on_with_the_schedule_where_it_was(tmp_path: Path, tiny_model: Path) -> None:
    task = small(tiny.task(settings(tiny_model, micro_batch_size=4), tmp_path / "whole", seed=5))
    with wordings() as whole:
        expected = fitted(task)
    parts = dataclasses.replace(task, folder=tmp_path / "parts")
    method_class("sasrec")().fit(parts)
    with wordings() as seen:
        for limit in (3, 4):
            asked = iter([False] * limit)
            with pytest.raises(Interrupted) as stopped:
                fitted(dataclasses.replace(parts, should_stop=lambda given=asked: next(given, True)))
            steps = re.search(r"stopped at step (\d+)", str(stopped.value))
            del seen[int(steps[1]) if steps else 0 :]  # a step that was stopped in its middle is made again
        found = fitted(parts)
    assert [wording.hybrid for wording in seen] == [wording.hybrid for wording in whole]
    assert [wording.templates for wording in seen] == [wording.templates for wording in whole]
    for name, tensor in expected.model.state().items():
        assert torch.equal(tensor, found.model.state()[name]), name


def fitted(task: Task) -> Any:
    recommender: Any = method_class("llara")()
    recommender.fit(task)
    return recommender


@pytest.mark.usefixtures("tiny_home")
def test_the_projector_is_kept_when_the_last_batches_were_text_only(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "is_hybrid", lambda seed, step, steps: step < 3)
    task = small(tiny.task(settings(tiny_model, micro_batch_size=4), tmp_path))
    made = fitted(task)
    untrained = made.build(task, made.model.encoder)
    (tmp_path / "run").mkdir()
    made.save(tmp_path / "run")
    saved = load_file(tmp_path / "run" / REST_FILE)["ranker.slots.projector.weight"]
    assert torch.equal(saved, made.model.state()["ranker.slots.projector.weight"])
    assert not torch.equal(saved, untrained.state()["ranker.slots.projector.weight"])  # it did learn
    checkpoints = sorted(checkpoint_folder(task, "llara").glob("step-*/weights.safetensors"))
    assert checkpoints
    assert all("ranker.slots.projector.weight" in load_file(path) for path in checkpoints)
