"""The line at the top: where you are, where you can go, and how the engine is."""

from __future__ import annotations

from typing import ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ilora_app.tui.drawing.inks import ink

PLACES = ("explore", "compare", "train", "results", "curves")
BRAND = " iLoRA "
LEAST_STATE = 16
"""Cells that the state has at least; where names would leave it fewer, places are shown by their numbers."""


class TopBar(Widget):
    """Where you are; 1 to 5 or a click goes elsewhere. At the right: what the engine does."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "topbar--brand",
        "topbar--here",
        "topbar--there",
        "topbar--state",
    }

    place: reactive[str] = reactive("explore")
    state: reactive[str] = reactive("")

    class Went(Message):
        """Somebody clicked a place."""

        def __init__(self, place: str) -> None:
            super().__init__()
            self.place = place

    def _ink(self, name: str) -> Style:
        return ink(self, f"topbar--{name}")

    def _labels(self) -> list[str]:
        """What each place is called, from left to right; others than this one by name where there is room."""
        names = [f"{number} {place.title()}" for number, place in enumerate(PLACES, start=1)]
        room = self.size.width - len(BRAND) - sum(len(name) + 2 for name in names) - 1
        if room < LEAST_STATE:
            names = [name if name[2:].lower() == self.place else name[0] for name in names]
        here = PLACES.index(self.place)
        return [f"[{name}]" if at == here else f" {name} " for at, name in enumerate(names)]

    def render(self) -> Text:
        """Brand, places, state."""
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(BRAND, self._ink("brand"))
        for label in self._labels():
            line.append(label, self._ink("here" if label.startswith("[") else "there"))
        room = self.size.width - line.cell_len - 2
        if self.state and room > 4:
            state = Text(self.state, self._ink("state"))
            state.truncate(room, overflow="ellipsis")
            line.append(" " * (room + 1 - state.cell_len))
            line.append_text(state)
        return line

    def on_click(self, event: events.Click) -> None:
        """Goes to the place under the mouse."""
        at = len(BRAND)
        for place, label in zip(PLACES, self._labels(), strict=True):
            if at <= event.x < at + len(label):
                self.post_message(self.Went(place))
            at += len(label)
