"""LoRA and iLoRA: one thing differs, runs go on where they were, and other settings start anew."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from core.config.settings import RunConfig
from core.errors import Interrupted
from core.events import Event, Notice, Saved, StepLogged
from core.ilora.model import AdaptedModel
from core.lm.likelihood import Wording
from core.recommenders.adapter import AdapterJob
from core.recommenders.base import Task
from core.recommenders.batching import score_in_batches, spaced
from core.recommenders.registry import method_class
from core.training import loop
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")


def settings(model: Path, **training: Any) -> RunConfig:
    """With dropout, so that a resumed run must also find the random generator where it was."""
    made = tiny.config(model, **training)
    return dataclasses.replace(made, adapter=dataclasses.replace(made.adapter, dropout=0.1))


def fitted(method: str, task: Task) -> Any:
    recommender = method_class(method)()
    recommender.fit(task)
    return recommender


class Watch:
    """Notes what a model is trained on, and its weights before the first step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[tuple[Any, ...]] = []
        self.first: dict[str, Tensor] = {}
        real = AdaptedModel.loss

        def loss(
            model: AdaptedModel,
            histories: Sequence[Any],
            candidates: Sequence[Any],
            targets: Sequence[int],
            wording: Wording,
        ) -> Any:
            if not self.batches:
                self.first = {name: tensor.clone() for name, tensor in model.state().items()}
            self.batches.append((list(histories), list(candidates), list(targets), wording))
            return real(model, histories, candidates, targets, wording)

        monkeypatch.setattr(AdaptedModel, "loss", loss)


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
def test_lora_and_ilora_start_alike_and_meet_the_same_samples_and_candidates_in_the_same_order(
    tmp_path: Path, tiny_model: Path, objective: str
) -> None:
    config = settings(tiny_model, objective=objective, samples=12)
    seen = {}
    for method in ("lora", "ilora"):
        with pytest.MonkeyPatch.context() as patch:
            watch = Watch(patch)
            fitted(method, tiny.task(config, tmp_path / "work"))
        seen[method] = watch
    lora, ilora = seen["lora"], seen["ilora"]
    assert len(lora.batches) == 6
    assert lora.batches == ilora.batches
    assert set(ilora.first) - set(lora.first) == {"gate.linear.weight"}
    for name, tensor in lora.first.items():
        assert torch.equal(tensor, ilora.first[name]), name


def test_training_candidates_are_new_to_the_user_fresh_each_epoch_and_the_same_for_everybody(
    tmp_path: Path, tiny_model: Path
) -> None:
    task = tiny.task(settings(tiny_model), tmp_path)
    job = AdapterJob.__new__(AdapterJob)
    job.task, job.samples, job.settings = task, task.samples.train, task.config.training
    for sample in range(0, len(job.samples), 17):
        case = job.samples[sample]
        drawn = [job.candidates(sample, epoch) for epoch in range(3)]
        assert len(set(drawn)) == 3
        for row in drawn:
            assert len(set(row)) == 20
            assert row.count(case.target) == 1
            assert not (set(row) - {case.target}) & task.dataset.sequences[case.user].seen
        assert job.candidates(sample, 1) == drawn[1]


# --- going on ---------------------------------------------------------------------------------------------


def sessions(method: str, task: Task, limits: Sequence[int]) -> tuple[Any, int]:
    """Fits with a stop after each number of questions in turn, then without; a new recommender each time."""
    interrupted = 0
    for limit in [*limits, None]:
        asked = 0

        def stop(limit: int | None = limit) -> bool:
            nonlocal asked
            asked += 1
            return limit is not None and asked > limit

        try:
            return fitted(method, dataclasses.replace(task, should_stop=stop)), interrupted
        except Interrupted:
            interrupted += 1
    raise AssertionError


@pytest.mark.parametrize("method", ["lora", "ilora"])
def test_a_fit_stopped_several_times_ends_bit_by_bit_as_one_left_alone(
    tmp_path: Path, tiny_model: Path, method: str
) -> None:
    config = settings(tiny_model)
    whole = fitted(method, tiny.task(config, tmp_path / "whole"))
    parts, interrupted = sessions(method, tiny.task(config, tmp_path / "parts"), [2, 3, 1, 4])
    assert interrupted == 4
    expected = whole.model.state()
    for name, tensor in parts.model.state().items():
        assert torch.equal(tensor, expected[name]), name
    for name, tensor in parts.model.encoder.state_dict().items():
        assert torch.equal(tensor, whole.model.encoder.state_dict()[name]), name


