"""A recorded conversation with the real engine, played again: the screen hears lines, not a model."""

from __future__ import annotations

from typing import Any

import pytest
from textual.message import Message

from core.serving.protocol import Rank, Why
from ilora_app.tui.engine.messages import EngineSaid
from ilora_app.tui.screens.explore.screen import ExploreScreen
from ilora_app.tui.widgets.gate import GatePanel
from ilora_app.tui.widgets.rows import Rows
from tests.tui.conftest import Drive, settle, text_of
from tests.tui.record import FOLDER, KEYS, Recorded


def explore(app: Any) -> ExploreScreen:
    assert isinstance(app.screen, ExploreScreen)
    return app.screen


async def test_the_recorded_evening_ends_where_it_did_with_every_answer_on_screen(drive: Drive) -> None:
    async with drive(engine=Recorded, dataset="tiny") as (app, pilot):
        for key in KEYS:
            await pilot.press(key)
            await settle(pilot)
            ranked = explore(app).explored.ranked
            assert ranked is not None
            assert ranked.request == explore(app).asked
            best = app.app_state.run_data.title(ranked.items[0])
            assert best in text_of(app), key
        asked = app.app_state.main.asked  # type: ignore[attr-defined]
        kinds = [type(request) for request in asked]
        assert kinds.count(Rank) == 8
        assert kinds.count(Why) == 1
        questions = [request.question for request in asked if isinstance(request, Rank)]
        assert len({str(question) for question in questions}) == 6  # two resets ask what was asked before
        assert questions[-1]["source"] == "catalogue"


async def test_what_goes_through_the_app_is_what_the_keys_meant(drive: Drive) -> None:
    """The log of messages: a key moves a cursor once, one answer comes, and nothing else is said."""
    async with drive(engine=Recorded, dataset="tiny") as (app, pilot):
        log: list[Message] = []
        real = app._dispatch_message

        async def noted(message: Message) -> None:
            log.append(message)
            await real(message)

        app._dispatch_message = noted  # type: ignore[method-assign]
        app.said.subscribe(app.screen, lambda said: None)
        await pilot.press("down")
        await settle(pilot)
        said = [message for message in log if isinstance(message, EngineSaid)]
        assert [type(message.event).__name__ for message in said] == ["Ranked"]
        moved = [message for message in log if isinstance(message, Rows.Highlighted)]
        assert len(moved) <= 1


async def test_a_run_with_a_gate_in_every_layer_is_shown_as_a_map_of_its_layers(drive: Drive) -> None:
    layered = type("Layered", (Recorded,), {"file": FOLDER / "explore.per-layer.jsonl"})
    async with drive(engine=layered, dataset="tiny") as (app, pilot):
        panel = app.screen.query_one(GatePanel)
        ranked = explore(app).explored.ranked
        assert ranked is not None
        assert ranked.gate_by_layer is not None
        assert len(panel.by_layer) == len(ranked.gate_by_layer)
        mean = [sum(layer[k] for layer in panel.by_layer) / len(panel.by_layer) for k in range(panel.experts)]
        assert list(panel.weights) == pytest.approx(mean, abs=1e-3)
        assert f"layer 1 → {len(panel.by_layer)}" in text_of(app) or "1→" in text_of(app)
        await pilot.press("down")
        await settle(pilot)
        assert explore(app).explored.ranked.gate_by_layer  # type: ignore[union-attr]
