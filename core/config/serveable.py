"""What a plain language-model server can rank with, and what in a run's settings it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.settings import RunConfig
from core.errors import InputError

SERVEABLE: Mapping[str, Mapping[str, Any]] = {
    "adapter": {"layers": 0},
    "gate": {"scope": "shared"},
    "training": {
        "objective": "language-model",
        "item_slots": False,
        "curriculum": False,
        "encoder_prior": False,
    },
}
"""Part -> settings: adapters in all layers, one gate, text alone, ranked by titles' likelihood."""
WITH_TOKENS: Mapping[str, Mapping[str, Any]] = {
    **SERVEABLE,
    "training": {"item_slots": False, "curriculum": False, "encoder_prior": False},
    "answering": {"protocol": "rank"},
}
"""The same where each item is a token: ranked by the next token's likelihood, trained by either objective."""


def with_serveable(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The given settings and, where they say nothing, `SERVEABLE` or, with item tokens, `WITH_TOKENS`.

    Fewer adapted layers may be given: a server does not mind.

    Raises:
        InputError: a given setting is one that a plain server cannot do.
    """
    found = {part: dict(values) for part, values in parts.items()}
    wanted = WITH_TOKENS if found.get("training", {}).get("item_tokens") else SERVEABLE
    for part, values in wanted.items():
        for name, value in values.items():
            given = found.setdefault(part, {}).setdefault(name, value)
            if given != value and (part, name) != ("adapter", "layers"):
                raise InputError(
                    f"--serveable means {part}.{name} = {value}, and {given} is given",
                    "leave one of them out",
                )
    return found


def obstacles(config: RunConfig, folded: bool = False) -> list[str]:
    """What the ranking of a run needs besides the language model, LoRA files and one scale for each.

    Empty for a run that a plain server ranks with as this program does. With gates `folded` into the adapters
    it does not matter how many there are.
    """
    training, found = config.training, []
    if config.gate.scope != "shared" and not folded:
        found.append("a gate for each layer or module")
    if training.objective == "listwise" and not training.item_tokens:
        found.append("the score head")
    if training.item_slots and not training.item_tokens:
        found.append("the item vectors in the prompt")
    if training.encoder_prior:
        found.append("the sequence encoder's own score")
    return found