def stop_at(step: int, method: str, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trains a method until this step is done, then stops it."""
    monkeypatch.setattr(loop, "LOG_SECONDS", 0.0)  # every step is told
    reached: list[Event] = []

    def emit(event: Event) -> None:
        if isinstance(event, StepLogged) and (event.method, event.stage, event.step) == (
            method,
            "train",
            step,
        ):
            reached.append(event)

    with pytest.raises(Interrupted):
        fitted(method, dataclasses.replace(task, emit=emit, should_stop=lambda: bool(reached)))


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1e-4},
        {"samples": 40},
        {"encoder_prior": False},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_settings_do_not_go_on_from_a_stopped_runs_checkpoint(
    tmp_path: Path, tiny_model: Path, change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the result would be labelled with settings that most of its training did not have."""
    task = tiny.task(settings(tiny_model), tmp_path)
    fitted("sasrec", task)
    stop_at(3, "lora", task, monkeypatch)
    events: list[Event] = []
    fitted("lora", dataclasses.replace(task, config=settings(tiny_model, **change), emit=events.append))
    assert not [event for event in events if isinstance(event, Notice) and "going on" in event.text]
    fitted("lora", dataclasses.replace(task, emit=events.append))
    assert [event for event in events if isinstance(event, Notice) and "going on from step" in event.text]


def test_a_run_that_had_too_little_memory_goes_on_with_a_smaller_micro_batch(
    tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = tiny.task(settings(tiny_model), tmp_path)
    fitted("sasrec", task)
    stop_at(3, "lora", task, monkeypatch)
    events: list[Event] = []
    smaller = settings(tiny_model, micro_batch_size=1, checkpointing=True)
    fitted("lora", dataclasses.replace(task, config=smaller, emit=events.append))
    assert [event for event in events if isinstance(event, Notice) and "going on from step 3" in event.text]


def test_checkpoints_stay_until_the_result_is_on_disk_and_go_then(tmp_path: Path, tiny_model: Path) -> None:
    events: list[Event] = []
    task = tiny.task(settings(tiny_model), tmp_path, emit=events.append)
    recommender = fitted("ilora", task)
    saved = [Path(event.path) for event in events if isinstance(event, Saved) and "ilora" in event.path]
    assert saved[-1].is_dir()
    recommender.forget(task)
    assert not saved[-1].exists()


# --- answering --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gru4rec", "caser"])
def test_the_gate_and_the_slots_read_the_encoder_that_was_chosen(
    tmp_path: Path, tiny_model: Path, kind: str
) -> None:
    made = settings(tiny_model, samples=8)
    config = dataclasses.replace(made, encoder=dataclasses.replace(made.encoder, kind=kind))
    task = tiny.task(config, tmp_path / "work")
    recommender = fitted("ilora", task)
    baseline = fitted(kind, task)  # trained once, for both
    assert [path.name.split("-")[0] for path in (tmp_path / "work" / "encoders").iterdir()] == [kind]
    encoder = recommender.model.encoder
    for name, tensor in encoder.state_dict().items():
        assert torch.equal(tensor, baseline.model.state_dict()[name]), name
    vectors = encoder.item_vectors()
    slots = recommender.model.ranker.slots.item_vectors
    torch.testing.assert_close(slots, vectors / vectors.square().mean().sqrt())
    histories, candidates = tiny.histories(5), tiny.candidates(5)
    (tmp_path / "run").mkdir()
    recommender.save(tmp_path / "run")
    again = method_class("ilora")()
    again.load(tmp_path / "run", task)
    assert again.model.encoder.kind == kind
    np.testing.assert_array_equal(
        again.score(histories, candidates), recommender.score(histories, candidates)
    )


@pytest.mark.parametrize("objective", ["listwise", "language-model"])
def test_a_saved_recommender_scores_as_before(tmp_path: Path, tiny_model: Path, objective: str) -> None:
    task = tiny.task(settings(tiny_model, objective=objective, samples=8), tmp_path / "work")
    recommender = fitted("ilora", task)
    histories, candidates = tiny.histories(5), tiny.candidates(5)
    expected = recommender.score(histories, candidates)
    (tmp_path / "run").mkdir()
    recommender.save(tmp_path / "run")
    again = method_class("ilora")()
    again.load(tmp_path / "run", task)
    np.testing.assert_array_equal(again.score(histories, candidates), expected)
    np.testing.assert_array_equal(again.expert_weights(histories), recommender.expert_weights(histories))


def test_scores_come_back_in_the_order_of_the_questions() -> None:
    histories = [[item] * length for item, length in enumerate([5, 1, 9, 3, 3, 7])]

    def score(rows: Sequence[Sequence[int]], candidates: Sequence[Sequence[int]]) -> Tensor:
        assert len(rows) <= 2
        return torch.tensor([[row[0], len(row)] for row in rows], dtype=torch.float32)

    found = score_in_batches(score, histories, [[0, 1]] * 6, 2)
    assert found.tolist() == [[item, len(history)] for item, history in enumerate(histories)]


def test_validation_cases_are_evenly_spaced_and_fixed(tmp_path: Path, tiny_model: Path) -> None:
    samples = tiny.task(tiny.config(tiny_model), tmp_path).samples.train
    kept = spaced(samples, 7)
    assert len(kept) == 7
    assert kept[0] == samples[0]
    places = [samples.index(case) for case in kept]
    assert max(np.diff(places)) - min(np.diff(places)) <= 1
    assert spaced(samples[:5], 7) == list(samples[:5])


def test_zero_shot_never_looks_at_test_cases_and_says_what_it_chose(tmp_path: Path, tiny_model: Path) -> None:
    task = tiny.task(tiny.config(tiny_model), tmp_path)
    blind = dataclasses.replace(task, samples=dataclasses.replace(task.samples, test={}, train=()))
    recommender = method_class("zero-shot")()
    report = recommender.fit(blind)
    assert report.trainable_parameters == 0
    assert report.total_parameters == sum(p.numel() for p in tiny.llama().parameters())
    assert "chosen on 6 validation cases" in report.notes[0]
    scores = recommender.score(tiny.histories(3), tiny.candidates(3))
    assert scores.shape == (3, 20)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("method", ["popularity", "sasrec", "morec", "lora", "ilora"])
def test_no_method_looks_at_a_test_case_while_it_learns(
    tmp_path: Path, tiny_model: Path, method: str
) -> None:
    task = tiny.task(settings(tiny_model, samples=8), tmp_path / "a")
    blind = dataclasses.replace(
        task, samples=dataclasses.replace(task.samples, test={}), folder=tmp_path / "b"
    )
    histories, candidates = tiny.histories(4), tiny.candidates(4)
    np.testing.assert_array_equal(
        fitted(method, task).score(histories, candidates),
        fitted(method, blind).score(histories, candidates),
    )
