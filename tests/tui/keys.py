"""Every key of the terminal interface as one table: `python -m tests.tui.keys` writes docs/keys.md anew."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import format_key

import ilora_app.tui

FILE = Path(__file__).parents[2] / "docs" / "keys.md"
HEAD = """# Keys

Every key of `ilora-app tui`. Keys of a pane work while it has the focus, keys of a screen wherever the focus
is on that screen; `?` shows those that work at the moment, `ctrl+p` lists everything as commands.

| where | keys | what it does |
|---|---|---|
"""


def nodes() -> Iterator[type[DOMNode]]:
    """The app, its screens and widgets, by module."""
    for module in sorted(found.name for found in walk_packages(ilora_app.tui.__path__, "ilora_app.tui.")):
        for _, kind in inspect.getmembers(import_module(module), inspect.isclass):
            if issubclass(kind, DOMNode) and kind.__module__ == module and "BINDINGS" in vars(kind):
                yield kind


def name_of(kind: type[DOMNode]) -> str:
    """A node as the table calls it."""
    if kind.__name__ == "Everywhere":
        return "everywhere"
    if kind.__name__ == "Rows":
        return "every list"
    place = getattr(kind, "PLACE", "")
    return f"{place.title()} (screen)" if place else getattr(kind, "TITLE", None) or words(kind.__name__)


def words(name: str) -> str:
    """A class's name as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def rows() -> Iterator[tuple[str, str, str]]:
    """Where, keys and what they do, for every binding of the program's own classes."""
    for kind in sorted(nodes(), key=lambda kind: (name_of(kind) != "everywhere", kind.__module__)):
        for given in kind.BINDINGS:
            assert isinstance(given, Binding)
            keys = " ".join(f"`{format_key(key.strip())}`" for key in given.key.split(","))
            yield name_of(kind), keys.replace("|", "\\|"), given.tooltip or given.description or given.action


def page() -> str:
    """The whole document."""
    return HEAD + "".join(f"| {where} | {keys} | {what} |\n" for where, keys, what in rows())


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
