"""Whatever is sent to a server's `POST /engine`, it is answered or refused within limits, as is the next."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.events import Event
from core.serving.protocol import Ranked, RequestFailed
from ilora_app.server.schema import LARGEST_BODY
from tests.hostile.test_fuzz import FAST, FIELDS, KINDS, ODD, VALUES, changed, peak, places, written
from tests.tui.test_attached import JSON, Held, held, trained

__all__ = ["held", "trained"]  # fixtures
SERVED = settings(FAST, max_examples=60)
SURVEY = b'{"ask": "Survey", "request": 1, "out": "runs"}'
LARGEST_ANSWER = 8 << 20
"""Bytes; the tiny catalogue and its users take a few thousand."""
NUMBERS = st.sampled_from(
    [-1, -(2**31), 2**31, 2**53, 2**63, 2**64, 10**400, 0.5, 1e308, -1e308, 1e-320, math.nan, math.inf]
) | st.integers(-3, 50)  # fmt: skip
QUESTION: dict[str, Any] = {
    "history": [1, 2, 3], "source": "catalogue", "user": "3", "position": 4, "retrieve": 10,
    "push": [0.5, 0.0, -0.5, 1.0], "lock": 2, "candidates": [4, 5, 6, 7],
}  # fmt: skip
REQUESTS = {
    "Survey": {"out": "runs", "dataset": "tiny"},
    "Open": {"out": "runs", "run": None},
    "Rank": {"question": {"history": [1, 2, 3], "source": "catalogue"}},
    "Why": {"question": {"history": [1, 2, 3]}, "item": 4, "candidates": [4, 5, 6]},
    "Curves": {"runs": ["a"]},
    "Fetch": {"dataset": "tiny"},
    "Differences": {"run": "a", "other": "b"},
}


@pytest.fixture(scope="module")
def client(held: Held) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=held.url, timeout=30) as opened:
        yield opened


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A server's owner reads of no stranger's mistakes."""
    yield
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def sent(client: httpx2.Client, body: bytes, **headers: str) -> list[Event] | None:
    """The events that a body is answered with; None where it is refused."""
    before, began = peak(), time.monotonic()
    reply = client.post("/engine", content=body, headers={**JSON, **headers})
    assert time.monotonic() - began < 10 and peak() - before < 2e9
    assert reply.status_code in (200, 400, 403, 413, 415, 422), reply.text
    assert len(reply.content) < LARGEST_ANSWER and b"Traceback" not in reply.content
    if reply.status_code == 200:
        return [Event.from_json(line) for line in reply.text.splitlines()]
    if reply.status_code != 400:  # that is the HTTP library's
        assert reply.json()["error"] and "\n" not in reply.json()["error"]
    return None


def answers(client: httpx2.Client) -> None:
    """The server ranks, as it did before."""
    question = {"history": [1, 2, 3], "source": "catalogue"}
    (event,) = sent(client, written({"ask": "Rank", "request": 5, "question": question})) or [None]
    assert isinstance(event, Ranked) and event.request == 5 and event.items


@SERVED
@given(
    kind=st.sampled_from([*KINDS, *REQUESTS]) | VALUES,
    fields=st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), VALUES, max_size=6),
)
def test_any_record(client: httpx2.Client, kind: Any, fields: dict[str, Any]) -> None:
    sent(client, written({"ask": kind, **fields}))


@SERVED
@given(data=st.data(), kind=st.sampled_from(list(REQUESTS)), value=VALUES | NUMBERS | ODD)
def test_a_request_with_another_value(
    client: httpx2.Client, data: st.DataObject, kind: str, value: Any
) -> None:
    record = {"ask": kind, "request": 1, **REQUESTS[kind]}
    place = data.draw(st.sampled_from([place for place in places(record) if place]))
    sent(client, written(changed(record, place, value)))


