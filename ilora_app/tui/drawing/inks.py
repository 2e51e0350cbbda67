"""Foreground styles by name, resolved against the theme, for widgets that draw their own lines."""

from __future__ import annotations

from rich.style import Style
from textual.widget import Widget


def ink(widget: Widget, component: str) -> Style:
    """What a component class says about letters; the background is left to the row."""
    full = widget.get_component_rich_style(component)
    return Style(
        color=full.color, bold=full.bold or None, italic=full.italic or None, reverse=full.reverse or None
    )


def ground(widget: Widget, component: str) -> Style:
    """What a component class says about the background, and whether letters on it are bold."""
    full = widget.get_component_rich_style(component)
    return Style(bgcolor=full.bgcolor, bold=full.bold or None, reverse=full.reverse or None)


SIGNS = (
    ("●", "#7aa2f7", "#2e5bb8"),
    ("■", "#e0af68", "#96590b"),
    ("▲", "#9ece6a", "#3a7d2c"),
    ("◆", "#f7768e", "#b3263e"),
    ("○", "#bb9af7", "#7a4fb0"),
    ("□", "#7dcfff", "#0f6f8c"),
    ("△", "#ff9e64", "#b45309"),
    ("◇", "#73daca", "#0f766e"),
    ("★", "#f5c2e7", "#9d174d"),
    ("✚", "#c0caf5", "#4b5563"),
)
"""Mark of a curve, its colour on a dark page and on a light one: told apart without colours, too."""


def sign_of(number: int, dark: bool) -> tuple[str, str]:
    """Mark and colour of the curve with this number; after the last one they begin anew."""
    mark, on_dark, on_light = SIGNS[number % len(SIGNS)]
    return mark, on_dark if dark else on_light
