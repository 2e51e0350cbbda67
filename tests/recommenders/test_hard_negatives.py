"""Hard negatives: the encoder's best items that are new to the user, the same for all methods."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from core.benchmark.catalogue import check_pool
from core.config.settings import DataConfig, RunConfig
from core.data.loading import load_task_data
from core.errors import InputError
from core.recommenders.adapter import AdapterJob
from core.recommenders.encoders import fit_encoder
from core.recommenders.hard_negatives import HardNegatives
from core.recommenders.registry import method_class
from tests import tiny, wide

AMONG = 25


@pytest.fixture(autouse=True)
def wide_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product home that knows the made-up dataset `wide`."""
    for name, value in wide.install(tmp_path / "home", tmp_path / "mirror").items():
        monkeypatch.setenv(name, value)


def settings(model: Path | str = "tiny-llama", **data: Any) -> RunConfig:
    config = tiny.config(model, samples=8)
    training = dataclasses.replace(config.training, negatives="hard")
    asked = DataConfig(dataset="wide", spread_positions=2, validation_positions=2, **data)
    return dataclasses.replace(config, data=asked, training=training)


@pytest.mark.parametrize("cold", [0.0, 0.2])
def test_they_are_the_encoders_best_of_what_is_new_to_the_user_and_the_target_is_among_them(
    tmp_path: Path, cold: float
) -> None:
    task = tiny.task(settings(cold_items=cold), tmp_path / "work")
    encoder, _ = fit_encoder(task)
    hard, places = HardNegatives(encoder, task, AMONG), set()
    for case in list(task.samples.train)[:12]:
        seen = task.dataset.sequences[case.user].seen
        with torch.no_grad():
            scores = encoder.logits(encoder.represent([case.history]))[0]
        new = [item for item in range(wide.ITEMS) if item not in seen | task.samples.withheld]
        new.sort(key=lambda item: float(scores[item]), reverse=True)
        drawn = hard.candidates(case, 8, "train-0")
        assert len(set(drawn)) == 8
        assert set(drawn) - {case.target} <= set(new[:AMONG])
        places.add(drawn.index(case.target))
        assert drawn == hard.candidates(case, 8, "train-0") != hard.candidates(case, 8, "train-1")
    assert len(places) > 3  # the target stands anywhere


def test_training_and_validation_meet_them_whatever_the_method_and_validation_whatever_the_seed(
    tmp_path: Path, tiny_model: Path
) -> None:
    config, seen = settings(tiny_model), {}
    for method, seed in (("lora", 0), ("ilora", 0), ("lora", 1)):
        task = tiny.task(config, tmp_path / "work", seed=seed)
        encoder, _ = fit_encoder(dataclasses.replace(task, seed=0))
        job = AdapterJob(method_class(method)().build(task, encoder), task, method)  # type: ignore[attr-defined]
        trained = [job.candidates(sample, 0) for sample in range(6)]
        best = HardNegatives(encoder, task)
        for case, row in zip(job.samples[:6], trained, strict=True):
            assert set(row) - {case.target} <= best.best(case)
        asked = [case.candidates for case in job.validation]
        assert [case.target for case in job.validation] == [case.target for case in task.samples.validation]
        assert asked != [case.candidates for case in task.samples.validation]
        seen[method, seed] = trained, asked
    assert seen["lora", 0] == seen["ilora", 0]
    assert seen["lora", 1][0] != seen["lora", 0][0]
    assert seen["lora", 1][1] == seen["lora", 0][1]


def test_a_result_says_so(tmp_path: Path, tiny_model: Path) -> None:
    report = method_class("lora")().fit(tiny.task(settings(tiny_model), tmp_path / "work"))
    assert "negatives of training and validation are of the encoder's best 100" in report.notes


def test_what_cannot_be_drawn_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    training = settings().training
    with pytest.raises(InputError, match="unknown kind of negatives: soft"):
        dataclasses.replace(training, negatives="soft")
    with pytest.raises(InputError, match="best 100, too few for 101 candidates"):
        dataclasses.replace(training, candidates=101)
    for name, value in tiny.install(tmp_path / "home", tmp_path / "mirror").items():
        assert name and value
    config = dataclasses.replace(settings(), data=DataConfig(dataset="wide+tiny"))
    dataset, _ = load_task_data(config.data)
    with pytest.raises(InputError, match="several datasets as one have no encoder's best"):
        check_pool(config, ["lora"], dataset)
