"""First run: what will be fetched is said first, and nobody meets an empty screen without a key."""

from __future__ import annotations

import dataclasses

from core.events import Fetching
from core.serving.protocol import Fetch, Open, RequestFailed
from ilora_app.tui.screens.dialogs.first_run import FirstRun
from ilora_app.tui.screens.explore.screen import ExploreScreen
from tests.tui.conftest import Drive, settle, text_of
from tests.tui.stand_in import DEMO, ILORA, LORA, with_options


async def test_sizes_and_licences_come_before_any_byte(drive: Drive) -> None:
    async with drive(engine=with_options(cached=False, runs=False)) as (app, pilot):
        await settle(pilot)
        assert isinstance(app.screen, FirstRun)
        shown = text_of(app)
        for piece in (
            "The made-up dataset",
            "4.92 MB",
            "GroupLens research licence",
            "9.85 MB in all",
            "Fetch",
        ):
            assert piece in shown
        assert not any(isinstance(request, Fetch) for request in app.app_state.main.asked)


async def test_fetching_shows_progress_and_then_the_screen_fills(drive: Drive) -> None:
    async with drive(engine=with_options(cached=False, runs=False)) as (app, pilot):
        await settle(pilot)
        app.app_state.main.held = (Fetch,)
        await pilot.press("f")
        await settle(pilot)
        (request,) = app.app_state.main.waiting
        app.app_state.main.say(Fetching("made-up", "example.org", 2_000_000, 4_924_029).to_json())
        await settle(pilot)
        assert "made-up from example.org: 2.00 MB of 4.92 MB" in text_of(app)
        app.app_state.main.options = {"cached": True}
        app.app_state.main.answer(request)
        await settle(pilot)
        assert isinstance(app.screen, ExploreScreen)
        assert any(isinstance(asked, Open) for asked in app.app_state.main.asked)
        assert "Users · 30" in text_of(app)


async def test_a_fetch_that_fails_says_so_and_can_be_tried_again(drive: Drive) -> None:
    async with drive(engine=with_options(cached=False, runs=False)) as (app, pilot):
        await settle(pilot)
        app.app_state.main.held = (Fetch,)
        await pilot.press("f")
        number = app.app_state.main.waiting[0].request
        app.app_state.main.say(RequestFailed(number, "no route", "check the network").to_json())
        await settle(pilot)
        shown = text_of(app)
        assert "no route" in shown
        assert "check the network" in shown
        assert "f tries again" in shown
        await pilot.press("f")
        await settle(pilot)
        assert sum(isinstance(asked, Fetch) for asked in app.app_state.main.asked) == 2


async def test_put_off_the_panes_name_the_key(drive: Drive) -> None:
    async with drive(engine=with_options(cached=False, runs=False)) as (app, pilot):
        await settle(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert "Press F" in text_of(app)
        for place in ("1", "2", "4"):
            await pilot.press(place)
            await settle(pilot)
            await pilot.press("F")
            await settle(pilot)
            assert isinstance(app.screen, FirstRun)
            await pilot.press("escape")
            await settle(pilot)


async def test_a_run_that_cannot_be_opened_says_why_and_what_to_press(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.app_state.main.held = (Open,)
        app.app_state.open("runs/models/gone")
        number = app.app_state.main.waiting[-1].request
        app.app_state.main.say(RequestFailed(number, "gone is not a run folder", "4").to_json())
        await settle(pilot)
        assert "the run could not be opened" in text_of(app)


async def test_the_demo_is_shown_as_such_until_there_is_a_run(drive: Drive) -> None:
    async with drive(engine=with_options(demo=True)) as (app, pilot):
        await settle(pilot)
        assert app.app_state.run == DEMO
        assert "iLoRA demo" in text_of(app)
        app.app_state.ask_survey()
        await settle(pilot)
        assert sum(isinstance(asked, Open) for asked in app.app_state.main.asked) == 1
        app.app_state.main.options = {}
        app.app_state.ask_survey()
        await settle(pilot)
        assert app.app_state.run == ILORA
        assert "demo" not in text_of(app)


async def test_an_interrupted_first_benchmark_does_not_hide_the_demo(drive: Drive) -> None:
    """SASRec alone is no reason to show a screen without a gate."""
    from tests.tui.stand_in import run

    async with drive(engine=with_options(demo=True)) as (app, pilot):
        await settle(pilot)
        found = dataclasses.replace(app.app_state.survey)
        found.runs.insert(0, run("sasrec", "runs/models/made-up.paper.sasrec.seed0.cccccccc"))
        app.app_state.hear("main", found)
        await settle(pilot)
        assert app.app_state.run == DEMO
        assert "demo" in text_of(app).splitlines()[0]


async def test_on_a_small_screen_all_of_it_can_be_read(drive: Drive) -> None:
    async with drive(size=(60, 20), engine=with_options(cached=False, runs=False)) as (app, pilot):
        await settle(pilot)
        shown = " ".join(text_of(app).replace("│", " ").split())
        assert "9.85 MB in all" in shown and "Fetch" in shown
        assert "sent or fetched" not in shown
        await pilot.press(*["down"] * 12)
        await settle(pilot)
        shown = " ".join(text_of(app).replace("│", " ").split())
        assert "nothing else is sent or fetched" in shown and "Fetch" in shown


async def test_a_run_of_a_dataset_that_is_not_here_is_not_fetched_for_by_itself(drive: Drive) -> None:
    async with drive() as (app, pilot):
        for asset in app.app_state.survey.assets:
            asset["cached"] = asset["kind"] == "model"
        before = len(app.app_state.main.asked)
        app.app_state.open(LORA)
        await settle(pilot)
        assert not any(isinstance(asked, Open | Fetch) for asked in app.app_state.main.asked[before:])
        await pilot.press("F")
        await settle(pilot)
        assert isinstance(app.screen, FirstRun)
        assert "GroupLens research licence" in text_of(app)
