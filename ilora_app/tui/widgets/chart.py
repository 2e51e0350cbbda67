"""Curves of several runs over each other, to be zoomed and moved with keys and the mouse."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any, ClassVar

from rich.style import Style
from rich.text import Text
from textual.app import RenderResult
from textual.binding import Binding, BindingType
from textual.containers import Grid
from textual.theme import Theme
from textual_plot import HiResMode, NumericAxisFormatter, PlotWidget

from ilora_app.tui.drawing.inks import sign_of
from ilora_app.tui.widgets.curves import DistinctLabels

Line = tuple[int, Sequence[tuple[float, float]]]
"""Number of a run's sign, and its points."""
MOST_MARKS = 40
"""Points of a curve that are marked one by one; of more, every n-th is."""


class PowerLabels(NumericAxisFormatter):
    """Ticks at 1, 2 and 5 times powers of ten, of values whose logarithms are drawn."""

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        """Logarithms of round values; of a narrow range, round logarithms."""
        powers = range(floor(min_), ceil(max_) + 1)
        ticks = [power + log10(digit) for power in powers for digit in (1, 2, 5)]
        found = [tick for tick in ticks if min_ <= tick <= max_]
        return found if 2 <= len(found) <= max_ticks else super().get_ticks(min_, max_, max_ticks)

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        """The values themselves."""
        return [f"{10**tick:.3g}" for tick in ticks]


class Chart(PlotWidget, inherit_bindings=False):
    """Each run's curve in its own colour, its points marked with its own sign.

    + − zoom, arrows move, `0` shows everything again; with the mouse, the wheel zooms where it points (on an
    axis, that axis alone) and dragging moves.
    """

    TITLE: ClassVar[str] = "Curves"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("plus,equals_sign", "zoom_in", "Zoom", key_display="+ −", tooltip="zoom in", id="chart.in"),
        Binding("minus", "zoom_out", "Zoom out", show=False, tooltip="zoom out", id="chart.out"),
        Binding("left", "pan_left", "Left", show=False, tooltip="move to the left", id="chart.left"),
        Binding("right", "pan_right", "Right", show=False, tooltip="move to the right", id="chart.right"),
        Binding("up", "pan_up", "Up", show=False, tooltip="move up", id="chart.up"),
        Binding("down", "pan_down", "Down", show=False, tooltip="move down", id="chart.down"),
        Binding("0", "reset_scales", "All", show=False, tooltip="show everything again", id="chart.all"),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(invert_mouse_wheel=True, **options)
        self.lines: Sequence[Line] = ()
        self.empty, self.logarithmic = "", False
        self.zoomed = False

    def on_mount(self) -> None:
        """Follows the theme."""
        self.margin_top, self.margin_left, self.margin_bottom = 0, 7, 2
        self.app.theme_changed_signal.subscribe(self, self._recolour)

    def _recolour(self, theme: Theme) -> None:
        del theme
        self.draw(self.lines, self.logarithmic)

    def render(self) -> RenderResult:
        """What lies behind the curves: the word of explanation."""
        return super().render() if self.lines else Text(self.empty, style="dim", justify="center")

    def draw(self, lines: Sequence[Line], log: bool) -> None:
        """Other curves; a view that was zoomed stays where it is.

        Args:
            lines: sign and points of each run; with `log`, logarithms of the values.
            log: whether the vertical axis is one of logarithms.
        """
        self.lines, self.logarithmic = [line for line in lines if line[1]], log
        self.clear()
        self.query_one(Grid).display = bool(self.lines)
        if not self.lines:
            return
        self.set_y_formatter(PowerLabels() if log else DistinctLabels())
        dark = self.app.current_theme.dark
        for sign, points in self.lines:
            mark, colour = sign_of(sign, dark)
            xs, ys = [x for x, _ in points], [y for _, y in points]
            style = str(Style(color=colour))
            self.plot(xs, ys, line_style=style, hires_mode=HiResMode.BRAILLE)
            every = ceil(len(xs) / MOST_MARKS)
            self.scatter(xs[::-1][::every], ys[::-1][::every], marker=mark, marker_style=style)
        if not self.zoomed:
            self.fit()

    def fit(self) -> None:
        """Shows all points, with a little room above and below."""
        xs = [x for _, points in self.lines for x, _ in points]
        ys = [y for _, points in self.lines for _, y in points]
        low, high = min(ys), max(ys)
        pad = (high - low) * 0.08 or 0.05
        last = max(1.0, *xs)
        self.set_xlimits(min(0.0, *xs), 1.02 * last)  # so that the last mark is within the frame
        self.set_ylimits(low - pad, high + pad)

    def on_plot_widget_scale_changed(self) -> None:
        """Somebody zoomed or moved: new points do not take the view away."""
        self.zoomed = True

    def action_reset_scales(self) -> None:
        """Shows everything again."""
        self.zoomed = False
        if self.lines:
            self.fit()

    def action_pan_left(self) -> None:
        """To smaller steps."""
        self._pan(2 * self.KEYBOARD_PAN_FACTOR, 0)

    def action_pan_right(self) -> None:
        """To larger steps."""
        self._pan(-2 * self.KEYBOARD_PAN_FACTOR, 0)
