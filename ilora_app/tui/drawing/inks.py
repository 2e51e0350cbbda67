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
