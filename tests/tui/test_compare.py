"""Compare: two runs on one user, who gains and who loses, and the way to the largest difference."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from textual.message import Message

from core.events import StepLogged
from core.serving.protocol import Differences, Open
from ilora_app.tui.screens.compare import CaseList, CompareScreen
from ilora_app.tui.screens.explore.screen import ExploreScreen
from ilora_app.tui.state.app_state import BESIDE
from ilora_app.tui.widgets.agreement import Agreement
from ilora_app.tui.widgets.side import SideList
from tests.tui.conftest import Drive, settle, text_of
from tests.tui.stand_in import ILORA, LORA, StandIn, with_options


async def compared(drive: Drive, app: Any, pilot: Any) -> CompareScreen:
    await pilot.press("2")
    await settle(pilot)
    assert isinstance(app.screen, CompareScreen)
    return app.screen


async def test_the_user_with_the_largest_difference_comes_first_with_both_rankings(drive: Drive) -> None:
    async with drive() as (app, pilot):
        screen = await compared(drive, app, pilot)
        request = next(asked for asked in app.app_state.main.asked if isinstance(asked, Differences))
        assert (request.run, request.other) == (ILORA, LORA)
        shown = text_of(app)
        assert "▲ 7  ▼ 1  = 0" in shown
        assert "of 8 spread cases" in shown
        assert screen.explored.user is not None
        assert screen.explored.user.user == screen.query_one(CaseList).cases[0]["user"]
        left, right = screen.query_one("#left", SideList), screen.query_one("#right", SideList)
        assert left.count == right.count == 20
        assert set(left.ranked.items) == set(right.ranked.items)  # type: ignore[union-attr]
        assert "τ" in shown


async def test_lines_join_each_items_two_places(drive: Drive) -> None:
    async with drive() as (app, pilot):
        screen = await compared(drive, app, pilot)
        lines = screen.query_one(Agreement)
        left, right = screen.query_one("#left", SideList).ranked, screen.query_one("#right", SideList).ranked
        assert left is not None
        assert right is not None
        assert lines.pairs == [(place, right.items.index(item)) for place, item in enumerate(left.items)]
        assert any(0x2800 < ord(sign) < 0x2900 for sign in text_of(app))


async def test_another_case_another_user_and_enter_opens_it_in_explore(drive: Drive) -> None:
    async with drive() as (app, pilot):
        screen = await compared(drive, app, pilot)
        await pilot.press("down", "down")
        await settle(pilot)
        case = screen.query_one(CaseList).cases[2]
        assert screen.explored.user is not None
        assert screen.explored.user.user == case["user"]
        await pilot.press("J")
        await settle(pilot)
        assert screen.query_one(CaseList).cursor == 0
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, ExploreScreen)
        assert app.screen.explored.user is not None
        assert app.screen.explored.user.user == screen.query_one(CaseList).cases[0]["user"]


async def test_without_a_second_run_the_keys_that_help_are_named(drive: Drive) -> None:
    async with drive(engine=with_options(runs=False)) as (app, pilot):
        await compared(drive, app, pilot)
        assert "b chooses one, 3 trains one" in text_of(app)


class SlowSecond(StandIn):
    """The second engine opens its run only when `release` is called."""

    def __init__(self, name: str, post: Callable[[Message], Any]) -> None:
        super().__init__(name, post)
        self.held = (Open,) if name == BESIDE else ()


async def test_while_the_second_model_is_loaded_its_place_says_for_how_long_and_how_far(drive: Drive) -> None:
    async with drive(engine=SlowSecond) as (app, pilot):
        app.app_state.beside_since -= 60
        second: Any = app.app_state.beside
        second.say(StepLogged("lora", 0, "load", 3, 6).to_json())
        await compared(drive, app, pilot)
        shown = text_of(app)
        assert re.search(r"loading the second model … 6\d s", shown)
        assert "loading LoRA 3 s of about 6 s" in shown
        second.release()
        await settle(pilot)
        assert "loading" not in text_of(app)


async def test_a_run_is_chosen_from_a_list(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await compared(drive, app, pilot)
        await pilot.press("a")
        await settle(pilot)
        assert "Choose the left run" in text_of(app)
        await pilot.press("down", "enter")
        await settle(pilot)
        assert app.app_state.run == LORA
        assert app.app_state.run_data.opened is not None
        assert app.app_state.run_data.opened.method == "lora"
