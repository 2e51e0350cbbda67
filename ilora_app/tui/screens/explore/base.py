"""What the parts of Explore share: the question on screen, and how it is asked and drawn."""

from __future__ import annotations

from textual.timer import Timer

from core.serving.protocol import Rank
from ilora_app.tui.screens.main_screen import TabScreen
from ilora_app.tui.state.explore_state import ExploreState
from ilora_app.tui.state.run_data import ORDERS
from ilora_app.tui.widgets.ranking import RankingList


class ExploreBase(TabScreen):
    """The state of Explore; a part of the screen works on it and says when to ask and to draw."""

    def __init__(self) -> None:
        super().__init__()
        self.explored = ExploreState(self.app_state.run_data)
        self.order = ORDERS[0]
        self.query_text = ""
        self.asked = self.asked_base = self.asked_why = self.asked_beside = -1
        self.asked_about: dict[str, object] | None = None
        """The question that was asked last of the engine as it is; None where it must be asked again."""
        self.replaying = self.paused = False
        self.next_step: Timer | None = None

    def draw(self, cursor: int | None = None) -> None:
        """Everything but the users, as the state has it."""
        raise NotImplementedError

    def edited(self, cursor: int | None = None) -> None:
        """Something about the question changed."""
        raise NotImplementedError

    def ask(self) -> None:
        """Asks for the ranking of what is on screen; an earlier question is forgotten."""
        explored = self.explored
        if not self.app_state.answers or not explored.history:
            self.draw()
            return
        explored.awaited = explored.ranked is not None
        self.query_one(RankingList).stale = explored.awaited
        self.asked_about = explored.question()
        ungated = {"push": None, "lock": None} if self.app_state.early else {}
        self.asked = self.app_state.main.ask(Rank, question={**self.asked_about, **ungated})
        self.draw()

    def stop_replay(self) -> None:
        """Ends a replay where it stands."""
        self.replaying = self.paused = False
        if self.next_step is not None:
            self.next_step.stop()
