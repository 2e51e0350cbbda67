"""The log: what the engines and the training have said, line by line."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from ilora_app.tui.drawing.bars import fit
from ilora_app.tui.state.grid import Grid
from ilora_app.tui.state.journal import SOURCES, Entry, Journal
from ilora_app.tui.widgets.rows import Cell, Rows

CLOCK, SOURCE = 9, 14
"""Cells of the time and of who said it."""
ROOMY = 60
"""Width from which both have room."""


class LogPane(Rows):
    """What the engines and the training have said; the newest line is last, and is followed from there.

    `e` shows one source's lines or all, Enter shows a long line whole. Dim lines come from stderr: libraries
    write warnings there, and errors.
    """

    TITLE: ClassVar[str] = "Log"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("e", "source", "Source", tooltip="whose lines are shown", id="log.source"),
        Binding("enter", "choose", "Whole line", show=False, tooltip="the whole line", id="log.whole"),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.entries: list[Entry] = []
        self.source, self.empty = SOURCES[0], "Nothing was said yet."
        self._journal, self._count = Journal(), -1

    def show(self, journal: Journal) -> None:
        """The lines that there are; new ones are followed where the newest was under the cursor."""
        if journal is self._journal and journal.count == self._count:
            return
        follow = self.cursor >= len(self.entries) - 1
        self._journal, self._count = journal, journal.count
        self.entries = journal.of(self.source)
        self.renew(len(self.entries), len(self.entries) - 1 if follow else None)
        self.border_title = f"Log · {self.source}" if self.source else "Log"

    def grid(self) -> Grid:
        """Every line."""
        rows = [(entry.clock, entry.source, entry.text) for entry in self.entries]
        return Grid("Log", ("time", "source", "line"), tuple(rows))

    def cells(self, index: int, width: int) -> list[Cell]:
        """When, who, what."""
        entry = self.entries[index]
        who = "second" if entry.source == "training" else "dim"
        if width < ROOMY:
            return [(fit(entry.text, width), "dim" if entry.quiet else "")]
        text = fit(entry.text, width - CLOCK - SOURCE)
        return [
            (fit(entry.clock, CLOCK), "dim"),
            (fit(entry.source, SOURCE), who),
            (text, "dim" if entry.quiet else ""),
        ]

    def action_source(self) -> None:
        """The next source."""
        self.source = SOURCES[(SOURCES.index(self.source) + 1) % len(SOURCES)]
        self._count, self.entries = -1, []
        self.show(self._journal)

    def action_choose(self) -> None:
        """Shows the line under the cursor whole."""
        if self.entries:
            entry = self.entries[self.cursor]
            self.notify(entry.text, title=f"{entry.source} {entry.clock}".strip(), markup=False)