@SERVED
@given(data=st.data(), value=NUMBERS | st.lists(NUMBERS, max_size=5), kind=st.sampled_from(["Rank", "Why"]))
def test_a_question_with_another_value(
    client: httpx2.Client, data: st.DataObject, value: Any, kind: str
) -> None:
    """Every field of a question, alone and beside all others."""
    name = data.draw(st.sampled_from(list(QUESTION)))
    beside = QUESTION if data.draw(st.booleans()) else {"history": [1, 2, 3], "source": "catalogue"}
    record = {**REQUESTS[kind], "ask": kind, "request": 1, "question": {**beside, name: value}}
    events = sent(client, written(record))
    for event in events or ():
        if isinstance(event, Ranked):
            assert all(-1e300 < score < 1e300 for score in event.scores)
        else:
            assert not isinstance(event, RequestFailed) or (event.title and "\n" not in event.title)


@SERVED
@given(body=st.binary(max_size=300))
def test_any_bytes(client: httpx2.Client, body: bytes) -> None:
    assert sent(client, body) is None


@SERVED
@given(
    at=st.floats(0, 1), new=st.binary(max_size=6), kept=st.floats(0, 1), kind=st.sampled_from(list(REQUESTS))
)
def test_an_edited_request(client: httpx2.Client, at: float, new: bytes, kept: float, kind: str) -> None:
    whole = written({"ask": kind, "request": 1, **REQUESTS[kind]})
    body = whole[: int(kept * len(whole))] if kept < 0.5 else whole
    place = int(at * len(body))
    sent(client, body[:place] + new + body[place + len(new) :])


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b"5", b'"Survey"', b"[" * 60_000, b'{"ask":' * 9_000,
        b"[" * 30_000 + b"]" * 30_000, b'{"ask":"Survey","ask":[]}', b"9" * 60_000, b"\xef\xbb\xbf{}",
        SURVEY.replace(b"1,", b"1e999,"),
        SURVEY.replace(b"runs", b"\\ud800"), SURVEY.replace(b"runs", b"\xed\xa0\x80"), b" " * 60_000,
        SURVEY[:-9] + b"x" * 60_000, b"x" * (LARGEST_BODY + 1), b"x" * (50 << 20), b"\0" * 1000,
        b'{"ask": "Rank", "request": 1, "question": {"history": [' + b"1," * 30_000 + b"1]}}",
        b'{"ask": "Rank", "request": 1, "question": {' + b'"a": 1,' * 6000 + b'"b": 1}}',
        SURVEY.decode().encode("utf-16"),
    ],
    ids=lambda body: str(body[:24]),
)  # fmt: skip
def test_a_body_that_is_odd_deep_or_huge(client: httpx2.Client, body: bytes) -> None:
    assert sent(client, body) is None
    answers(client)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": ""}, {"Origin": "http://localhost"},
        {"Host": "evil.example"}, {"Host": ""}, {"Host": "localhost.evil.example"}, {"Host": "a" * 5000},
        {"Content-Type": "text/plain"}, {"Content-Type": ""}, {"Content-Type": "application/jsonx"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/x-www-form-urlencoded"},
    ],
)  # fmt: skip
def test_only_a_screens_request_is_answered(client: httpx2.Client, headers: dict[str, str]) -> None:
    assert sent(client, SURVEY, **headers) is None
    answers(client)


@pytest.mark.parametrize(
    "lines",
    [
        b"POST /engine HTTP/1.1\r\n\r\n", b"\r\n\r\n\r\n", b"\x16\x03\x01" * 50, b"GET " + b"/" * 200_000,
        b"POST /engine HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST /engine HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\nx",
        b"POST /engine HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /engine HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{",
        b"POST /engine HTTP/1.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_request_leaves_it_answering(held: Held, client: httpx2.Client, lines: bytes) -> None:
    with socket.create_connection(("127.0.0.1", held.port), 5) as talk:
        talk.settimeout(0.2)
        try:
            talk.sendall(lines)
            said = talk.recv(1 << 16)
        except OSError:  # it says nothing, or closed at once
            said = b""
    assert b"Traceback" not in said and not said.startswith(b"HTTP/1.1 2")
    answers(client)


def test_the_memory_stays_flat(client: httpx2.Client) -> None:
    before = psutil.Process().memory_info().rss
    for _ in range(40):
        sent(client, b"[" * 60_000)
        sent(client, b"x" * (LARGEST_BODY + 1))
    assert psutil.Process().memory_info().rss - before < 100 << 20
    answers(client)
