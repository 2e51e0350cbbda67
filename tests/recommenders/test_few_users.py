"""Few training users: every method learns from them alone, and an encoder may take its time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.benchmark.run import Plan, run_benchmark
from core.config.presets import with_overrides
from core.config.settings import RunConfig
from core.recommenders import encoders
from core.recommenders.encoders import SASRecRecommender, passes
from core.recommenders.popularity import Popularity, training_sequences
from core.results.case_facts import load_facts
from core.training.job import Schedule, TrainingReport
from tests import tiny

pytestmark = pytest.mark.usefixtures("tiny_home")
ALL = tiny.USERS - 4 - 3


def settings(users: int) -> RunConfig:
    return with_overrides(tiny.config(), data={"users": users})


def test_popularity_counts_what_the_few_had(tmp_path: Path) -> None:
    few, everybody = tiny.task(settings(3), tmp_path), tiny.task(settings(0), tmp_path)
    sequences = training_sequences(few.dataset, few.samples)
    assert len(sequences) == 3 and len(training_sequences(everybody.dataset, everybody.samples)) == ALL
    method = Popularity()
    method.fit(few)
    assert method.counts.sum() == sum(map(len, sequences))


def test_an_encoder_of_few_users_may_take_as_many_steps_and_is_kept_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedules: list[Schedule] = []

    def train(job: Any, n: int, schedule: Schedule, *_: Any) -> TrainingReport:
        schedules.append(schedule)
        return TrainingReport(schedule.steps, 0, 1.0, 1.0, [])

    monkeypatch.setattr(encoders, "train", train)
    for users in (0, 3, 6):
        task = tiny.task(settings(users), tmp_path)
        assert passes(task.samples) == (ALL / users if users else 1)
        SASRecRecommender().fit(task)
    assert len(list((tmp_path / "encoders").iterdir())) == 3
    whole, *few = schedules
    for one in few:
        assert whole.steps <= one.steps <= 8 * whole.steps  # a batch is left unfilled, at most
        assert one.steps == one.validate_every and whole.steps == whole.validate_every


def test_a_result_says_who_trained_and_the_cases_facts_are_those_of_everybody(tmp_path: Path) -> None:
    plans = [Plan(settings(users), ("popularity",), (0,), tmp_path / str(users)) for users in (0, 3)]
    everybody, few = (run_benchmark(plan)[0] for plan in plans)
    assert f"3 of {ALL} training users trained, a fixed draw" in few.notes
    assert few.samples_sha256 == everybody.samples_sha256 and few.config_sha256 != everybody.config_sha256
    asked = ("tiny", "paper", few.samples_sha256)
    assert load_facts(tmp_path / "3", *asked) == load_facts(tmp_path / "0", *asked)


def test_more_users_than_there_are_is_everybody(tmp_path: Path) -> None:
    task = tiny.task(settings(10**6), tmp_path)
    assert task.samples.untrained == 0 and replace(task.samples) == tiny.load(settings(0))[1]
