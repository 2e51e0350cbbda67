"""The screen on a server's run: a real server, a small real model, and servers that are none of ours."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
from textual.message import Message

from core.data.cards import LONGEST_HISTORY
from core.errors import InputError
from core.events import Event
from core.serving.batcher import Batcher
from core.serving.opening import open_session
from core.serving.protocol import (
    Curves,
    CurvesListed,
    Differences,
    Estimate,
    Explained,
    Fetch,
    GatesListed,
    ItemsListed,
    Open,
    Opened,
    Question,
    Rank,
    Ranked,
    Request,
    RequestFailed,
    Survey,
    Surveyed,
    UsersListed,
    WarmedUp,
    Why,
)
from ilora_app import __version__
from ilora_app.cli import main
from ilora_app.cli.serve import LOOPBACK
from ilora_app.server.schema import LARGEST_BODY, MOST_CANDIDATES
from ilora_app.tui.app import IloraTui
from ilora_app.tui.engine import attached
from ilora_app.tui.engine.attached import AttachedEngine, attached_to, find_server, server_of
from ilora_app.tui.engine.messages import EngineDied, EngineMumbled, EngineSaid
from ilora_app.tui.state.app_state import Stage
from tests import tiny
from tests.tui.conftest import settle, text_of

pytest.importorskip("starlette", reason="comes with the test extras")


@dataclass
class Held:
    """A server in a thread, which can be stopped and started again at the same address."""

    run: Path
    port: int = 0
    stop: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, screens: bool = True) -> None:
        import uvicorn

        from ilora_app.server.app import make_app

        batcher = Batcher(open_session(self.run), size=4, waiting=4)
        listening = socket.socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        application = make_app(batcher, LOOPBACK, screens)
        settings = uvicorn.Config(application, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)

        def stop() -> None:
            server.should_exit = server.force_exit = True
            thread.join(10)
            batcher.close()
            listening.close()

        self.stop = stop


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Iterator[Path]:
    """An iLoRA run of the tiny model, and the environment that finds its data."""
    run, environment = tiny.trained_run(tmp_path_factory.mktemp("held"), "ilora", tiny_model)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield run


@pytest.fixture(scope="module")
def held(trained: Path) -> Iterator[Held]:
    server = Held(trained)
    server.start()
    yield server
    server.stop()


def told(held: Held, kind: type[Request], **fields: Any) -> list[Event]:
    """What the server answers to one request."""
    reply = httpx2.post(f"{held.url}/engine", content=kind(7, **fields).to_json(), headers=JSON, timeout=60)
    assert reply.status_code == 200, reply.text
    found = [Event.from_json(line) for line in reply.text.splitlines()]
    assert {event.request for event in found if hasattr(event, "request")} == {7}
    return found


JSON = {"Content-Type": "application/json"}
QUESTION = {"history": [1, 2, 3], "source": "catalogue", "retrieve": 10}

# --- the server --------------------------------------------------------------------------------------------


def test_a_server_introduces_its_run_without_saying_where_it_lies(held: Held, trained: Path) -> None:
    (surveyed,) = told(held, Survey, out="/etc", dataset="any")
    assert isinstance(surveyed, Surveyed)
    assert [run["path"] for run in surveyed.runs] == [trained.name]
    opened, *pieces = told(held, Open, out="/etc")
    assert isinstance(opened, Opened)
    assert (opened.run, opened.method, opened.users) == (trained.name, "ilora", tiny.USERS)
    assert [type(piece) for piece in pieces] == [ItemsListed, UsersListed, GatesListed, WarmedUp]
    for event in (surveyed, opened, *pieces):
        assert str(trained.parent) not in event.to_json()


def test_rankings_and_reasons_are_those_of_the_run_itself(held: Held, trained: Path) -> None:
    session = open_session(trained)
    (ranked,) = told(held, Rank, question=QUESTION)
    assert isinstance(ranked, Ranked)
    own = session.rank(7, Question(**QUESTION))
    assert (ranked.items, ranked.omega) == (own.items, own.omega)
    assert ranked.scores == pytest.approx(own.scores, abs=1e-5)
    (pushed,) = told(held, Rank, question={**QUESTION, "lock": 2})
    assert isinstance(pushed, Ranked) and pushed.omega == [0, 0, 1, 0]
    (natural,) = told(held, Rank, question=QUESTION)  # what one asks for changes nothing for the next
    assert isinstance(natural, Ranked) and natural.omega == ranked.omega
    (why,) = told(held, Why, question=QUESTION, item=own.items[0], candidates=own.items)
    assert isinstance(why, Explained) and len(why.changes) == 3
    (curves,) = told(held, Curves, runs=[trained.name, "/etc/passwd"])
    assert isinstance(curves, CurvesListed) and {curve["run"] for curve in curves.curves} <= {trained.name}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (Fetch, {"dataset": "tiny"}),
        (Differences, {"run": "/a", "other": "/b"}),
        (Open, {"out": "runs", "run": "/etc"}),
        (
            Estimate,
            {"preset": "quick", "dataset": "d", "model": "m", "methods": [], "seeds": 1, "out": "runs"},
        ),
        (Rank, {"question": {"history": []}}),
        (Rank, {"question": {"history": [10_000]}}),
    ],
)
def test_what_a_server_does_not_do_is_one_line(
    held: Held, kind: type[Request], fields: dict[str, Any]
) -> None:
    (failed,) = told(held, kind, **fields)
    assert isinstance(failed, RequestFailed) and failed.title and failed.hint


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        ("{}", {}, 422),
        ('{"ask": "Train", "request": 1}', {}, 422),
        ('{"ask": "Rank", "request": 1, "question": {"hist": []}}', {}, 422),
        ("{" * 1000, {}, 422),
        ("\xff", {}, 422),
        (Rank(1, {"history": [1] * (LONGEST_HISTORY + 1)}).to_json(), {}, 422),
        (Rank(1, {"history": [1], "candidates": [1] * (MOST_CANDIDATES + 1)}).to_json(), {}, 422),
        (Rank(1, {"history": [1], "retrieve": MOST_CANDIDATES + 1}).to_json(), {}, 422),
        (Why(1, {"history": [1]}, 1, [1] * (MOST_CANDIDATES + 1)).to_json(), {}, 422),
        ("x" * (LARGEST_BODY + 1), {}, 413),
        (Survey(1, "runs").to_json(), {"Content-Type": "text/plain"}, 415),
        (Survey(1, "runs").to_json(), {"Origin": "http://evil.example"}, 403),
        (Survey(1, "runs").to_json(), {"Origin": "null"}, 403),
        (Survey(1, "runs").to_json(), {"Host": "evil.example"}, 400),
    ],
    ids=lambda value: str(value)[:50],
)
def test_only_a_request_of_a_screen_is_read(
    held: Held, content: str, headers: dict[str, str], status: int
) -> None:
    body = content.encode("latin-1")
    reply = httpx2.post(f"{held.url}/engine", content=body, headers={**JSON, **headers}, timeout=30)
    assert reply.status_code == status


def test_a_full_queue_is_said(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine ask at once, and four may wait: the others hear so, and every answer is to its own question."""

    async def everybody() -> list[Event]:
        async with httpx2.AsyncClient(timeout=60) as client:
            asked = [
                client.post(f"{held.url}/engine", content=Rank(n, QUESTION).to_json(), headers=JSON)
                for n in range(9)
            ]
            return [Event.from_json(reply.text) for reply in await asyncio.gather(*asked)]

    found = asyncio.run(everybody())
    assert [event.request for event in found if isinstance(event, Ranked | RequestFailed)] == list(range(9))
    assert any(isinstance(event, Ranked) for event in found)
    assert all("wait" in event.title for event in found if isinstance(event, RequestFailed))


