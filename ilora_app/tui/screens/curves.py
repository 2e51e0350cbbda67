"""Curves: how runs learnt, laid over each other, with the training at work among them."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.markup import escape

from core.events import Event
from core.serving.protocol import Curves, CurvesListed, Surveyed
from ilora_app.tui.engine.trainings import last_training
from ilora_app.tui.screens.main_screen import TabScreen
from ilora_app.tui.state.app_state import MAIN
from ilora_app.tui.state.curves_state import CurvesState
from ilora_app.tui.state.following import Following
from ilora_app.tui.widgets.chart import Chart
from ilora_app.tui.widgets.learners import LearnerList
from ilora_app.tui.widgets.rows import Rows

READ_SECONDS = 0.5


class CurvesScreen(TabScreen):
    """Runs at the left, their curves at the right."""

    TAB = "curves"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "figure", "Figure", tooltip="the next figure: a metric or the loss", id="curves.figure"),
        Binding("l", "log", "Log", tooltip="a logarithmic scale, or a plain one", id="curves.log"),
        Binding("o", "smooth", "Smooth", tooltip="smooth the curves more, or not", id="curves.smooth"),
        Binding(
            "x",
            "share",
            "Steps/share",
            show=False,
            tooltip="over optimizer steps, or over the share of each training",
            id="curves.share",
        ),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.curves = CurvesState()
        self.following = Following()
        self._asked, self._wanted, self._done = -1, [""], 0

    def content(self) -> ComposeResult:
        """The runs are the legend."""
        with Container(id="learnt"):
            yield LearnerList(id="learners", classes="pane")
            yield Chart(id="chart", classes="pane")

    def on_mount(self) -> None:
        """The runs have the keyboard."""
        self.query_one(LearnerList).focus()
        self.set_interval(READ_SECONDS, self._read)

    # --- hearing ----------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """There may be new runs on disk, or a training may have begun."""
        if self.is_mounted:
            self._list()
            self._read()
            self._draw()

    def hear(self, engine: str, event: Event) -> None:
        """Runs are listed, or their curves come."""
        if engine != MAIN or not self.is_mounted:
            return
        if isinstance(event, Surveyed):
            self._list()
            self._draw()
        elif isinstance(event, CurvesListed) and event.request == self._asked:
            self.curves.take_curves(event.curves)
            self._draw()

    def _list(self) -> None:
        survey = self.app_state.survey
        if survey is None:
            return
        wanted = self.curves.take_runs(survey.runs, self.app_state.dataset)
        if wanted and wanted != self._wanted:
            self._wanted = wanted
            self._asked = self.app_state.main.ask(Curves, runs=wanted)

    def _read(self) -> None:
        """Follows the training at work; looks for another one where there is none."""
        training = last_training(self.app_state.out) if self.is_current else None
        if training is not None and training != self.following.training and training.running:
            self.following.begin(training)
        if not self.following.read():
            return
        self.curves.take_progress(self.following.progress)
        if len(self.following.progress.done) != self._done:
            self._done = len(self.following.progress.done)
            self.app_state.ask_survey()  # there are new runs on disk
        self._draw()

    # --- drawing ----------------------------------------------------------------------------------------

    def _draw(self) -> None:
        chart, learners, curves = self.query_one(Chart), self.query_one(LearnerList), self.curves
        learners.empty = self.app_state.invitation() or "No run has learnt anything yet.\nPress 3 to train."
        learners.border_title = f"Runs · {len(curves.shown)} of {len(curves.learners)} drawn"
        learners.show(curves)
        chart.empty = "\nChoose runs at the left: Enter draws one."
        lines = [(learner.sign, points) for learner, points in curves.lines()]
        if lines != list(chart.lines) or curves.log != chart.logarithmic:
            chart.draw(lines, curves.log)
        chart.border_title = escape(curves.title())
        chart.border_subtitle = "+ − and arrows zoom and move, 0 shows all" if lines else ""

    @on(Rows.Chosen, "#learners")
    def _chosen(self, message: Rows.Chosen) -> None:
        learner = self.query_one(LearnerList).at(message.index)
        if learner is not None:
            self.curves.toggle(learner.key)
        self._draw()

    # --- keys -------------------------------------------------------------------------------------------

    def action_figure(self) -> None:
        """The next metric, or the loss."""
        self.curves.next_figure()
        self._anew()

    def action_log(self) -> None:
        """Logarithms, or plain values."""
        self.curves.log = not self.curves.log
        self._anew()

    def action_smooth(self) -> None:
        """More smoothing, or none."""
        self.curves.next_smoothing()
        self._draw()

    def action_share(self) -> None:
        """Steps, or the share of each training."""
        self.curves.by_share = not self.curves.by_share
        self._anew()

    def _anew(self) -> None:
        """Other axes: what was zoomed into is elsewhere now."""
        self.query_one(Chart).zoomed = False
        self._draw()
