"""`tui --serve` answers this machine's own pages that know the token, and nobody else."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from ilora_app.tui import browser
from ilora_app.tui.browser import LocalServer


@pytest.fixture
async def served(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LocalServer]:
    """A server whose sessions are a program that draws nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    server = LocalServer("sleep 30", port)
    running = TestServer(await server._make_app(), host="127.0.0.1", port=port)
    await running.start_server()
    yield server
    await running.close()


async def status(server: LocalServer, path: str, **headers: str) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"http://127.0.0.1:{server.port}{path}", headers=headers, allow_redirects=False
        ) as answer,
    ):
        return answer.status


def known(server: LocalServer, **more: str) -> dict[str, str]:
    return {"Host": f"localhost:{server.port}", "Cookie": f"ilora-{server.port}={server.token}", **more}


async def test_without_the_token_nothing_is_answered(served: LocalServer) -> None:
    for path in ("/", "/?token=guess", "/ws", "/static/js/textual.js", "/download/x"):
        assert await status(served, path) == web.HTTPForbidden.status_code
    assert await status(served, "/", Cookie=f"ilora-{served.port}=guess") == 403


async def test_the_printed_address_opens_it(served: LocalServer) -> None:
    assert served.token in served.address
    assert await status(served, f"/?token={served.token}") == web.HTTPFound.status_code
    assert await status(served, "/", **known(served)) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "localhost.evil.example", "0.0.0.0", "", "evil.example:80", "localhost@evil.example",
        "localhost:1", "127.0.0.2", "2130706433", "0x7f.1", "[::ffff:7f00:1]", "localhost.", "LOCALHOST.EVIL",
        "127.0.0.1.evil.example", "localhost:99999999",
    ],
)  # fmt: skip
async def test_other_names_of_this_machine_are_refused(served: LocalServer, host: str) -> None:
    assert await status(served, "/", **known(served, Host=host)) == 403


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example", "null", "http://localhost", "http://localhost:1", "file://", "", "http://",
        "http://127.0.0.1.evil.example", "http://localhost.evil.example", "http://evil.example/localhost",
        "http://localhost@evil.example", "chrome-extension://x", "http://0.0.0.0", "x" * 3000,
    ],
)  # fmt: skip
async def test_pages_of_other_origins_are_refused(served: LocalServer, origin: str) -> None:
    assert await status(served, "/", **known(served, Origin=origin)) == 403
    assert await status(served, "/ws", **known(served, Origin=origin)) == 403
    assert await status(served, "/ws", **known(served)) == 403


async def test_sessions_have_a_limit(served: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "MOST_SESSIONS", 0)
    origin = f"http://localhost:{served.port}"
    assert await status(served, "/ws", **known(served, Origin=origin)) == 503


def test_a_taken_port_is_one_line(own_home: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        command = [sys.executable, "-m", "ilora_app", "tui", "--serve", "--port", str(taken.getsockname()[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "cannot be used: Address already in use" in done.stderr and "Traceback" not in done.stderr


def test_the_interface_needs_a_terminal(own_home: Path) -> None:
    command = [sys.executable, "-m", "ilora_app", "tui"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2 and "tui needs a terminal" in done.stderr
    assert done.stdout == ""
