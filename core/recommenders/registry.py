"""Finds the class of a method, and imports it only then."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from core.methods import METHODS, check_method

if TYPE_CHECKING:
    from core.recommenders.base import Recommender


def method_class(name: str) -> type[Recommender]:
    """The class of a method, imported now.

    Raises:
        InputError: there is no such method.
    """
    check_method(name)
    module, kind = METHODS[name].implementation.split(":")
    found: type[Recommender] = getattr(import_module(module), kind)
    return found
