"""The methods: their order, their kinds, and the settings that decide what each of them yields."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.config.chat import ChatConfig
from core.errors import InputError

if TYPE_CHECKING:
    from core.config.settings import RunConfig

METHODS = {
    "popularity": "core.recommenders.popularity:Popularity",
    "chat": "core.recommenders.chat:Chat",
    "gru4rec": "core.recommenders.encoders:GRU4RecRecommender",
    "caser": "core.recommenders.encoders:CaserRecommender",
    "sasrec": "core.recommenders.encoders:SASRecRecommender",
    "morec": "core.recommenders.encoders:MoRecRecommender",
    "zero-shot": "core.recommenders.zero_shot:ZeroShot",
    "tallrec": "core.recommenders.adapter:Tallrec",
    "llara": "core.recommenders.adapter:Llara",
    "lora": "core.recommenders.adapter:Lora",
    "ilora": "core.recommenders.adapter:Ilora",
}
"""Method -> where its class lives, in the benchmark's order: cheap first, the encoder before its users.

The chat model comes early: an address or key that is wrong shows before anything is trained.
"""

REMOTE_METHODS = ("chat",)
"""Methods that ask another machine, for money perhaps: they run only where somebody gave an address."""

LOCAL_METHODS = tuple(method for method in METHODS if method not in REMOTE_METHODS)
"""Methods that need nothing but this machine."""

ENCODER_METHODS = ("gru4rec", "caser", "sasrec", "morec")
"""Methods that are a sequence encoder, whichever kind the gate reads."""

LLM_METHODS = ("morec", "zero-shot", "tallrec", "llara", "lora", "ilora")
"""Methods that load the language model."""

CONFIG_PARTS: dict[str, tuple[str, ...]] = {
    "popularity": ("data",),
    "chat": ("data", "chat", "answering"),
    "gru4rec": ("data", "encoder"),
    "caser": ("data", "encoder"),
    "sasrec": ("data", "encoder"),
    "morec": ("data", "model", "encoder"),
    "zero-shot": ("data", "model", "answering"),
    "tallrec": ("data", "model", "adapter", "training", "answering"),
    "llara": ("data", "model", "encoder", "adapter", "training", "answering"),
    "lora": ("data", "model", "encoder", "adapter", "training", "answering"),
    "ilora": ("data", "model", "encoder", "adapter", "gate", "training", "answering"),
}
"""The parts of a run's config that decide a method's result."""

OWN_TRAINING: dict[str, dict[str, Any]] = {
    "tallrec": {"objective": "language-model", "item_slots": False, "curriculum": False},
    "llara": {"objective": "language-model", "item_slots": True, "curriculum": True},
}
"""What a method is by definition, whatever a run's training settings say; the budget is the run's."""


def settle(config: RunConfig, method: str) -> RunConfig:
    """A run's settings as they hold for one method."""
    if method in REMOTE_METHODS:
        training = replace(config.training, objective="language-model", encoder_prior=False)
        return replace(config, training=training, answering=replace(config.answering, protocol="generate"))
    if config.chat != ChatConfig():
        config = replace(config, chat=ChatConfig())
    own = OWN_TRAINING.get(method)
    if own is None:
        return config
    return replace(config, training=replace(config.training, encoder_prior=False, **own))


def check_method(name: str) -> None:
    """Raises `InputError` unless this is a method."""
    if name not in METHODS:
        raise InputError(f"unknown method: {name}", f"choose from: {', '.join(METHODS)}")
