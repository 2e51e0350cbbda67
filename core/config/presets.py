"""Named budgets: what `quick`, `standard` and `paper` mean, and which one this hardware gets by itself."""

from __future__ import annotations

from dataclasses import replace

from core.config.checks import check_choice
from core.config.settings import (
    AdapterConfig,
    AnsweringConfig,
    DataConfig,
    EncoderConfig,
    GateConfig,
    RunConfig,
    TrainingConfig,
)
from core.hardware import load_torch

PRESETS = ("quick", "standard", "paper", "auto")


def preset_config(name: str) -> RunConfig:
    """The settings of a preset, on MovieLens with the embedded model until told otherwise.

    quick: all methods in six minutes on two CPU cores, 18 on slow ones; 3 test positions
        per user, of at most 150 users. Each adapted layer has a gate of its own, which validation prefers on
        all three datasets (docs/experiments.md).
    standard: the same with more samples and 10 test positions per user; about half an hour on two cores.
    paper: the paper's hyper-parameters (its code: rank 8, alpha 32, dropout 0.1, all layers, batch 128, one
        gate at a rate of 0.3x, language-model objective) and protocol: hybrid prompts with the curriculum,
        answers generated; meant for a GPU.

    Raises:
        InputError: there is no such preset.
    """
    check_choice(name, PRESETS[:-1], "preset")
    if name == "quick":
        return RunConfig(
            data=DataConfig(spread_positions=3, test_users=150),
            encoder=EncoderConfig(steps=4000),
            gate=GateConfig(scope="per-layer"),
            training=TrainingConfig(micro_batch_size=samples_at_once()),
        )
    if name == "standard":
        return RunConfig(
            encoder=EncoderConfig(epochs=200, patience=8),
            gate=GateConfig(scope="per-layer"),
            training=TrainingConfig(samples=8000, validations=8, micro_batch_size=samples_at_once()),
        )
    return RunConfig(
        encoder=EncoderConfig(epochs=200, patience=8),
        adapter=AdapterConfig(rank=8, alpha=32.0, dropout=0.1, layers=0),
        training=TrainingConfig(
            objective="language-model",
            samples=5 * 66_127,
            batch_size=128,
            micro_batch_size=8,
            learning_rate=8e-4,
            gate_rate_multiplier=0.3,
            final_rate=0.01,
            weight_decay=1e-5,
            validations=5,
            curriculum=True,
            checkpointing=True,
        ),
        answering=AnsweringConfig(protocol="generate"),
    )


def samples_at_once() -> int:
    """The micro-batch of `quick` and `standard`, which decides time and memory, not what is learnt.

    On a GPU it is the whole batch, for a small model's time is that of launching kernels; training halves it
    where memory runs out. On a CPU larger ones are no faster.
    """
    cuda = load_torch().cuda
    return TrainingConfig.batch_size if cuda.is_available() else TrainingConfig.micro_batch_size


def with_overrides(config: RunConfig, **parts: dict[str, object]) -> RunConfig:
    """The config with some fields of some parts replaced, each checked again.

    Raises:
        InputError: a value breaks a rule.
    """
    return replace(
        config, **{part: replace(getattr(config, part), **values) for part, values in parts.items()}
    )
