"""Train."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.widgets import Static

from ilora_app.tui.screens.place import Place


class TrainScreen(Place):
    """Train."""

    PLACE = "train"

    def content(self) -> ComposeResult:
        """Nothing yet."""
        yield Static("")
