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

TABS = ("explore", "compare", "train", "results", "curves")
BRAND = " iLoRA "
LEAST_STATE = 16
"""Cells that the state has at least; where names would leave it fewer, tabs are shown by their numbers."""


class TopBar(Widget):
    """Where you are; 1 to 5 or a click goes elsewhere. At the right: what the engine does."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "topbar--brand",
        "topbar--here",
        "topbar--there",
        "topbar--state",
    }

    tab: reactive[str] = reactive("explore")
    state: reactive[str] = reactive("")

    class Went(Message):
        """Somebody clicked a tab."""

        def __init__(self, tab: str) -> None:
            super().__init__()
            self.tab = tab

    def _ink(self, name: str) -> Style:
        return ink(self, f"topbar--{name}")

    def _labels(self) -> list[str]:
        """What each tab is called, from left to right; others than this one by name where there is room."""
        names = [f"{number} {tab.title()}" for number, tab in enumerate(TABS, start=1)]
        room = self.size.width - len(BRAND) - sum(len(name) + 2 for name in names) - 1
        if room < LEAST_STATE:
            names = [name if name[2:].lower() == self.tab else name[0] for name in names]
        here = TABS.index(self.tab)
        return [f"[{name}]" if at == here else f" {name} " for at, name in enumerate(names)]

    def render(self) -> Text:
        """Brand, tabs, state."""
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
        """Goes to the tab under the mouse."""
        at = len(BRAND)
        for tab, label in zip(TABS, self._labels(), strict=True):
            if at <= event.x < at + len(label):
                self.post_message(self.Went(tab))
            at += len(label)
