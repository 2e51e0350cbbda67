"""Help for the widget in focus: what it shows, and every key that works here."""

from __future__ import annotations

import inspect
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Static

from ilora_app.tui.state.guide import signs_of
from ilora_app.tui.widgets.topbar import TABS

GLOBAL = (
    (" ".join(map(str, range(1, len(TABS) + 1))), ", ".join(map(str.title, TABS))),
    ("tab", "next pane"),
    ("z", "this pane over the whole screen, or back"),
    ("ctrl+p", "all commands"),
    ("t", "next theme: dark, light, high contrast"),
    ("s", "save the screen as SVG"),
    ("S", "save the table in focus as CSV or Markdown"),
    ("y", "copy the table in focus to the clipboard"),
    ("F1", "a tour of six steps; F1 goes on, escape ends it"),
    ("F", "fetch what is missing on this machine"),
    ("ctrl+r", "start the engine again"),
    ("q", "quit"),
)


BUILT_IN = ("scroll", "page_", "app.focus", "screen.copy", "cursor_", "delete_", "copy", "cut", "paste")
"""Actions that every list and field has; they are not listed."""


def keys_here(app: App[None]) -> list[tuple[str, str]]:
    """Keys that work in the focused pane and its screen, with what they do."""
    keys: dict[str, str] = {}
    for active in app.screen.active_bindings.values():
        what, action = active.binding.description, active.binding.action
        if what and active.node is not app and not action.startswith(BUILT_IN):
            shown = app.get_key_display(active.binding)
            keys[what] = f"{keys[what]} {shown}" if what in keys else shown
    return [(shown, what) for what, shown in keys.items()]


class HelpScreen(ModalScreen[None]):
    """What the pane in focus shows and how to use it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,question_mark,q,enter", "dismiss(None)", "Close"),
    ]

    def __init__(self, widget: Widget | None, keys: list[tuple[str, str]], tab: str = "") -> None:
        super().__init__()
        self.widget, self.keys, self.tab = widget, keys, tab

    def compose(self) -> ComposeResult:
        """Prose first, then keys."""
        with VerticalScroll(id="help") as box:
            box.border_title = getattr(self.widget, "TITLE", "Help")
            box.border_subtitle = "escape closes"
            yield Static(self._prose())
            yield Static(self._table("Here", self.keys), id="keys")
            yield Static(self._table("Everywhere", GLOBAL), classes="apart")
            yield Static(self._table("Signs", signs_of(self.tab)), id="signs")

    def _prose(self) -> str:
        text = inspect.getdoc(type(self.widget)) if self.widget is not None else ""
        paragraphs = (text or "").split("\n\n")
        return "\n\n".join(" ".join(part.split()) for part in paragraphs).replace("`", "") + "\n"

    def _table(self, title: str, rows: tuple[tuple[str, str], ...] | list[tuple[str, str]]) -> Text:
        text = Text(title + "\n", style="bold")
        for key, meaning in rows:
            text.append(f"  {key:<12}", "bold")
            text.append(f" {meaning}\n", "not bold")
        return text
