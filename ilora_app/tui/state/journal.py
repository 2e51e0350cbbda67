"""What the engines and the training have said, line by line, for the log pane. No widgets here."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from core.events import Event, Fetching, Notice, StageStarted
from core.safe_text import plain
from core.serving.protocol import Estimated, Explained, Opened, Ranked, RequestFailed, WarmedUp
from ilora_app.render.figures import duration, method_name, size, stage_name

LINES = 2000
SOURCES = ("", "training", "engine", "second engine")
"""Whose lines are shown; the first is everybody's."""


@dataclass(frozen=True)
class Entry:
    """One line."""

    clock: str
    """When it was said, as a clock shows it; empty where that is not known."""
    source: str
    text: str
    quiet: bool = False
    """Whether it is a line of stderr, which tells most to whoever looks for a fault."""


class Journal:
    """The newest lines of everybody."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=LINES)
        self.count = 0
        """Lines ever added: tells whether there are new ones."""

    def add(self, source: str, text: str, quiet: bool = False, timed: bool = True) -> None:
        """Adds a line; an empty one, or the same as the last, is passed over."""
        text = plain(text).expandtabs(4).replace("\n", " ").rstrip()
        last = self._entries[-1] if self._entries else None
        if not text or (last is not None and (last.source, last.text) == (source, text)):
            return
        self._entries.append(Entry(time.strftime("%H:%M:%S") if timed else "", source, text, quiet))
        self.count += 1

    def hear(self, source: str, event: Event) -> None:
        """Adds what an engine's event says, if it says anything in words."""
        if words := spoken(event):
            self.add(source, words)

    def of(self, source: str) -> list[Entry]:
        """The lines of a source, or of everybody."""
        return [entry for entry in self._entries if source in ("", entry.source)]


def spoken(event: Event) -> str:
    """An engine's event as a line; nothing for those that a pane shows already."""
    match event:
        case Notice():
            return f"{'warning: ' if event.level == 'warning' else ''}{event.text}"
        case StageStarted():
            return " ".join(filter(None, [stage_name(event.stage), method_name(event.method)]))
        case Fetching() if event.done in (0, event.total):
            of_it = "begins" if not event.done else f"{size(event.done)} are here"
            return f"fetching {event.asset} from {event.source}: {of_it}"
        case Opened():
            what = Path(event.run).name if event.run else method_name(event.method)
            return f"opening {what}: {event.users:,} users, {event.items:,} items"
        case WarmedUp():
            return f"ready after {duration(event.seconds)}"
        case Ranked():
            return f"ranked {len(event.items)} candidates in {event.milliseconds:.0f} ms"
        case Explained():
            return f"explained one candidate in {event.milliseconds:.0f} ms"
        case Estimated():
            return f"estimated {event.preset}: {duration(60 * event.minutes)}"
        case RequestFailed():
            return f"failed: {event.title} – {event.hint}"
    return ""
