"""One of two rankings side by side: place, target, title, score."""

from __future__ import annotations

from typing import Any, ClassVar

from core.methods import record_of
from core.serving.protocol import Ranked
from ilora_app.tui.drawing.bars import fit
from ilora_app.tui.state.grid import Grid
from ilora_app.tui.state.run_data import RunData
from ilora_app.tui.widgets.ranking import TARGET
from ilora_app.tui.widgets.rows import Cell, Rows


class SideList(Rows):
    """The candidates as one of the two runs ranks them. ◎ is what the user really chose next."""

    TITLE: ClassVar[str] = "One ranking of two"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.run_data = RunData()
        self.ranked: Ranked | None = None

    def show(self, run_data: RunData, ranked: Ranked | None) -> None:
        """Another ranking."""
        self.run_data, self.ranked = run_data, ranked
        self.renew(len(ranked.items) if ranked else 0)

    def grid(self) -> Grid:
        """Place, title, whether it was chosen next, score."""
        ranked = self.ranked
        if ranked is None:
            return Grid("Ranking", (), ())
        rows = [
            (at, self.run_data.title(item), "yes" if item == ranked.target else "", score)
            for at, (item, score) in enumerate(zip(ranked.items, ranked.scores, strict=True), start=1)
        ]
        heads = ("place", "title", "chosen next", "score")
        return Grid(f"Ranking by {record_of(ranked.method).label}", heads, tuple(rows))

    def cells(self, index: int, width: int) -> list[Cell]:
        """Place, mark, title, score."""
        assert self.ranked is not None
        item = self.ranked.items[index]
        target = item == self.ranked.target
        scored = width >= 30
        room = width - 6 - (7 if scored else 0)
        cells: list[Cell] = [
            (fit(str(index + 1), 3, True), "dim"),
            (f" {TARGET if target else ' '} ", "accent"),
            (fit(self.run_data.title(item), room), "bright" if target else ""),
        ]
        if scored:
            score = f"{self.ranked.scores[index]:.2f}".replace("-", "−")
            cells.append((fit(score, 7, True), "dim"))
        return cells
