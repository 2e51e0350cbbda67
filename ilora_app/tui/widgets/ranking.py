"""The ranked candidates: score, the target marked, what moved, and the ranks under the other methods."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from core.methods import record_of
from core.serving.protocol import BENCHMARK
from ilora_app.tui.drawing.bars import bar, fit, movement
from ilora_app.tui.state.explore_state import ExploreState
from ilora_app.tui.state.grid import Grid, Value
from ilora_app.tui.state.run_data import RunData
from ilora_app.tui.widgets.rows import Cell, Rows

TARGET = "◎"
"""Marks what the user really chose next."""
ROOMY = 56
"""Cells from which on all columns have room."""


class RankingList(Rows):
    """What comes out, best first.

    ◎ is what the user really chose next. ▲3 moved up three places since the unedited history, ▼1 down one.
    The columns at the right are the item's rank under the other run, SASRec and popularity; `encoder` is
    the sequence encoder's own score. `w` asks why the highlighted item stands where it does, `c` goes from
    the benchmark's twenty candidates to the encoder's best of the whole catalogue, and to those whose score
    this history raises most above the average user's, whatever is popular; + and - rank more or fewer.
    """

    TITLE: ClassVar[str] = "Ranking"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "w",
            "screen.why",
            "Why",
            tooltip="what each item of the history does for the highlighted one",
            id="ranking.why",
        ),
        Binding(
            "c",
            "screen.switch_source",
            "Candidates",
            tooltip="the benchmark's twenty, the catalogue's best, or what is raised most",
            id="ranking.candidates",
        ),
        Binding(
            "plus,equals_sign",
            "screen.retrieve(1)",
            "More candidates",
            show=False,
            id="ranking.more-candidates",
        ),
        Binding(
            "minus", "screen.retrieve(-1)", "Fewer candidates", show=False, id="ranking.fewer-candidates"
        ),
        Binding("A", "screen.add_ranked", "Add to history", show=False, id="ranking.add-to-history"),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.run_data = RunData()
        self.explored = ExploreState(self.run_data)
        self.other = ""

    @property
    def stale(self) -> bool:
        """Whether this answers an earlier question: all of it is dimmed then."""
        return self.has_class("-stale")

    @stale.setter
    def stale(self, stale: bool) -> None:
        self.set_class(stale, "-stale")

    def show(self, run_data: RunData, explored: ExploreState, other: str, cursor: int | None = None) -> None:
        """Another ranking; `other` names the second run's method, nothing without one."""
        self.run_data, self.explored, self.other = run_data, explored, other
        self.renew(len(explored.ranked.items) if explored.ranked else 0, cursor)

    def item(self) -> int | None:
        """The item under the cursor."""
        ranked = self.explored.ranked
        return ranked.items[self.cursor] if ranked and self.cursor < len(ranked.items) else None

    def grid(self) -> Grid:
        """Place, title, year, whether it was chosen next, both scores, and the rank under every method."""
        ranked, explored = self.explored.ranked, self.explored
        if ranked is None:
            return Grid("Ranking", (), ())
        others = [name for name in ranked.ranks if name != ranked.method]
        heads = ["place", "title", "year", "chosen next", "score", "encoder's score", "place before edits"]
        heads += [f"rank by {record_of(name).label}" for name in others]
        heads += [f"rank by {record_of(self.other).label}, the other run"] if self.other else []
        rows = []
        for at, item in enumerate(ranked.items):
            cells: list[Value] = [at + 1, self.run_data.title(item), self.run_data.year(item)]
            cells += ["yes" if item == ranked.target else "", ranked.scores[at], ranked.encoder_scores[at]]
            cells += [explored.before(item), *(ranked.ranks[name][at] for name in others)]
            rows.append((*cells, *([explored.beside_rank(item)] if self.other else [])))
        return Grid(f"Ranking by {record_of(ranked.method).label}", tuple(heads), tuple(rows))

    def _columns(self, width: int) -> list[tuple[str, str]]:
        """Ranks beside the score: head and method."""
        ranked = self.explored.ranked
        if ranked is None:
            return []
        found = [(fit(record_of(self.other).column, 7, True), "beside")] if self.other else []
        if self.explored.source != BENCHMARK and width < ROOMY:  # the two scores come first
            return found
        shown = (ranked.method, self.other)  # one column for a method that also stands beside
        beside = [name for name in ranked.ranks if name not in shown]
        return found + [(fit(record_of(name).column, 7, True), name) for name in beside]

    def _widths(self, width: int) -> tuple[int, int, int, bool]:
        """Cells for the title, the movement and the bar, and whether the encoder's score is shown."""
        ranks = sum(len(head) for head, _ in self._columns(width))
        moved = 5 if width >= ROOMY or self.explored.edited else 0
        room = width - 6 - moved - 6 - ranks  # place and mark, movement, score
        encoder = self.explored.source != BENCHMARK or room >= 46
        room -= 8 if encoder else 0
        gauge = min(14, max(0, room - 24))
        return max(6, room - gauge), moved, gauge, encoder

    def head(self, width: int) -> str:
        """Column names."""
        title, moved, gauge, encoder = self._widths(width - 1)
        ranks = "".join(head for head, _ in self._columns(width - 1))
        score = fit("score", gauge + 6, True)
        return fit(
            f"   #   {fit('title', title + moved)}{score}{' encoder' if encoder else ''}{ranks}", width
        )

    def cells(self, index: int, width: int) -> list[Cell]:
        """Place, mark, title, movement, score with bar, ranks elsewhere."""
        ranked = self.explored.ranked
        assert ranked is not None
        item, score = ranked.items[index], ranked.scores[index]
        low, high = ranked.scores[-1], ranked.scores[0]
        title, room, gauge, encoder = self._widths(width)
        is_target = item == ranked.target
        moved = movement(self.explored.before(item), index + 1) if self.explored.edited else ""
        moved_ink = "good" if moved.startswith("▲") else "bad" if moved.startswith("▼") else "accent"
        year = self.run_data.year(item)
        name = f"{self.run_data.title(item)}" + (f" {year}" if year and title > 30 else "")
        ink = "bright" if is_target else ""
        cells: list[Cell] = [
            (fit(str(index + 1), 3, True), "dim"),
            (f" {TARGET if is_target else ' '} ", "accent"),
            (fit(name, title), ink),
            (fit(fit(moved, room - 1, True), room), moved_ink),
        ]
        if gauge:
            reach = (score - low) / (high - low) if high > low else 1.0
            cells.append((bar(reach, gauge), "accent" if is_target else "first"))
        cells.append((fit(f"{score:.2f}".replace("-", "−"), 6, True), ""))
        if encoder:
            cells.append((fit(f"{ranked.encoder_scores[index]:.2f}".replace("-", "−"), 8, True), "dim"))
        for head, method in self._columns(width):
            rank = self.explored.beside_rank(item) if method == "beside" else ranked.ranks[method][index]
            shown = "…" if rank is None else str(rank)
            cells.append((fit(shown, len(head), True), "second" if rank == 1 else "dim"))
        return cells
