"""The guided first minute: a line on every screen, a meaning for every sign, a tour that does its steps."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest

from core.serving.protocol import Rank, Why
from ilora_app.tui.screens.compare import CompareScreen
from ilora_app.tui.screens.explore.screen import ExploreScreen
from ilora_app.tui.state.guide import GUIDES, signs_of
from ilora_app.tui.tour import STEPS
from tests.tui.conftest import Drive, settle, text_of
from tests.tui.stand_in import with_options

TABS = {"1": "explore", "2": "compare", "3": "train", "4": "results", "5": "curves"}
LINES = "╭╮╰╯─│┏┓┗┛┃┣┫┻┳━▁▂▃▄▅▆▇▏▎▍▌▋▊▉"
"""Frames, scrollbars and parts of a bar are no signs."""
KEYS = "⏎↑↓←→"


def is_sign(character: str) -> bool:
    kind = unicodedata.category(character)
    return ord(character) > 127 and kind[0] in "SP" and not 0x2800 <= ord(character) < 0x2900


@pytest.mark.parametrize("key", TABS)
async def test_every_screen_says_what_one_sees_and_every_sign_has_a_meaning(drive: Drive, key: str) -> None:
    async with drive(size=(160, 45)) as (app, pilot):
        await pilot.press(key)
        await settle(pilot)
        shown = text_of(app)
        assert GUIDES[TABS[key]] in shown.splitlines()[1]
        known = "".join(sign for sign, _ in signs_of(TABS[key]))
        drawn = {character for character in shown if is_sign(character)} - set(LINES + KEYS)
        assert drawn <= set(known), drawn - set(known)
        await pilot.press("question_mark")
        await settle(pilot)
        assert app.screen.query("#signs")


async def test_the_tour_does_each_of_its_six_steps_live(drive: Drive) -> None:
    async with drive() as (app, pilot):
        explored = app.screen.explored
        whole = list(explored.history)
        assert [step.name for step in STEPS] == ["Drop", "Add", "Lock", "Why", "Replay", "Compare"]
        seen = []
        for step in STEPS:
            await pilot.press("f1")
            await settle(pilot)
            assert f"of 6 · {step.name}:" in text_of(app)
            compares = isinstance(app.screen, CompareScreen)
            seen.append((list(explored.history), explored.edit.lock, explored.why, compares))
        assert seen[0][0] == whole[:-1]
        assert seen[1][0][:-1] == whole[:-1] and len(seen[1][0]) == len(whole)
        assert seen[2][1] is not None
        assert explored.base is not None and explored.base.history == whole  # what the first drop moved from
        assert seen[3][0] == whole and seen[3][2] is not None
        assert any(isinstance(request, Why) for request in app.app_state.main.asked)
        assert seen[5][3]
        await pilot.press("f1")
        await settle(pilot)
        assert isinstance(app.screen, ExploreScreen)
        assert not app.tour.on and "of 6 ·" not in text_of(app)
        assert explored.history == whole and not explored.edited


async def test_escape_ends_the_tour_and_takes_its_edits_back(drive: Drive) -> None:
    async with drive() as (app, pilot):
        whole = list(app.screen.explored.history)
        await pilot.press("f1", "escape")
        await settle(pilot)
        assert app.screen.explored.history == whole
        assert "of 6 ·" not in text_of(app)


async def test_the_tour_waits_for_the_model(drive: Drive) -> None:
    async with drive(engine=with_options(cached=False, runs=False)) as (app, pilot):
        await pilot.press("escape", "f1")
        await settle(pilot)
        assert not app.tour.on


async def test_the_screen_begins_with_the_user_that_the_engine_names(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.screen.explored.user = None
        app.screen.explored.edits.now = dataclasses.replace(app.screen.explored.edit, history=())
        app.app_state.run_data.opened = dataclasses.replace(
            app.app_state.run_data.opened, first="7", why_first="the rule"
        )
        app.screen.catch_up()
        await settle(pilot)
        assert app.screen.explored.user.user == "7"
        assert app.screen.query_one("#users").at(app.screen.query_one("#users").cursor).user == "7"
        assert [request for request in app.app_state.main.asked if isinstance(request, Rank)][-1]
        assert "the rule" in text_of(app)
