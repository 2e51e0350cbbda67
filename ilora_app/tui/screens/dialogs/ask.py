"""A question with a few answers, each with its key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Static

from ilora_app.tui.screens.dialogs.scrolled import ScrolledDialog


class Ask(ScrolledDialog[str]):
    """Answers with the key of the chosen answer; an empty string for none.

    Args:
        title: what it is about.
        text: what happens.
        answers: key and label of each.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss('')", "Back"),
        Binding("left", "app.focus_previous", "Answer before", show=False),
        Binding("right", "app.focus_next", "Next answer", show=False),
    ]
    BOX = "#ask"

    def __init__(self, title: str, text: str, answers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.title_text, self.text, self.answers = title, text, answers

    def compose(self) -> ComposeResult:
        """Text, then buttons."""
        with Vertical(id="ask") as box:
            box.border_title = self.title_text
            yield Static(self.text, markup=False)
            with Horizontal():
                for key, label in self.answers:
                    yield Button(f"[b]{key}[/b] {label}", id=f"answer-{key}", compact=True)

    def on_key(self, event: events.Key) -> None:
        """The answer's own key."""
        if event.key in dict(self.answers):
            event.stop()
            self.dismiss(event.key)

    def on_button_pressed(self, message: Button.Pressed) -> None:
        """A click or Enter on an answer."""
        self.dismiss((message.button.id or "").removeprefix("answer-"))
