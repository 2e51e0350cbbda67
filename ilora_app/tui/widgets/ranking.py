"""The ranked candidates: score, the target marked, what moved, and the ranks under the other methods."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from core.conversation import CATALOGUE
from ilora_app.tui.bars import bar, fit, movement
from ilora_app.tui.scene import Scene
from ilora_app.tui.widgets.rows import Cell, Rows
from ilora_app.tui.world import World

TARGET = "◎"
"""Marks what the user really chose next."""


class RankingList(Rows):
    """What comes out, best first.

    ◎ is what the user really chose next. ▲3 moved up three places since the unedited history, ▼1 down one.
    The columns at the right are the item's rank under the other run, SASRec and popularity; `enc` is the
    sequence encoder's own score. `w` asks why the highlighted item stands where it does, `c` changes between
    the benchmark's twenty candidates and the whole catalogue.
    """

    TITLE: ClassVar[str] = "Ranking"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "screen.why", "Why"),
        Binding("c", "screen.switch_source", "Candidates"),
        Binding("A", "screen.add_ranked", "Add to history", show=False),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.world = World()
        self.scene = Scene()
        self.other = ""
        self.stale = False

    def show(self, world: World, scene: Scene, other: str, cursor: int | None = None) -> None:
        """Another ranking; `other` names the second run's method, nothing without one."""
        self.world, self.scene, self.other = world, scene, other
        self.renew(len(scene.ranked.items) if scene.ranked else 0, cursor)

    def item(self) -> int | None:
        """The item under the cursor."""
        ranked = self.scene.ranked
        return ranked.items[self.cursor] if ranked and self.cursor < len(ranked.items) else None

    def _columns(self) -> list[tuple[str, str]]:
        """Ranks beside the score: head and method."""
        ranked = self.scene.ranked
        if ranked is None:
            return []
        names = {"lora": "LoRA", "ilora": "iLoRA", "sasrec": "SAS", "popularity": "Pop"}
        found = [(fit(names.get(self.other, self.other), 5, True), "beside")] if self.other else []
        own = next(iter(ranked.ranks))
        return found + [
            (fit(names.get(name, name[:4]), 4, True), name) for name in ranked.ranks if name != own
        ]

    def _widths(self, width: int) -> tuple[int, int, bool]:
        """Cells for the title, the bar, and whether the encoder's score has room."""
        ranks = sum(len(head) for head, _ in self._columns())
        room = width - 6 - 5 - 6 - ranks - 1  # place and mark, movement, score
        encoder = room >= (25 if self.scene.source == CATALOGUE else 46)  # what retrieved them must show
        room -= 7 if encoder else 0
        gauge = min(14, max(0, room - 24))
        return max(6, room - gauge), gauge, encoder

    def head(self, width: int) -> str:
        """Column names."""
        title, gauge, encoder = self._widths(width - 1)
        ranks = "".join(head for head, _ in self._columns())
        score = fit("score", gauge + 6, True)
        return fit(f"   # {fit('title', title + 6)}{score}{'    enc' if encoder else ''} {ranks}", width)

    def cells(self, index: int, width: int) -> list[Cell]:
        """Place, mark, title, movement, score with bar, ranks elsewhere."""
        ranked = self.scene.ranked
        assert ranked is not None
        item, score = ranked.items[index], ranked.scores[index]
        low, high = ranked.scores[-1], ranked.scores[0]
        title, gauge, encoder = self._widths(width)
        is_target = item == ranked.target
        moved = movement(self.scene.before(item), index + 1) if self.scene.edited else ""
        moved_ink = "good" if moved.startswith("▲") else "bad" if moved.startswith("▼") else "accent"
        year = self.world.year(item)
        name = f"{self.world.title(item)}" + (f" {year}" if year and title > 30 else "")
        ink = "dim" if self.stale else "bright" if is_target else ""
        cells: list[Cell] = [
            (fit(str(index + 1), 3, True), "dim"),
            (f" {TARGET if is_target else ' '} ", "accent"),
            (fit(name, title), ink),
            (fit(moved, 4, True) + " ", moved_ink),
        ]
        if gauge:
            reach = (score - low) / (high - low) if high > low else 1.0
            cells.append((bar(reach, gauge), "accent" if is_target else "first"))
        cells.append((fit(f"{score:.2f}".replace("-", "−"), 6, True), ""))
        if encoder:
            cells.append((fit(f"{ranked.encoder_scores[index]:.2f}".replace("-", "−"), 7, True), "dim"))
        cells.append((" ", ""))
        for head, method in self._columns():
            rank = self.scene.beside_rank(item) if method == "beside" else ranked.ranks[method][index]
            shown = "…" if rank is None else str(rank)
            cells.append((fit(shown, len(head), True), "second" if rank == 1 else "dim"))
        return cells
