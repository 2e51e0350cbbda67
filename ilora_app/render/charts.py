"""Plots as inline SVG: small, sharp, readable in light and dark, with the figures in their tooltips.

Written by hand because a self-contained page needs exactly this: colours that follow the reader's theme, text
that stays text, and nothing to load. Every function returns one `<svg>` element.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from core.methods import METHODS
from core.safe_text import html as escape
from ilora_app.render import figures

WIDTH = 760
_THEMES = (
    {"ink": "#1f2328", "dim": "#656d76", "grid": "#e3e6ea", "page": "#ffffff"},
    {"ink": "#e6edf3", "dim": "#9198a1", "grid": "#30363d", "page": "#0d1117"},
)


def styles() -> str:
    """The style sheet of all plots, for a page's head or for a plot that stands alone."""

    def variables(theme: int) -> str:
        names = {**_THEMES[theme], **{f"m-{name}": pair[theme] for name, pair in _colours().items()}}
        return "".join(f"--{name}:{value};" for name, value in names.items())

    return (
        f":root{{color-scheme:light dark;{variables(0)}}}"
        f"@media(prefers-color-scheme:dark){{:root{{{variables(1)}}}}}"
        ".chart{max-width:100%;height:auto;font:12px system-ui,sans-serif;fill:var(--ink)}"
        ".chart .dim{fill:var(--dim)}.chart .head{font-weight:600}"
        ".chart .grid{stroke:var(--grid)}.chart .axis{stroke:var(--dim)}"
        ".chart .mark{fill:var(--c)}.chart .line{stroke:var(--c);fill:none;stroke-width:2}"
        ".chart .thin{stroke-width:1.2}.chart .dash{stroke-dasharray:5 4}"
        ".chart .soft{fill:var(--c);opacity:.45}.chart .paper{fill:none;stroke:var(--dim);stroke-width:1.5}"
        ".chart .up{fill:var(--m-ilora)}.chart .down{fill:var(--m-lora)}"
    )


def colour(method: str) -> str:
    """The colour of a method as a CSS value; a method without its own gets one of the others' for good."""
    colours = _colours()
    names = list(colours)
    known = method if method in colours else names[sum(map(ord, method)) % len(names)]
    return f"var(--m-{known})"


def _colours() -> dict[str, tuple[str, str]]:
    """Method -> its colour on a light and on a dark page."""
    return {name: method.colours for name, method in METHODS.items() if method.colours}


# --- the canvas --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scale:
    """Values onto pixels, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, at = (
            (map(math.log10, (self.low, self.high, value)))
            if self.log
            else (
                self.low,
                self.high,
                value,
            )
        )
        return self.start + (at - low) / (high - low) * (self.end - self.start)

    def ticks(self, about: int = 5) -> list[float]:
        """Round values within the scale."""
        if self.log:
            powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            steps = (1, 2, 5) if len(powers) < 4 else (1,)
            found = [step * 10.0**power for power in powers for step in steps]
        else:
            step = _round_step((self.high - self.low) / about)
            first = math.ceil(self.low / step - 1e-9)
            found = [step * k for k in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [tick for tick in found if self.low * (1 - 1e-9) <= tick <= self.high * (1 + 1e-9)]


def scale(values: Sequence[float], start: float, end: float, log: bool = False, zero: bool = False) -> Scale:
    """A scale that holds all values with a little air; `zero` makes it begin at zero."""
    low, high = min(values), max(values)
    if log:
        return Scale(low / 1.4, high * 1.4, start, end, log=True)
    if zero:
        low = min(0.0, low)
    air = 0.06 * (high - low) or 0.05 * abs(high) or 0.5
    return Scale(low if zero and low == 0 else low - air, high + air, start, end)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= rough * 0.999)


@dataclass
class Canvas:
    """Collects the parts of one plot."""

    height: float
    width: float = WIDTH
    parts: list[str] = field(default_factory=list)

    def add(self, tag: str, tip: str = "", **attributes: object) -> None:
        """One element; `cls` is its class, `c` its colour, `tip` its tooltip."""
        names = {"cls": "class"}
        given = dict(attributes)
        if ink := given.pop("c", None):
            given["style"] = f"--c:{ink}"
        text = " ".join(
            f'{names.get(key, key.replace("_", "-"))}="{_value(value)}"' for key, value in given.items()
        )
        inner = f"<title>{escape(tip)}</title>" if tip else ""
        self.parts.append(f"<{tag} {text}>{inner}</{tag}>")

    def text(self, x: float, y: float, words: str, cls: str = "", anchor: str = "start") -> None:
        """One line of text."""
        place = f'x="{_value(x)}" y="{_value(y)}" text-anchor="{anchor}"'
        self.parts.append(f'<text {place} class="{cls}">{escape(words)}</text>')

    def x_axis(
        self,
        axis: Scale,
        top: float,
        bottom: float,
        label: str,
        write: Callable[[float], str],
        ticks: Sequence[float] = (),
    ) -> None:
        """Vertical grid lines with their values below, and the axis's name; round values unless given."""
        for tick in [tick for tick in ticks if axis.low <= tick <= axis.high] or axis.ticks():
            self.add("line", x1=axis(tick), x2=axis(tick), y1=top, y2=bottom, cls="grid")
            self.text(axis(tick), bottom + 15, write(tick), "dim", "middle")
        if label:
            self.text((axis.start + axis.end) / 2, bottom + 32, label, "dim", "middle")

    def y_axis(
        self, axis: Scale, left: float, right: float, label: str, write: Callable[[float], str]
    ) -> None:
        """Horizontal grid lines with their values at the left, and the axis's name above."""
        for tick in axis.ticks():
            self.add("line", x1=left, x2=right, y1=axis(tick), y2=axis(tick), cls="grid")
            self.text(left - 6, axis(tick) + 4, write(tick), "dim", "end")
        self.text(left - 6, axis.end - 10, label, "dim")

    def done(self, title: str) -> str:
        """The finished element."""
        wide, high = _value(self.width), _value(self.height)
        size = f'viewBox="0 0 {wide} {high}" width="{wide}"'
        said = f'role="img" aria-label="{escape(title)}"'
        inner = "".join(self.parts)
        return f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" {size} {said}>{inner}</svg>'


