"""A form as a list: a line per setting, changed with ← and →, and a line that starts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message

from ilora_app.tui.drawing.bars import fit
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
    free: bool = False
    """Whether a value of one's own can be given, besides the choices."""

    @property
    def value(self) -> str:
        """The chosen value."""
        return self.values[self.at] if self.values else ""


class Form(Rows):
    """What to train. ↑ ↓ choose a line, ← → or space change it; Enter asks whether to start.

    A model may be any causal language model: `m` takes a hub name, a local folder or a GGUF file; samples may
    be any number. ✎ marks such lines: `e` asks for a value of your own, as → does after the last choice.

    The estimate below is made anew with every change. Nothing is trained twice: what is on disk already is
    taken from there, and a stopped training goes on where it was.
    """

    TITLE: ClassVar[str] = "Training"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "change(1)", "Change", key_display="← →", tooltip="change the chosen line"),
        Binding("left", "change(-1)", "Back", show=False, tooltip="change the chosen line back"),
        Binding(
            "m",
            "free('model')",
            "Model",
            show=False,
            tooltip="train another language model, by name or path",
        ),
        Binding(
            "e", "own", "Own value", show=False, tooltip="type a value of your own for the chosen line: ✎"
        ),
        Binding("enter", "choose", "Start", tooltip="what it costs, and whether to start"),
    ]

    class Wanted(Message):
        """Somebody wants to give a value of their own."""

        def __init__(self, setting: Setting) -> None:
            super().__init__()
            self.setting = setting

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

    def fill(self, values: Mapping[str, str], switches: Collection[str], prefix: str) -> None:
        """Shows these values, and of the switches with this prefix exactly these on."""
        for setting in self.settings:
            if setting.key in values:
                setting.values = list(dict.fromkeys([*setting.values, values[setting.key]]))
                setting.at = list(setting.values).index(values[setting.key])
            elif setting.key.startswith(prefix):
                setting.on = setting.key.removeprefix(prefix) in switches
        self.refresh()

    def offer(self, key: str, values: Sequence[str]) -> None:
        """Other values to choose from; the present one stays where it can."""
        for setting in self.settings:
            if setting.key == key and list(setting.values) != list(values):
                now = setting.value
                kept = [now] if setting.free and now and now not in values else []
                setting.values = [*values, *kept]
                setting.at = setting.values.index(now) if now in setting.values else 0
        self.refresh()

    def give(self, key: str, value: str) -> None:
        """A value of somebody's own, among the choices from now on."""
        for setting in self.settings:
            if setting.key == key:
                setting.values = list(dict.fromkeys([*setting.values, value]))
                setting.at = list(setting.values).index(value)
        self.refresh()
        self.post_message(self.Changed())

    def cells(self, index: int, width: int) -> list[Cell]:
        """Label and value; the last line is the button."""
        if index == len(self.settings):
            return [(fit("", width // 2 - len(self.button) // 2 - 3), ""), (f"▶ {self.button}", "accent")]
        setting = self.settings[index]
        if setting.values:
            sign = " ✎" if setting.free else ""
            room = width - 14 - len(sign)
            shown = setting.value
            if len(shown) > room:  # of a path the end tells more
                shown = "…" + shown[1 - room :] if "/" in shown else fit(shown, room)
            return [(" " + fit(setting.label, 9), "dim"), (f"‹ {shown} ›", "bright"), (sign, "dim")]
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
        past_the_end = setting.free and setting.at + by == len(setting.values)
        if past_the_end:
            self.action_free(setting.key)
            return
        if setting.values:
            setting.at = (setting.at + by) % len(setting.values)
        else:
            setting.on = not setting.on
        self.refresh()
        self.post_message(self.Changed())

    def action_free(self, key: str) -> None:
        """Asks for a value that is not among the choices."""
        self.post_message(self.Wanted(next(setting for setting in self.settings if setting.key == key)))

    def action_own(self) -> None:
        """Asks for a value of somebody's own for the chosen line, where it takes one."""
        if self.cursor < len(self.settings) and self.settings[self.cursor].free:
            self.action_free(self.settings[self.cursor].key)

    def action_choose(self) -> None:
        """Enter asks whether to start, from any line."""
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
