"""What every screen keeps to: few keys in the footer, help, every size, no colour needed, a picture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import OptionList
from textual.widgets._footer import FooterKey

from core.serving.protocol import Differences, Estimate, Rank
from ilora_app.tui.app import IloraTui
from ilora_app.tui.drawing.themes import THEMES
from ilora_app.tui.screens.dialogs.help import HelpScreen
from ilora_app.tui.widgets.rows import POINTER
from tests.tui.conftest import Drive, settle, text_of

TABS = {"1": "explore", "2": "compare", "3": "train", "4": "results", "5": "curves"}
SIZES = ((80, 24), (120, 40), (60, 20), (106, 30), (200, 60))


def focusable(screen: Screen[None]) -> list[str]:
    return [widget.id for widget in screen.focus_chain if widget.id]


@pytest.mark.parametrize("key", TABS)
async def test_at_most_six_keys_are_in_the_footer_whatever_has_the_focus(drive: Drive, key: str) -> None:
    async with drive() as (app, pilot):
        await pilot.press(key)
        await settle(pilot)
        for name in focusable(app.screen):
            app.screen.query_one(f"#{name}").focus()
            await settle(pilot)
            keys = [shown.description for shown in app.screen.query(FooterKey)]
            assert 1 <= len(keys) <= 6, (name, keys)
            assert "Help" in keys


async def test_keys_in_the_footer_stay_six_while_editing_and_replaying(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("tab", "d", "p")
        for _ in range(4):
            await pilot.press("tab")
            await settle(pilot)
            assert len(app.screen.query(FooterKey)) <= 6


@pytest.mark.parametrize("key", TABS)
async def test_every_pane_explains_itself(drive: Drive, key: str) -> None:
    async with drive() as (app, pilot):
        await pilot.press(key)
        await settle(pilot)
        for name in focusable(app.screen):
            pane = app.screen.query_one(f"#{name}")
            pane.focus()
            await pilot.press("question_mark")
            await settle(pilot)
            assert isinstance(app.screen, HelpScreen), name
            assert type(pane).__doc__
            shown = text_of(app)
            assert "Everywhere" in shown or "Here" in shown
            await pilot.press("escape")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("key", TABS)
async def test_every_tab_fits_every_size(drive: Drive, key: str, size: tuple[int, int]) -> None:
    async with drive(size=size) as (app, pilot):
        await pilot.press(key)
        await settle(pilot)
        lines = text_of(app).splitlines()
        assert len(lines) == size[1]
        assert TABS[key].title() in lines[0]
        assert "Help" in lines[-1]
        for widget in app.screen.focus_chain:
            assert widget.region.right <= size[0], widget
            assert widget.region.bottom <= size[1], widget


async def test_titles_of_any_width_leave_columns_aligned(drive: Drive) -> None:
    from rich.cells import cell_len

    async with drive() as (app, _):
        for line in text_of(app).splitlines():
            assert cell_len(line) == 120


@pytest.mark.parametrize("size", SIZES[:2])
async def test_the_screen_is_saved_as_svg(drive: Drive, size: tuple[int, int]) -> None:
    async with drive(size=size) as (_, pilot):
        await pilot.press("s")
        await settle(pilot)
        saved = list(Path.cwd().glob("ilora-explore-*.svg"))
        assert len(saved) == 1
        svg = saved[0].read_text(encoding="utf-8").replace("&#160;", " ")
        drawn = " ".join(re.findall(r"<text[^>]*>([^<]*)</text>", svg))
        for piece in ("iLoRA", "Users · 30", "Experts", "E1", "Comedy · 1970s", "◎", "Help"):
            assert piece in drawn, piece


@pytest.mark.parametrize("theme", [theme.name for theme in THEMES])
async def test_signs_carry_the_meaning_in_every_theme(drive: Drive, theme: str) -> None:
    async with drive(theme=theme) as (app, pilot):
        await pilot.press("tab", "d")
        await settle(pilot)
        shown = text_of(app)
        for sign in (POINTER, "◎", "●", "▲", "▼"):
            assert sign in shown


async def test_without_colour_it_is_grey(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with drive() as (app, pilot):
        assert app.no_color
        await settle(pilot)
        svg = app.export_screenshot()
        body = svg.split("</style>")[0]
        colours = {colour.lower() for colour in re.findall(r"fill: (#[0-9a-fA-F]{6})", body)}
        colours -= {"#c5c8c6"}  # the picture's window frame
        assert colours
        assert all(len({colour[1:3], colour[3:5], colour[5:7]}) == 1 for colour in colours), colours


async def test_themes_take_turns(drive: Drive) -> None:
    async with drive() as (app, pilot):
        seen = []
        for _ in THEMES:
            seen.append(app.theme)
            await pilot.press("t")
        assert seen == [theme.name for theme in THEMES]
        assert app.theme == seen[0]


async def test_the_mouse_chooses_tabs_and_rows(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.click("#users", offset=(3, 4))
        await settle(pilot)
        assert app.screen.query_one("#users").cursor == 3  # type: ignore[attr-defined]
        await pilot.click("TopBar", offset=(45, 0))
        await settle(pilot)
        assert app.current_mode == "results"


@pytest.mark.parametrize("width", (60, 80, 120))
async def test_the_top_bar_says_how_the_engine_is_and_is_clicked_at_every_width(
    drive: Drive, width: int
) -> None:
    async with drive(size=(width, 20)) as (app, pilot):
        top = text_of(app).splitlines()[0]
        assert "[1 Explore]" in top and " ● iLoRA" in top
        await pilot.click("TopBar", offset=(top.index("4"), 0))
        await settle(pilot)
        assert app.current_mode == "results"
        top = text_of(app).splitlines()[0]
        assert "[4 Results]" in top and " ● iLoRA" in top
        await pilot.click("TopBar", offset=(top.index("1"), 0))
        await settle(pilot)
        assert app.current_mode == "explore"


async def found_in_palette(app: IloraTui, pilot: Pilot[None], words: str) -> list[str]:
    """What the command palette offers for some words."""
    await pilot.press("ctrl+p")
    await settle(pilot)
    assert isinstance(app.screen, CommandPalette)
    await pilot.press(*words)
    await pilot.pause(0.4)
    await settle(pilot)
    found = app.screen.query_one(OptionList)
    return [str(found.get_option_at_index(at).prompt) for at in range(found.option_count)]


@pytest.mark.parametrize(
    ("place", "words", "command"),
    [
        ("1", "replay", "Replay this sequence"),
        ("1", "own taste", "Your own taste"),
        ("1", "drop", "Drop the history's highlighted item"),
        ("2", "largest", "To the user with the largest difference"),
        ("3", "another", "Train another language model"),
        ("4", "paper", "Show or hide the paper's rows"),
        ("4", "contrast", "Theme: contrast"),
        ("3", "results", "Go to Results"),
    ],
)
async def test_the_command_palette_offers_what_the_keys_do(
    drive: Drive, place: str, words: str, command: str
) -> None:
    async with drive() as (app, pilot):
        await pilot.press(place)
        await settle(pilot)
        found = await found_in_palette(app, pilot, words)
        assert any(command in line for line in found), found


async def test_a_command_of_the_palette_does_what_its_key_does(drive: Drive) -> None:
    async with drive() as (app, pilot):
        before = len(app.screen.explored.history)  # type: ignore[attr-defined]
        assert await found_in_palette(app, pilot, "drop the history")
        await pilot.press("down", "enter")
        await settle(pilot)
        assert len(app.screen.explored.history) == before - 1  # type: ignore[attr-defined]


def test_the_screens_own_process_imports_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys, ilora_app.cli, ilora_app.tui.app, ilora_app.tui.screens.explore.screen;"
        "print([name for name in ('torch', 'numpy', 'pandas', 'transformers') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_app_is_small() -> None:
    import inspect

    assert len(inspect.getsource(inspect.getmodule(IloraTui)).splitlines()) < 200  # type: ignore[arg-type]


@pytest.mark.parametrize("key", TABS)
async def test_resizing_in_the_middle_of_anything_breaks_nothing(drive: Drive, key: str) -> None:
    async with drive() as (app, pilot):
        app.app_state.main.held = app.app_state.beside.held = (Rank, Estimate, Differences)
        await pilot.press(key)
        for size in ((40, 12), (200, 60), (20, 5), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.press("down", "tab", "question_mark", "escape")
        app.app_state.main.release()
        app.app_state.beside.release()
        await pilot.resize_terminal(120, 40)
        await settle(pilot)
        lines = text_of(app).splitlines()
        assert TABS[key].title() in lines[0]
        assert len(lines) == 40


async def test_control_c_says_which_key_quits(drive: Drive) -> None:
    async with drive() as (app, pilot):
        await pilot.press("ctrl+c")
        await settle(pilot)
        assert any("q quits" in note.message for note in app._notifications)
        assert app.is_running


@pytest.mark.parametrize("width", [100, 106, 112, 116])
async def test_a_history_has_room_for_its_titles_at_every_width(drive: Drive, width: int) -> None:
    async with drive(size=(width, 30)) as (app, _):
        assert app.screen.query_one("#history").size.width >= 26


async def test_the_palette_finds_the_export(drive: Drive) -> None:
    from ilora_app.tui.commands import commands_of

    async with drive() as (app, _):
        assert any("export" in command.title.casefold() for command in commands_of(app, app.screen))
