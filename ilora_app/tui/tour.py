"""A tour of six steps: each does its thing live, on the user that is on screen, and says what to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ilora_app.tui.state.app_state import Stage
from ilora_app.tui.state.explore_state import ExploreState

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui
    from ilora_app.tui.screens.explore.screen import ExploreScreen


PATIENCE = 10.0
"""Seconds that a step waits for the ranking before it."""


@dataclass(frozen=True)
class Step:
    """One step: what it is called, what it does, and what it says when it has done it."""

    name: str
    run: Callable[[Tour], Awaitable[str]]


class Tour:
    """Goes from step to step of `STEPS`; between them everything can be tried by hand."""

    def __init__(self, app: IloraTui) -> None:
        self.app = app
        self.at = -1
        """Index of the step on screen; -1 where no tour is on."""
        self.words = ""

    @property
    def on(self) -> bool:
        """Whether a tour is on."""
        return self.at >= 0

    @property
    def shown(self) -> str:
        """What the tour says on every screen; nothing where none is on."""
        if not self.on:
            return ""
        last = self.at + 1 == len(STEPS)
        then = "F1 ends the tour" if last else f"F1: {STEPS[self.at + 1].name.lower()} · escape ends the tour"
        return f"{self.at + 1} of {len(STEPS)} · {STEPS[self.at].name}: {self.words}\n{then}"

    async def go_on(self) -> None:
        """Begins, or goes to the next step; after the last one the tour ends."""
        if self.app.app_state.stage is not Stage.READY:
            self.app.notify("The tour begins as soon as the model is loaded: the top line says when.")
            return
        if self.at + 1 == len(STEPS):
            await self.end()
            return
        explore = await self.explore()
        if explore.explored.user is None or explore.explored.ranked is None:
            self.app.notify("Choose a user first; the tour changes their history.")
            return
        self.at += 1
        self.words = await STEPS[self.at].run(self)
        self.app.refresh_state()

    async def end(self) -> None:
        """Ends it and takes its edits back."""
        if not self.on:
            return
        self.at, self.words = -1, ""
        explore = await self.explore()
        explore.stop_replay()
        explore.action_newest()
        self.app.notify("? explains the pane in focus with all keys and signs; ctrl+p lists every command.")
        self.app.refresh_state()

    async def answered(self, explore: ExploreScreen) -> None:
        """Waits until the ranking on screen answers what is asked, for some seconds at most."""
        for _ in range(round(PATIENCE / 0.05)):
            if explore.explored.ranked is not None and not explore.explored.awaited:
                return
            await asyncio.sleep(0.05)

    async def explore(self) -> ExploreScreen:
        """Explore, on screen."""
        from ilora_app.tui.screens.explore.screen import ExploreScreen

        await self.app.action_go("explore")
        screen = self.app.screen
        assert isinstance(screen, ExploreScreen)
        return screen


def named(explored: ExploreState, item: int) -> str:
    """An item's title in quotation marks."""
    return f"“{explored.run_data.title(item)}”"


async def drop(tour: Tour) -> str:
    """Takes the newest item out of the history."""
    explore = await tour.explore()
    explored = explore.explored
    assert explored.user is not None
    if explored.edited or explore.replaying or explored.position != len(explored.user.items) - 1:
        explore.action_newest()
    await tour.answered(explore)  # what the ranking moves from
    item = explored.history[-1]
    explored.drop(len(explored.history) - 1)
    explore.edited()
    return (
        f"{named(explored, item)}, the newest item of the history, was dropped (key d). "
        "The experts' weights change, and ▲ ▼ beside the ranking say what moved."
    )


async def add(tour: Tour) -> str:
    """Adds the best recommendation to the history."""
    explore = await tour.explore()
    await tour.answered(explore)
    explored = explore.explored
    ranked = explored.ranked
    if ranked is None:
        return "the ranking has not come yet."
    item = next(item for item in ranked.items if item not in explored.history and item != ranked.target)
    explore.add(item)
    return (
        f"{named(explored, item)}, recommended here, was added as if it had been watched "
        "(a searches the catalogue, A adds the highlighted one)."
    )


async def lock(tour: Tour) -> str:
    """Gives everything to the expert that has the least."""
    explore = await tour.explore()
    await tour.answered(explore)
    weights = explore.explored.weights()
    if not weights:
        return "this run has no gate, so there are no experts to lock; results (4) opens an iLoRA run."
    expert = weights.index(min(weights))
    explore.explored.lock(expert)
    explore.edited()
    return (
        f"E{expert + 1}, the expert that this history wakes least, has everything in every layer (key l). "
        "The ranking is what its taste alone would give; ← → push an expert instead."
    )


async def why(tour: Tour) -> str:
    """Takes all edits back and asks why the best one is the best."""
    explore = await tour.explore()
    explored = explore.explored
    explored.reset()
    explore.edited()
    await tour.answered(explore)
    ranked = explored.ranked
    if ranked is None:
        return "the ranking has not come yet."
    explore.ask_why(ranked.items[0])
    return (
        f"all edits are taken back (key r), and {named(explored, ranked.items[0])} is asked about (key w). "
        "Beside each item of the history: solid raises its chance, hatched lowers it."
    )


async def replay(tour: Tour) -> str:
    """Plays the sequence."""
    explore = await tour.explore()
    explore.stop_replay()
    explore.action_replay()
    return (
        "this sequence is played item by item (key p, space pauses): "
        "the curve is the place of what came next, the best one at the top."
    )


async def compare(tour: Tour) -> str:
    """Goes to Compare."""
    explore = await tour.explore()
    explore.stop_replay()
    explore.action_newest()
    await tour.app.action_go("compare")
    return (
        "two runs on the same test cases (key 2): at the left who gains and who loses, then both rankings. "
        "The steep lines between them are what the gate changes."
    )


STEPS = (
    Step("Drop", drop),
    Step("Add", add),
    Step("Lock", lock),
    Step("Why", why),
    Step("Replay", replay),
    Step("Compare", compare),
)
"""The steps in their order."""
