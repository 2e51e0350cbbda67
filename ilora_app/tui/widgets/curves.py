"""Curves of a training: the loss as it falls, the validation as it rises."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.containers import Grid
from textual.theme import Theme
from textual_plot import HiResMode, NumericAxisFormatter, PlotWidget

Points = Sequence[tuple[int, float]]


class DistinctLabels(NumericAxisFormatter):
    """Labels with as many decimals as tell the ticks apart and give each one's value."""

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """The ticks, the fewest decimals that suffice for all of them."""
        for decimals in range(7):
            labels = [f"{tick:.{decimals}f}" for tick in ticks]
            close = all(abs(float(label) - tick) < 1e-7 for label, tick in zip(labels, ticks, strict=True))
            if close:
                break
        return labels if ticks else []


class CurvePlot(PlotWidget, can_focus=False):
    """A curve over optimizer steps."""

    TITLE: ClassVar[str] = "Curve"

    def __init__(self, dots: bool = False, empty: str = "", **options: Any) -> None:
        super().__init__(allow_pan_and_zoom=False, **options)
        self.dots, self.empty = dots, empty
        self.points: Points = ()
        self.set_y_formatter(DistinctLabels())

    def on_mount(self) -> None:
        """Follows the theme."""
        self.margin_top = 0
        self.margin_left = 6
        self.margin_bottom = 2
        self.app.theme_changed_signal.subscribe(self, self._recolour)

    def _recolour(self, theme: Theme) -> None:
        del theme
        self.draw(self.points)

    def render(self) -> RenderResult:
        """What lies behind the curve: the word of explanation."""
        return super().render() if self.points else Text(self.empty, style="dim", justify="center")

    def draw(self, points: Points) -> None:
        """Shows these points; a word of explanation where there are none."""
        self.points = list(points)
        self.clear()
        self.query_one(Grid).display = bool(points)
        if not points:
            return
        variables = self.app.theme_variables
        xs, ys = [float(x) for x, _ in points], [y for _, y in points]
        line, mark = variables["primary"], variables["accent"]
        self.plot(xs, ys, line_style=str(Style(color=line)), hires_mode=HiResMode.BRAILLE)
        if self.dots:
            self.scatter(xs, ys, marker="●", marker_style=str(Style(color=mark)))
        self.set_xlimits(min(0.0, xs[0]), max(xs[-1], 1.0))
        low, high = min(ys), max(ys)
        pad = (high - low) * 0.08 or 0.05
        self.set_ylimits(low - pad, high + pad)
