"""Lines between two rankings of the same candidates: level where they agree, steep where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from ilora_app.tui.drawing.braille import Canvas
from ilora_app.tui.drawing.inks import ink


class Agreement(Widget):
    """Each line joins one item's place at the left with its place at the right.

    The line of the highlighted item is drawn over the others; ◎ ends mark the target's.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"agreement--line", "agreement--chosen", "agreement--target"}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.pairs: list[tuple[int, int]] = []
        self.chosen = self.target = -1
        self._layers: list[tuple[Canvas, str]] = []
        self._drawn = self.size

    def show(
        self, pairs: Sequence[tuple[int, int]], chosen: int, target: int, scrolled: tuple[int, int]
    ) -> None:
        """Other pairs of places, from 0; `chosen` and `target` are places at the left, -1 for none.

        Args:
            pairs: left place and right place of each item.
            chosen: whose line is highlighted.
            target: whose line is the target's.
            scrolled: lines that the left and the right list are scrolled by.
        """
        self.pairs, self.chosen, self.target, self.offset_lines = list(pairs), chosen, target, scrolled
        self._draw()
        self.refresh()

    def _draw(self) -> None:
        width, height = self._drawn = self.size
        self._layers = []
        if not width or not height:
            return
        layers = (
            ("line", [pair for pair in self.pairs if pair[0] not in (self.chosen, self.target)]),
            ("target", [pair for pair in self.pairs if pair[0] == self.target]),
            ("chosen", [pair for pair in self.pairs if pair[0] == self.chosen]),
        )
        left, right = self.offset_lines
        for name, pairs in layers:
            canvas = Canvas(width, height)
            for a, b in pairs:
                canvas.line(0, 4 * (a - left) + 2, 2 * width - 1, 4 * (b - right) + 2)
            self._layers.append((canvas, name))

    offset_lines: tuple[int, int] = (0, 0)

    def render_line(self, y: int) -> Strip:
        """One line of characters, the highlighted item's on top."""
        width, base = self.size.width, self.rich_style
        if self._drawn != self.size:  # a line may be asked for before the new size is announced
            self._draw()
        if not self._layers:
            return Strip.blank(width, base)
        rows = [(canvas.row(y), base + ink(self, f"agreement--{name}")) for canvas, name in self._layers]
        segments = []
        for x in range(width):
            text, style = next(
                ((row[x], style) for row, style in reversed(rows) if row[x] != " "), (" ", base)
            )
            segments.append(Segment(text, style))
        return Strip(segments, width).simplify()
