"""The chosen history: what was watched, when, of which genre, and what each item does for a candidate."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from core.serving.protocol import Explained
from ilora_app.tui.drawing.bars import fit, signed, signed_bar
from ilora_app.tui.state.grid import Grid
from ilora_app.tui.state.run_data import RunData, day
from ilora_app.tui.widgets.rows import Cell, Rows

WHY_FULL = 1.0
"""Change of the log-probability that fills a reason's bar, whatever the others are; e times as likely."""
WHY_LEAST = 0.05
"""Smaller changes than this, a twentieth of the chance, matter to nobody."""


class HistoryList(Rows):
    """What goes in, oldest first: the last items before the target, as many as the methods read.

    `a` adds an item, `d` drops the one under the cursor, `<` and `>` move it earlier or later; every edit
    ranks again. + marks an item that was added. After `w` (why) a bar beside each item tells what it does
    for the highlighted recommendation: solid raises its chance, hatched lowers it. The figure is the change
    of the natural logarithm of its probability among the candidates; a full bar is 1 or more.
    """

    TITLE: ClassVar[str] = "History"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "a",
            "screen.add_item",
            "Add",
            tooltip="search the catalogue and add to the history",
            id="history.add",
        ),
        Binding(
            "d,delete",
            "screen.drop_item",
            "Drop",
            tooltip="drop the history's highlighted item",
            id="history.drop",
        ),
        Binding(
            "less_than_sign,shift+up",
            "screen.move_item(-1)",
            "Earlier",
            show=False,
            tooltip="move the history's highlighted item earlier",
            id="history.earlier",
        ),
        Binding(
            "greater_than_sign,shift+down",
            "screen.move_item(1)",
            "Later",
            show=False,
            tooltip="move the history's highlighted item later",
            id="history.later",
        ),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.run_data = RunData()
        self.items: list[int] = []
        self.times: dict[int, int] = {}
        self.added: frozenset[int] = frozenset()
        self.why: Explained | None = None

    def show(
        self,
        run_data: RunData,
        items: list[int],
        times: dict[int, int],
        added: frozenset[int],
        why: Explained | None,
        cursor: int | None = None,
    ) -> None:
        """Another history, or the same with edits."""
        self.run_data, self.items, self.times, self.added = run_data, list(items), times, added
        self.why = why if why and list(why.history) == self.items else None
        self.renew(len(items), cursor)

    @property
    def tall(self) -> int:
        """Two lines an item where the longest history has room for them."""
        return 2 if self.size.height >= 2 * self.run_data.max_history else 1

    def grid(self) -> Grid:
        """Place, title, year, genres, date; after `w` what each item does for the candidate."""
        heads = ["place", "title", "year", "genres", "date"]
        changes = list(self.why.changes) if self.why else []
        heads += [f"change of log-probability of {self.run_data.title(self.why.item)}"] if self.why else []
        rows = [
            (
                *(place, self.run_data.title(item), self.run_data.year(item), self.run_data.genres(item)),
                *(day(self.times.get(item, 0)), *changes[place - 1 : place]),
            )
            for place, item in enumerate(self.items, start=1)
        ]
        return Grid("History", tuple(heads), tuple(rows))

    def head(self, width: int) -> str:
        """What the bars mean; titles need no heading."""
        if self.why is None:
            return ""
        title = self.run_data.title(self.why.item)
        if self._largest() < WHY_LEAST:
            return fit(f" no item matters to {title}", width)
        return fit(f"   what each does for {title}", width)

    def detail(self, index: int) -> str:
        """Date and genres of an item."""
        item = self.items[index]
        parts = [day(self.times.get(item, 0)), self.run_data.genres(item)]
        return "  ".join(part for part in parts if part)

    def cells(self, index: int, width: int) -> list[Cell]:
        """Mark, title with year, and the reason where one was asked for."""
        item = self.items[index]
        year = self.run_data.year(item)
        cells: list[Cell] = [("+ " if item in self.added else "  ", "accent")]
        room = width - 2
        if self.why is not None:
            gauge = 4 if width < 34 else 8
            room -= gauge + 6
            cells.append((fit(self.run_data.title(item), room), ""))
            return cells + self._reason(index, gauge)
        if year and room > 18:
            return [*cells, (fit(self.run_data.title(item), room - 5), ""), (f" {year}", "dim")]
        return [*cells, (fit(self.run_data.title(item), room), "")]

    def more(self, index: int, width: int) -> list[Cell]:
        """Date and genres."""
        date = day(self.times.get(self.items[index], 0))
        room = width - 2 - (len(date) + 2 if date else 0)
        cells: list[Cell] = [("  ", ""), (f"{date}  " if date else "", "dim")]
        return [*cells, (fit(self.run_data.genres(self.items[index]), room), "second")]

    def _largest(self) -> float:
        """The largest change that any item makes, either way."""
        assert self.why is not None
        return max((abs(value) for value in self.why.changes if value is not None), default=0.0)

    def _reason(self, index: int, gauge: int) -> list[Cell]:
        """What the item does for the candidate, on a scale that is the same for all."""
        assert self.why is not None
        change = self.why.changes[index]
        if change is None:
            return [(fit("nothing left", gauge + 6), "dim")]
        ink = "good" if change >= 0 else "bad"
        drawn = signed_bar(change / WHY_FULL, gauge) if abs(change) >= WHY_LEAST else " " * gauge
        return [(" " + drawn, ink), (fit(signed(change), 5, right=True), ink)]
