"""The runs whose curves can be laid over each other, with mark, colour and best value."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.strip import Strip

from ilora_app.render.figures import share
from ilora_app.tui.drawing.bars import fit
from ilora_app.tui.drawing.inks import sign_of
from ilora_app.tui.state.curves_state import LOSS, CurvesState, Learner
from ilora_app.tui.state.grid import Grid
from ilora_app.tui.widgets.rows import Cell, Rows


class LearnerList(Rows):
    """Every run on disk, and what is being trained now, newest first.

    Enter, space or a click draws a run's curve or leaves it out. Each run has a mark and a colour, which it
    keeps whatever else is shown. The figure is the best value of what is drawn: the highest metric on
    validation cases, the lowest loss.
    """

    TITLE: ClassVar[str] = "Runs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "space,enter",
            "choose",
            "Draw",
            key_display="⏎",
            tooltip="draw this run's curve, or leave it out",
            id="learners.draw",
        ),
        Binding("A", "all", "All", show=False, tooltip="draw all runs, or none", id="learners.all"),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.state = CurvesState()

    def show(self, state: CurvesState) -> None:
        """Other runs, or others that are drawn."""
        self.state = state
        self.renew(len(state.learners))

    def at(self, index: int) -> Learner | None:
        """The run of a row."""
        return self.state.learners[index] if 0 <= index < len(self.state.learners) else None

    @property
    def tall(self) -> int:
        """Two lines where there is room: what tells a run from others is below."""
        return 2 if self.size.height >= 12 else 1

    def grid(self) -> Grid:
        """Every point of every run that is drawn."""
        figure = self.state.figure
        rows = [
            (learner.key, learner.method, learner.seed, step, value)
            for learner in self.state.learners
            if learner.key in self.state.shown
            for step, value in learner.figures.get(figure, [])
        ]
        return Grid(f"Curves of {figure}", ("run", "method", "seed", "step", figure), tuple(rows))

    def cells(self, index: int, width: int) -> list[Cell]:
        """Whether it is drawn, its mark, its name, its best value."""
        learner, figure = self.state.learners[index], self.state.figure
        drawn = learner.key in self.state.shown
        mark, _ = sign_of(learner.sign, True)
        best = learner.best(figure)
        shown = "–" if best is None else f"{best:.3f}" if figure == LOSS else share(best)
        room = max(4, width - 13)
        name = f"{learner.label}{' · now' if learner.live else ''}"
        return [
            (" [x] " if drawn else " [ ] ", "accent" if drawn else "dim"),
            (f"{mark} ", ""),
            (fit(name, room), "bright" if drawn else ""),
            (fit(shown, width - room - 7, True), "" if drawn else "dim"),
        ]

    def more(self, index: int, width: int) -> list[Cell]:
        """What tells it from others."""
        return [(fit("       " + self.state.learners[index].about, width), "dim")]

    def render_line(self, y: int) -> Strip:
        """A row, its mark in the run's own colour."""
        strip = super().render_line(y)
        index, below = divmod(y - self._top + round(self.scroll_offset.y), self.tall)
        learner = self.at(index) if y >= self._top and not below else None
        if learner is None:
            return strip
        mark, colour = sign_of(learner.sign, self.app.current_theme.dark)
        own = Style(color=colour)
        segments = [
            Segment(text, (style or Style()) + own if text == f"{mark} " else style)
            for text, style, _ in strip
        ]
        return Strip(segments, strip.cell_length)

    def on_click(self, event: events.Click) -> None:
        """A click chooses at once."""
        event.prevent_default()
        offset = event.get_content_offset(self)
        index = self._row_at(offset.y) if offset else -1
        if index >= 0:
            self.cursor = index
            self.action_choose()

    def action_all(self) -> None:
        """All are drawn, or none."""
        keys = {learner.key for learner in self.state.learners}
        self.state.shown = set() if self.state.shown == keys else keys
        self.post_message(self.Chosen(self, -1))
