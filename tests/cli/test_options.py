"""The options of a run mean the same everywhere; an ablation is a grid of them, checked before it starts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from core.config.chat import ChatConfig
from core.config.settings import RunConfig
from core.errors import InputError
from ilora_app.cli.options import RUN_OPTIONS, run_config, sweep_settings, sweepable


def test_without_a_sweep_there_is_one_setting_and_it_changes_nothing() -> None:
    assert sweep_settings([]) == [{}]


def test_sweeps_make_a_grid_of_typed_values() -> None:
    found = sweep_settings(["gate=softmax,mlp", "experts=2,4", "learning-rate=1e-3"])
    assert found == [
        {"gate.kind": gate, "adapter.experts": experts, "training.learning_rate": 1e-3}
        for gate in ("softmax", "mlp")
        for experts in (2, 4)
    ]


@pytest.mark.parametrize(
    ("sweep", "complaint"),
    [
        (["gates=softmax"], "cannot sweep gates=softmax"),
        (["gate"], "cannot sweep gate"),
        (["dataset=movielens,steam"], "cannot sweep dataset"),
        (["experts=two"], "experts must be a whole number, not two"),
        (["learning-rate=1e-3,fast"], "must be a number, not fast"),
        (["tune=yes"], "tune is true or false"),
        (["samples-seed=1,2"], "cannot sweep samples-seed"),
        (["dropout=0,0.1"], "cannot sweep dropout"),  # the encoder's or the adapter's?
        (["experts=2", "experts=4"], "given twice"),
        (["gate-scope=shared", "scope=per-layer"], "given twice"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(sweep: list[str], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        sweep_settings(sweep)


NOTHING: dict[str, Any] = dict.fromkeys(option.name for option in RUN_OPTIONS)


def test_a_swept_setting_reaches_the_config_and_goes_before_the_option() -> None:
    (cell,) = sweep_settings(["gate=top-k", "gate-kept=3", "gate-rate=0.3"])
    config = run_config("quick", {**NOTHING, "gate_kept": 1}, cell)
    assert (config.gate.kind, config.gate.kept, config.training.gate_rate_multiplier) == ("top-k", 3, 0.3)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("gate", "gate.kind"),
        ("scope", "gate.scope"),
        ("gate-noise", "gate.noise"),
        ("layers", "adapter.layers"),
        ("encoder-layers", "encoder.layers"),
        ("adapter_dropout", "adapter.dropout"),
        ("alpha", "adapter.alpha"),
        ("warmup", "training.warmup"),
        ("quantize", "model.quantize"),
        ("model", "model.name"),
        ("chat-timeout", "chat.timeout"),
        ("item-text", "model.item_text"),
        ("users", "data.users"),
    ],
)
def test_a_setting_is_swept_by_its_option_its_part_and_field_or_its_field(name: str, place: str) -> None:
    part, field = place.split(".")
    value = getattr(getattr(RunConfig(), part), field)
    assert sweep_settings([f"{name}={value}"]) == [{place: value}]


def test_every_scalar_setting_of_a_benchmark_can_be_swept_but_those_that_decide_the_cases() -> None:
    parts = {**RunConfig().to_dict(), "chat": dataclasses.asdict(ChatConfig())}
    settings = {
        f"{part}.{field}"
        for part, values in parts.items()
        for field, value in values.items()
        if (part != "data" or field == "users") and not isinstance(value, list)
    }
    assert {place for place, _ in sweepable().values()} == settings
