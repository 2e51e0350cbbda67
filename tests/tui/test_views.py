"""A view with all its edits is kept by name, comes back from disk, and can be given as a command."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import pytest

from core.errors import InputError
from ilora_app.cli import main
from ilora_app.tui.state import views
from tests.tui.conftest import Drive, settle, text_of


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILORA_APP_HOME", str(tmp_path / "home"))


async def test_a_view_that_is_kept_comes_back_with_every_edit(drive: Drive, tmp_path: Path) -> None:
    async with drive() as (app, pilot):
        explored = app.screen.explored
        app.screen.query_one("#history").focus()
        await pilot.press("d")
        app.screen.query_one("#gate").focus()
        await pilot.press("right", "W")
        await settle(pilot)
        app.screen.query_one("Input").value = "my view"
        await pilot.press("enter")
        await settle(pilot)
        before = (explored.user.user, explored.position, explored.edit, explored.source)
        assert views.kept() == ["my view"]
        await pilot.press("r")
        app.screen.query_one("#users").focus()
        await pilot.press("down")
        await settle(pilot)
        assert (explored.user.user, explored.position, explored.edit, explored.source) != before
        await pilot.press("O")
        await settle(pilot)
        assert "my view" in text_of(app)
        await pilot.press("enter")
        await settle(pilot)
        assert (explored.user.user, explored.position, explored.edit, explored.source) == before
        assert app.app_state.main.asked[-1].asked().push == list(before[2].push)
        await pilot.press("u")
        assert not explored.edited
        view = views.read("my view")

    async with drive(opening=view) as (app, _):
        assert app.screen.explored.edit == before[2]


async def test_the_copied_command_asks_the_same_question(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.screen.query_one("#gate").focus()
        await pilot.press("right", "left", "down", "l", "Y")
        await settle(pilot)
        words = shlex.split(app.clipboard)
        explored = app.screen.explored
        assert words[:2] == ["ilora-app", "recommend"]
        given = dict(zip(words[2::2], words[3::2], strict=True))
        assert given["--user"] == explored.user.user and given["--lock"] == "2"
        assert given["--history"] == ",".join(map(str, explored.history))


async def test_a_view_of_another_catalogue_changes_nothing(drive: Drive) -> None:
    async with drive() as (app, pilot):
        view = views.view_of(app.screen.explored)
        before = app.screen.explored.edit
        app.screen.show_view(dataclasses.replace(view, titles=["?"] * len(view.titles)))
        app.screen.show_view(dataclasses.replace(view, dataset="other"))
        await settle(pilot)
        assert app.screen.explored.edit == before
        assert "catalogue is another" in " ".join(note.message for note in app._notifications)


@pytest.mark.parametrize("text", ["{", "{}", '{"format": 1}', "[]"])
def test_a_damaged_view_is_one_line(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="is no view"):
        views.read(str(file))
    with pytest.raises(SystemExit) as ended:
        main(["tui", "--open", str(file)])
    assert ended.value.code == 2
    assert "hint:" in capsys.readouterr().err


def test_a_name_that_leads_elsewhere_is_refused() -> None:
    for name in ("../x", "", ".x", "a/b"):
        assert views.wrong_name(name)
    with pytest.raises(InputError, match="no view"):
        views.read("../../etc/passwd")


async def test_a_kept_view_is_plain_json(drive: Drive) -> None:
    async with drive() as (app, _):
        path = views.keep(views.view_of(app.screen.explored), "x")
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["format"] == views.FORMAT and record["titles"]
