"""Asks for one line of text, such as a model's name."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static


class Name(ModalScreen[str]):
    """Gives what was typed; an empty string for nothing.

    Args:
        title: what is asked for.
        text: what is accepted.
        value: what the field holds at first.
        wrong: says what is wrong with a text, or nothing.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "accept", "Take it", priority=True),
        Binding("escape", "dismiss('')", "Back"),
    ]

    def __init__(self, title: str, text: str, value: str, wrong: Callable[[str], str]) -> None:
        super().__init__()
        self.title_text, self.text, self.value, self._wrong = title, text, value, wrong

    def compose(self) -> ComposeResult:
        """What is accepted, the field, what is wrong with it."""
        with Vertical(id="name") as box:
            box.border_title = self.title_text
            yield Static(self.text, markup=False)
            yield Input(self.value, compact=True)
            yield Static("", id="wrong", markup=False)
            yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Ready to type."""
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _changed(self) -> None:
        self.query_one("#wrong", Static).update("")

    def action_accept(self) -> None:
        """Takes the text, or says what is wrong with it."""
        value = self.query_one(Input).value.strip()
        wrong = self._wrong(value)
        if wrong:
            self.query_one("#wrong", Static).update(f"✕ {wrong}")
        else:
            self.dismiss(value)

    def on_click(self, event: events.Click) -> None:
        """A click outside closes."""
        if event.widget is self:
            self.dismiss("")
