"""The encoder reads the last ten items, in order, and nothing else; frozen, it stays as it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.config import EncoderConfig
from core.errors import Interrupted, ResultError
from core.events import Event, Notice
from core.recommenders import method_class
from core.recommenders.base import Task
from core.recommenders.popularity import item_counts, training_sequences
from core.recommenders.sasrec import (
    ENCODER_FILE,
    EncoderJob,
    SASRec,
    fit_encoder,
    load_encoder,
    save_encoder,
    score_samples,
)
from tests import tiny

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}


def encoder(layers: int = 2, max_history: int = 10) -> SASRec:
    torch.manual_seed(0)
    made = SASRec(tiny.ITEMS, EncoderConfig(width=16, layers=layers, heads=2, max_history=max_history))
    with torch.no_grad():
        made.items.weight[1:].normal_(std=0.5)
        made.positions.weight.normal_(std=0.5)
    return made.freeze()


# --- what it reads -----------------------------------------------------------------------------------------


def test_padding_on_the_left_changes_nothing() -> None:
    model = encoder()
    for length in (1, 4, 9):
        history = list(range(3, 3 + length))
        bare = torch.tensor([[item + 1 for item in history]])
        torch.testing.assert_close(model(bare)[:, -1], model.represent([history]), **CLOSE)


def test_who_else_is_in_the_batch_changes_nothing() -> None:
    model, histories = encoder(), [[5], [1, 2, 3], list(range(10)), [7, 7]]
    together = model.represent(histories)
    for row, history in enumerate(histories):
        torch.testing.assert_close(together[row], model.represent([history])[0], **CLOSE)


def test_only_the_last_ten_items_matter_and_each_of_them_does() -> None:
    model, last = encoder(), list(range(10))
    expected = model.represent([last])
    torch.testing.assert_close(model.represent([[30, 31, 32, *last]]), expected, **CLOSE)
    for place in range(10):
        changed = [*last[:place], 35, *last[place + 1 :]]
        assert (model.represent([changed]) - expected).abs().max() > 1e-3, place


def test_the_order_of_the_history_matters() -> None:
    model = encoder()
    assert (model.represent([[1, 2, 3, 4]]) - model.represent([[3, 1, 2, 4]])).abs().max() > 1e-3


def test_a_state_knows_nothing_of_later_items() -> None:
    model = encoder()
    one, other = model.batch([list(range(10))]), model.batch([[0, 1, 2, 3, 4, 30, 31, 32, 33, 34]])
    torch.testing.assert_close(model(one)[:, :5], model(other)[:, :5], **CLOSE)
    assert (model(one)[:, 5:] - model(other)[:, 5:]).abs().min(-1).values.max() > 0


def test_an_empty_history_is_answered_too() -> None:
    assert torch.isfinite(encoder().represent([[], [1]])).all()


def test_scores_are_inner_products_with_the_candidates_vectors() -> None:
    model = encoder()
    z = model.represent([[1, 2], [3]])
    scores = model.score(z, torch.tensor([[0, 39, 7], [7, 0, 39]]))
    assert model.item_vectors().shape == (tiny.ITEMS, 16)
    expected = z @ model.item_vectors().T
    torch.testing.assert_close(scores[0], expected[0, [0, 39, 7]])
    torch.testing.assert_close(scores[1], expected[1, [7, 0, 39]])


# --- frozen means frozen -----------------------------------------------------------------------------------


def test_frozen_is_without_dropout_and_without_gradients() -> None:
    torch.manual_seed(0)
    model = SASRec(tiny.ITEMS, EncoderConfig(width=16, layers=1, heads=2, dropout=0.5))
    history = [[1, 2, 3]]
    assert not torch.equal(model.represent(history), model.represent(history))  # dropout while it trains
    frozen = model.freeze()
    assert torch.equal(frozen.represent(history), frozen.represent(history))
    assert not any(p.requires_grad for p in frozen.parameters())


# --- how it is trained -------------------------------------------------------------------------------------


@pytest.fixture
def task(tiny_home: Path, tmp_path: Path) -> Task:
    return tiny.task(tiny.config(), tmp_path / "work")


def test_training_sequences_are_of_training_users_only(task: Task) -> None:
    held_out = {"3", "9", "15", "21", "4", "10", "16"}
    sequences = training_sequences(task)
    own = [s.items.tolist() for user, s in task.dataset.sequences.items() if user not in held_out]
    assert sorted(sequence.tolist() for sequence in sequences) == sorted(own)
    assert item_counts(task).sum() == sum(map(len, own))


def test_leave_one_out_trains_on_nothing_that_is_asked_later(tiny_home: Path, tmp_path: Path) -> None:
    config = tiny.config()
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, split="leave-one-out"))
    task = tiny.task(config, tmp_path)
    sequences = dict(zip(task.dataset.sequences, training_sequences(task), strict=True))
    for user, sequence in task.dataset.sequences.items():
        assert sequences[user].tolist() == sequence.items[:-2].tolist()


def test_every_item_is_predicted_in_every_epoch_once_with_histories_of_every_length(task: Task) -> None:
    sequences = training_sequences(task)
    job = EncoderJob(encoder(max_history=10), sequences, task.samples.validation, seed=0)
    lengths = set()
    for epoch in range(30):
        predicted = 0
        for sample in range(len(job.pieces)):
            piece = job.cut(sample, epoch)
            assert len(piece) <= 11
            lengths |= set(range(1, len(piece)))
            predicted += max(0, len(piece) - 1)
        assert predicted == sum(len(items) - 1 for items in sequences)
        assert predicted == job.terms(range(len(job.pieces)), epoch)
    assert lengths == set(range(1, 11))


def test_it_learns_what_comes_next(tiny_home: Path, tmp_path: Path) -> None:
    config = tiny.config()
    longer = dataclasses.replace(config.encoder, epochs=40, learning_rate=0.01, dropout=0.1)
    task = tiny.task(dataclasses.replace(config, encoder=longer), tmp_path)
    model, report = fit_encoder(task)
    cases = task.samples.test["spread"]
    scores = score_samples(model, cases)
    hits = [case.candidates[row.argmax()] == case.target for case, row in zip(cases, scores, strict=True)]
    assert np.mean(hits) > 0.4  # chance is 0.05
    assert report.curve[-1]["MRR"] > report.curve[0]["MRR"]


def test_training_by_two_methods_happens_once_and_costs_what_it_cost(task: Task) -> None:
    events: list[Event] = []
    first, report = fit_encoder(task)
    second, again = fit_encoder(dataclasses.replace(task, emit=events.append))
    assert not events  # nothing was trained
    assert again == report
    assert again.seconds > 0
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor)
    fitted = method_class("sasrec")().fit(task)
    assert fitted.train_seconds == report.seconds
    assert fitted.trainable_parameters == sum(p.numel() for p in first.parameters())


@pytest.mark.parametrize(
    ("part", "change"),
    [("encoder", {"epochs": 3}), ("data", {"samples_seed": 1}), ("data", {"validation_positions": 1})],
)
def test_other_settings_train_another_encoder(task: Task, part: str, change: dict[str, Any]) -> None:
    fit_encoder(task)
    other = dataclasses.replace(
        task.config, **{part: dataclasses.replace(getattr(task.config, part), **change)}
    )
    events: list[Event] = []
    fit_encoder(tiny.task(other, task.folder, emit=events.append))
    assert events
    fit_encoder(dataclasses.replace(task, seed=1, emit=events.append))
    assert len(list((task.folder / "encoders").iterdir())) == 3


@pytest.mark.parametrize("content", [b"", b"half a file", None])
def test_a_damaged_encoder_is_trained_again_with_a_notice(task: Task, content: bytes | None) -> None:
    expected, _ = fit_encoder(task)
    (path,) = (task.folder / "encoders").iterdir()
    path.write_bytes(path.read_bytes()[:-9] if content is None else content)
    events: list[Event] = []
    model, _ = fit_encoder(dataclasses.replace(task, emit=events.append))
    assert any(isinstance(event, Notice) and "is damaged" in event.text for event in events)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_an_encoder_stopped_in_training_ends_as_one_left_alone(task: Task, tmp_path: Path) -> None:
    expected, _ = fit_encoder(task)
    stopped = dataclasses.replace(task, folder=tmp_path / "stopped")
    asked = iter([False])
    with pytest.raises(Interrupted):
        fit_encoder(dataclasses.replace(stopped, should_stop=lambda: next(asked, True)))
    assert not (stopped.folder / "encoders").exists()
    model, _ = fit_encoder(stopped)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert not list((stopped.folder / "checkpoints").iterdir())


# --- keeping -----------------------------------------------------------------------------------------------


def test_a_saved_encoder_comes_back_frozen(task: Task, tmp_path: Path) -> None:
    made = tiny.encoder()
    save_encoder(made, tmp_path)
    again = load_encoder(tmp_path, task)
    assert torch.equal(again.represent([[1, 2]]), made.represent([[1, 2]]))
    assert not again.training


@pytest.mark.parametrize("damage", ["missing", "cut", "other shape"])
def test_an_encoder_that_does_not_fit_is_an_error(task: Task, tmp_path: Path, damage: str) -> None:
    if damage != "missing":
        save_encoder(tiny.encoder(width=32 if damage == "other shape" else 16), tmp_path)
    if damage == "cut":
        (tmp_path / ENCODER_FILE).write_bytes((tmp_path / ENCODER_FILE).read_bytes()[:100])
    with pytest.raises(ResultError, match=ENCODER_FILE) as caught:
        load_encoder(tmp_path, task)
    assert "\n" not in caught.value.title
    assert caught.value.hint
