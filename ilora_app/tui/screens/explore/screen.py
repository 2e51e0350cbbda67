"""Explore: users, the chosen history, the experts it wakes, and the ranking that comes of it."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.markup import escape
from textual.timer import Timer
from textual.widgets import Input

from core.events import Event
from core.serving.protocol import (
    BENCHMARK,
    Estimated,
    Explained,
    GatesListed,
    Rank,
    Ranked,
    RequestFailed,
    WarmedUp,
    Why,
)
from ilora_app.render.figures import method_name
from ilora_app.tui.screens.dialogs.search import ItemSearch
from ilora_app.tui.screens.main_screen import Place
from ilora_app.tui.state.app_state import BESIDE, Stage
from ilora_app.tui.state.explore_state import Scene
from ilora_app.tui.state.run_data import ORDERS
from ilora_app.tui.widgets.gate import GatePanel
from ilora_app.tui.widgets.history import HistoryList
from ilora_app.tui.widgets.rank_curve import RankCurve, Step, mean_rank
from ilora_app.tui.widgets.ranking import RankingList
from ilora_app.tui.widgets.rows import Rows
from ilora_app.tui.widgets.users import UserList

REPLAY_SECONDS = 0.8
"""Shortest time that a step of a replay stays on screen."""
SHORT_LIFE = 30
"""Steps of a replay that the curve has room for from the start, however long the life."""


class ExploreScreen(Place):
    """Pick a user on the left; what went in is in the middle, what comes out on the right."""

    PLACE = "explore"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "replay", "Replay", tooltip="replay this life from its third item on, or stop"),
        Binding("space", "pause", "Pause", tooltip="hold the replay, or go on"),
        Binding("r", "reset", "Reset", tooltip="take back all edits"),
        Binding("full_stop", "walk(1)", "Step", show=False, tooltip="one item on in this life"),
        Binding("comma", "walk(-1)", "Step back", show=False, tooltip="one item back in this life"),
        Binding("escape", "leave", "Back", show=False),
        Binding("w", "why", "Why", show=False),
        Binding("f", "app.first_run", "Fetch", show=False),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene(self.desk.world)
        self.order = ORDERS[0]
        self.query_text = ""
        self.asked = self.asked_base = self.asked_why = self.asked_beside = -1
        self.replaying = self.paused = False
        self._next: Timer | None = None
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
        text = self.desk.invitation()
        users, history = self.query_one(UserList), self.query_one(HistoryList)
        waiting = text or "Nobody matches.\nPress escape for everybody."
        users.empty = waiting
        own = "An empty taste.\nPress a to search the catalogue and add to it."
        history.empty = own if self.scene.own and not text else text or "Choose a user."
        ranking = self.query_one(RankingList)
        pending = "ranking …" if self.scene.history else "Add an item to see what comes out: a."
        ranking.empty = text or pending
        gate = self.query_one(GatePanel)
        opened = self.desk.world.opened
        ungated = f"{method_name(opened.method)} has no gate" if opened and not opened.experts else ""
        gate.empty = text.splitlines()[0] if text else self.desk.offer() or ungated or ranking.empty

    # --- hearing ----------------------------------------------------------------------------------------

    def hear(self, engine: str, event: Event) -> None:
        """Answers with the newest number count; others are stale."""
        if engine == BESIDE:
            self._hear_beside(event)
            return
        match event:
            case GatesListed() | WarmedUp():
                self.catch_up()
            case Estimated():
                self.refresh_state()
            case Ranked() if event.request == self.asked_base:
                self.scene.base = event
                self._draw()
            case Ranked() if event.request == self.asked:
                self._answered(event)
            case Explained() if event.request == self.asked_why:
                self.scene.why = event
                self._draw()
            case RequestFailed() if event.request in (self.asked, self.asked_why):
                self.query_one(RankingList).border_subtitle = escape(f"✕ {event.title}")
                self.notify(f"{event.title}\n{event.hint}", severity="error", markup=False)

    def _hear_beside(self, event: Event) -> None:
        if isinstance(event, WarmedUp):
            self._ask_beside()
        elif isinstance(event, Ranked) and event.request == self.asked_beside:
            if self.scene.ranked and self.scene.ranked.items and event.request == self.asked_beside:
                self.scene.beside = event
            self._draw()

    def catch_up(self) -> None:
        """Users may have come, or another run was opened."""
        if not self.is_mounted:
            return
        world = self.desk.world
        if world.complete:
            self._list_users()
            if self.scene.user is not None and not self.scene.ranked:
                known = world.user(self.scene.user.user)
                self.scene.user = known
            if self.scene.user is None and not self.scene.history and self.scene.source == BENCHMARK:
                first = self.query_one(UserList).at(0)
                if first:
                    self.scene.choose(first)
            if self.desk.stage is Stage.READY:
                self.ask()
        self.refresh_state()
        self._draw()

    # --- asking -----------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Asks for the ranking of what is on screen; an earlier question is forgotten."""
        if self.desk.stage is not Stage.READY or not self.scene.history:
            self._draw()
            return
        scene = self.scene
        self.query_one(RankingList).stale = scene.ranked is not None
        self.asked = self.desk.main.ask(Rank, question=scene.question())

    def _answered(self, ranked: Ranked) -> None:
        scene = self.scene
        scene.answer(ranked)
        if self.replaying:
            scene.trail.append(ranked)
            self._schedule()
        self.query_one(RankingList).stale = False
        self._draw()
        self._ask_beside()

    def _ask_beside(self) -> None:
        ranked = self.scene.ranked
        if self.desk.beside_ready and ranked is not None:
            question = {**self.scene.question(candidates=ranked.items), "omega": None}
            self.asked_beside = self.desk.beside.ask(Rank, question=question)

    # --- drawing ----------------------------------------------------------------------------------------

    def _list_users(self) -> None:
        world = self.desk.world
        users, hits = world.find_users(self.query_text, self.order)
        keep = self.scene.user.user if self.scene.user else None
        self.query_one(UserList).show(world, users, hits, keep)
        self.query_one("#people").border_title = f"Users · {len(users):,}"
        self.query_one("#people").border_subtitle = "" if self.order == ORDERS[0] else f"by {self.order}"

    def _draw(self, cursor: int | None = None) -> None:
        """Everything but the users, from the scene."""
        scene, world = self.scene, self.desk.world
        history = self.query_one(HistoryList)
        times = dict(zip(scene.user.items, scene.user.times, strict=False)) if scene.user else {}
        added = frozenset(scene.history) - frozenset(scene.original) if not scene.own else frozenset()
        history.show(world, scene.history, times, added, scene.why, cursor)
        history.border_title, history.border_subtitle = map(escape, self._history_titles())
        gate = self.query_one(GatePanel)
        base = scene.base.gate if scene.base else None
        trail = [row.gate for row in scene.trail if row.gate] if self.replaying else []
        ranked_gate = scene.ranked.gate if scene.ranked else None
        layers = (scene.ranked.gate_by_layer if scene.ranked else None) or ()
        gate.show(scene.omega or ranked_gate, base, world.profiles, scene.omega is not None, trail, layers)
        gate.border_title = "Experts"
        gate.border_subtitle = self._gate_subtitle()
        ranking = self.query_one(RankingList)
        ranking.show(world, scene, self._other(), None)
        ranking.border_title = escape(self._ranking_title())
        ranking.border_subtitle = escape(self._verdict())
        self._draw_life()
        keys = (scene.edited, self.replaying, scene.user is None)
        if keys != self._keys:  # making the footer anew is the dearest thing here
            self._keys = keys
            self.refresh_bindings()

    def _draw_life(self) -> None:
        """The target's rank along the replay, while there is one."""
        curve, user = self.query_one(RankCurve), self.scene.user
        curve.set_class(self.replaying, "-replaying")
        if not self.replaying or user is None or self.desk.world.opened is None:
            return
        first = self.desk.world.min_history
        steps = [life_step(ranked) for ranked in self.scene.trail]
        ranks = [rank for step in steps for rank in (step.rank, step.encoder) if rank is not None]
        soon = max(self.scene.position or 0, first + SHORT_LIFE)
        curve.show(steps, first, min(len(user.items) - 1, soon), max([5, *ranks]))
        own = mean_rank([step.rank for step in curve.steps])
        encoder = mean_rank([step.encoder for step in curve.steps])
        if own is not None:
            last = self.scene.trail[-1]
            other = f"  {method_name(last.encoder)} {encoder:.1f} ┄" if encoder is not None else ""
            curve.border_subtitle = f"mean so far: {method_name(last.method)} {own:.1f} ━{other}"

    def _other(self) -> str:
        opened = self.desk.beside_opened
        return opened.method if opened else ""

    def _history_titles(self) -> tuple[str, str]:
        scene = self.scene
        if scene.user is None:
            return (
                ("Your own taste", "r empties it" if scene.history else "") if scene.own else ("History", "")
            )
        life = len(scene.user.items)
        title = f"User {scene.user.user} · {scene.position} of {life} seen"
        if self.replaying:
            return title, "paused: space goes on, . steps" if self.paused else "replaying: space pauses"
        if scene.edited:
            return title, "edited: r resets"
        history = self.query_one(HistoryList)
        if history.tall == 1 and history.has_focus and history.items:
            return title, history.detail(history.cursor)
        return title, ""

    def _gate_subtitle(self) -> str:
        scene = self.scene
        if scene.omega is not None:
            return "weights set by you: r resets"
        if self.replaying and scene.trail:
            return f"{len(scene.trail)} steps"
        n = self.desk.world.profiles[0]["n"] if self.desk.world.profiles else 0
        return f"words from {n:,} histories" if n else ""

    def _ranking_title(self) -> str:
        scene = self.scene
        if self.desk.world.opened is None:
            return "Ranking"
        method = method_name(self.desk.world.opened.method)
        if scene.source == BENCHMARK:
            return f"{method} ranks 20 candidates"
        return f"{method} ranks the catalogue's best {scene.retrieve}"

    def _verdict(self) -> str:
        """Where every method puts the target."""
        scene = self.scene
        ranked = scene.ranked
        if ranked is None or ranked.target is None:
            return ""
        if ranked.target not in ranked.items:
            place = (
                f"{method_name(ranked.encoder)}'s place {ranked.target_place}"
                if ranked.target_place
                else "seen before"
            )
            return f"◎ {self.desk.world.title(ranked.target)}: not retrieved, {place}"
        at = ranked.items.index(ranked.target)
        parts = [f"◎ {method_name(ranked.method)} {ranked.ranks[ranked.method][at]}"]
        beside = scene.beside_rank(ranked.target)
        if beside is not None:
            parts.append(f"{method_name(self._other())} {beside}")
        parts += [
            f"{method_name(name)} {ranks[at]}"
            for name, ranks in ranked.ranks.items()
            if name != ranked.method
        ]
        return " · ".join(parts)

    # --- users ------------------------------------------------------------------------------------------

    @on(Rows.Highlighted, "#users")
    def _user_highlighted(self, message: Rows.Highlighted) -> None:
        user = self.query_one(UserList).at(message.index)
        if user is not None and user is not self.scene.user:
            self._stop_replay()
            self.asked_why = -1
            if self.scene.own:
                self.scene.source = BENCHMARK
            self.scene.choose(user)
            self.scene.trail = []
            self._draw(cursor=0)
            self.ask()

    @on(Rows.Chosen, "#users")
    def _user_chosen(self) -> None:
        if self.scene.own:
            self._user_highlighted(
                Rows.Highlighted(self.query_one(UserList), self.query_one(UserList).cursor)
            )
        self.query_one(HistoryList).focus()

    @on(Rows.Highlighted, "#history")
    def _item_highlighted(self) -> None:
        history = self.query_one(HistoryList)
        history.border_title, history.border_subtitle = map(escape, self._history_titles())

    def action_search_users(self) -> None:
        """Opens the search field above the users."""
        field = self.query_one("#find", Input)
        field.add_class("-open")
        field.focus()

    @on(Input.Changed, "#find")
    def _search_changed(self, message: Input.Changed) -> None:
        self.query_text = message.value
        self._list_users()
        self.refresh_state()
        users = self.query_one(UserList)
        user = users.at(users.cursor)
        if user is not None and user is not self.scene.user:
            self._user_highlighted(Rows.Highlighted(users, users.cursor))

    @on(Input.Submitted, "#find")
    def _search_submitted(self) -> None:
        self.query_one(UserList).focus()

    def action_order_users(self) -> None:
        """The next order of users."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self._list_users()

    def action_own_taste(self) -> None:
        """Starts a taste from nothing."""
        self._stop_replay()
        self.scene.start_own()
        self.asked = -1
        self._draw(cursor=0)
        self.refresh_state()
        self.query_one(HistoryList).focus()
        self.action_add_item()

    def show_user(self, name: str, position: int | None = None) -> None:
        """Looks at a user by id, from another place."""
        user = self.desk.world.user(name)
        if user is not None:
            self.query_text = self.query_one("#find", Input).value = ""
            self.scene.choose(user, position)
            self._list_users()
            self._draw(cursor=0)
            self.ask()

    # --- edits ------------------------------------------------------------------------------------------

    def _edited(self, cursor: int | None = None) -> None:
        """Something about the question changed: reasons on their way are reasons for something else."""
        self.asked_why = -1
        self._stop_replay()
        self._draw(cursor)
        self.refresh_state()
        if not self.scene.history:
            self.scene.ranked = None
            self._draw()
        self.ask()

    def action_add_item(self) -> None:
        """Searches the catalogue for items to add."""
        if self.desk.world.complete:
            self.app.push_screen(ItemSearch(self.desk.world, self._add, lambda: self.scene.history))

    def _add(self, item: int) -> None:
        if self.scene.add(item):
            self._edited(cursor=len(self.scene.history) - 1)

    def action_add_ranked(self) -> None:
        """Adds the highlighted recommendation to the history."""
        item = self.query_one(RankingList).item()
        if item is not None:
            self._add(item)

    def action_drop_item(self) -> None:
        """Drops the item under the cursor."""
        history = self.query_one(HistoryList)
        if self.scene.history:
            self.scene.drop(history.cursor)
            self._edited()

    def action_move_item(self, by: int) -> None:
        """Moves the item under the cursor."""
        history = self.query_one(HistoryList)
        if self.scene.history:
            self._edited(cursor=self.scene.move(history.cursor, by))

    def on_gate_panel_weighed(self, message: GatePanel.Weighed) -> None:
        """An expert's weight was set."""
        self.scene.weigh(message.expert, message.weight)
        self._edited()

    def action_reset(self) -> None:
        """Takes back all edits."""
        self.scene.reset()
        self._edited()

    def action_switch_source(self) -> None:
        """From the benchmark's candidates to the catalogue, and back."""
        if not self.scene.switch_source():
            self.notify("A taste of your own is ranked against the whole catalogue.")
        self._edited()

    def action_retrieve(self, by: int) -> None:
        """More or fewer candidates from the catalogue."""
        scene = self.scene
        if scene.source == BENCHMARK:
            self.notify("The benchmark has twenty candidates. c ranks the whole catalogue.")
        elif scene.retrieve_more(by):
            self._draw()
            self.ask()

    def action_why(self) -> None:
        """Asks what each item of the history does for the highlighted recommendation."""
        item, ranked = self.query_one(RankingList).item(), self.scene.ranked
        if item is None or ranked is None:
            return
        question = self.scene.question()
        self.asked_why = self.desk.main.ask(Why, question=question, item=item, candidates=ranked.items)
        history = self.query_one(HistoryList)
        history.border_subtitle = escape(f"why {self.desk.world.title(item)} …")

    # --- replay -----------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys are offered where they do something."""
        del parameters
        if action == "pause":
            return self.replaying
        if action == "reset":
            return self.scene.edited
        if action == "replay":
            return self.scene.user is not None
        return True

    def action_replay(self) -> None:
        """Plays the user's life from the first target on, or stops."""
        user = self.scene.user
        if user is None:
            return
        if self.replaying:
            self._stop_replay()
            self._draw()
            return
        self.scene.choose(user, self.desk.world.min_history)
        self.scene.trail = []
        self.replaying, self.paused = True, False
        self._draw()
        self.ask()

    def action_pause(self) -> None:
        """Holds the replay, or goes on."""
        self.paused = not self.paused
        self._draw()
        if not self.paused:
            self._schedule()

    def action_walk(self, by: int) -> None:
        """One item on or back in the user's life."""
        scene = self.scene
        if scene.user is None or scene.position is None:
            return
        to = scene.position + by
        if not self.desk.world.min_history <= to < len(scene.user.items):
            return
        if self.replaying:
            self.paused = True
        scene.choose(scene.user, to)
        self._draw()
        self.ask()

    def _schedule(self) -> None:
        """The next step, when this one was seen."""
        if self._next is not None:
            self._next.stop()
        if self.replaying and not self.paused:
            self._next = self.set_timer(REPLAY_SECONDS, self._advance)

    def _advance(self) -> None:
        scene = self.scene
        if not self.replaying or self.paused or scene.user is None or scene.position is None:
            return
        if scene.position + 1 >= len(scene.user.items):
            self.paused = True
            self._draw()
            return
        scene.choose(scene.user, scene.position + 1)
        self.ask()

    def _stop_replay(self) -> None:
        self.replaying = self.paused = False
        if self._next is not None:
            self._next.stop()

    def action_leave(self) -> None:
        """Closes the search, ends the replay."""
        field = self.query_one("#find", Input)
        if field.has_class("-open"):
            field.remove_class("-open")
            field.value = ""
            self.query_one(UserList).focus()
        self._stop_replay()
        self._draw()


def life_step(ranked: Ranked) -> Step:
    """Where an answer of a replay puts the target."""
    if ranked.target not in ranked.items:
        return Step(ranked.position or 0, None, None)
    place = ranked.items.index(ranked.target)
    encoder = None if ranked.encoder == ranked.method else ranked.ranks[ranked.encoder][place]
    return Step(ranked.position or 0, ranked.ranks[ranked.method][place], encoder)
