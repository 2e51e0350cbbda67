"""What dialogs share whose text may be longer than a small screen: up and down move it, the answers stay."""

from __future__ import annotations

from typing import ClassVar, TypeVar

from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

Answered = TypeVar("Answered")


class ScrolledDialog(ModalScreen[Answered]):
    """A dialog with one box; what is docked in it is always in sight."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "move(-1)", "Text up", show=False),
        Binding("down", "move(1)", "Text down", show=False),
    ]
    BOX: ClassVar[str] = ""
    """The selector of the box."""

    def action_move(self, by: int) -> None:
        """Moves the text."""
        self.query_one(self.BOX).scroll_relative(y=by, animate=False)
