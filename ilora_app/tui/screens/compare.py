"""Compare: two runs on the same user side by side, and who gains and who loses over all test users."""

from __future__ import annotations

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.markup import escape
from textual.widgets import Static

from core.events import Event
from core.serving.protocol import (
    CaseDiffered,
    Differed,
    Differences,
    GatesListed,
    Rank,
    Ranked,
    RequestFailed,
    WarmedUp,
)
from ilora_app.render.figures import method_name
from ilora_app.tui.drawing.bars import bar, fit
from ilora_app.tui.screens.dialogs.pick import PickRun
from ilora_app.tui.screens.main_screen import TabScreen
from ilora_app.tui.state.app_state import BESIDE, Stage
from ilora_app.tui.state.explore_state import ExploreState
from ilora_app.tui.state.grid import Grid
from ilora_app.tui.widgets.agreement import Agreement
from ilora_app.tui.widgets.rows import Cell, Rows
from ilora_app.tui.widgets.side import SideList


class CaseList(Rows):
    """Test cases, the largest difference of the target's rank first.

    The first figure is the target's rank under the left run, the second under the right one; ▲ the left run
    puts the target higher, ▼ lower, by so many places. `j` goes to the largest difference.
    """

    TITLE: ClassVar[str] = "Who gains, who loses"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.cases: list[CaseDiffered] = []

    def show(self, cases: list[CaseDiffered]) -> None:
        """Other cases."""
        self.cases = cases
        self.renew(len(cases), 0)

    def grid(self) -> Grid:
        """User, position in the sequence, rank under the left run and under the right one."""
        rows = [(case["user"], case["position"], case["rank"], case["other"]) for case in self.cases]
        return Grid("Who gains, who loses", ("user", "item", "left rank", "right rank"), tuple(rows))

    def head(self, width: int) -> str:
        """Column names."""
        return fit("  user item  left right" if width >= 30 else "  user left right", width)

    def cells(self, index: int, width: int) -> list[Cell]:
        """User, position, both ranks, the difference."""
        case = self.cases[index]
        gain = case["other"] - case["rank"]
        sign = f"▲{gain}" if gain > 0 else f"▼{-gain}" if gain < 0 else "="
        ink = "good" if gain > 0 else "bad" if gain < 0 else "dim"
        cells: list[Cell] = [(" " + fit(case["user"], 4), "bright")]
        if width >= 29:
            cells.append((fit(str(case["position"]), 4, True) + " ", "dim"))
        cells.append((fit(str(case["rank"]), 5, True) + fit(str(case["other"]), 6, True), ""))
        cells.append((fit(sign, 5, True) + " ", ink))
        return [*cells, (bar(abs(gain) / 19, max(0, width - 27)), ink)]


