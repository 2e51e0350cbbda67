"""Charts of how values spread and go together, drawn as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ilora_app.render import figures
from ilora_app.render.charts import WIDTH, Canvas, Scale, scale, short


def boxes(rows: Sequence[tuple[str, npt.NDArray[np.float64]]], label: str, title: str, ink: str) -> str:
    """How values spread: for each row the middle half, nine tenths, the median and the mean."""
    left, step, top = 150.0, 30.0, 12.0
    bottom = top + step * len(rows)
    canvas = Canvas(bottom + 40)
    axis = Scale(
        0.0, max(0.05, *(float(np.quantile(values, 0.95)) for _, values in rows)) * 1.05, left, WIDTH - 12
    )
    canvas.x_axis(axis, top, bottom, label, lambda tick: figures.share(tick, 2))
    for row, (name, values) in enumerate(rows):
        y = top + step * (row + 0.5)
        least, low, middle, high, most = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95])
        tip = (
            f"{name}: median {figures.share(middle)}, mean {figures.share(float(values.mean()))}, "
            f"half between {figures.share(low)} and {figures.share(high)}, n {len(values):,}"
        )
        canvas.text(left - 12, y + 4, short(name, 22), anchor="end")
        canvas.add("line", tip, x1=axis(least), x2=axis(most), y1=y, y2=y, cls="line", c=ink)
        box = {"x": axis(low), "width": max(1.0, axis(high) - axis(low)), "y": y - 8, "height": 16, "rx": 3}
        canvas.add("rect", tip, **box, cls="soft", c=ink)
        canvas.add("line", tip, x1=axis(middle), x2=axis(middle), y1=y - 8, y2=y + 8, cls="line", c=ink)
        canvas.add("circle", tip, cx=axis(float(values.mean())), cy=y, r=3.5, cls="mark", c="var(--ink)")
    return canvas.done(title)


def heatmaps(panels: Sequence[tuple[str, npt.NDArray[np.float64]]], title: str) -> str:
    """Square matrices of values from -1 to 1 side by side, each cell with its figure."""
    cell, gap, top, left = 38.0, 44.0, 44.0, 22.0
    size = max(len(matrix) for _, matrix in panels)
    canvas = Canvas(top + cell * size + 12, left + len(panels) * (cell * size + gap))
    for place, (name, matrix) in enumerate(panels):
        start = left + place * (cell * size + gap)
        canvas.text(start, 14, name, "head")
        for i in range(len(matrix)):
            canvas.text(start + cell * (i + 0.5), top - 8, str(i + 1), "dim", "middle")
            canvas.text(start - 6, top + cell * (i + 0.5) + 4, str(i + 1), "dim", "end")
            for j in range(len(matrix)):
                value = float(matrix[i, j])
                if math.isnan(value):
                    continue
                x, y = start + cell * j, top + cell * i
                words = f"{round(value, 2) + 0.0:+.2f}".replace("0.", ".")
                strength = min(1.0, abs(value)) * 0.85
                look = {"cls": "up" if value >= 0 else "down", "fill_opacity": round(strength, 3)}
                tip = f"clusters {i + 1} and {j + 1}: {words}"
                canvas.add("rect", tip, x=x, y=y, width=cell - 2, height=cell - 2, rx=3, **look)
                canvas.text(x + cell / 2 - 1, y + cell / 2 + 3, words, anchor="middle")
    return canvas.done(title)


def cloud(
    x_values: npt.NDArray[np.float64],
    y_values: npt.NDArray[np.float64],
    x_label: str,
    y_label: str,
    title: str,
    ink: str,
) -> str:
    """Many points, a line at zero, and the line of least squares."""
    height = 300.0
    canvas, (left, right, top, bottom) = Canvas(height), (48.0, WIDTH - 12.0, 28.0, height - 42)
    x, y = scale(list(x_values), left + 6, right), scale([*y_values, 0.0], bottom, top)
    canvas.x_axis(x, top, bottom, x_label, lambda tick: f"{tick:g}")
    canvas.y_axis(y, left, right, y_label, lambda tick: f"{tick:+.1f}")
    canvas.add("line", x1=left, x2=right, y1=y(0.0), y2=y(0.0), cls="axis")
    for at, value in zip(x_values, y_values, strict=True):
        canvas.add("circle", cx=x(float(at)), cy=y(float(value)), r=3.5, cls="soft", c=ink)
    if x_values.std() > 0:
        slope, base = np.polyfit(x_values, y_values, 1)
        ends = [float(x_values.min()), float(x_values.max())]
        spots = [(x(at), y(float(base + slope * at))) for at in ends]
        (x1, y1), (x2, y2) = spots
        canvas.add("line", x1=x1, y1=y1, x2=x2, y2=y2, cls="line dash", c=ink)
    return canvas.done(title)
