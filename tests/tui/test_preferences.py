"""`tui.toml`: a theme, keys of one's own, vim's letters as a choice; what is wrong in it is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import InputError
from ilora_app.tui.preferences import WITHOUT_VIM, Preferences, load, path
from tests.tui.conftest import Drive, settle


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ILORA_APP_HOME", str(tmp_path))


def written(text: str) -> Preferences:
    path().write_text(text, encoding="utf-8")
    return load()


def test_without_a_file_all_is_as_it_was() -> None:
    assert load() == Preferences()
    assert not load().keymap


def test_the_file_says_theme_and_keys() -> None:
    found = written('theme = "light"\nvim = false\n[keys]\n"history.drop" = "x,delete"\n')
    assert found.theme == "light"
    assert found.keymap == {**WITHOUT_VIM, "history.drop": "x,delete"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("theme =", "not TOML"),
        ('theme = "pink"', "theme"),
        ("colour = 1", "colour"),
        ("vim = 3", "vim"),
        ('[keys]\n"history.dropp" = "x"', "no key is called history.dropp"),
        ('[keys]\n"history.drop" = "a"', "a is history.add and history.drop"),
        ('[keys]\n"history.drop" = ""', "no key"),
    ],
)
def test_what_is_wrong_is_one_line_with_a_hint(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as raised:
        written(text)
    assert raised.value.hint


async def test_a_key_of_ones_own_works_and_the_old_one_no_longer(drive: Drive) -> None:
    async with drive() as (app, pilot):
        app.set_keymap(written('vim = false\n[keys]\n"history.drop" = "x"\n').keymap)
        history = app.screen.query_one("#history")
        history.focus()
        whole = list(app.screen.explored.history)
        await pilot.press("d", "j")
        await settle(pilot)
        assert (app.screen.explored.history, history.cursor) == (whole, 0)
        await pilot.press("down", "x")
        await settle(pilot)
        assert app.screen.explored.history == [whole[0], *whole[2:]]
