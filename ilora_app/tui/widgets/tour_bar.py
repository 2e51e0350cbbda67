"""The lines at the bottom in which the tour says what it has just done and what to look at."""

from __future__ import annotations

from textual.widgets import Static


class TourBar(Static):
    """Hidden unless a tour is on."""

    def __init__(self) -> None:
        super().__init__("", markup=False)

    def say(self, text: str) -> None:
        """Other words; none hide it."""
        self.set_class(bool(text), "-open")
        if text != str(self.content):
            self.update(text)