class CompareScreen(TabScreen):
    """The run of Explore at the left, a second one at the right."""

    TAB = "compare"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "b", "pick('right')", "Right run", tooltip="choose the run at the right", id="compare.right-run"
        ),
        Binding("a", "pick('left')", "Left run", tooltip="choose the run at the left", id="compare.left-run"),
        Binding(
            "J", "largest", "Largest", tooltip="to the user with the largest difference", id="compare.largest"
        ),
        Binding("enter", "explore", "Explore", tooltip="this user in Explore", id="compare.explore"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.explored = ExploreState(self.app_state.run_data)
        self.left: Ranked | None = None
        self.right: Ranked | None = None
        self.differed: Differed | None = None
        self.problem = ""
        self._asked_about: dict[str, object] | None = None
        self._asked = self._asked_right = self._asked_all = -1
        self._pair: tuple[str | None, str | None] = (None, None)

    def content(self) -> ComposeResult:
        """Cases, left ranking, lines, right ranking."""
        with Container(id="compare"):
            with Vertical(id="cases-pane", classes="pane"):
                yield Static(id="sums", markup=False)
                yield CaseList(id="cases")
            yield SideList(id="left", classes="pane")
            yield Agreement(id="lines")
            yield SideList(id="right", classes="pane")

    def on_mount(self) -> None:
        """Begins with the cases."""
        self.query_one("#cases-pane").border_title = "Who gains, who loses"
        self.query_one(CaseList).focus()
        for side in ("#left", "#right"):
            self.watch(self.query_one(side, SideList), "scroll_y", self._draw_lines, init=False)
        self.catch_up()

    # --- hearing ----------------------------------------------------------------------------------------

    def hear(self, engine: str, event: Event) -> None:
        """Answers with the newest number count."""
        if not self.is_mounted:
            return
        if isinstance(event, WarmedUp | GatesListed):
            self._asked_about = None
            self.catch_up()
        elif isinstance(event, Ranked) and engine == BESIDE and event.request == self._asked_right:
            self.right = event
            self.query_one("#right").remove_class("-stale")
        elif isinstance(event, Ranked) and engine != BESIDE and event.request == self._asked:
            self.left = event
            self.query_one("#left").remove_class("-stale")
            self._ask_right()
        elif isinstance(event, Differed) and event.request == self._asked_all:
            self.differed, self.problem = event, ""
            self.query_one(CaseList).show(event.users)
            self._show_case(0)
        elif isinstance(event, RequestFailed) and engine != BESIDE and event.request == self._asked_all:
            self.problem = f"{event.title}\n{event.hint}"
        else:
            return
        self._draw()

    def catch_up(self) -> None:
        """Another pair of runs may be open."""
        if not self.is_mounted:
            return
        app_state = self.app_state
        if app_state.stage is Stage.READY:
            pair = (app_state.run, app_state.beside_run)
            if all(pair) and pair != self._pair:
                self._pair, self.differed, self.right = pair, None, None
                self._asked_all = app_state.main.ask(Differences, run=pair[0], other=pair[1])
            if self.explored.user is None and app_state.run_data.users:
                users, _ = app_state.run_data.find_users("", "listed")
                if users:
                    self.explored.choose(users[0])
            if self._asked_about != self.explored.question():
                self._ask()
            elif self.right is None:
                self._ask_right()
        self._draw()

    def _ask(self) -> None:
        if self.app_state.stage is Stage.READY and self.explored.history:
            self.query_one("#left").set_class(self.left is not None, "-stale")
            self._asked_about = self.explored.question()
            self._asked = self.app_state.main.ask(Rank, question=self._asked_about)

    def _ask_right(self) -> None:
        if self.app_state.beside_ready and self.left is not None:
            question = self.explored.question(candidates=self.left.items)
            self.query_one("#right").set_class(self.right is not None, "-stale")
            self._asked_right = self.app_state.beside.ask(Rank, question=question)

    # --- drawing ----------------------------------------------------------------------------------------

    def refresh_state(self) -> None:
        """Panes that are empty say why."""
        super().refresh_state()
        text = self.app_state.invitation()
        left, right = self.query_one("#left", SideList), self.query_one("#right", SideList)
        left.empty = text or "ranking …"
        waiting = self.app_state.beside_waiting()
        right.empty = text or waiting
        self.query_one(CaseList).empty = text or self.problem or waiting.replace("ranking", "comparing")

    def _draw(self) -> None:
        run_data = self.app_state.run_data
        self.query_one("#left", SideList).show(run_data, self.left)
        same = (
            self.right is not None and self.left is not None and set(self.right.items) == set(self.left.items)
        )
        self.query_one("#right", SideList).show(run_data, self.right if same else None)
        opened, beside = run_data.opened, self.app_state.beside_opened
        names = [f"{method_name(run.method)} seed {run.seed}" if run else "–" for run in (opened, beside)]
        self.query_one("#left").border_title, self.query_one("#right").border_title = map(escape, names)
        waiting = self.query_one("#left").has_class("-stale")
        user = "ranking …" if waiting else self._case()
        self.query_one("#left").border_subtitle = escape(user)
        self.query_one("#right").border_subtitle = self._agreement() if same else ""
        found = self.differed
        sums = ""
        if found is not None:
            n = found.gained + found.lost + found.level
            sums = f"▲ {found.gained}  ▼ {found.lost}  = {found.level}\nof {n} {found.test_set} cases"
        self.query_one("#sums", Static).update(sums)
        self.call_after_refresh(self._draw_lines)
        self.refresh_state()

    def _case(self) -> str:
        """Whom the rankings are about."""
        user = self.explored.user
        return f"user {user.user}, item {self.explored.position}" if user else ""

    def _agreement(self) -> str:
        """Kendall's tau and the overlap of the best five."""
        assert self.left is not None and self.right is not None
        place = {item: at for at, item in enumerate(self.right.items)}
        order = [place[item] for item in self.left.items]
        pairs = [(a, b) for at, a in enumerate(order) for b in order[at + 1 :]]
        tau = sum(1 if a < b else -1 for a, b in pairs) / max(1, len(pairs))
        top = len(set(self.left.items[:5]) & set(self.right.items[:5]))
        return f"τ {tau:.2f} · {top}/5 alike".replace("-", "−")

    def _draw_lines(self) -> None:
        left, right, lines = self.query_one("#left", SideList), self.query_one("#right", SideList), self.left
        pairs: list[tuple[int, int]] = []
        target = -1
        if lines is not None and self.right is not None and right.count:
            place = {item: at for at, item in enumerate(self.right.items)}
            pairs = [(at, place[item]) for at, item in enumerate(lines.items) if item in place]
            target = lines.items.index(lines.target) if lines.target in lines.items else -1
        scrolled = (round(left.scroll_offset.y), round(right.scroll_offset.y))
        self.query_one(Agreement).show(pairs, left.cursor if left.has_focus else -1, target, scrolled)

    @on(Rows.Highlighted, "#left")
    def _left_moved(self, message: Rows.Highlighted) -> None:
        """The right cursor goes to the same item."""
        right = self.query_one("#right", SideList)
        if self.left is not None and self.right is not None and right.count:
            item = self.left.items[message.index]
            if item in self.right.items:
                right.cursor = self.right.items.index(item)
        self._draw_lines()

    @on(Rows.Highlighted, "#cases")
    def _case_moved(self, message: Rows.Highlighted) -> None:
        self._show_case(message.index)

    def _show_case(self, index: int) -> None:
        cases = self.query_one(CaseList).cases
        if index < len(cases):
            user = self.app_state.run_data.user(cases[index]["user"])
            if user is not None:
                self.explored.choose(user, cases[index]["position"])
                self.right = None
                self._ask()
                self._draw()

    # --- keys -------------------------------------------------------------------------------------------

    def action_largest(self) -> None:
        """To the user with the largest difference."""
        cases = self.query_one(CaseList)
        cases.cursor = 0
        cases.focus()
        self._show_case(0)

    def action_explore(self) -> None:
        """The same user in Explore."""
        if self.explored.user is not None:
            self.ilora.explore(self.explored.user.user, self.explored.position)

    @on(Rows.Chosen)
    def _chosen(self) -> None:
        self.action_explore()

    def action_pick(self, side: str) -> None:
        """Chooses the run of a side."""
        runs = self.app_state.survey.runs if self.app_state.survey else []

        def picked(path: str | None) -> None:
            if not path:
                return
            if side == "left":
                self.left = self.right = None
                self.app_state.open(path)
            else:
                self.right = None
                self.ilora.compare_with(path)

        self.app.push_screen(PickRun(f"{side} run", runs), picked)
