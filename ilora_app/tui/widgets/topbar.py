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

    def render(self) -> Text:
        """Brand, places, state."""
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(" iLoRA ", self._ink("brand"))
        for number, place in enumerate(PLACES, start=1):
            here = place == self.place
            label = f"[{number} {place.title()}]" if here else f" {number} {place.title()} "
            line.append(label, self._ink("here" if here else "there"))
        room = self.size.width - line.cell_len - 1
        if self.state and room > 4:
            state = Text(self.state, self._ink("state"))
            state.truncate(room, overflow="ellipsis")
            line.append(" " * (room - state.cell_len))
            line.append_text(state)
        return line

    def on_click(self, event: events.Click) -> None:
        """Goes to the place under the mouse."""
        at = len(" iLoRA ")
        for number, place in enumerate(PLACES, start=1):
            length = len(f" {number} {place} ")
            if at <= event.x < at + length:
                self.post_message(self.Went(place))
            at += length
