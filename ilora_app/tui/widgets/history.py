"""The chosen history: what was watched, when, of which genre, and what each item does for a recommendation."""

from __future__ import annotations

from typing import ClassVar

from textual.binding import Binding, BindingType

from core.conversation import Explained
from ilora_app.tui.bars import fit, signed, signed_bar
from ilora_app.tui.widgets.rows import Cell, Rows
from ilora_app.tui.world import World, day


class HistoryList(Rows):
    """What goes in, oldest first: the last ten items before the target.

    `a` adds an item, `d` drops the one under the cursor, `<` and `>` move it earlier or later; every edit
    ranks again. + marks an item that was added. After `w` (why) a bar beside each item tells what it does
    for the highlighted recommendation: solid raises its chance, hatched lowers it.
    """

    TITLE: ClassVar[str] = "History"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "screen.add_item", "Add"),
        Binding("d,delete", "screen.drop_item", "Drop"),
        Binding("less_than_sign,shift+up", "screen.move_item(-1)", "Earlier", show=False),
        Binding("greater_than_sign,shift+down", "screen.move_item(1)", "Later", show=False),
    ]

    def __init__(self, **options: str) -> None:
        super().__init__(**options)
        self.world = World()
        self.items: list[int] = []
        self.times: dict[int, int] = {}
        self.added: frozenset[int] = frozenset()
        self.why: Explained | None = None

    def show(
        self,
        world: World,
        items: list[int],
        times: dict[int, int],
        added: frozenset[int],
        why: Explained | None,
        cursor: int | None = None,
    ) -> None:
        """Another history, or the same with edits."""
        self.world, self.items, self.times, self.added = world, list(items), times, added
        self.why = why if why and list(why.history) == self.items else None
        self.renew(len(items), cursor)

    def head(self, width: int) -> str:
        """Column names."""
        if self.why is not None:
            return fit(f"   {fit('title', self._title_width(width - 1))} what it does", width)
        wide = width >= 58
        dates = " " + fit("date", 10) if width >= 40 else ""
        return fit(
            f"   {fit('title', self._title_width(width - 1))}{dates}{' genres' if wide else ''}", width
        )

    def _title_width(self, width: int) -> int:
        if self.why is not None:
            return max(8, width - 18)
        if width >= 57:
            return max(20, (width - 14) * 3 // 5)
        return max(8, width - (13 if width >= 39 else 3))

    def cells(self, index: int, width: int) -> list[Cell]:
        """Mark, title with year, then the date and genres, or the reason."""
        item = self.items[index]
        new = item in self.added
        year = self.world.year(item)
        title, room = self.world.title(item), self._title_width(width)
        cells: list[Cell] = [("+ " if new else "  ", "accent")]
        if self.why is not None:
            change = self.why.changes[index]
            largest = max((abs(value) for value in self.why.changes if value is not None), default=0.0)
            cells.append((fit(title, room), ""))
            if change is None:
                return [*cells, ("  nothing left", "dim")]
            ink = "good" if change >= 0 else "bad"
            drawn = signed_bar(change / largest if largest else 0.0, 9)
            return [*cells, (" " + drawn, ink), (fit(signed(change), 6, right=True), ink)]
        if year and room > 18:
            cells += [(fit(title, room - 5), ""), (f" {year}", "dim")]
        else:
            cells.append((fit(title, room), ""))
        if width >= 39:
            cells.append((" " + fit(day(self.times.get(item, 0)), 10), "dim"))
        if width >= 57:
            cells.append((" " + fit(self.world.genres(item), width - room - 14), "second"))
        return cells
