"""Searches the catalogue by title, genre or year, and adds what is chosen to the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Input

from ilora_app.tui.drawing.bars import fit
from ilora_app.tui.state.run_data import RunData
from ilora_app.tui.widgets.rows import Cell, Rows

LIMIT = 200


class Found(Rows):
    """Items that match; ✓ marks what is in the history already."""

    def __init__(self, run_data: RunData) -> None:
        super().__init__(id="found")
        self.run_data = run_data
        self.items: list[int] = []
        self.taken: frozenset[int] = frozenset()

    def show(self, items: list[int], taken: list[int]) -> None:
        """Other items."""
        self.items, self.taken = items, frozenset(taken)
        self.renew(len(items))

    def cells(self, index: int, width: int) -> list[Cell]:
        """Mark, title, year, genres."""
        item = self.items[index]
        room = max(12, (width - 9) * 3 // 5)
        return [
            ("✓ " if item in self.taken else "  ", "good"),
            (fit(self.run_data.title(item), room), ""),
            (" " + fit(self.run_data.year(item), 5), "dim"),
            (fit(self.run_data.genres(item), max(0, width - room - 8)), "second"),
        ]


class ItemSearch(ModalScreen[None]):
    """Type a title, a genre or a year; Enter adds, Escape closes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "choose", "Add", priority=True),
        Binding("escape", "dismiss(None)", "Done"),
        Binding("down", "step(1)", "Down", show=False, priority=True),
        Binding("up", "step(-1)", "Up", show=False, priority=True),
    ]

    def __init__(
        self, run_data: RunData, add: Callable[[int], None], history: Callable[[], list[int]]
    ) -> None:
        super().__init__()
        self.run_data, self._add, self._history = run_data, add, history

    def compose(self) -> ComposeResult:
        """A field, what it finds, and keys."""
        with Vertical(id="search") as box:
            box.border_title = "Add to the history"
            yield Input(placeholder="title, genre or year", compact=True)
            yield Found(self.run_data)
            yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Nothing is found before something is typed."""
        self._find("")
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _changed(self, message: Input.Changed) -> None:
        self._find(message.value)

    def _find(self, text: str) -> None:
        found = self.query_one(Found)
        found.show(self.run_data.find_items(text, LIMIT), self._history())
        found.empty = (
            "Nothing has this in its title.\nTry one word." if text else "Type a title, a genre or a year."
        )
        count = f"{found.count}{'+' if found.count == LIMIT else ''} found"
        self.query_one("#search").border_subtitle = count if text else ""

    def action_step(self, by: int) -> None:
        """The list moves while the field keeps the keyboard."""
        self.query_one(Found).action_step(by)

    def action_choose(self) -> None:
        """Adds what is under the cursor."""
        found = self.query_one(Found)
        if found.items:
            self._add(found.items[found.cursor])
            found.show(found.items, self._history())
            self.query_one(Input).select_all()

    @on(Rows.Chosen)
    def _chosen(self) -> None:
        self.action_choose()

    def on_click(self, event: events.Click) -> None:
        """A click outside closes."""
        if event.widget is self:
            self.dismiss(None)
