"""Every key of the terminal interface as one table: `python -m tests.tui.keys` writes docs/keys.md anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import format_key

from ilora_app.tui.bindings import nodes

FILE = Path(__file__).parents[2] / "docs" / "keys.md"
HEAD = """# Keys

Every key of `ilora-app tui`. Other keys are chosen in `tui.toml`, in the program's folder
(`~/.cache/ilora-app`, or `ILORA_APP_HOME`), by the names in the last column; `vim = false` leaves the arrows
alone, without `j`, `k`, `g`, `G` and `h`:

```toml
theme = "light"
vim = false

[keys]
"history.drop" = "x"
```

Keys of a pane work while it has the focus, keys of a screen wherever the focus
is on that screen; `?` shows those that work at the moment, `ctrl+p` lists everything as commands.

| where | keys | what it does | name |
|---|---|---|---|
"""


def name_of(kind: type[DOMNode]) -> str:
    """A node as the table calls it."""
    if kind.__name__ == "Everywhere":
        return "everywhere"
    if kind.__name__ == "Rows":
        return "every list"
    place = getattr(kind, "TAB", "")
    return f"{place.title()} (screen)" if place else getattr(kind, "TITLE", None) or words(kind.__name__)


def words(name: str) -> str:
    """A class's name as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Where, keys, what they do and their name, for every binding of the program's own classes."""
    for kind in sorted(nodes(), key=lambda kind: (name_of(kind) != "everywhere", kind.__module__)):
        for given in kind.BINDINGS:
            assert isinstance(given, Binding)
            keys = " ".join(f"`{format_key(key.strip())}`" for key in given.key.split(","))
            what = given.tooltip or given.description or given.action
            yield name_of(kind), keys.replace("|", "\\|"), what, f"`{given.id}`" if given.id else ""


def page() -> str:
    """The whole document."""
    return HEAD + "".join(f"| {where} | {keys} | {what} | {name} |\n" for where, keys, what, name in rows())


if __name__ == "__main__":
    FILE.write_text(page(), encoding="utf-8")
