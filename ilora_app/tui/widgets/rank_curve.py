"""The target's rank along a replay: where two methods put what the user really chose, item by item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.segment import Segment
from textual.strip import Strip
from textual.widget import Widget

from ilora_app.tui.drawing.bars import fit
from ilora_app.tui.drawing.braille import Canvas
from ilora_app.tui.drawing.inks import ink

MARGIN = 4
"""Cells left of the curve, for the ranks."""


@dataclass(frozen=True)
class Step:
    """One moment of a sequence."""

    position: int
    """Place of the target in the user's sequence."""
    rank: int | None
    """The opened run's rank of the target, 1 = best; None where it was not among the candidates."""
    encoder: int | None
    """The sequence encoder's rank of it; None where the opened run is that encoder."""


class RankCurve(Widget):
    """First place at the top: a line for the opened run, dots for its encoder, over the whole sequence."""

    TITLE: ClassVar[str] = "The target's rank"
    COMPONENT_CLASSES: ClassVar[set[str]] = {"curve--own", "curve--encoder", "curve--axis"}

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.steps: list[Step] = []
        self.first, self.last, self.worst = 0, 1, 20
        self._layers: list[tuple[Canvas, str]] = []
        self._drawn = self.size

    def show(self, steps: Sequence[Step], first: int, last: int, worst: int) -> None:
        """Other steps.

        Args:
            steps: what was played so far.
            first: the first position of the sequence that can be a target.
            last: the last one.
            worst: the lowest rank there is, the number of candidates.
        """
        self.steps = sorted({step.position: step for step in steps}.values(), key=lambda step: step.position)
        self.first, self.last, self.worst = first, max(last, first + 1), max(worst, 2)
        self._draw()
        self.refresh()

    def _draw(self) -> None:
        self._drawn = self.size
        width, height = self.size.width - MARGIN, self.size.height
        self._layers = []
        if width < 2 or height < 1:
            return

        def at(position: int, rank: int) -> tuple[int, int]:
            x = (position - self.first) / (self.last - self.first) * (2 * width - 1)
            y = (rank - 1) / (self.worst - 1) * (4 * height - 1)
            return round(x), round(y)

        dots, line = Canvas(width, height), Canvas(width, height)
        before: tuple[int, int] | None = None
        for step in self.steps:
            if step.encoder is not None:
                dots.dot(*at(step.position, step.encoder))
            now = None if step.rank is None else at(step.position, step.rank)
            if now is not None:
                line.line(*(before or now), *now)
            before = now
        self._layers = [(line, "own"), (dots, "encoder")]

    def render_line(self, y: int) -> Strip:
        """One line: a rank at the first and the last, then the curve."""
        width, base = self.size.width, self.rich_style
        if self._drawn != self.size:  # a line may be asked for before the new size is announced
            self._draw()
        if not self._layers:
            return Strip.blank(width, base)
        rank = "1" if y == 0 else str(self.worst) if y == self.size.height - 1 else ""
        segments = [Segment(fit(rank, MARGIN - 1, True) + " ", base + ink(self, "curve--axis"))]
        rows = [(canvas.row(y), base + ink(self, f"curve--{name}")) for canvas, name in self._layers]
        for x in range(width - MARGIN):
            text, style = next(((row[x], style) for row, style in rows if row[x] != " "), (" ", base))
            segments.append(Segment(text, style))
        return Strip(segments, width).simplify()


def mean_rank(ranks: Sequence[int | None]) -> float | None:
    """The mean of the ranks that there are; None where there are none."""
    known = [rank for rank in ranks if rank is not None]
    return sum(known) / len(known) if known else None
