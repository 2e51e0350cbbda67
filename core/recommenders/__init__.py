"""One file per method, all behind `base.Recommender`; the registry imports a method only when it is used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from core.errors import InputError

if TYPE_CHECKING:
    from core.recommenders.base import Recommender

METHODS = {
    "popularity": "core.recommenders.popularity:Popularity",
    "sasrec": "core.recommenders.sasrec:SASRecRecommender",
    "zero-shot": "core.recommenders.llm:ZeroShot",
    "lora": "core.recommenders.llm:Lora",
    "ilora": "core.recommenders.llm:Ilora",
}
"""Method -> where its class lives, in the benchmark's order: cheap first, the encoder before its users."""

LLM_METHODS = ("zero-shot", "lora", "ilora")
"""Methods that load the language model."""

CONFIG_PARTS: dict[str, tuple[str, ...]] = {
    "popularity": ("data",),
    "sasrec": ("data", "encoder"),
    "zero-shot": ("data", "model"),
    "lora": ("data", "model", "encoder", "adapter", "training"),
    "ilora": ("data", "model", "encoder", "adapter", "training"),
}
"""The parts of a run's config that decide a method's result."""


def check_method(name: str) -> None:
    """Raises `InputError` unless this is a method."""
    if name not in METHODS:
        raise InputError(f"unknown method: {name}", f"choose from: {', '.join(METHODS)}")


def method_class(name: str) -> type[Recommender]:
    """The class of a method, imported now.

    Raises:
        InputError: there is no such method.
    """
    check_method(name)
    module, kind = METHODS[name].split(":")
    found: type[Recommender] = getattr(import_module(module), kind)
    return found
