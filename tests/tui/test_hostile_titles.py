"""Titles that mean harm are shown as text on every screen: no markup acts, no escape gets through."""

from __future__ import annotations

import pytest

from core import safe_text
from tests.tui import stand_in
from tests.tui.conftest import Drive, settle, text_of

HOSTILE = "\x1b]0;owned\x07[red]z[/] [@click=app.quit]q \x9b31m \u202e [/nothing]"


def acting(text: str) -> list[str]:
    """The characters of a text that would act on a terminal."""
    return [character for character in text.replace("\n", "") if safe_text.plain(character) != character]


@pytest.mark.parametrize("key", ["1", "2", "3", "4"])
async def test_a_screen_shows_hostile_titles_and_does_nothing_else(
    drive: Drive, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setattr(stand_in, "TITLES", [f"{place} {HOSTILE}" for place in range(stand_in.FILMS)])
    async with drive() as (app, pilot):
        await settle(pilot)
        shown = text_of(app)
        assert "[red]z[/]" in shown
        assert not acting(shown)
        await pilot.press(key)
        await settle(pilot)
        await pilot.press("down", "enter")
        await settle(pilot)
        assert app.is_running
        assert not acting(text_of(app))


async def test_a_search_for_a_hostile_title_finds_it(drive: Drive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stand_in, "TITLES", [f"{place} {HOSTILE}" for place in range(stand_in.FILMS)])
    async with drive() as (app, pilot):
        await pilot.press("slash", *"[red]")
        await settle(pilot)
        assert app.is_running
        assert not acting(text_of(app))
