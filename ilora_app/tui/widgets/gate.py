"""The gate: expert weights as bars to drag, experts in words; a heat map where layers have gates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from core.serving.protocol import ExpertListed
from ilora_app.tui.drawing.bars import bar, fit, shade, share, shorten, signed, sparkline
from ilora_app.tui.drawing.inks import ink
from ilora_app.tui.state.grid import Grid
from ilora_app.tui.widgets.rows import POINTER

STEP = 0.25
"""Change of a logit by one key press; a power of two, so that back is back to the bit."""
BEFORE, AFTER = 4, 11
"""Cells of a line before and after the bar: pointer and name; weight, change and a space."""
SHORTEST, LONGEST = 8, 24
"""Cells of a bar."""


class GatePanel(Widget, can_focus=True):
    """The gate's weights for this history: how much of each expert goes into the adapter.

    The words are what the expert answers to: the genres and decades of the histories that raise its weight.
    ↑ ↓ choose an expert, ← → push it down or up on top of what each layer's own gate says, while the others
    keep their proportions; as many pushes back restore the gate exactly. `l` gives it everything in every
    layer, and lets go again. A bar, or a row of the map, can be dragged with the mouse. ╵ is where the gate
    itself would put it, and the signed figure is the difference.

    Where every layer has a gate of its own, each line is a row of a heat map: one cell per layer, the lowest
    at the left, darker for more weight. It shows the weights in force; the figure is their mean.
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
        Binding("up,k", "step(-1)", "Up", show=False, id="experts.up"),
        Binding("down,j", "step(1)", "Down", show=False, id="experts.down"),
        Binding(
            "left,h", "weigh(-1)", "Less", show=False, tooltip="less of the chosen expert", id="experts.less"
        ),
        Binding(
            "right",
            "weigh(1)",
            "More",
            key_display="← →",
            tooltip="more of the chosen expert",
            id="experts.more",
        ),
        Binding(
            "l",
            "lock",
            "Lock to 1",
            tooltip="everything to the chosen expert, or let it go",
            id="experts.lock",
        ),
    ]

    cursor: reactive[int] = reactive(0)
    empty: reactive[str] = reactive("")

    class Weighed(Message):
        """An expert's bar was dragged to a weight."""

        def __init__(self, expert: int, weight: float) -> None:
            super().__init__()
            self.expert, self.weight = expert, weight

    class Nudged(Message):
        """An expert was pushed: its logit changes by so much."""

        def __init__(self, expert: int, by: float) -> None:
            super().__init__()
            self.expert, self.by = expert, by

    class Locked(Message):
        """An expert was given everything, or let go."""

        def __init__(self, expert: int) -> None:
            super().__init__()
            self.expert = expert

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.weights: Sequence[float] = ()
        self.natural: Sequence[float] | None = None
        self.by_layer: Sequence[Sequence[float]] = ()
        self.profiles: list[ExpertListed] = []
        self.trail: list[list[float]] = []
        self.given = False

    def show(
        self,
        weights: Sequence[float] | None,
        natural: Sequence[float] | None,
        profiles: list[ExpertListed],
        given: bool,
        trail: list[list[float]],
        layers: Sequence[Sequence[float]] = (),
    ) -> None:
        """Other weights.

        Args:
            weights: K of them.
            natural: what to compare with.
            profiles: each expert in words.
            given: whether somebody chose the weights.
            trail: earlier weights, oldest first.
            layers: K weights per layer, where layers have gates of their own.
        """
        before = self.lines
        self.weights, self.natural, self.by_layer = weights or (), natural, layers
        self.profiles, self.given, self.trail = profiles, given, trail
        self.refresh(layout=self.lines != before)

    def grid(self) -> Grid:
        """Expert, weight in force, the gate's own weight, and what wakes the expert."""
        own: Sequence[float | None] = self.natural or [None] * self.experts
        words = [profile["words"] for profile in self.profiles] or [""] * self.experts
        rows = [(f"E{at + 1}", float(weight), own[at], words[at]) for at, weight in enumerate(self.weights)]
        return Grid("Experts", ("expert", "weight", "gate's own weight", "answers to"), tuple(rows))

    @property
    def lines(self) -> int:
        """How many lines there are to draw: one per expert, and one above a map."""
        return self.experts + (1 if self.layered else 0)

    @property
    def experts(self) -> int:
        """K."""
        return len(self.weights)

    @property
    def layered(self) -> bool:
        """Whether a map of the layers is drawn; a replay has its sparklines there."""
        return bool(self.by_layer) and not self.trail

    def validate_cursor(self, cursor: int) -> int:
        """Within the experts."""
        return max(0, min(cursor, self.experts - 1))

    # --- drawing ----------------------------------------------------------------------------------------

    def _ink(self, name: str) -> Style:
        return ink(self, f"gate--{name}")

    def _gauge(self) -> int:
        """Cells of a bar: what the words leave."""
        words = max((cell_len(profile["words"]) for profile in self.profiles), default=0)
        room = self.content_size.width - BEFORE - AFTER - (0 if self.trail else words)
        if self.layered:
            return max(1, min(len(self.by_layer) * 2, room))
        return max(SHORTEST, min(LONGEST, room // 3 if self.trail else room))

    def render(self) -> Text:
        """One line per expert."""
        if not self.weights:
            return Text(self.empty, style=self._ink("dim"), justify="center")
        lines = [self._line(expert, float(weight)) for expert, weight in enumerate(self.weights)]
        return Text("\n").join(([self._scale()] if self.layered else []) + lines)

    def _line(self, expert: int, weight: float) -> Text:
        gauge, width = self._gauge(), self.content_size.width
        under = expert == self.cursor and self.has_focus
        line = Text(no_wrap=True, overflow="ellipsis")
        line.append(POINTER if under else " ", self._ink("cursor"))
        line.append(f"E{expert + 1} ", self._ink("cursor") if under else self._ink("dim"))
        line.append_text(self._heat(expert, gauge) if self.layered else self._bar(expert, weight, gauge))
        line.append(f" {share(weight)}".ljust(5))
        if not self.trail:
            natural = self.natural[expert] if self.natural and expert < len(self.natural) else weight
            moved = signed(weight - natural)
            line.append(fit("" if moved == "·" else moved, 5, True) + " ", self._ink("change"))
        else:
            room = max(SHORTEST, (width - line.cell_len) // 2)
            past = [row[expert] for row in self.trail if expert < len(row)]
            line.append(sparkline(past, room) + " ", self._ink("bar"))
        words = self.profiles[expert]["words"] if expert < len(self.profiles) else ""
        line.append(shorten(words, max(0, width - line.cell_len)), self._ink("words"))
        return line

    def _bar(self, expert: int, weight: float, gauge: int) -> Text:
        drawn = Text(bar(weight, gauge), self._ink("set" if self.given else "bar"))
        natural = self.natural[expert] if self.natural and expert < len(self.natural) else None
        if natural is not None and abs(natural - weight) > 0.5 / gauge:
            at = min(gauge - 1, int(natural * gauge))
            if at >= weight * gauge:
                drawn = Text.assemble(drawn[:at], ("╵", self._ink("change")), drawn[at + 1 :])
        return drawn

    # --- one gate per layer -----------------------------------------------------------------------------

    def _scale(self) -> Text:
        """Which end of the map is which."""
        gauge = self._gauge()
        ends = f"layer 1 → {len(self.by_layer)}" if gauge >= 14 else f"1→{len(self.by_layer)}"
        return Text(" " * BEFORE + fit(ends, gauge), self._ink("dim"))

    def _heat(self, expert: int, gauge: int) -> Text:
        """One expert's weight in every layer; the darkest cell of the map has the largest weight of all."""
        largest = max(max(layer) for layer in self.by_layer)
        drawn = "".join(
            shade(self.by_layer[at * len(self.by_layer) // gauge][expert] / largest) for at in range(gauge)
        )
        return Text(drawn, self._ink("set" if self.given else "bar"))

    # --- changing ---------------------------------------------------------------------------------------

    def action_step(self, by: int) -> None:
        """To another expert."""
        self.cursor += by

    def action_weigh(self, by: int) -> None:
        """A little more or less of this expert."""
        if self.experts:
            self.post_message(self.Nudged(self.cursor, by * STEP))

    def action_lock(self) -> None:
        """Everything to this expert, or no longer."""
        if self.experts:
            self.post_message(self.Locked(self.cursor))

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
        row = offset.y - (1 if self.layered else 0)
        if not 0 <= row < self.experts:
            return False
        self.cursor = row
        start, gauge = BEFORE, self._gauge()
        if not start - 1 <= offset.x <= start + gauge:
            return False
        self.post_message(self.Weighed(row, max(0.0, min(1.0, (offset.x - start + 0.5) / gauge))))
        return True
