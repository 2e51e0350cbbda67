"""Compare."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from ilora_app.tui.screens.place import Place


class CompareScreen(Place):
    """Compare."""

    PLACE = "compare"

    def content(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("")
