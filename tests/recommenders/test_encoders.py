"""Encoders read the last ten items, in order, and nothing else; frozen, they stay as they are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from core.config.choices import ENCODERS
from core.config.settings import TUNING_GRID, EncoderConfig, RunConfig
from core.encoders.base import PAD, Encoder, new_encoder
from core.encoders.caser import Caser
from core.encoders.job import EncoderJob, score_samples
from core.errors import Interrupted, ResultError
from core.events import Event, Notice
from core.recommenders.base import Task
from core.recommenders.encoders import ENCODER_FILE, fit_encoder, load_encoder, save_encoder
from core.recommenders.popularity import item_counts, training_sequences
from core.recommenders.registry import method_class
from tests import tiny

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
every_kind = pytest.mark.parametrize("kind", ENCODERS)


def encoder(kind: str = "sasrec", max_history: int = 10, **settings: Any) -> Encoder:
    """Frozen, with weights large enough to matter everywhere."""
    torch.manual_seed(0)
    config = EncoderConfig(**{"width": 16, "layers": 2, "heads": 2, **settings})
    made = new_encoder(kind, tiny.ITEMS, config, max_history)
    with torch.no_grad():
        made.items.weight[1:].normal_(std=0.5)
        for name, weight in made.named_parameters():
            if name in ("positions.weight", "outputs.weight", "bias"):
                weight.normal_(std=0.5)
    return made.freeze()


# --- what they read ----------------------------------------------------------------------------------------


@every_kind
def test_padding_on_the_left_changes_nothing(kind: str) -> None:
    model = encoder(kind)
    for length in (1, 4, 9):
        history = list(range(3, 3 + length))
        bare = torch.tensor([[item + 1 for item in history]])
        torch.testing.assert_close(model(bare)[:, -1], model.represent([history]), **CLOSE)


@every_kind
def test_who_else_is_in_the_batch_changes_nothing(kind: str) -> None:
    model, histories = encoder(kind), [[5], [1, 2, 3], list(range(10)), [7, 7]]
    together = model.represent(histories)
    for row, history in enumerate(histories):
        torch.testing.assert_close(together[row], model.represent([history])[0], **CLOSE)


@every_kind
def test_only_the_last_ten_items_matter_and_each_of_them_does(kind: str) -> None:
    model, last = encoder(kind), list(range(10))
    expected = model.represent([last])
    torch.testing.assert_close(model.represent([[30, 31, 32, *last]]), expected, **CLOSE)
    for place in range(10):
        changed = [*last[:place], 35, *last[place + 1 :]]
        assert (model.represent([changed]) - expected).abs().max() > 1e-4, place


@every_kind
def test_the_order_of_the_history_matters(kind: str) -> None:
    model = encoder(kind)
    assert (model.represent([[1, 2, 3, 4]]) - model.represent([[3, 1, 2, 4]])).abs().max() > 1e-3


@every_kind
def test_a_state_knows_nothing_of_later_items(kind: str) -> None:
    model = encoder(kind)
    one, other = model.batch([list(range(10))]), model.batch([[0, 1, 2, 3, 4, 30, 31, 32, 33, 34]])
    torch.testing.assert_close(model(one)[:, :5], model(other)[:, :5], **CLOSE)
    assert (model(one)[:, 5:] - model(other)[:, 5:]).abs().amax(-1).min() > 0


@pytest.mark.parametrize("kind", ["gru4rec", "caser"])  # SASRec's positions count from the row's end
def test_each_state_is_that_of_the_history_up_to_there(kind: str) -> None:
    model, history = encoder(kind), [4, 9, 2, 2, 30, 11, 7]
    states = model(model.batch([history]))[0, -len(history) :]
    for place, state in enumerate(states, 1):
        torch.testing.assert_close(state, model.represent([history[:place]])[0], **CLOSE)


@every_kind
def test_an_empty_history_is_answered_too(kind: str) -> None:
    assert torch.isfinite(encoder(kind).represent([[], [1]])).all()


@every_kind
def test_scores_and_logits_are_the_same_inner_products(kind: str) -> None:
    model = encoder(kind)
    z = model.represent([[1, 2], [3]])
    scores = model.score(z, torch.tensor([[0, 39, 7], [7, 0, 39]]))
    assert model.item_vectors().shape == (tiny.ITEMS, 16)
    expected = z @ model.item_vectors().T
    if isinstance(model, Caser):
        assert model.bias.abs().max() > 0
        expected = expected + model.bias
    torch.testing.assert_close(model.logits(z), expected)
    torch.testing.assert_close(scores[0], expected[0, [0, 39, 7]])
    torch.testing.assert_close(scores[1], expected[1, [7, 0, 39]])


@torch.no_grad()
def test_caser_is_the_papers_convolutions_of_each_window() -> None:
    """Equations 3 to 8, window by window, with loops."""
    model, history = encoder("caser", max_history=4), [8, 3, 3, 21, 17, 5]
    assert isinstance(model, Caser)
    image = model.items.weight[torch.tensor(history[-4:]) + 1]  # (4, width)
    horizontal = []
    for height, layer in enumerate(model.horizontal, 1):
        filters = layer.weight.mT  # (filters, height, width)
        for filter_, bias in zip(filters, layer.bias, strict=True):
            slides = [F.relu((filter_ * image[i : i + height]).sum() + bias) for i in range(4 - height + 1)]
            horizontal.append(torch.stack(slides).max())
    vertical = [
        (weight[0] * image).sum(0) + bias
        for weight, bias in zip(model.vertical.weight, model.vertical.bias, strict=True)
    ]
    read = torch.cat([torch.stack(horizontal), *vertical])
    expected = F.relu(model.hidden.weight @ read + model.hidden.bias)
    assert expected.abs().max() > 0
    torch.testing.assert_close(model.represent([history])[0], expected, **CLOSE)


@torch.no_grad()
def test_esasrec_adds_each_part_as_far_as_its_gate_lets_it_through() -> None:
    """Equations of arXiv 2502.03417, §3.3, as arXiv 2508.06450 puts them to use, for one item."""
    model: Any = encoder("esasrec", layers=1)
    block = model.blocks[0]
    x = model.items.weight[9] + model.positions.weight[-1]
    value = F.layer_norm(x, (16,)) @ block.attention.in_proj_weight[32:].T  # one item attends to itself
    x = x + torch.sigmoid(block.gate1(x)) * block.attention.out_proj(value)
    first, second = block.up.weight.chunk(2)
    normed = F.layer_norm(x, (16,))
    x = x + torch.sigmoid(block.gate2(x)) * block.down(F.silu(first @ normed) * (second @ normed))
    torch.testing.assert_close(model.represent([[8]])[0], x, **CLOSE)


@torch.no_grad()
def test_gru4rec_starts_at_the_first_item_of_a_padded_row() -> None:
    model: Any = encoder("gru4rec")
    history = [8, 3, 3, 21]
    hidden = torch.zeros(1, 1, 32)
    for item in history:
        _, hidden = model.gru(model.items(torch.tensor([[item + 1]])), hidden)
    torch.testing.assert_close(model.represent([history])[0], model.output(hidden[0, 0]), **CLOSE)


# --- frozen means frozen -----------------------------------------------------------------------------------


@every_kind
def test_frozen_is_without_dropout_and_without_gradients_even_when_told_to_train(kind: str) -> None:
    torch.manual_seed(0)
    model = new_encoder(kind, tiny.ITEMS, EncoderConfig(width=16, layers=1, heads=2, dropout=0.5), 10)
    history = [[1, 2, 3]]
    assert not torch.equal(model.represent(history), model.represent(history))  # dropout while it trains
    frozen = model.freeze()
    expected = frozen.represent(history)
    around = torch.nn.Sequential(frozen)
    for train in (frozen.eval, frozen.train, around.train):
        train()
        assert not any(module.training for module in frozen.modules())
        assert torch.equal(frozen.represent(history), expected)
        assert not frozen.represent(history).requires_grad
    assert not any(p.requires_grad for p in frozen.parameters())


# --- how it is trained -------------------------------------------------------------------------------------


@pytest.fixture
def task(tiny_home: Path, tmp_path: Path) -> Task:
    return tiny.task(tiny.config(), tmp_path / "work")


def test_training_sequences_are_of_training_users_only(task: Task) -> None:
    held_out = {"3", "9", "15", "21", "4", "10", "16"}
    sequences = training_sequences(task.dataset, task.samples)
    own = [s.items.tolist() for user, s in task.dataset.sequences.items() if user not in held_out]
    assert sorted(sequence.tolist() for sequence in sequences) == sorted(own)
    assert item_counts(task.dataset, task.samples).sum() == sum(map(len, own))


def test_leave_one_out_trains_on_nothing_that_is_asked_later(tiny_home: Path, tmp_path: Path) -> None:
    config = tiny.config()
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, split="leave-one-out"))
    task = tiny.task(config, tmp_path)
    sequences = dict(zip(task.dataset.sequences, training_sequences(task.dataset, task.samples), strict=True))
    for user, sequence in task.dataset.sequences.items():
        assert sequences[user].tolist() == sequence.items[:-2].tolist()


def pieces_as_defined(sequences: list[np.ndarray], window: int, seed: int, epoch: int) -> list[list[int]]:
    """A user's items from a random shift on, window + 1 at a time, one piece after the other."""
    found = []
    for user, items in enumerate(sequences):
        shift = int(np.random.default_rng((seed, epoch, user)).integers(window))
        for piece in range(-(-(len(items) - 1) // window) + 1):
            first = piece * window - shift
            found.append(items[max(0, first) : max(0, first + window + 1)].tolist())
    return found


def test_every_item_is_predicted_in_every_epoch_once_with_histories_of_every_length(task: Task) -> None:
    sequences = training_sequences(task.dataset, task.samples)
    job = EncoderJob(encoder(), sequences, task.samples.validation, seed=5)
    lengths = set()
    for epoch in range(30):
        pieces = pieces_as_defined(sequences, 10, 5, epoch)
        cuts = job.cuts(epoch)
        assert [[item - 1 for item in row if item != PAD] for row in cuts.tolist()] == pieces
        assert all(row == sorted(row, key=lambda item: item != PAD) for row in cuts.tolist())  # on the left
        lengths |= {place for piece in pieces for place in range(1, len(piece))}
        predicted = job.terms(range(len(job)), epoch)
        assert predicted == sum(len(items) - 1 for items in sequences)
        with job.loss(range(len(job)), epoch) as (_, count):
            assert count == predicted
    assert lengths == set(range(1, 11))


@every_kind
def test_the_loss_is_the_mean_over_predictions_whoever_shares_the_batch(kind: str, task: Task) -> None:
    model = encoder(kind, dropout=0.0)
    job = EncoderJob(model, training_sequences(task.dataset, task.samples), task.samples.validation, seed=0)
    alone = []
    for sample in range(12):
        with job.loss([sample], 3) as (loss, _):
            alone.append(float(loss))
    with job.loss(range(12), 3) as (together, count):
        assert float(together) == pytest.approx(sum(alone), rel=1e-5)
    ids = torch.from_numpy(job.cuts(3)[[4]])
    states, targets = model(ids[:, :-1])[0], ids[0, 1:]
    one_by_one = [
        -model.logits(states[[place]]).log_softmax(-1)[0, targets[place] - 1]
        for place in range(10)
        if ids[0, place] != PAD
    ]
    assert alone[4] == pytest.approx(float(sum(one_by_one)), rel=1e-4)
    assert count == job.terms(range(12), 3)


@every_kind
def test_it_learns_what_comes_next(kind: str, tiny_home: Path, tmp_path: Path) -> None:
    config = tiny.config()
    longer = dataclasses.replace(config.encoder, kind=kind, epochs=40, learning_rate=0.01, dropout=0.1)
    task = tiny.task(dataclasses.replace(config, encoder=longer), tmp_path)
    model, report = fit_encoder(task)
    cases = task.samples.test["spread"]
    scores = score_samples(model, cases)
    hits = [case.candidates[row.argmax()] == case.target for case, row in zip(cases, scores, strict=True)]
    assert np.mean(hits) > 0.4  # chance is 0.05
    assert report.curve[-1]["MRR"] > report.curve[0]["MRR"]


def of_kind(task: Task, kind: str, **more: Any) -> RunConfig:
    return dataclasses.replace(
        task.config, encoder=dataclasses.replace(task.config.encoder, kind=kind, **more)
    )


def test_training_by_two_methods_happens_once_and_costs_what_it_cost(task: Task) -> None:
    events: list[Event] = []
    first, report = fit_encoder(task)
    second, again = fit_encoder(dataclasses.replace(task, emit=events.append))
    assert not events  # nothing was trained
    assert again == report
    assert again.seconds > 0
    for name, tensor in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor)
    fitted = method_class("sasrec")().fit(dataclasses.replace(task, config=of_kind(task, "gru4rec")))
    assert fitted.train_seconds == report.seconds
    assert fitted.trainable_parameters == sum(p.numel() for p in first.parameters())


def test_a_limit_of_steps_holds_however_many_epochs_there_are(task: Task) -> None:
    def steps(limit: int) -> int:
        return fit_encoder(dataclasses.replace(task, config=of_kind(task, "sasrec", steps=limit)))[1].steps

    whole = steps(0)
    assert whole > 1
    assert [steps(1), steps(whole + 9)] == [1, whole]


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


# --- tuning ------------------------------------------------------------------------------------------------


def test_tuning_keeps_the_setting_that_validation_prefers_and_tells_them_all(task: Task) -> None:
    tuned = dataclasses.replace(task, config=of_kind(task, "sasrec", tune=True))
    recommender = method_class("gru4rec")()
    report = recommender.fit(tuned)
    found = {}
    for setting in TUNING_GRID:
        alone = dataclasses.replace(task, config=of_kind(task, "gru4rec", **setting))
        found[tuple(setting.values())] = fit_encoder(alone)
    best = {key: max(row["MRR"] for row in training.curve) for key, (_, training) in found.items()}
    rate, dropout = max(best, key=lambda key: best[key])
    expected, training = found[rate, dropout]
    assert len(set(best.values())) > 1
    assert report.curve == training.curve
    for name, tensor in expected.state_dict().items():
        assert torch.equal(recommender.model.state_dict()[name], tensor), name
    (note,) = report.notes
    assert f"chosen learning rate {rate:g}, dropout {dropout:g} of 4 settings" in note
    assert "6 cases" in note
    assert all(f"{mrr:.4f}" in note for mrr in best.values())


def test_tuning_never_looks_at_a_test_case(task: Task, tmp_path: Path) -> None:
    tuned = dataclasses.replace(task, config=of_kind(task, "sasrec", tune=True))
    blind = dataclasses.replace(
        tuned, samples=dataclasses.replace(task.samples, test={}), folder=tmp_path / "b"
    )
    for name, tensor in fit_encoder(tuned)[0].state_dict().items():
        assert torch.equal(fit_encoder(blind)[0].state_dict()[name], tensor), name


def test_stopped_tuning_goes_on_without_repeating_a_setting(task: Task) -> None:
    tuned = dataclasses.replace(task, config=of_kind(task, "sasrec", tune=True))
    asked = iter([False] * 10)
    with pytest.raises(Interrupted):
        fit_encoder(dataclasses.replace(tuned, should_stop=lambda: next(asked, True)))
    done = {path.name for path in (task.folder / "encoders").iterdir()}
    assert 0 < len(done) < len(TUNING_GRID)
    events: list[Event] = []
    fit_encoder(dataclasses.replace(tuned, emit=events.append))
    trained = [event.text for event in events if isinstance(event, Notice) and "chose epoch" in event.text]
    assert len(trained) == len(TUNING_GRID) - len(done)
    assert len(list((task.folder / "encoders").iterdir())) == len(TUNING_GRID)


# --- keeping -----------------------------------------------------------------------------------------------


@every_kind
def test_a_saved_encoder_comes_back_frozen(kind: str, task: Task, tmp_path: Path) -> None:
    made = tiny.encoder(kind=kind)
    save_encoder(made, tmp_path)
    again = load_encoder(tmp_path, dataclasses.replace(task, config=of_kind(task, kind)))
    assert torch.equal(again.represent([[1, 2]]), made.represent([[1, 2]]))
    again.train()
    assert not again.training


@pytest.mark.parametrize("method", ENCODERS)
def test_a_saved_baseline_scores_as_before_whatever_the_gate_reads(
    method: str, task: Task, tmp_path: Path
) -> None:
    recommender = method_class(method)()
    recommender.fit(task)
    recommender.save(tmp_path)
    again = method_class(method)()
    again.load(tmp_path, dataclasses.replace(task, config=of_kind(task, "caser")))
    histories, candidates = tiny.histories(4), tiny.candidates(4)
    np.testing.assert_array_equal(
        again.score(histories, candidates), recommender.score(histories, candidates)
    )


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
