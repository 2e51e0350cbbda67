"""Every key of the program by its name, as `tui.toml` changes it and docs/keys.md lists it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

from textual.binding import Binding
from textual.dom import DOMNode

import ilora_app.tui


def nodes() -> Iterator[type[DOMNode]]:
    """The app, its screens and widgets that have keys, by module."""
    for module in sorted(found.name for found in walk_packages(ilora_app.tui.__path__, "ilora_app.tui.")):
        for _, kind in inspect.getmembers(import_module(module), inspect.isclass):
            if issubclass(kind, DOMNode) and kind.__module__ == module and "BINDINGS" in vars(kind):
                yield kind


def names() -> dict[str, str]:
    """Name of each key that can be changed -> the keys it has, separated by commas."""
    return {
        binding.id: binding.key
        for kind in nodes()
        for binding in kind.BINDINGS
        if isinstance(binding, Binding) and binding.id
    }
