"""Draws with characters: fine bars, sparklines, signed bars, cells of an exact width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

_EIGHTHS = " ▏▎▍▌▋▊▉"
_LEVELS = "▁▂▃▄▅▆▇█"
SHADES = " ░▒▓█"


def bar(value: float, width: int) -> str:
    """A bar for a value between 0 and 1, exact to an eighth of a cell, padded to `width`."""
    eighths = round(max(0.0, min(1.0, value)) * width * 8)
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (_EIGHTHS[rest] if rest else "")
    return drawn.ljust(width)


def signed_bar(value: float, width: int) -> str:
    """A bar for a value between -1 and 1: solid where it is positive, hatched where it is negative."""
    if value >= 0:
        return bar(value, width)
    return ("▒" * max(1, round(min(1.0, -value) * width))).ljust(width)


def sparkline(values: Sequence[float], width: int, top: float = 1.0) -> str:
    """The last `width` values as one line of columns."""
    shown = values[-width:]
    steps = [min(len(_LEVELS) - 1, int(len(_LEVELS) * max(0.0, value) / top)) for value in shown]
    return "".join(_LEVELS[step] for step in steps).ljust(width)


def shade(value: float) -> str:
    """A cell whose darkness tells a value between 0 and 1."""
    return SHADES[max(0, min(len(SHADES) - 1, int(value * len(SHADES))))]


def shorten(words: str, width: int) -> str:
    """The words of a profile in at most `width` cells; whole words are left out, from the longest part first.

    "Action, Adventure · 1980s" becomes "Action · 1980s" and then "Action".
    """
    parts = [part.split(", ") for part in words.split(" · ")]
    while cell_len(shown := " · ".join(", ".join(part) for part in parts)) > width:
        longest = max(range(len(parts)), key=lambda at: len(parts[at]))
        if len(parts[longest]) > 1:
            parts[longest].pop()
        elif len(parts) > 1:
            parts.pop()
        else:
            return fit(shown, width)
    return shown


def interval_bar(low: float | None, value: float, high: float | None, width: int) -> str:
    """A value between 0 and 1 with its interval: ───●─── on a line of `width` cells."""
    cells = [" "] * width

    def place(at: float) -> int:
        return min(width - 1, max(0, int(at * width)))

    if low is not None and high is not None:
        for cell in range(place(low), place(high) + 1):
            cells[cell] = "─"
        cells[place(low)], cells[place(high)] = "├", "┤"
    cells[place(value)] = "●"
    return "".join(cells)


def fit(text: str, width: int, right: bool = False) -> str:
    """Exactly `width` cells of a text, wide characters counted as two; what is cut off ends in …."""
    if width <= 0:
        return ""
    length = cell_len(text)
    if length > width:
        return set_cell_size(set_cell_size(text, width - 1).rstrip() + "…", width)
    padding = " " * (width - length)
    return padding + text if right else text + padding


def signed(value: float, digits: int = 2) -> str:
    """+.12 or −.07; ·  where it rounds to nothing."""
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return "·"
    return ("+" if value > 0 else "−") + (text[1:] if text.startswith("0.") else text)


def share(value: float, digits: int = 2) -> str:
    """A number between 0 and 1 without its leading zero."""
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def movement(before: int | None, now: int) -> str:
    """▲3 up three places, ▼1 down one, new where it was not there before; nothing where it stayed."""
    if before is None:
        return "new"
    if before == now:
        return ""
    return f"▲{before - now}" if before > now else f"▼{now - before}"
