"""Results: the leaderboard of what is on disk, sorted, filtered, with intervals; a run opens in Explore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.results.store import save_result
from core.runs.demo import demo_runs
from ilora_app.tui.screens.explore.screen import ExploreScreen
from ilora_app.tui.screens.results import MethodRows, ResultsScreen
from ilora_app.tui.state.leaderboard_rows import arrange
from tests.made_up import result
from tests.tui.conftest import Drive, settle, text_of

METHODS = ("popularity", "sasrec", "lora", "ilora")


def fill(out: Path) -> None:
    for method in METHODS:
        save_result(result(method), out)


async def shown(app: Any, pilot: Any) -> ResultsScreen:
    await pilot.press("4")
    for _ in range(200):
        await pilot.pause(0.1)
        screen = app.screen
        if isinstance(screen, ResultsScreen) and (screen.lines or "hint" in screen.state):
            break
    await settle(pilot)
    assert isinstance(app.screen, ResultsScreen)
    return app.screen


async def test_every_method_has_its_row_with_an_interval_and_its_cases(drive: Drive) -> None:
    async with drive() as (app, pilot):
        fill(app.app_state.out)
        await shown(app, pilot)
        text = text_of(app)
        for piece in (
            "SASRec",
            "LoRA",
            "iLoRA",
            "Popularity",
            "280",
            "├",
            "●",
            "┤",
            "★",
            "¶",
            "iLoRA − LoRA",
        ):
            assert piece in text, piece


@pytest.mark.parametrize("width", (60, 66, 80, 106))
async def test_a_figure_is_shown_whole_or_not_at_all(drive: Drive, width: int) -> None:
    async with drive(size=(width, 30)) as (app, pilot):
        fill(app.app_state.out)
        await shown(app, pilot)
        await pilot.press("v")
        await settle(pilot)
        lines = text_of(app).splitlines()
        (head,) = [line for line in lines if "method" in line and "HR@1" in line]
        assert "cases" in head and "…" not in head
        own = [line for line in lines if "●" in line and "280" in line]
        assert len(own) == len(METHODS)


async def test_rows_sort_filter_and_hide(drive: Drive) -> None:
    async with drive() as (app, pilot):
        fill(app.app_state.out)
        screen = await shown(app, pilot)
        rows = screen.query_one(MethodRows)
        hits = [line.value("HR@1") for line in rows.lines]
        assert hits == sorted(hits, reverse=True)
        everything = len(rows.lines)
        await pilot.press("v")
        await settle(pilot)
        own = [line for line in rows.lines if not line.shipped(app.app_state.out)]
        assert len(own) == len(METHODS) and len(rows.lines) < everything
        await pilot.press("o", "o", "o", "o")
        await settle(pilot)
        assert [line.label for line in rows.lines] == sorted(
            (line.label for line in rows.lines), key=str.casefold
        )
        await pilot.press("e")
        await settle(pilot)
        assert "test set last" in text_of(app)
        await pilot.press("f")
        await settle(pilot)
        assert "Results · movielens" in text_of(app)
        assert not arrange(screen.lines, "last", "elsewhere", "HR@1", True)


async def test_enter_opens_a_run_in_explore_and_says_when_none_was_kept(drive: Drive) -> None:
    async with drive() as (app, pilot):
        fill(app.app_state.out)
        screen = await shown(app, pilot)
        rows = screen.query_one(MethodRows)
        line = next(
            line for line in rows.lines if line.method == "ilora" and not line.shipped(app.app_state.out)
        )
        rows.cursor = rows.lines.index(line)
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, ResultsScreen)
        folder = app.app_state.out / "models" / line.folder
        folder.mkdir(parents=True)
        (folder / "run.json").write_text("{}")
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.screen, ExploreScreen)
        assert app.app_state.run == str(folder)


async def test_before_anything_is_trained_the_results_of_the_program_are_shown(drive: Drive) -> None:
    async with drive() as (app, pilot):
        screen = await shown(app, pilot)
        assert {line.label for line in screen.lines if not line.reported} == {
            "Popularity demo",
            "SASRec demo",
            "LoRA demo",
            "iLoRA demo",
        }
        rows = screen.query_one(MethodRows)
        rows.cursor = next(at for at, line in enumerate(rows.lines) if line.method == "lora")
        await pilot.press("enter")
        await settle(pilot)
        assert app.app_state.run == str(demo_runs()["lora"])


async def test_a_damaged_file_hides_no_other(drive: Drive) -> None:
    async with drive() as (app, pilot):
        fill(app.app_state.out)
        (app.app_state.out / "results" / "broken.json").write_text("{")
        screen = await shown(app, pilot)
        own = {
            line.method for line in screen.lines if not line.reported and not line.shipped(app.app_state.out)
        }
        assert own == set(METHODS)
        assert "left out: broken.json" in text_of(app)
