"""A budget is kept, shared fairly, never exceeds what was asked for, and is decided once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.benchmark import costs, estimates
from core.benchmark.budget import fit, load_decision, rates, total
from core.benchmark.costs import Measured
from core.benchmark.run import Plan, run_benchmark
from core.config.presets import preset_config, with_overrides
from core.config.settings import DataConfig
from core.data.loading import load_task_data
from core.data.types import Sample, Samples
from core.errors import InputError, Interrupted
from core.events import Event, Notice
from core.results.store import load_results
from tests import tiny

METHODS = ("popularity", "sasrec", "zero-shot", "lora", "ilora")
RUNS = [(method, seed) for seed in range(2) for method in METHODS]
STANDARD = preset_config("standard")


def cases(data: DataConfig) -> Samples:
    """95 test users and 94 validation users, as many positions as asked."""

    def asked(users: int, positions: int) -> tuple[Sample, ...]:
        return tuple(
            Sample(str(user), 3 + place, (1, 2, 3), 4) for user in range(users) for place in range(positions)
        )

    test = {"spread": asked(95, data.spread_positions), "last": asked(95, 1)}
    return Samples("made-up", "paper", 0, (), asked(94, 3), test, "0" * 64)


FULL = cases(STANDARD.data)


def machine(speed: float = 1.0) -> Measured:
    """Two cores with 16-bit arithmetic, or a machine so many times as fast."""
    return Measured(
        items=5,
        load=6.0 / speed,
        step={"sasrec": 0.008 / speed},
        train={"listwise": 0.15 / speed},
        rank={"listwise": 0.06 / speed, "zero-shot": 0.29 / speed},
        answer={"listwise": 0.0, "zero-shot": 0.42 / speed},
    )


def test_what_fits_is_left_as_it_is():
    assert fit(STANDARD, RUNS, FULL, 10_000, cases, machine()) == dataclasses.replace(
        fit(STANDARD, RUNS, FULL, 10_000, cases, machine()), config=STANDARD, notes=()
    )


@given(st.floats(min_value=40, max_value=400), st.floats(min_value=0.3, max_value=4))
@settings(max_examples=12, deadline=None)
def test_the_time_is_kept_and_nothing_exceeds_what_was_asked(minutes, speed):
    cut = fit(STANDARD, RUNS, FULL, minutes, cases, machine(speed))
    made = cases(cut.config.data)
    assert total(machine(speed), cut.config, RUNS, made) <= 60 * minutes
    assert cut.config.training.samples <= STANDARD.training.samples
    assert cut.config.encoder.epochs <= STANDARD.encoder.epochs
    assert cut.config.data.spread_positions <= STANDARD.data.spread_positions
    assert (cut.notes == ()) == (cut.config == STANDARD)


def test_every_method_may_train_equally_long_and_adapters_see_equally_many_samples():
    cut = fit(STANDARD, RUNS, FULL, 60, cases, machine())
    made = cases(cut.config.data)
    per_sample, per_epoch = rates(machine(), STANDARD, RUNS, made)
    training, encoding = cut.config.training.samples * per_sample, cut.config.encoder.epochs * per_epoch
    if cut.config.encoder.epochs < STANDARD.encoder.epochs:  # both are cut, to the same time
        assert abs(training - encoding) <= 16 * per_sample + per_epoch
    else:  # the encoder needs less than its share
        assert encoding <= training + 16 * per_sample
    spent = {method: costs.seconds(machine(), cut.config, method, made) for method in METHODS}
    assert spent["lora"] == spent["ilora"]


def test_what_was_cut_is_said_with_both_figures():
    cut = fit(STANDARD, RUNS, FULL, 60, cases, machine())
    (line,) = [note for note in cut.notes if "training samples" in note]
    assert "instead of 8,000" in line and line.endswith("for lora, ilora")
    assert f"{cut.config.training.samples:,}" in line


def test_more_time_never_trains_less():
    cuts = [fit(STANDARD, RUNS, FULL, minutes, cases, machine()).config for minutes in (40, 60, 90, 140)]
    assert [cut.training.samples for cut in cuts] == sorted(cut.training.samples for cut in cuts)


def test_fewer_positions_are_asked_where_testing_would_eat_the_time():
    cut = fit(STANDARD, RUNS, FULL, 25, cases, machine())
    assert cut.config.data.spread_positions < 10
    assert any("test positions" in note for note in cut.notes)


@pytest.mark.parametrize("minutes", [0, -3, 0.5])
def test_too_little_time_is_an_error_that_says_how_much_is_needed(minutes):
    with pytest.raises(InputError) as error:
        fit(STANDARD, RUNS, FULL, minutes, cases, machine())
    assert error.value.hint


@pytest.mark.usefixtures("tiny_home")
def test_a_stopped_benchmark_goes_on_under_the_same_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny.config("unused")
    once = with_overrides(config, encoder={"epochs": 1})
    minutes = 1.5 * costs.seconds(machine(), once, "sasrec", load_task_data(config.data)[1]) / 60
    plan = Plan(config, ("popularity", "sasrec"), (0,), tmp_path, budget=minutes)
    monkeypatch.setattr(estimates, "measured", lambda *_: machine())
    events: list[Event] = []

    def after_popularity() -> bool:
        return bool(load_results(tmp_path)[0])

    with pytest.raises(Interrupted):
        run_benchmark(plan, events.append, after_popularity)
    said = [event.text for event in events if isinstance(event, Notice)]
    assert any("epochs" in text for text in said)
    monkeypatch.setattr(estimates, "measured", lambda *_: machine(1e6))  # decided anew, all would fit
    results = run_benchmark(plan)
    assert results[1].config["encoder"]["epochs"] == 1
    assert any("epochs" in note for note in results[1].notes)
    assert len(load_results(tmp_path)[0]) == 2


def test_a_decision_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    assert load_decision(tmp_path / "none.json") is None
    (tmp_path / "half.json").write_text('{"config": {}')
    assert load_decision(tmp_path / "half.json") is None
