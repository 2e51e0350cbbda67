"""Which settings `bench --tune N` searches for each method, and between which ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from core.config.presets import with_overrides
from core.config.settings import RunConfig
from core.methods import METHODS


@dataclass(frozen=True)
class Range:
    """A setting and the values that it may take."""

    path: str
    """Where it lives in a run's config, such as `training.learning_rate`."""
    low: float
    high: float
    by_ratio: bool = False
    """Whether twice as much is as far as half (a logarithmic scale)."""

    @property
    def words(self) -> str:
        """The setting in words."""
        return self.path.partition(".")[2].replace("_", " ")


OF_ENCODERS = (
    Range("encoder.learning_rate", 3e-4, 1e-2, by_ratio=True),
    Range("encoder.dropout", 0.0, 0.7),
    Range("encoder.weight_decay", 0.0, 0.1),
)
OF_ADAPTERS = (
    Range("training.learning_rate", 2e-4, 5e-3, by_ratio=True),
    Range("adapter.dropout", 0.0, 0.3),
)
OF_GATES = (Range("training.gate_rate_multiplier", 0.3, 3.0, by_ratio=True),)
"""What a gate adds to its adapter's."""


def space_of(method: str, config: RunConfig) -> tuple[Range, ...]:
    """What is searched for a method, the run's own values included; nothing for one that does not train."""
    record = METHODS[method]
    if record.is_encoder:
        known: tuple[Range, ...] = OF_ENCODERS
    elif record.has_adapter and record.trains:
        known = OF_ADAPTERS + OF_GATES * record.has_gate
    else:
        return ()
    return tuple(_holding(one, value_at(config, one.path)) for one in known)


def value_at(config: RunConfig, path: str) -> float:
    """The value of a setting."""
    part, _, name = path.partition(".")
    return float(getattr(getattr(config, part), name))


def with_values(config: RunConfig, values: Mapping[str, float]) -> RunConfig:
    """The config with settings replaced, by path."""
    parts: dict[str, dict[str, object]] = {}
    for path, value in values.items():
        part, _, name = path.partition(".")
        parts.setdefault(part, {})[name] = value
    return with_overrides(config, **parts)


def _holding(one: Range, value: float) -> Range:
    """The range, wide enough for the run's own value; a ratio to nothing there is none."""
    if one.by_ratio and value <= 0:
        return replace(one, low=0.0, by_ratio=False)
    return replace(one, low=min(one.low, value), high=max(one.high, value))
