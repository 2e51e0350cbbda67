"""Items that training never meets: what encoders, popularity and language models make of them, and learn."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.config.choices import ENCODERS
from core.config.settings import DataConfig, EncoderConfig, RunConfig
from core.encoders.job import EncoderJob
from core.encoders.morec import MoRec
from core.lm.slots import ItemSlots
from core.recommenders.adapter import AdapterJob
from core.recommenders.encoders import fit_encoder
from core.recommenders.popularity import item_counts, training_sequences
from core.recommenders.registry import method_class
from tests import tiny, wide


@pytest.fixture
def wide_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A product home that knows the made-up dataset `wide`."""
    for name, value in wide.install(tmp_path / "home", tmp_path / "mirror").items():
        monkeypatch.setenv(name, value)
    return tmp_path / "home"


def settings(kind: str = "sasrec", model: Path | str = "tiny-llama", **data: Any) -> RunConfig:
    config = tiny.config(model, samples=8)
    asked = DataConfig(dataset="wide", spread_positions=2, validation_positions=2, **data)
    return dataclasses.replace(config, data=asked, encoder=dataclasses.replace(config.encoder, kind=kind))


def every_vector(model: Any) -> list[torch.Tensor]:
    """All that an encoder by ids knows of each item."""
    found = [model.items.weight[1:]]
    return [*found, model.outputs.weight, model.bias[:, None]] if model.kind == "caser" else found


@pytest.mark.usefixtures("wide_home")
@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("data", [{"cold_items": 0.4}, {"split": "temporal"}], ids=["cold", "temporal"])
def test_an_encoder_has_the_mean_vector_for_them_and_learns_nothing_from_them(
    kind: str, data: dict[str, Any], tmp_path: Path
) -> None:
    task = tiny.task(settings(kind, **data), tmp_path / "work")
    withheld = sorted(task.samples.withheld)
    others = [item for item in range(wide.ITEMS) if item not in task.samples.withheld]
    assert withheld
    model, _ = fit_encoder(task)
    for vectors in every_vector(model):
        torch.testing.assert_close(vectors[withheld], vectors[others].mean(0).expand(len(withheld), -1))
    again, _ = fit_encoder(dataclasses.replace(task, folder=tmp_path / "work"))  # from the file
    assert torch.equal(again.item_vectors(), model.item_vectors())
    assert fit_encoder(dataclasses.replace(task, folder=tmp_path / "anew"))[0].state_dict().keys()


@pytest.mark.usefixtures("wide_home")
def test_what_such_items_start_as_changes_no_other_weight(tmp_path: Path) -> None:
    task = tiny.task(settings(cold_items=0.4), tmp_path)
    samples, found = task.samples, []
    for start in (0.0, 3.0):
        model = tiny.encoder(items=wide.ITEMS)
        model.frozen = False
        model.requires_grad_(True)
        with torch.no_grad():
            model.items.weight[1:][sorted(samples.withheld)] = start
        job = EncoderJob(
            model, training_sequences(task.dataset, samples), samples.validation, 0, samples.withheld
        )
        torch.manual_seed(0)
        with job.loss(range(12), 0) as (loss, _):
            loss.backward()
        grad = model.items.weight.grad
        assert grad is not None and not grad[1:][sorted(samples.withheld)].any()
        found.append((float(loss.detach()), job.validate(lambda: False)["MRR"]))
    assert found[0] == found[1]


@pytest.mark.usefixtures("wide_home")
def test_encoders_of_other_splits_are_other_files(tmp_path: Path) -> None:
    for data in ({}, {"cold_items": 0.4}, {"split": "temporal"}, {"split": "temporal", "test_from": "0.8"}):
        fit_encoder(tiny.task(settings(**data), tmp_path))
    fit_encoder(tiny.task(settings(min_history=1), tmp_path))  # the test alone is another
    assert len(list((tmp_path / "encoders").iterdir())) == 4


