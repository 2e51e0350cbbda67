"""Reads impressions as MIND publishes them: what was clicked before, what was shown, what was clicked."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from core.data.reading.lines import Lines, short
from core.data.tables import InteractionsTable

_SHOWN = re.compile(r"\S+-[01]")


@dataclass
class Clicks:
    """One entry per click, those of the histories first."""

    users: list[str] = field(default_factory=list)
    items: list[str] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)
    """Since 1970; a click of the history has the time of its user's first impression."""
    lines: list[int] = field(default_factory=list)
    """Where it stands in the file."""

    def add(self, user: str, items: list[str], second: int, line: int) -> None:
        """Appends clicks of one line."""
        self.users += [user] * len(items)
        self.items += items
        self.seconds += [second] * len(items)
        self.lines += [line] * len(items)


def is_shown(text: str) -> bool:
    """Whether a field lists shown items, each with `-1` where it was clicked and `-0` where not."""
    return bool(text.strip()) and all(map(_SHOWN.fullmatch, text.split()))


def read_clicks(content: bytes, table: InteractionsTable) -> Clicks:
    """The clicks in a file of impressions; a user's history is taken from his or her first impression.

    Raises:
        DataError: names the file and the line.
    """
    lines = Lines(content, table)
    assert table.timestamp is not None
    users, shown = lines.texts("user", table.user), lines.texts("item", table.item)
    seconds = lines.times("timestamp", table.timestamp, table.time_format).tolist()
    before = [""] * len(users) if table.history is None else lines.texts("history", table.history, empty=True)
    first: dict[str, int] = {}
    for row, user in enumerate(users):
        if user not in first or seconds[row] < seconds[first[user]]:
            first[user] = row
    found = Clicks()
    for user, row in first.items():
        found.add(user, before[row].split(), seconds[row], lines.lines[row])
    for row, user in enumerate(users):
        if not is_shown(shown[row]):
            raise lines.broken(
                row, f"{short(shown[row])} is no list of shown items, each with -0 or -1", "id"
            )
        clicked = [item[:-2] for item in shown[row].split() if item.endswith("-1")]
        found.add(user, clicked, seconds[row], lines.lines[row])
    return found
