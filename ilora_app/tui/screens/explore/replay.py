"""A user's sequence played item by item: the steps, the pause, and the curve of the target's rank."""

from __future__ import annotations

from core.serving.protocol import Ranked
from ilora_app.render.figures import method_name
from ilora_app.tui.screens.explore.base import ExploreBase
from ilora_app.tui.widgets.rank_curve import RankCurve, Step, mean_rank

REPLAY_SECONDS = 0.8
"""Shortest time that a step of a replay stays on screen."""
SHORT_SEQUENCE = 30
"""Steps of a replay that the curve has room for from the start, however long the sequence."""


class ReplayKeys(ExploreBase):
    """Keys that walk through a sequence, and the clock that does."""

    def action_replay(self) -> None:
        """Plays the user's sequence from the first target on, or stops."""
        user = self.explored.user
        if user is None:
            return
        if self.replaying:
            self.stop_replay()
            self.draw()
            return
        self.explored.choose(user, self.app_state.run_data.min_history)
        self.explored.trail = []
        self.replaying, self.paused = True, False
        self.ask()

    def action_pause(self) -> None:
        """Holds the replay, or goes on."""
        self.paused = not self.paused
        self.draw()
        if not self.paused:
            self.schedule()

    def action_walk(self, by: int) -> None:
        """One item on or back in the user's sequence."""
        explored = self.explored
        if explored.user is None or explored.position is None:
            return
        to = explored.position + by
        if not self.app_state.run_data.min_history <= to < len(explored.user.items):
            return
        if self.replaying:
            self.paused = True
        explored.choose(explored.user, to, step=True)
        self.ask()

    def action_newest(self) -> None:
        """To the last item of the sequence; a replay ends."""
        if self.explored.user is not None:
            self.stop_replay()
            self.explored.choose(self.explored.user)
            self.ask()

    def schedule(self) -> None:
        """The next step, when this one was seen."""
        if self.next_step is not None:
            self.next_step.stop()
        if self.replaying and not self.paused:
            self.next_step = self.set_timer(REPLAY_SECONDS, self._advance)

    def _advance(self) -> None:
        explored = self.explored
        if not self.replaying or self.paused or explored.user is None or explored.position is None:
            return
        if explored.position + 1 >= len(explored.user.items):
            self.paused = True
            self.draw()
            return
        explored.choose(explored.user, explored.position + 1, step=True)
        self.ask()

    def draw_life(self) -> None:
        """The target's rank along the replay, while there is one."""
        curve, user = self.query_one(RankCurve), self.explored.user
        curve.set_class(self.replaying, "-replaying")
        if not self.replaying or user is None or self.app_state.run_data.opened is None:
            return
        first = self.app_state.run_data.min_history
        steps = [life_step(ranked) for ranked in self.explored.trail]
        ranks = [rank for step in steps for rank in (step.rank, step.encoder) if rank is not None]
        soon = max(self.explored.position or 0, first + SHORT_SEQUENCE)
        curve.show(steps, first, min(len(user.items) - 1, soon), max([5, *ranks]))
        own = mean_rank([step.rank for step in curve.steps])
        encoder = mean_rank([step.encoder for step in curve.steps])
        if own is not None:
            last = self.explored.trail[-1]
            other = f"  {method_name(last.encoder)} {encoder:.1f} ┄" if encoder is not None else ""
            curve.border_subtitle = f"mean so far: {method_name(last.method)} {own:.1f} ━{other}"


def life_step(ranked: Ranked) -> Step:
    """Where an answer of a replay puts the target."""
    if ranked.target not in ranked.items:
        return Step(ranked.position or 0, None, None)
    place = ranked.items.index(ranked.target)
    encoder = None if ranked.encoder == ranked.method else ranked.ranks[ranked.encoder][place]
    return Step(ranked.position or 0, ranked.ranks[ranked.method][place], encoder)