def test_morec_knows_them_by_their_titles_which_scale_no_others() -> None:
    titles = torch.randn(30, 8)
    config = EncoderConfig(width=16, layers=1, heads=2)
    other = titles.clone()
    other[[3, 7]] += 100
    torch.manual_seed(0)
    one = MoRec(titles, config, 10, [3, 7])
    torch.manual_seed(0)
    two = MoRec(other, config, 10, [3, 7])
    known = [item for item in range(30) if item not in (3, 7)]
    assert torch.equal(one.item_vectors()[known], two.item_vectors()[known])
    mask = torch.zeros(30, dtype=torch.bool)
    mask[3] = True
    before = one.item_vectors().clone()
    one.settle_withheld(mask)
    assert torch.equal(one.item_vectors(), before)


@pytest.mark.usefixtures("wide_home")
def test_popularity_has_not_counted_them(tmp_path: Path) -> None:
    for data in ({"cold_items": 0.4}, {"split": "temporal"}):
        task = tiny.task(settings(**data), tmp_path)
        assert not item_counts(task.dataset, task.samples)[sorted(task.samples.withheld)].any()


@pytest.mark.usefixtures("wide_home")
@pytest.mark.parametrize("data", [{"cold_items": 0.4}, {"split": "temporal"}], ids=["cold", "temporal"])
def test_an_adapter_is_trained_without_them_and_their_slots_are_empty(
    data: dict[str, Any], tmp_path: Path, tiny_model: Path
) -> None:
    config = settings(model=tiny_model, **data)
    config = dataclasses.replace(config, training=dataclasses.replace(config.training, candidates=8))
    task = tiny.task(config, tmp_path)
    recommender: Any = method_class("ilora")()
    recommender.fit(task)
    job = AdapterJob(recommender.model, task)
    for place in range(0, len(job.samples), 5):
        met = {*job.candidates(place, 2), *job.samples[place].history}
        assert not met & task.samples.withheld
    slots = recommender.model.ranker.slots
    assert set(np.flatnonzero(~slots.known)) == task.samples.withheld
    unknown = next(iter(task.samples.withheld))
    hidden = torch.randn(1, 3, tiny.WIDTH)
    assert torch.equal(slots(hidden, np.array([[-1, unknown, -2]])), hidden)
    (tmp_path / "run").mkdir()
    recommender.save(tmp_path / "run")
    again: Any = method_class("ilora")()
    again.load(tmp_path / "run", task)
    case = task.samples.test["last"][0]
    asked = [case.history], [case.candidates]
    np.testing.assert_allclose(again.score(*asked), recommender.score(*asked), rtol=1e-3, atol=1e-4)


def test_an_empty_slot_adds_nothing_and_leaves_the_others_as_they_are() -> None:
    slots = ItemSlots(torch.randn(6, 16), tiny.WIDTH, 2.0)
    hidden, asked = torch.randn(1, 4, tiny.WIDTH), np.array([[2, 5, -1, -2]])
    usual = slots(hidden, asked)
    slots.leave_empty([2, 3])
    found = slots(hidden, asked)
    assert torch.equal(found[0, [0, 2, 3]], hidden[0, [0, 2, 3]])
    torch.testing.assert_close(found[0, 1], usual[0, 1])
    assert not torch.equal(usual[0, 0], hidden[0, 0])


@pytest.mark.usefixtures("wide_home")
@pytest.mark.parametrize("objective", ["listwise", "language-model"])
def test_item_tokens_are_not_even_predicted_against(objective: str, tmp_path: Path, tiny_model: Path) -> None:
    config = settings(model=tiny_model, cold_items=0.4)
    training = dataclasses.replace(
        config.training, candidates=8, objective=objective, item_tokens=True, encoder_prior=False
    )
    task = tiny.task(dataclasses.replace(config, training=training), tmp_path)
    recommender: Any = method_class("lora")()
    model = recommender.build(task, fit_encoder(task)[0])
    ranker, case = model.ranker, task.samples.train[0]
    given = [case.history], [AdapterJob(model, task).candidates(0, 0)]
    column = [given[1][0].index(case.target)]
    losses = []
    for vector in (0.0, 5.0):
        ranker.items.item_vectors[sorted(task.samples.withheld)] = vector
        with torch.no_grad(), model.loss(*given, column) as loss:
            losses.append(float(loss))
    assert losses[0] == losses[1]