def standalone(svg: str) -> str:
    """A plot as a file of its own, its styles within."""
    head, rest = svg.split(">", 1)
    back = '<rect width="100%" height="100%" style="fill:var(--page)"></rect>'
    return f"{head}><style>{styles()}</style>{back}{rest}\n"


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}".rstrip("0").rstrip(".")
    return escape(str(value))


# --- the plots ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mark:
    """One value with its interval."""

    value: float | None
    low: float = math.nan
    high: float = math.nan
    reported: float | None = None
    """A published figure, drawn as a hollow diamond."""


@dataclass(frozen=True)
class Panel:
    """One column of intervals: a mark for each method, in the order of the labels."""

    title: str
    marks: tuple[Mark, ...]


def intervals(
    labels: Sequence[tuple[str, str]], panels: Sequence[Panel], title: str, same: bool = False
) -> str:
    """Values with their intervals: one row per method (label, colour), one panel beside the other.

    Args:
        labels: each method's name and colour.
        panels: what is shown of them.
        title: for readers who cannot see it.
        same: whether all panels share one scale.
    """
    left, gap, step, top = 150.0, 26.0, 26.0, 34.0
    wide = (WIDTH - left - gap * (len(panels) - 1) - 8) / len(panels)
    bottom = top + step * len(labels)
    canvas = Canvas(bottom + 24)
    for row, (name, _) in enumerate(labels):
        canvas.text(left - 12, top + step * (row + 0.5) + 4, short(name, 22), anchor="end")
    shared = [value for panel in panels for value in _values(panel)]
    for place, panel in enumerate(panels):
        start = left + place * (wide + gap)
        values = shared if same else _values(panel)
        if not values:
            continue
        axis = scale(values, start, start + wide)
        for number, line in enumerate(panel.title.split("\n")):
            canvas.text(start, 12 + 13 * number, line, "dim" if number else "head")
        for tick in axis.ticks(4 if wide < 240 else 6):
            canvas.add("line", x1=axis(tick), x2=axis(tick), y1=top, y2=bottom, cls="grid")
            canvas.text(axis(tick), bottom + 16, figures.share(tick, 2), "dim", "middle")
        for row, ((name, ink), mark) in enumerate(zip(labels, panel.marks, strict=True)):
            _interval(canvas, axis, top + step * (row + 0.5), name, ink, mark)
    return canvas.done(title)


def _values(panel: Panel) -> list[float]:
    found = [value for mark in panel.marks for value in (mark.value, mark.low, mark.high, mark.reported)]
    return [value for value in found if value is not None and not math.isnan(value)]


def _interval(canvas: Canvas, axis: Scale, y: float, name: str, ink: str, mark: Mark) -> None:
    if mark.value is None:
        return
    tip = f"{name}: {figures.share(mark.value)} {figures.interval(mark.low, mark.high)}".rstrip()
    if not math.isnan(mark.low):
        canvas.add("line", tip, x1=axis(mark.low), x2=axis(mark.high), y1=y, y2=y, cls="line", c=ink)
    canvas.add("circle", tip, cx=axis(mark.value), cy=y, r=4.5, cls="mark", c=ink)
    if mark.reported is not None:
        x, tip = axis(mark.reported), f"{name}: {figures.share(mark.reported)} reported by the paper"
        canvas.add("path", tip, d=f"M{x:.1f} {y - 5}l5 5l-5 5l-5 -5z", cls="paper")


