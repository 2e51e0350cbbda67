"""What is on screen can be passed on: the clipboard, CSV and Markdown, a recording."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from core.errors import InputError
from ilora_app.cli import main
from ilora_app.tui.recording import Cast
from ilora_app.tui.state.grid import Grid
from tests.tui.conftest import Drive, settle
from tests.tui.test_end_to_end import Terminal

NAMED = {"1": ("users", "history", "gate", "ranking"), "2": ("cases", "left", "right"), "4": ("leaderboard",)}


async def test_the_ranking_and_the_history_go_to_the_clipboard(drive: Drive) -> None:
    async with drive() as (app, pilot):
        for pane, word in (("history", "genres"), ("ranking", "rank by SASRec")):
            app.screen.query_one(f"#{pane}").focus()
            await pilot.press("y")
            await settle(pilot)
            lines = app.clipboard.splitlines()
            assert word in lines[2] and lines[3].startswith("| --- |")
            assert len(lines) == 4 + app.screen.query_one(f"#{pane}").count


@pytest.mark.parametrize("key", ["1", "2"])
async def test_every_table_can_be_saved_as_csv_with_all_its_rows(
    drive: Drive, tmp_path: Path, key: str
) -> None:
    async with drive() as (app, pilot):
        await pilot.press(key)
        await settle(pilot)
        for pane in NAMED[key]:
            widget = app.screen.query_one(f"#{pane}")
            widget.focus()
            await pilot.press("S", "c")
            await settle(pilot)
            (file,) = tmp_path.glob("ilora-*.csv")
            heads, *rows = csv.reader(file.open(encoding="utf-8"))
            found = widget.grid()
            assert tuple(heads) == found.heads and len(rows) == len(found.rows) > 0
            file.unlink()


async def test_a_table_can_be_saved_as_markdown(drive: Drive, tmp_path: Path) -> None:
    async with drive() as (app, pilot):
        app.screen.query_one("#ranking").focus()
        await pilot.press("S", "m")
        await settle(pilot)
        (file,) = tmp_path.glob("ilora-*.md")
        assert file.read_text(encoding="utf-8") == app.screen.query_one("#ranking").grid().as_markdown()


def test_foreign_words_stay_words_in_a_table() -> None:
    found = Grid("T", ("a", "b"), (("=1+1", 0.5), ("x | <b>y</b>", None)))
    assert found.as_csv() == "a,b\n'=1+1,0.5\nx | <b>y</b>,\n"
    assert found.as_markdown().splitlines()[4:] == ["| =1+1 | 0.500 |", "| x \\| &lt;b>y&lt;/b> | – |"]


def test_a_recording_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        Cast(tmp_path / "none" / "demo.cast")


def test_a_browsers_session_is_not_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["tui", "--serve", "--record", "x.cast"])
    assert ended.value.code == 2
    assert "not recorded" in capsys.readouterr().err


@pytest.mark.slow
def test_a_recording_holds_what_was_drawn_as_an_asciicast(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ILORA_APP_HOME", str(tmp_path / "home"))
    cast = tmp_path / "a.cast"
    terminal = Terminal(["tui", "--record", str(cast), "--out", str(tmp_path / "none")], (90, 30))
    terminal.expect("Explore")
    terminal.expect("First run")
    terminal.quit()
    head, *events = map(json.loads, cast.read_text(encoding="utf-8").splitlines())
    assert (head["version"], head["width"], head["height"]) == (2, 90, 30)
    assert all(len(event) == 3 and event[1] in ("o", "r") for event in events)
    moments = [event[0] for event in events]
    assert moments == sorted(moments) and moments[0] >= 0
    drawn = "".join(data for _, code, data in events if code == "o")
    assert "Explore" in drawn and "\x1b[?1049h" in drawn