# --- the engine that asks it -------------------------------------------------------------------------------


class Ears:
    """Everything that an engine posts."""

    def __init__(self) -> None:
        self.heard: list[Message] = []

    def __call__(self, message: Message) -> None:
        self.heard.append(message)

    def events(self, kind: type[Event]) -> list[Any]:
        said = [message.event for message in self.heard if isinstance(message, EngineSaid)]
        return [event for event in said if isinstance(event, kind)]

    async def until(self, true: Callable[[], bool], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < end, self.heard
            await asyncio.sleep(0.02)


async def test_of_many_edits_in_a_row_the_newest_is_answered(held: Held) -> None:
    ears = Ears()
    engine = AttachedEngine("main", ears, held.url)
    await engine.start()
    numbers = [engine.ask(Rank, question={**QUESTION, "history": [1, 2, place]}) for place in range(3, 13)]
    await ears.until(lambda: any(event.request == numbers[-1] for event in ears.events(Ranked)))
    assert ears.events(Ranked)[-1].history == [1, 2, 12]
    assert len(ears.events(Ranked)) < len(numbers)
    await engine.stop()
    assert not engine.alive and not [m for m in ears.heard if isinstance(m, EngineDied)]


@contextmanager
def stranger(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[str]:
    """A server that answers each path as it is told, and the address of it."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, content = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


HEALTH = {"status": "ok", "dataset": "tiny", "method": "ilora", "version": __version__, "screens": True}


@pytest.mark.parametrize(
    ("status", "content", "says"),
    [
        (404, b"", "is no ilora-app serve"),
        (200, b"<html>", "is no ilora-app serve"),
        (200, b"[" * 100_000, "is no ilora-app serve"),
        (200, b"[]", "is no ilora-app serve"),
        (200, json.dumps({**HEALTH, "dataset": "\ud800"}).encode(), "is no ilora-app serve"),
        (200, json.dumps({**HEALTH, "items": 10**400}).encode(), "is no ilora-app serve"),
        (200, json.dumps({**HEALTH, "version": "0.0.1"}).encode(), "is of version 0.0.1, this is"),
        (200, json.dumps({"dataset": "tiny", "method": "ilora"}).encode(), "is of version an older one"),
        (200, json.dumps({**HEALTH, "screens": False}).encode(), "lets no screen in"),
    ],
)
def test_whoever_answers_in_its_place_is_one_line(status: int, content: bytes, says: str) -> None:
    with stranger(lambda _: (status, content)) as url, pytest.raises(InputError, match=says) as caught:
        find_server(url)
    assert caught.value.hint and "\n" not in caught.value.title


def test_what_a_server_calls_itself_does_nothing_to_the_screen() -> None:
    health = json.dumps({**HEALTH, "dataset": "\x1b[31mtiny", "run": "\x9bx"}).encode()
    with stranger(lambda _: (200, health)) as url:
        found = find_server(url)
    assert not {"\x1b", "\x9b"} & set(found.dataset + found.run)


async def test_what_a_refusal_says_does_nothing_to_the_screen() -> None:
    ears = Ears()
    refusal = json.dumps({"error": "\x1b[2Jno", "hint": "\ud800"}).encode()
    told = {"/health": (200, json.dumps(HEALTH).encode())}
    with stranger(lambda path: told.get(path, (422, refusal))) as url:
        engine = AttachedEngine("main", ears, url)
        await engine.start()
        engine.ask(Survey, out="runs")
        await ears.until(lambda: len(ears.heard) == 1)
        (message,) = ears.heard
        assert isinstance(message, EngineSaid) and isinstance(message.event, RequestFailed)
        assert not {"\x1b", "\ud800"} & set(message.event.title + message.event.hint)
        await engine.stop()


async def test_what_a_hostile_server_says_is_shown_and_believed_no_further() -> None:
    ears = Ears()
    garbage = b'no event\n{"event": "Nothing"}\n\n' + Opened.__name__.encode()
    with stranger(lambda path: (200, json.dumps(HEALTH).encode() if path == "/health" else garbage)) as url:
        engine = AttachedEngine("main", ears, url)
        await engine.start()
        engine.ask(Survey, out="runs")
        await ears.until(lambda: len(ears.heard) == 2)
        assert all(isinstance(message, EngineMumbled) for message in ears.heard)
        await engine.stop()


def test_addresses_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert server_of("127.0.0.1:8723") == server_of("http://127.0.0.1:8723/") == "http://127.0.0.1:8723"
    for wrong in (
        "ftp://a",
        "http://",
        "http://a/b",
        "http://u:p@a",
        "http://a?x",
        "http://a:99999",
        "http://[x",
    ):
        with pytest.raises(InputError, match="no address of a server"):
            server_of(wrong)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        asked = ["tui", "--connect", f"http://127.0.0.1:{nobody.getsockname()[1]}"]
        for more, says in (
            ([], "no server answers at"),
            (["--run", "demo"], "--run"),
            (["--serve"], "--serve"),
        ):
            with pytest.raises(SystemExit) as ended:
                main([*asked, *more])
            assert ended.value.code == 2
            error = capsys.readouterr().err
            assert says in error and error.count("error:") == error.count("hint:") == 1


# --- the screen --------------------------------------------------------------------------------------------


def screen(held: Held, place: Path) -> IloraTui:
    return IloraTui(place / "runs", "tiny", make_engine=attached_to(held.url), attached=held.url)


async def test_a_user_is_shown_edited_and_explained_from_the_servers_run(held: Held, tmp_path: Path) -> None:
    app = screen(held, tmp_path)
    async with app.run_test(size=(140, 40)) as pilot:
        ears = Ears()
        await ears.until(lambda: app.app_state.stage is Stage.READY)
        await ears.until(lambda: app.app_state.milliseconds is not None)
        await settle(pilot)
        shown = text_of(app)
        assert held.url.removeprefix("http://") in shown
        assert any(title in shown for title in tiny.TITLES)
        assert app.app_state.run_data.opened is not None
        assert app.app_state.run_data.opened.run == held.run.name
        await pilot.press("3")
        await ears.until(lambda: app.current_mode == "train")
        await ears.until(lambda: "where the server runs" in text_of(app))
        await pilot.press("4")
        await ears.until(lambda: app.current_mode == "results")
        await ears.until(lambda: "where the server runs" in text_of(app))
    assert not app.app_state.main.alive


async def test_a_lost_server_is_said_and_found_again_with_a_key(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attached, "KNOCK_SECONDS", 0.1)
    own = Held(trained)
    own.start()
    app, ears = screen(own, tmp_path), Ears()
    try:
        async with app.run_test(size=(140, 40)) as pilot:
            await ears.until(lambda: app.app_state.stage is Stage.READY)
            own.stop()
            await ears.until(lambda: app.app_state.stage is Stage.DEAD)
            await settle(pilot)
            assert "ctrl+r connects" in text_of(app)
            await pilot.press("ctrl+r")  # still nobody there
            await ears.until(lambda: "no server answers" in app.app_state.problem[1])
            own.start()
            await pilot.press("ctrl+r")
            await ears.until(lambda: app.app_state.stage is Stage.READY)
    finally:
        own.stop()


def test_a_server_lets_screens_in_only_where_it_was_told_to(trained: Path) -> None:
    own = Held(trained)
    own.start(screens=False)
    try:
        with pytest.raises(InputError, match="lets no screen in"):
            find_server(own.url)
        asked = partial(httpx2.post, f"{own.url}/engine", headers=JSON)
        assert asked(content=Survey(1, "runs").to_json()).status_code == 404
    finally:
        own.stop()
