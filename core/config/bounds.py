"""The least and largest value of every numeric setting, which settings check and --help shows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from core.errors import InputError

WHOLE = (1 << 53) - 1
"""The largest number that every file of ours, TOML and JSON, gives back as it was."""


@dataclass(frozen=True)
class Bound:
    """What a setting may be."""

    low: float
    high: float
    words: str
    """What it is called in a message."""
    open: bool = False
    """Whether `low` itself is too small."""

    def __str__(self) -> str:
        """The range in words, such as `1 to 1024`."""
        low = f"more than {_written(self.low)}, up to" if self.open else f"{_written(self.low)} to"
        return f"{low} {_written(self.high)}"

    def check(self, value: float) -> None:
        """Raises `InputError` unless the value lies within; nothing that is not a number does."""
        inside = self.low <= value <= self.high and not (self.open and value == self.low)
        if not inside:
            raise InputError(f"{self.words} is {brief(value)}", f"give {self}")


BOUNDS = {
    "data.samples_seed": Bound(0, WHOLE, "the seed of the candidates"),
    "data.spread_positions": Bound(1, 1000, "spread positions"),
    "data.validation_positions": Bound(1, 1000, "validation positions"),
    "data.test_users": Bound(0, 10**9, "the number of test users"),
    "encoder.width": Bound(1, 4096, "the encoder's width"),
    "encoder.layers": Bound(1, 64, "the encoder's layers"),
    "encoder.heads": Bound(1, 256, "the encoder's heads"),
    "encoder.dropout": Bound(0, 0.99, "the encoder's dropout"),
    "encoder.learning_rate": Bound(0, 10, "the encoder's learning rate", open=True),
    "encoder.weight_decay": Bound(0, 10, "the encoder's weight decay"),
    "encoder.batch_size": Bound(1, 1 << 20, "the encoder's batch size"),
    "encoder.epochs": Bound(1, 10**6, "epochs"),
    "encoder.steps": Bound(0, 10**9, "the encoder's number of steps"),
    "encoder.patience": Bound(1, 10**6, "the encoder's patience"),
    "adapter.rank": Bound(1, 1024, "rank"),
    "adapter.alpha": Bound(0, 10**6, "alpha", open=True),
    "adapter.dropout": Bound(0, 0.99, "the adapter's dropout"),
    "adapter.layers": Bound(0, 1000, "adapted layers"),
    "adapter.experts": Bound(1, 1024, "the number of experts"),
    "gate.kept": Bound(1, 1024, "experts kept by the gate"),
    "gate.noise": Bound(0, 100, "the gate's noise"),
    "gate.balance": Bound(0, 100, "the gate's balance term"),
    "gate.entropy": Bound(-0.5, 100, "the gate's entropy term"),
    "training.samples": Bound(0, 10**9, "samples"),
    "training.batch_size": Bound(1, 1 << 16, "batch"),
    "training.micro_batch_size": Bound(1, 1 << 16, "micro-batch"),
    "training.learning_rate": Bound(0, 10, "learning rate", open=True),
    "training.gate_rate_multiplier": Bound(0, 1000, "the gate's rate multiplier"),
    "training.warmup": Bound(0, 1, "warm-up"),
    "training.final_rate": Bound(0, 1, "the final rate"),
    "training.weight_decay": Bound(0, 10, "weight decay"),
    "training.clip": Bound(0, 10**6, "the largest gradient", open=True),
    "training.validations": Bound(0, 10**6, "validations"),
    "training.validation_cases": Bound(1, 10**9, "validation cases"),
    "training.candidates": Bound(2, 1000, "candidates"),
    "chat.price_in": Bound(0, 10**6, "the price of a million prompt tokens"),
    "chat.price_out": Bound(0, 10**6, "the price of a million answered tokens"),
    "chat.answer_tokens": Bound(1, 10**6, "the longest answer in tokens"),
    "chat.timeout": Bound(0, 3600, "the chat model's timeout", open=True),
    "chat.tries": Bound(1, 100, "requests for one case"),
}
"""Part and field of a run's config -> what it may be. Beyond these a value is a slip of the keyboard."""

SEED = Bound(0, WHOLE, "the seed")
SEEDS = Bound(1, 1000, "--seeds")
TOP = Bound(1, 10**6, "--top")
RETRIEVED = Bound(2, 10**9, "the number of candidates")
"""How many items of the catalogue may be ranked; a catalogue of fewer gives all it has."""
CLUSTERS = Bound(2, 1000, "the number of clusters")
WINDOWS = Bound(2, 10**6, "the number of windows of a cluster")
MINUTES = Bound(0, 10**6, "the budget in minutes", open=True)


def check_bounds(part: str, settings: Any) -> None:
    """Raises `InputError` unless every bounded setting of a part lies within its bounds."""
    for place, bound in BOUNDS.items():
        of, _, name = place.partition(".")
        if of == part:
            bound.check(getattr(settings, name))


def brief(value: float) -> str:
    """A number for a message, however many digits it has."""
    if isinstance(value, int) and abs(value) > WHOLE:
        return f"a number of about {int(abs(value).bit_length() * math.log10(2)) + 1} digits"
    return str(value)


def _written(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"
