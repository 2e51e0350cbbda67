"""Fits a benchmark into the minutes somebody has: every method gets the same share, and what was cut is said.

The decision is kept in the output folder, so that a stopped benchmark goes on with the very same settings
although the machine's speed is measured anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.benchmark import costs
from core.benchmark.costs import Measured, test_cases
from core.config.checks import check, sha256_of
from core.config.presets import with_overrides
from core.config.saved import lasting
from core.config.settings import DataConfig, RunConfig
from core.data.types import Samples
from core.errors import DataError, InputError
from core.files import atomic_write
from core.methods import MethodSeed
from core.records import build, json_of, plain, read_text

HALVINGS = 40


@dataclass(frozen=True)
class Cut:
    """Settings that fit, and what that took."""

    config: RunConfig
    notes: tuple[str, ...]
    """One line for each thing that was cut; empty where all fits as it is."""


def fit(
    config: RunConfig,
    runs: Sequence[MethodSeed],
    samples: Samples,
    minutes: float,
    remake: Callable[[DataConfig], Samples],
    measured: Measured,
) -> Cut:
    """The settings under which these runs take about `minutes` on this machine.

    Loading and testing come first: where they alone would take more than half of the time, fewer positions
    per test user are asked. The rest is training time. Each (method, seed) may use the same amount; what one
    does not need is shared by the others. Methods that train on samples all get the same number of them.

    Args:
        config: the settings asked for, which are never exceeded.
        runs: everything that is to be run.
        samples: the cases under `config`.
        minutes: how long it may take.
        remake: gives the cases under other data settings.
        measured: what their work takes on this machine.

    Raises:
        InputError: the time does not even suffice to load and test every method.
    """
    check(minutes > 0, f"--budget is {minutes:g} minutes", "give a positive number")
    allowed = 60 * minutes
    if total(measured, config, runs, samples) <= allowed:
        return Cut(config, ())
    fewer, samples = _fewer_positions(measured, config, runs, samples, allowed, remake)
    least = _least(measured, fewer, runs, samples)
    needed = least / 60
    check(
        least <= allowed,
        f"{minutes:g} minutes are too few: to load and test {len(runs)} runs takes about {needed:.1f}",
        f"give --budget {needed * 1.5:.0f}, fewer --methods or fewer --seeds",
    )
    found = _shared(measured, fewer, runs, samples, allowed)
    return Cut(found, tuple(_notes(measured, config, found, runs, samples, minutes)))


def total(measured: Measured, config: RunConfig, runs: Sequence[MethodSeed], samples: Samples) -> float:
    """Seconds that all runs take at most; what one of them makes for the others counts once."""
    return costs.total(costs.plan_stages(measured, config, runs, samples, longest=True))


def _fewer_positions(
    measured: Measured,
    config: RunConfig,
    runs: Sequence[MethodSeed],
    samples: Samples,
    allowed: float,
    remake: Callable[[DataConfig], Samples],
) -> tuple[RunConfig, Samples]:
    """As many positions per test user as leave half of the time for training, but at least one."""
    if test_cases(remake(replace(config.data, spread_positions=1))) == test_cases(samples):
        return config, samples  # every user is asked as little as can be
    while config.data.spread_positions > 1 and _least(measured, config, runs, samples) > allowed / 2:
        config = with_overrides(config, data={"spread_positions": config.data.spread_positions - 1})
        samples = remake(config.data)
    return config, samples


def _least(measured: Measured, config: RunConfig, runs: Sequence[MethodSeed], samples: Samples) -> float:
    """Seconds of all runs with next to no training."""
    return total(measured, _trained(config, 0.0, 0.0), runs, samples)


def _shared(
    measured: Measured, config: RunConfig, runs: Sequence[MethodSeed], samples: Samples, allowed: float
) -> RunConfig:
    """The longest training, in seconds per run, with which all runs fit."""
    per_sample, per_epoch = rates(measured, config, runs, samples)
    low, high = 0.0, max(per_sample * config.training.samples, per_epoch * config.encoder.epochs)

    def under(seconds: float) -> RunConfig:
        return _trained(
            config,
            seconds / per_sample if per_sample else config.training.samples,
            seconds / per_epoch if per_epoch else config.encoder.epochs,
        )

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if total(measured, under(middle), runs, samples) <= allowed:
            low = middle
        else:
            high = middle
    return under(low)


def rates(
    measured: Measured, config: RunConfig, runs: Sequence[MethodSeed], samples: Samples
) -> tuple[float, float]:
    """Seconds that the slowest of these methods needs for one training sample, and for one encoder epoch."""
    without = with_overrides(config, training={"samples": 0})
    fewer = with_overrides(config, encoder={"epochs": 1})
    methods = {method for method, _ in runs}

    def change(other: RunConfig, by: int) -> float:
        return max(
            costs.seconds(measured, config, method, samples, longest=True)
            - costs.seconds(measured, other, method, samples, longest=True)
            for method in methods
        ) / max(1, by)

    return change(without, config.training.samples), change(fewer, config.encoder.epochs - 1)


def _trained(config: RunConfig, samples: float, epochs: float) -> RunConfig:
    """The config with at most this much training, in whole batches, and at least one."""
    batch = config.training.batch_size
    return with_overrides(
        config,
        training={"samples": min(config.training.samples, max(batch, int(samples) // batch * batch))},
        encoder={"epochs": min(config.encoder.epochs, max(1, int(epochs)))},
    )


def _notes(
    measured: Measured,
    asked: RunConfig,
    found: RunConfig,
    runs: Sequence[MethodSeed],
    samples: Samples,
    minutes: float,
) -> list[str]:
    """What was cut, for whom."""
    methods = list(dict.fromkeys(method for method, _ in runs))

    def whose(other: RunConfig) -> str:
        names = [
            method
            for method in methods
            if costs.seconds(measured, other, method, samples, longest=True)
            != costs.seconds(measured, asked, method, samples, longest=True)
        ]
        return ", ".join(names)

    without = with_overrides(asked, training={"samples": 0})
    fewer = with_overrides(asked, encoder={"epochs": 1})
    changes = [
        (asked.data.spread_positions, found.data.spread_positions, "test positions per user"),
        (asked.training.samples, found.training.samples, f"training samples for {whose(without)}"),
        (asked.encoder.epochs, found.encoder.epochs, f"epochs at most for {whose(fewer)}"),
    ]
    return [
        f"to fit {minutes:g} minutes: {after:,} instead of {before:,} {what}"
        for before, after, what in changes
        if after != before
    ]


# --- kept, so that a stopped benchmark goes on -------------------------------------------------------------


def decision_path(out: Path, config: RunConfig, runs: Sequence[MethodSeed], minutes: float) -> Path:
    """Where the decision about such a benchmark lies below the output folder."""
    key = sha256_of([lasting(config), [list(run) for run in runs], minutes])
    return out / "work" / "budgets" / f"{key[:12]}.json"


@dataclass(frozen=True)
class _Decision:
    """What the file holds."""

    config: dict[str, Any]
    notes: tuple[str, ...]


def save_decision(path: Path, cut: Cut) -> None:
    """Writes a decision whole."""
    decision = _Decision(cut.config.to_dict(), cut.notes)
    atomic_write(path, json.dumps(plain(decision), indent=1) + "\n")


def load_decision(path: Path) -> Cut | None:
    """The decision on disk; None where there is none that this version understands."""
    try:
        decision = build(_Decision, json_of(read_text(path), str(path)))
        return Cut(RunConfig.from_dict(decision.config), decision.notes)
    except (DataError, InputError):
        return None  # none there, of another version, or damaged: it is decided anew
