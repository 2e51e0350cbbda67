"""Keys that change the question: the history's items, the experts' weights, the candidates, and undo."""

from __future__ import annotations

from textual.markup import escape

from core.serving.protocol import BENCHMARK, Why
from ilora_app.tui.screens.dialogs.search import ItemSearch
from ilora_app.tui.screens.explore.base import ExploreBase
from ilora_app.tui.widgets.gate import GatePanel
from ilora_app.tui.widgets.history import HistoryList
from ilora_app.tui.widgets.ranking import RankingList


class EditKeys(ExploreBase):
    """Every edit ranks again; each of them can be undone."""

    def edited(self, cursor: int | None = None) -> None:
        """Something about the question changed: reasons on their way are reasons for something else."""
        self.asked_why = -1
        self.stop_replay()
        if not self.explored.history:
            self.explored.ranked, self.explored.awaited, self.asked = None, False, -1
        self.draw(cursor)
        self.refresh_state()
        self.ask()

    def action_add_item(self) -> None:
        """Searches the catalogue for items to add."""
        if self.app_state.run_data.complete:
            self.app.push_screen(ItemSearch(self.app_state.run_data, self.add, lambda: self.explored.history))

    def add(self, item: int) -> None:
        """Puts an item at the end of the history."""
        if self.explored.add(item):
            self.edited(cursor=len(self.explored.history) - 1)

    def action_add_ranked(self) -> None:
        """Adds the highlighted recommendation to the history."""
        item = self.query_one(RankingList).item()
        if item is not None:
            self.add(item)

    def action_drop_item(self) -> None:
        """Drops the item under the cursor."""
        if self.explored.drop(self.query_one(HistoryList).cursor):
            self.edited()

    def action_move_item(self, by: int) -> None:
        """Moves the item under the cursor."""
        history = self.query_one(HistoryList)
        if self.explored.history:
            self.edited(cursor=self.explored.move(history.cursor, by))

    def on_gate_panel_weighed(self, message: GatePanel.Weighed) -> None:
        """A bar was dragged."""
        if self.explored.weigh(message.expert, message.weight):
            self.edited()

    def on_gate_panel_nudged(self, message: GatePanel.Nudged) -> None:
        """An expert was pushed a step up or down."""
        if self.explored.nudge(message.expert, message.by):
            self.edited()

    def on_gate_panel_locked(self, message: GatePanel.Locked) -> None:
        """An expert was given everything, or let go."""
        if self.explored.lock(message.expert):
            self.edited()

    def action_reset(self) -> None:
        """Takes back all edits."""
        if self.explored.reset():
            self.edited()

    def action_wind(self, back: bool) -> None:
        """Undoes the last edit, or makes it again."""
        if self.explored.wind(back):
            self.edited()
        else:
            self.notify("Nothing to undo." if back else "Nothing to redo.")

    def action_switch_source(self) -> None:
        """From the benchmark's candidates to the catalogue's best, to what is raised most, and back."""
        if self.explored.switch_source():
            self.edited()

    def action_retrieve(self, by: int) -> None:
        """More or fewer candidates from the catalogue."""
        explored = self.explored
        if explored.source == BENCHMARK:
            self.notify("The benchmark has twenty candidates. c ranks the whole catalogue.")
        elif explored.retrieve_more(by):
            self.ask()

    def action_why(self) -> None:
        """Asks what each item of the history does for the highlighted recommendation."""
        self.ask_why(self.query_one(RankingList).item())

    def ask_why(self, item: int | None) -> None:
        """Asks what each item of the history does for this one of the ranking."""
        ranked = self.explored.ranked
        if item is None or ranked is None:
            return
        question = self.explored.question()
        self.asked_why = self.app_state.main.ask(Why, question=question, item=item, candidates=ranked.items)
        history = self.query_one(HistoryList)
        history.border_subtitle = escape(f"why {self.app_state.run_data.title(item)} …")
