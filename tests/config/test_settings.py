"""Settings are checked where they are made, and come back from JSON as they were."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch

from core.config.chat import ChatConfig
from core.config.checks import sha256_of
from core.config.presets import PRESETS, preset_config, with_overrides
from core.config.settings import (
    AdapterConfig,
    AnsweringConfig,
    DataConfig,
    EncoderConfig,
    GateConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
)
from core.errors import InputError
from core.methods import METHODS

KINDS = (
    AdapterConfig,
    AnsweringConfig,
    ChatConfig,
    DataConfig,
    EncoderConfig,
    GateConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
)


@pytest.mark.parametrize("preset", PRESETS[:-1])
def test_a_config_survives_json(preset: str) -> None:
    config = preset_config(preset)
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_a_chat_model_is_part_of_a_config_only_where_there_is_one() -> None:
    """So that nobody's other settings, and nothing named after them, change for it."""
    assert "chat" not in RunConfig().to_dict()
    config = RunConfig(chat=ChatConfig("https://h/v1", "m", price_in=2.5))
    assert RunConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(
    ("kind", "values", "says"),
    [
        (ModelConfig, {"quantize": "nf3"}, "unknown quantization: nf3"),
        (ModelConfig, {"name": "  "}, "name is empty"),
        (EncoderConfig, {"width": 10, "heads": 4}, "do not divide"),
        (EncoderConfig, {"dropout": 1.0}, "dropout"),
        (EncoderConfig, {"epochs": 0}, "epochs"),
        (AdapterConfig, {"rank": 0}, "rank"),
        (AdapterConfig, {"rank": 8, "experts": 3}, "3 experts do not divide rank 8"),
        (AdapterConfig, {"experts": 0}, "experts"),
        (AdapterConfig, {"layers": -1}, "layers"),
        (AdapterConfig, {"targets": ()}, "targets"),
        (TrainingConfig, {"objective": "guess"}, "unknown objective: guess"),
        (TrainingConfig, {"samples": -1}, "samples"),
        (TrainingConfig, {"batch_size": 6, "micro_batch_size": 4}, "does not divide"),
        (TrainingConfig, {"candidates": 1}, "candidates"),
        (TrainingConfig, {"learning_rate": 0.0}, "learning rate"),
        (TrainingConfig, {"learning_rate": float("nan")}, "learning rate"),
        (TrainingConfig, {"objective": "language-model", "encoder_prior": True}, "encoder's score"),
        (TrainingConfig, {"micro_batch_size": 0}, ""),
        (TrainingConfig, {"curriculum": True}, "language-model objective"),
        (TrainingConfig, {"item_slots": False}, "language-model objective"),
        (
            TrainingConfig,
            {"objective": "language-model", "item_slots": False, "curriculum": True},
            "ends with item vectors",
        ),
        (AnsweringConfig, {"protocol": "guess"}, "unknown protocol: guess"),
        (ChatConfig, {"url": "host/v1"}, "no web address"),
        (ChatConfig, {"url": "https://me:secret@host/v1"}, "more than an address"),
        (ChatConfig, {"price_in": -1.0}, "price of a million prompt tokens"),
        (ChatConfig, {"price_out": float("nan")}, "price of a million answered tokens"),
        (ChatConfig, {"tries": 0}, "requests for one case"),
        (ChatConfig, {"answer_tokens": 0}, "longest answer"),
        (ChatConfig, {"timeout": 0.0}, "timeout is 0"),
        (RunConfig, {"answering": AnsweringConfig("generate")}, "--protocol generate needs"),
        (TrainingConfig, {"micro_batch_size": -8}, ""),
        (TrainingConfig, {"learning_rate": float("inf")}, "learning rate"),
        (TrainingConfig, {"clip": 0.0}, "largest gradient"),
        (TrainingConfig, {"gate_rate_multiplier": -1.0}, "gate's rate"),
        (TrainingConfig, {"weight_decay": float("nan")}, "weight decay"),
        (TrainingConfig, {"warmup": 1.5}, "warm-up"),
        (TrainingConfig, {"final_rate": -0.1}, "final rate"),
        (TrainingConfig, {"validations": -1}, "validations"),
        (TrainingConfig, {"validation_cases": 0}, "validation cases"),
        (EncoderConfig, {"heads": 0}, "heads"),
        (EncoderConfig, {"batch_size": 0}, "batch size"),
        (EncoderConfig, {"learning_rate": 0.0}, "learning rate"),
        (EncoderConfig, {"weight_decay": -1.0}, "weight decay"),
        (AdapterConfig, {"alpha": 0.0}, "alpha"),
        (AdapterConfig, {"dropout": 1.0}, "dropout"),
        (GateConfig, {"noise": float("nan")}, "noise"),
        (GateConfig, {"balance": -1.0}, "balance"),
        (GateConfig, {"entropy": float("inf")}, "entropy"),
        (DataConfig, {"split": "random"}, "unknown split: random"),
        (DataConfig, {"spread_positions": 0}, "spread positions"),
    ],
)
def test_a_value_that_breaks_a_rule_is_named(kind: Any, values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        kind(**values)
    assert says in caught.value.title
    assert caught.value.hint


@pytest.mark.parametrize("change", ["drop part", "add part", "drop key", "add key", "break rule"])
def test_a_saved_config_with_other_keys_is_refused(change: str) -> None:
    record = RunConfig().to_dict()
    match change:
        case "drop part":
            del record["encoder"]
        case "add part":
            record["more"] = {}
        case "drop key":
            del record["adapter"]["rank"]
        case "add key":
            record["adapter"]["rank2"] = 1
        case "break rule":
            record["adapter"]["experts"] = 7
    with pytest.raises(InputError):
        RunConfig.from_dict(record)


def test_a_checksum_depends_on_values_and_not_on_their_order() -> None:
    assert sha256_of({"a": 1, "b": [1, 2]}) == sha256_of({"b": [1, 2], "a": 1})
    assert sha256_of({"a": 1, "b": [1, 2]}) != sha256_of({"a": 1, "b": [2, 1]})


def test_overrides_replace_what_they_name_and_are_checked() -> None:
    config = preset_config("quick")
    changed = with_overrides(config, adapter={"rank": 8}, training={})
    assert changed.adapter.rank == 8
    assert dataclasses.replace(changed, adapter=config.adapter) == config
    with pytest.raises(InputError, match="do not divide"):
        with_overrides(config, adapter={"rank": 7})


def test_lora_and_ilora_are_given_the_same_settings_by_every_preset() -> None:
    """There is one adapter and one training part; iLoRA's alone are K, the gate and its rate."""
    parts = {field.name for field in dataclasses.fields(RunConfig)}
    assert parts == {
        "data", "model", "encoder", "adapter", "gate", "training", "answering", "chat", "distillation",
    }  # fmt: skip
    own = {"adapter", "gate", "training"}
    assert (
        set(METHODS["lora"].reads) | {"gate"}
        == set(METHODS["ilora"].reads)
        == parts - {"chat", "distillation"}
        >= own
    )


def test_the_paper_preset_has_the_papers_hyper_parameters() -> None:
    config = preset_config("paper")
    assert (config.adapter.rank, config.adapter.alpha, config.adapter.dropout) == (8, 32.0, 0.1)
    assert config.adapter.layers == 0
    assert len(config.adapter.targets) == 7
    assert config.training.objective == "language-model"
    assert config.training.curriculum
    assert config.training.item_slots
    assert config.answering.protocol == "generate"
    assert config.training.batch_size == 128
    assert config.training.gate_rate_multiplier == 0.3
    assert config.encoder.width == 64


def test_an_unknown_preset_is_named_with_the_choices() -> None:
    with pytest.raises(InputError, match="unknown preset: fast") as caught:
        preset_config("fast")
    assert "quick" in caught.value.hint


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_frozen_and_documented(kind: Any) -> None:
    assert kind.__doc__
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), dataclasses.fields(kind)[0].name, None)


@pytest.mark.parametrize("preset", ["quick", "standard"])
def test_a_gpu_takes_the_whole_batch_at_once_and_a_cpu_little(
    monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    for gpu, expected in ((True, 16), (False, 4)):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=gpu: found)
        training = preset_config(preset).training
        assert (training.batch_size, training.micro_batch_size) == (16, expected)
