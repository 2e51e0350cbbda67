"""The page about the engine's messages is what the code says, and every message keeps its types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.errors import DataError
from core.events import Event
from core.serving.description import describe
from core.serving.protocol import Answer, Opened, Request, Surveyed
from core.serving.server import WarmEngine

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
RECORDED = Path(__file__).parents[1] / "tui" / "recorded"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == describe(), (
        "python -m core.serving.description > docs/protocol.md"
    )


def test_every_request_is_answered_and_every_message_described() -> None:
    assert set(WarmEngine(print)._handlers) == set(Request.kinds().values())
    page = PAGE.read_text(encoding="utf-8")
    messages = [*Request.kinds(), *(name for name, kind in Event.kinds().items() if kind is not Answer)]
    for name in messages:
        if not Event.kinds().get(name, Answer).__module__.startswith("tests"):
            assert f"**{name}**" in page


@pytest.mark.parametrize("file", ["explore.jsonl", "explore.per-layer.jsonl"])
def test_what_the_real_engine_said_is_read_and_written_alike(file: str) -> None:
    read = 0
    for line in (RECORDED / file).read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "event" in record:
            assert json.loads(Event.from_json(line).to_json()) == record
            read += 1
        elif "ask" in record:
            assert json.loads(Request.from_json(line).to_json()) == record
    assert read > 10


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"problems": [5]}, r"'Surveyed.problems\[0\]' must be text"),
        ({"runs": [{"path": "x"}]}, "missing key 'Surveyed.runs"),
        ({"presets": {}}, "unknown key 'Surveyed.presets'"),
        ({"request": 1.5}, "'Surveyed.request' must be a whole number"),
    ],
)
def test_an_answer_of_other_types_is_refused_in_one_line(change: dict[str, object], says: str) -> None:
    line = json.dumps({**json.loads(Surveyed(1, [], [], []).to_json()), **change})
    with pytest.raises(DataError, match=says):
        Event.from_json(line)
    assert Opened in Event.kinds().values()
