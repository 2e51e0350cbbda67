"""Explore: users, the chosen history, the experts it wakes, and the ranking that comes of it."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.markup import escape
from textual.widgets import Input

from core.events import Event
from core.serving.protocol import (
    BENCHMARK,
    EncoderReady,
    Estimated,
    Explained,
    GatesListed,
    Rank,
    Ranked,
    RequestFailed,
    UsersListed,
    WarmedUp,
)
from ilora_app.render.figures import method_name
from ilora_app.tui.screens.explore import titles
from ilora_app.tui.screens.explore.people import PeopleKeys
from ilora_app.tui.screens.explore.replay import ReplayKeys
from ilora_app.tui.screens.explore.views import ViewKeys
from ilora_app.tui.state.app_state import BESIDE
from ilora_app.tui.widgets.gate import GatePanel
from ilora_app.tui.widgets.history import HistoryList
from ilora_app.tui.widgets.rank_curve import RankCurve
from ilora_app.tui.widgets.ranking import RankingList
from ilora_app.tui.widgets.rows import Rows
from ilora_app.tui.widgets.users import UserList


class ExploreScreen(PeopleKeys, ReplayKeys, ViewKeys):
    """Pick a user on the left; what went in is in the middle, what comes out on the right."""

    TAB = "explore"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "p",
            "replay",
            "Replay",
            tooltip="replay this sequence from its third item on, or stop",
            id="explore.replay",
        ),
        Binding(
            "space", "pause", "Pause", show=False, tooltip="hold the replay, or go on", id="explore.pause"
        ),
        Binding("r", "reset", "Reset", show=False, tooltip="take back all edits", id="explore.reset"),
        Binding(
            "u",
            "wind(True)",
            "Undo",
            show=False,
            tooltip="undo the last edit, push or lock",
            id="explore.undo",
        ),
        Binding(
            "ctrl+y",
            "wind(False)",
            "Redo",
            show=False,
            tooltip="make the edit again that was undone",
            id="explore.redo",
        ),
        Binding(
            "full_stop",
            "walk(1)",
            "Step",
            show=False,
            tooltip="one item on in this sequence",
            id="explore.step",
        ),
        Binding(
            "comma",
            "walk(-1)",
            "Step back",
            show=False,
            tooltip="one item back in this sequence",
            id="explore.step-back",
        ),
        Binding(
            "L",
            "newest",
            "Last item",
            show=False,
            tooltip="to the last item of this sequence",
            id="explore.last-item",
        ),
        Binding(
            "W",
            "keep",
            "Keep",
            show=False,
            tooltip="keep this view with its edits under a name",
            id="explore.keep",
        ),
        Binding(
            "O",
            "open_kept",
            "Open kept",
            show=False,
            tooltip="open a view that was kept",
            id="explore.open-kept",
        ),
        Binding(
            "Y",
            "copy_command",
            "Copy command",
            show=False,
            tooltip="copy the command for this ranking",
            id="explore.copy-command",
        ),
        Binding("escape", "leave", "Back", show=False, id="explore.back"),
        Binding("w", "why", "Why", show=False, id="ranking.why"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._keys: tuple[bool, ...] = ()

    def content(self) -> ComposeResult:
        """Three columns; two where it is narrow."""
        with Container(id="explore"):
            with Container(id="inputs"):
                with Vertical(id="people"):
                    yield Input(placeholder="id, title, genre, or test", id="find", compact=True)
                    yield UserList(id="users")
                yield HistoryList(id="history")
            with Vertical(id="outputs"):
                yield GatePanel(id="gate")
                yield RankCurve(id="life")
                yield RankingList(id="ranking")

    def on_mount(self) -> None:
        """Starts on the users."""
        self.query_one("#people").border_title = "Users"
        self.query_one(RankCurve).border_title = "◎ rank of what came next"
        self.query_one(UserList).focus()
        self.catch_up()

    def refresh_state(self) -> None:
        """Panes that are empty say why."""
        super().refresh_state()
        text = self.app_state.invitation()
        users, history = self.query_one(UserList), self.query_one(HistoryList)
        users.empty = text or "Nobody matches.\nPress escape for everybody."
        own = "An empty taste.\nPress a to search the catalogue and add to it."
        history.empty = own if self.explored.own and not text else text or "Choose a user."
        ranking = self.query_one(RankingList)
        pending = "ranking …" if self.explored.history else "Add an item to see what comes out: a."
        ranking.empty = text or pending
        gate = self.query_one(GatePanel)
        opened = self.app_state.run_data.opened
        ungated = f"{method_name(opened.method)} has no gate" if opened and not opened.experts else ""
        gate.empty = text.splitlines()[0] if text else self.app_state.offer() or ungated or ranking.empty

    def guide(self) -> str:
        """What one sees; on the user that the demo begins with, why it is this one."""
        opened, user = self.app_state.run_data.opened, self.explored.user
        first = opened is not None and user is not None and user.user == opened.first
        return opened.why_first if first and opened and not self.explored.edited else super().guide()

    # --- hearing ----------------------------------------------------------------------------------------

    def hear(self, engine: str, event: Event) -> None:
        """Answers with the newest number count; others are stale."""
        if engine == BESIDE:
            self._hear_beside(event)
            return
        match event:
            case UsersListed():
                self.list_users()  # there is something to look at while the model is loaded
            case EncoderReady() | GatesListed() | WarmedUp():
                self.asked_about = None  # another run may be open, or the same one in another engine
                self.catch_up()
            case Estimated():
                self.refresh_state()
            case Ranked() if event.request == self.asked_base:
                self.explored.base = event
                self.draw()
            case Ranked() if event.request == self.asked:
                self._answered(event)
            case Explained() if event.request == self.asked_why:
                self.explored.why = event
                self.draw()
            case RequestFailed() if event.request in (self.asked, self.asked_why):
                self.query_one(RankingList).border_subtitle = escape(f"✕ {event.title}")
                self.notify(f"{event.title}\n{event.hint}", severity="error", markup=False)

    def _hear_beside(self, event: Event) -> None:
        if isinstance(event, WarmedUp):
            self._ask_beside()
        elif isinstance(event, Ranked) and event.request == self.asked_beside:
            if self.explored.ranked and self.explored.ranked.items:
                self.explored.beside = event
            self.draw()

    def catch_up(self) -> None:
        """Users may have come, or another run was opened; what was answered is not asked again."""
        if not self.is_mounted:
            return
        run_data = self.app_state.run_data
        if run_data.complete:
            self.list_users()
            if self.explored.user is not None and not self.explored.ranked:
                self.explored.user = run_data.user(self.explored.user.user)
            if self.ilora.opening is not None:
                view, self.ilora.opening = self.ilora.opening, None
                self.show_view(view)
            if self.explored.user is None and not self.explored.history and self.explored.source == BENCHMARK:
                begin = run_data.opened.first if run_data.opened else None
                first = run_data.user(begin or "") or self.query_one(UserList).at(0)
                if first:
                    self.explored.choose(first)
                    self.list_users()
            if self.app_state.answers and self.asked_about != self.explored.question():
                self.ask()
        self.refresh_state()
        self.draw()

    def _answered(self, ranked: Ranked) -> None:
        self.explored.answer(ranked)
        if self.replaying:
            self.explored.trail.append(ranked)
            self.schedule()
        self.query_one(RankingList).stale = False
        self.draw()
        self._ask_beside()

    def _ask_beside(self) -> None:
        ranked = self.explored.ranked
        if self.app_state.beside_ready and ranked is not None:
            question = {**self.explored.question(candidates=ranked.items), "push": None, "lock": None}
            self.asked_beside = self.app_state.beside.ask(Rank, question=question)

    # --- drawing ----------------------------------------------------------------------------------------

    def draw(self, cursor: int | None = None) -> None:
        """Everything but the users, as the state has it."""
        explored, run_data = self.explored, self.app_state.run_data
        history = self.query_one(HistoryList)
        times = dict(zip(explored.user.items, explored.user.times, strict=False)) if explored.user else {}
        added = (
            frozenset(explored.history) - frozenset(explored.original) if not explored.own else frozenset()
        )
        history.show(run_data, explored.history, times, added, explored.why, cursor)
        self._title_history()
        gate = self.query_one(GatePanel)
        base = explored.ranked.gate if explored.ranked else None
        trail = [row.gate for row in explored.trail if row.gate] if self.replaying else []
        gate.show(explored.weights(), base, run_data.profiles, explored.edit.pushed, trail, explored.layers())
        gate.border_title = "Experts"
        gate.border_subtitle = titles.gate_subtitle(explored, run_data, self.replaying)
        ranking = self.query_one(RankingList)
        opened = self.app_state.beside_opened
        ranking.show(run_data, explored, opened.method if opened else "", None)
        ranking.border_title = escape(titles.ranking_title(explored, run_data))
        ranking.border_subtitle = escape(titles.verdict(explored, run_data))
        self.draw_life()
        keys = (explored.edited, self.replaying, explored.user is None)
        if keys != self._keys:  # making the footer anew is the dearest thing here
            self._keys = keys
            self.refresh_bindings()

    def _title_history(self) -> None:
        history = self.query_one(HistoryList)
        fits = history.tall == 1 and history.has_focus and bool(history.items)
        detail = history.detail(history.cursor) if fits else ""
        found = titles.history_titles(self.explored, self.replaying, self.paused, detail)
        history.border_title, history.border_subtitle = map(escape, found)

    @on(Rows.Highlighted, "#history")
    def _item_highlighted(self) -> None:
        self._title_history()

    # --- keys -------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys are offered where they do something."""
        del parameters
        if action == "pause":
            return self.replaying
        if action == "reset":
            return self.explored.edited
        if action in ("replay", "newest"):
            return self.explored.user is not None
        return True

    async def action_leave(self) -> None:
        """Closes the search, ends the replay or the tour."""
        if self.ilora.tour.on:
            await self.ilora.tour.end()
            return
        field = self.query_one("#find", Input)
        if field.has_class("-open"):
            field.remove_class("-open")
            field.value = ""
            self.query_one(UserList).focus()
        self.stop_replay()
        self.draw()
