"""The gate: expert weights as bars that can be dragged, experts in words; a heat map for layered gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ilora_app.tui.bars import bar, fit, shade, share, signed, sparkline
from ilora_app.tui.inks import ink
from ilora_app.tui.widgets.rows import POINTER

STEP = 0.05
Weights = Sequence[float] | Sequence[Sequence[float]]


class GatePanel(Widget, can_focus=True):
    """The gate's weights for this history: how much of each expert goes into the adapter.

    The words are what the expert answers to: the genres and decades of the histories that raise its weight.
    ↑ ↓ choose an expert, ← → change its weight while the others keep their proportions, `l` gives it
    everything; a bar can be dragged with the mouse. ╵ is where the gate itself would put it.
    """

    TITLE: ClassVar[str] = "Experts"
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "gate--bar",
        "gate--set",
        "gate--words",
        "gate--dim",
        "gate--change",
        "gate--cursor",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", "Up", show=False),
        Binding("down,j", "step(1)", "Down", show=False),
        Binding("left,h", "weigh(-1)", "Less", show=False),
        Binding("right", "weigh(1)", "More", key_display="← →"),
        Binding("l", "lock", "Lock to 1"),
    ]

    cursor: reactive[int] = reactive(0)
    empty: reactive[str] = reactive("")

    class Weighed(Message):
        """Somebody set an expert's weight."""

        def __init__(self, expert: int, weight: float) -> None:
            super().__init__()
            self.expert, self.weight = expert, weight

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.weights: Weights = ()
        self.natural: Sequence[float] | None = None
        self.profiles: list[dict[str, Any]] = []
        self.trail: list[list[float]] = []
        self.given = False

    def show(
        self,
        weights: Weights | None,
        natural: Sequence[float] | None,
        profiles: list[dict[str, Any]],
        given: bool,
        trail: list[list[float]],
    ) -> None:
        """Other weights; `natural` is what to compare with, `given` whether somebody chose them."""
        self.weights, self.natural = weights or (), natural
        self.profiles, self.given, self.trail = profiles, given, trail
        self.refresh()

    @property
    def experts(self) -> int:
        """K."""
        return len(self.weights)

    @property
    def layered(self) -> bool:
        """Whether there is one gate per layer."""
        return bool(self.weights) and not isinstance(self.weights[0], float | int)

    def validate_cursor(self, cursor: int) -> int:
        """Within the experts."""
        return max(0, min(cursor, self.experts - 1))

    # --- drawing ----------------------------------------------------------------------------------------

    def _ink(self, name: str) -> Style:
        return ink(self, f"gate--{name}")

    def _gauge(self) -> int:
        """Cells of a bar."""
        width = self.content_size.width
        return max(6, min(24, width // 3 if width > 50 else width - 24 if not self.profiles else width // 4))

    def render(self) -> Text:
        """One line per expert, or a heat map."""
        if not self.weights:
            return Text(self.empty, style=self._ink("dim"), justify="center")
        return self._heat_map() if self.layered else Text("\n").join(self._lines())

    def _lines(self) -> list[Text]:
        lines = []
        width, gauge = self.content_size.width, self._gauge()
        for expert, weight in enumerate(self.weights):
            assert isinstance(weight, float | int)
            under = expert == self.cursor and self.has_focus
            line = Text(no_wrap=True, overflow="ellipsis")
            line.append(POINTER if under else " ", self._ink("cursor"))
            line.append(f"E{expert + 1} ", self._ink("cursor") if under else self._ink("dim"))
            line.append_text(self._bar(expert, float(weight), gauge))
            line.append(f" {share(float(weight))}")
            natural = self.natural[expert] if self.natural and expert < len(self.natural) else weight
            line.append(fit(signed(float(weight) - natural), 5, True), self._ink("change"))
            line.append(" ")
            words = self.profiles[expert]["words"] if expert < len(self.profiles) else ""
            if self.trail:
                room = min(28, max(8, (width - line.cell_len) // 2))
                past = [row[expert] for row in self.trail if expert < len(row)]
                line.append(sparkline(past, room) + " ", self._ink("bar"))
            line.append(fit(words, max(0, width - line.cell_len)), self._ink("words"))
            lines.append(line)
        return lines

    def _bar(self, expert: int, weight: float, gauge: int) -> Text:
        drawn = Text(bar(weight, gauge), self._ink("set" if self.given else "bar"))
        natural = self.natural[expert] if self.natural and expert < len(self.natural) else None
        if natural is not None and abs(natural - weight) > 0.5 / gauge:
            at = min(gauge - 1, int(natural * gauge))
            if at >= weight * gauge:
                drawn = Text.assemble(drawn[:at], ("╵", self._ink("change")), drawn[at + 1 :])
        return drawn

    def _heat_map(self) -> Text:
        """Layers down, experts across: the darker, the more weight."""
        layers: Any = self.weights
        room = max(1, self.content_size.height - 1)
        every = -(-len(layers) // room)
        lines = [Text("layer " + "".join(f"E{k + 1:<3}" for k in range(len(layers[0]))), self._ink("dim"))]
        for layer in range(0, len(layers), every):
            line = Text(f"{layer:>5} ", self._ink("dim"))
            for weight in layers[layer]:
                line.append(shade(weight), self._ink("bar"))
                line.append(f"{round(100 * weight):>2}"[-2:], self._ink("words"))
            lines.append(line)
        return Text("\n").join(lines)

    # --- changing ---------------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        """To another expert."""
        self.cursor += by

    def action_weigh(self, by: int) -> None:
        """A little more or less of this expert."""
        if self.experts and not self.layered:
            weight = self.weights[self.cursor]
            assert isinstance(weight, float | int)
            wanted = max(0.0, min(1.0, round(float(weight) + by * STEP, 4)))
            weights: Any = list(self.weights)
            weights[self.cursor] = wanted  # so that keys pressed in a burst add up
            self.weights = weights
            self.post_message(self.Weighed(self.cursor, wanted))

    def action_lock(self) -> None:
        """Everything to this expert."""
        if self.experts and not self.layered:
            self.post_message(self.Weighed(self.cursor, 1.0))

    def on_mouse_down(self, event: events.MouseDown) -> None:
        """Takes hold of a bar."""
        if self._drag(event):
            self.capture_mouse()

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Drags it."""
        if event.button and self.app.mouse_captured is self:
            self._drag(event)

    def on_mouse_up(self) -> None:
        """Lets go."""
        self.release_mouse()

    def _drag(self, event: events.MouseEvent) -> bool:
        offset = event.get_content_offset_capture(self)
        if self.layered or not 0 <= offset.y < self.experts:
            return False
        self.cursor = offset.y
        start, gauge = 4, self._gauge()
        if not start - 1 <= offset.x <= start + gauge:
            return False
        self.post_message(self.Weighed(offset.y, max(0.0, min(1.0, (offset.x - start + 0.5) / gauge))))
        return True
