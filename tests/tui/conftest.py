"""A screen with a stand-in for the engine, ready to be driven."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ilora_app.tui.app import IloraTui
from tests.tui.stand_in import StandIn

Driven = tuple[IloraTui, Pilot[None]]
Drive = Callable[..., AbstractAsyncContextManager[Driven]]


async def settle(pilot: Pilot[None]) -> None:
    """Until everything that was posted has been handled and painted: the screen no longer changes.

    A busy machine paints late, so the number of rounds depends on what is seen and not on a clock.
    """
    still, shown = 0, ""
    for _ in range(60):
        await pilot.pause()
        before, shown = shown, text_of(pilot.app)
        still = still + 1 if shown == before else 0
        if still == 4:
            return


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Opens the app at a size; the working folder is empty."""
    monkeypatch.chdir(tmp_path)

    @asynccontextmanager
    async def opened(
        size: tuple[int, int] = (120, 40), engine: Any = StandIn, dataset: str = "made-up", **options: Any
    ) -> AsyncIterator[Driven]:
        app = IloraTui(tmp_path / "runs", dataset, make_engine=engine, **options)
        async with app.run_test(size=size) as pilot:
            await settle(pilot)
            yield app, pilot

    return opened


def text_of(app: IloraTui) -> str:
    """What the screen shows, as lines of characters."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip)[:width] for strip in lines[:height])
