"""What files and lines say becomes typed records, or one line that names the key."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest

from core.errors import DataError
from core.kinds import Count, Name, Share
from core.records import Misfit, build, json_of, line_of, message_of, plain, upgraded


class Point(TypedDict):
    x: int
    y: float


@dataclass(frozen=True)
class Inner:
    share: Share
    names: tuple[Name, ...] = ()


@dataclass(frozen=True)
class Outer:
    count: Count
    inner: Inner
    points: list[Point] = field(default_factory=list)
    table: Mapping[str, dict[str, float]] = field(default_factory=dict)
    maybe: Inner | None = None
    text: str = ""


FULL = Outer(3, Inner(0.5, ("a", "b")), [{"x": 1, "y": 2.0}], {"t": {"m": 1.0}}, Inner(1.0), "ä")


def test_what_is_written_is_read_again() -> None:
    assert build(Outer, json.loads(json.dumps(plain(FULL)))) == FULL
    assert message_of(line_of(FULL, "kind"), "kind", {"Outer": Outer}) == FULL


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"count": -1}, "count must be a whole number, 0 or more, found -1"),
        ({"count": True}, "count must be a whole number, 0 or more, found True"),
        ({"count": 1.0}, "count must be a whole number"),
        ({"count": 10**400}, "count must be a whole number"),
        ({"text": "\ud800"}, "text must be text"),
        ({"inner": {"share": 1.5}}, "inner.share must be a number between 0 and 1, found 1.5"),
        ({"inner": {"share": float("nan")}}, "inner.share must be a number between 0 and 1"),
        (
            {"inner": {"share": 1, "names": ["a", "../b"]}},
            "inner.names[1] must be text that is a",
        ),
        ({"inner": {}}, "inner lacks share"),
        ({"inner": 5}, "inner must be a table, found 5"),
        ({"more": 1, "most": 2}, "has unknown more, most"),
        ({"points": [{"x": 1}]}, "points[0] lacks y"),
        ({"points": [{"x": 1, "y": 1, "z": 1}]}, "points[0] has unknown z"),
        ({"table": {"t": {"m": "1"}}}, "table.t.m must be a number"),
        ({"maybe": []}, "maybe must be a table"),
    ],
)
def test_what_does_not_fit_is_named_in_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(Misfit) as caught:
        build(Outer, {**plain(FULL), **change})
    assert says in caught.value.said
    assert "\n" not in caught.value.said + caught.value.title + caught.value.hint


@pytest.mark.parametrize(
    "text", ["NaN", "1e999", "[" * 100_000, "9" * 5000 + "x", "", '{"a":' * 99 + "1" + "}" * 99]
)
def test_what_is_no_json_or_nested_too_deeply_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DataError) as caught:
        json_of(text, "some.json")
    assert caught.value.title.startswith("some.json: ")
    assert "\n" not in caught.value.title


@pytest.mark.parametrize("line", ["[]", "5", '{"kind": []}', '{"kind": "Other"}', "{}", "not json"])
def test_a_line_of_no_known_type_is_refused(line: str) -> None:
    with pytest.raises(DataError):
        message_of(line, "kind", {"Outer": Outer})


def test_an_older_record_passes_every_step_to_the_newest_version() -> None:
    steps = (lambda record: {**record, "second": 2}, lambda record: {**record, "third": 3})
    assert upgraded({"format": 1}, steps) == {"second": 2, "third": 3}
    assert upgraded({"format": 2}, steps) == {"third": 3}
    assert upgraded({"format": 3}, steps) == {}
    for version, words in ((4, "newer version"), (0, "older version"), ("1", "older"), (None, "older")):
        with pytest.raises(DataError, match=words):
            upgraded({"format": version}, steps)


def test_a_table_is_not_changed_by_reading_it() -> None:
    record = plain(FULL)
    before = json.dumps(record)
    build(Outer, record)
    assert json.dumps(record) == before
    assert dataclasses.asdict(FULL)["inner"]["names"] == ("a", "b")