@dataclass(frozen=True)
class Series:
    """One curve."""

    name: str
    ink: str
    points: tuple[tuple[float, float], ...]
    dashed: bool = False
    ends: tuple[tuple[float, float], ...] = ()
    """Both ends of each point's interval, where it has one."""


def lines(
    series: Sequence[Series], x_label: str, y_label: str, title: str, log: bool = False, height: float = 300
) -> str:
    """Curves over a common axis; curves of one name (a method's seeds) share a legend entry."""
    shown = [
        (one, tuple(point for point in one.points if point[0] > 0 or not log)) for one in series if one.points
    ]
    canvas, (left, right, top, bottom) = Canvas(height), (48.0, WIDTH - 12.0, 58.0, height - 42)
    x = scale([at for _, points in shown for at, _ in points], left + 6, right, log)
    ends = [end for one, _ in shown for both in one.ends for end in both if not math.isnan(end)]
    y = scale([*(value for _, points in shown for _, value in points), *ends], bottom, top)
    canvas.x_axis(x, top, bottom, x_label, _plain)
    canvas.y_axis(y, left, right, y_label, lambda tick: figures.share(tick, 2))
    _legend(canvas, {one.name: one.ink for one, _ in shown}, left)
    for one, points in shown:
        path = "M" + "L".join(f"{x(at):.1f} {y(value):.1f}" for at, value in points)
        canvas.add("path", one.name, d=path, cls="line dash" if one.dashed else "line", c=one.ink)
        for (at, _), (low, high) in zip(points, one.ends, strict=False):
            if not math.isnan(low):
                canvas.add("line", x1=x(at), x2=x(at), y1=y(low), y2=y(high), cls="line thin", c=one.ink)
        if len(points) <= 60:
            for at, value in points:
                tip = f"{one.name}: {figures.share(value)} at {_plain(at)}"
                canvas.add("circle", tip, cx=x(at), cy=y(value), r=3, cls="mark", c=one.ink)
    return canvas.done(title)


@dataclass(frozen=True)
class Dot:
    """One named point with a vertical interval; without `x` it is a line across."""

    name: str
    ink: str
    x: float | None
    y: float
    low: float = math.nan
    high: float = math.nan


MOMENTS = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800, 3600, 7200, 18000, 43200, 86400)
"""Seconds that people count in."""


def dots(points: Sequence[Dot], x_label: str, y_label: str, title: str) -> str:
    """Named points with intervals over a logarithmic axis of seconds."""
    height = 320.0
    canvas, (left, right, top, bottom) = Canvas(height), (48.0, WIDTH - 12.0, 58.0, height - 42)
    placed = [dot for dot in points if dot.x is not None]
    x = scale([dot.x for dot in placed if dot.x is not None], left + 6, right - 90, log=True)
    values = [value for dot in points for value in (dot.y, dot.low, dot.high) if not math.isnan(value)]
    y = scale(values, bottom, top)
    canvas.x_axis(x, top, bottom, x_label, _moment, MOMENTS)
    canvas.y_axis(y, left, right, y_label, lambda tick: figures.share(tick, 2))
    _legend(canvas, {dot.name: dot.ink for dot in points}, left)
    for dot in points:
        tip = f"{dot.name}: {figures.share(dot.y)} {figures.interval(dot.low, dot.high)}".rstrip()
        if dot.x is None:
            canvas.add(
                "line", tip, x1=left, x2=right, y1=y(dot.y), y2=y(dot.y), cls="line thin dash", c=dot.ink
            )
            continue
        tip = f"{tip} after {figures.duration(dot.x)}"
        if not math.isnan(dot.low):
            ends = {"y1": y(dot.low), "y2": y(dot.high)}
            canvas.add("line", tip, x1=x(dot.x), x2=x(dot.x), **ends, cls="line", c=dot.ink)
        canvas.add("circle", tip, cx=x(dot.x), cy=y(dot.y), r=5, cls="mark", c=dot.ink)
    return canvas.done(title)


def _legend(canvas: Canvas, names: dict[str, str], left: float) -> None:
    x, y = left, 14.0
    for name, ink in names.items():
        width = 24 + 6.8 * len(name)
        if x + width > canvas.width:
            x, y = left, y + 17
        canvas.add("circle", cx=x + 5, cy=y - 4, r=5, cls="mark", c=ink)
        canvas.text(x + 15, y, name)
        x += width


def short(words: str, longest: int) -> str:
    """The words, cut where they are longer than that."""
    return words if len(words) <= longest else words[: longest - 1] + "…"


def _moment(seconds: float) -> str:
    for unit, name in ((3600, "h"), (60, "min"), (1, "s")):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def _plain(tick: float) -> str:
    return f"{tick:,.0f}" if tick >= 10 else f"{tick:g}"
