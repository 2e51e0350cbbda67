"""A form as a list: a line per setting, changed with ← and →, and a line that starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from ilora_app.tui.bars import fit
from ilora_app.tui.widgets.rows import Cell, Rows


@dataclass
class Setting:
    """One line: a choice among values, or a switch."""

    key: str
    label: str
    values: Sequence[str] = ()
    """Choices; a switch has none."""
    at: int = 0
    on: bool = True
    hint: dict[str, str] = field(default_factory=dict)

    @property
    def value(self) -> str:
        """The chosen value."""
        return self.values[self.at] if self.values else ""


class Form(Rows):
    """What to train. ↑ ↓ choose a line, ← → or space change it, Enter starts.

    The estimate below is made anew with every change. Nothing is trained twice: what is on disk already is
    taken from there, and a stopped training goes on where it was.
    """

    TITLE: ClassVar[str] = "Training"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "change(1)", "Change", key_display="← →"),
        Binding("left", "change(-1)", "Back", show=False),
        Binding("enter", "choose", "Start"),
    ]

    class Changed(Message):
        """A setting has another value."""

    def __init__(self, settings: list[Setting], **options: Any) -> None:
        super().__init__(**options)
        self.settings = settings
        self.button = "Start"
        self.renew(len(settings) + 1)

    def value(self, key: str) -> str:
        """A choice's value."""
        return next(setting.value for setting in self.settings if setting.key == key)

    def switched_on(self, prefix: str) -> list[str]:
        """Keys of the switches that are on, without their prefix."""
        return [
            setting.key.removeprefix(prefix)
            for setting in self.settings
            if setting.key.startswith(prefix) and setting.on
        ]

    def offer(self, key: str, values: Sequence[str]) -> None:
        """Other values to choose from; the present one stays where it can."""
        for setting in self.settings:
            if setting.key == key and list(setting.values) != list(values):
                now = setting.value
                setting.values = values
                setting.at = list(values).index(now) if now in values else 0
        self.refresh()

    def cells(self, index: int, width: int) -> list[Cell]:
        """Label and value; the last line is the button."""
        if index == len(self.settings):
            return [(fit("", width // 2 - len(self.button) // 2 - 3), ""), (f"▶ {self.button}", "accent")]
        setting = self.settings[index]
        if setting.values:
            value = f"‹ {setting.value} ›"
            return [(" " + fit(setting.label, 9), "dim"), (fit(value, width - 10), "bright")]
        sign = "[x]" if setting.on else "[ ]"
        return [
            (" " * 10 + sign + " ", "accent" if setting.on else "dim"),
            (fit(setting.label, width - 14), ""),
        ]

    def action_change(self, by: int) -> None:
        """The next value."""
        if self.cursor >= len(self.settings):
            return
        setting = self.settings[self.cursor]
        if setting.values:
            setting.at = (setting.at + by) % len(setting.values)
        else:
            setting.on = not setting.on
        self.refresh()
        self.post_message(self.Changed())

    def action_choose(self) -> None:
        """Enter starts from any line."""
        self.post_message(self.Chosen(self, len(self.settings)))

    def on_click(self, event: events.Click) -> None:
        """A click changes a setting, or starts."""
        event.prevent_default()
        offset = event.get_content_offset(self)
        index = self._row_at(offset.y) if offset else -1
        if index < 0:
            return
        self.cursor = index
        if index == len(self.settings):
            self.action_choose()
        else:
            self.action_change(1)
