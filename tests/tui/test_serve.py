"""In a browser: `ilora-app tui --serve` draws in headless Chromium, on loopback only."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(address: str, seconds: float = 30) -> bytes:
    """What an address answers, once somebody listens there."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def end_all(process: subprocess.Popen[bytes]) -> None:
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        if member.is_running():
            member.kill()
    process.wait()


@pytest.fixture
def served(tmp_path: Path, tiny_home: Path) -> Iterator[str]:
    """The printed address of a served program, with its token."""
    port = free_port()
    command = [sys.executable, "-m", "ilora_app", "tui", "--serve", "--port", str(port)]
    command += ["--out", str(tmp_path / "runs"), "--dataset", "tiny"]
    with (tmp_path / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=Path.cwd())
    yield printed_address(tmp_path / "serve.log", port)
    end_all(process)


def printed_address(log: Path, port: int, seconds: float = 30) -> str:
    """The address that the command told, once somebody listens there."""
    end = time.monotonic() + seconds
    while not (found := re.search(r"open (http://localhost:\d+/\?token=\S+) in a browser", log.read_text())):
        assert time.monotonic() < end
        time.sleep(0.1)
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return found[1]
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[int]:
    """The debugging port of a headless Chromium."""
    port = free_port()
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1200,800"]
    command += [f"--remote-debugging-port={port}", f"--user-data-dir={tmp_path / 'profile'}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    fetch(f"http://127.0.0.1:{port}/json/version")
    yield port
    end_all(process)


def colours(png: bytes) -> int:
    """Distinct bytes patterns of a picture's first rows' worth of pixels: one for a blank page."""
    data, at = b"", 8
    while at < len(png):
        length = int.from_bytes(png[at : at + 4], "big")
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + length]
        at += 12 + length
    return len(set(zlib.decompress(data)))


async def look(page: str, keys: str, wait: float) -> tuple[bytes, bytes]:
    """Pictures of a page after a while, and after typing some keys."""
    import aiohttp

    async with aiohttp.ClientSession() as session, session.ws_connect(page, max_msg_size=0) as pipe:
        number = 0

        async def call(method: str, **parameters: Any) -> dict[str, Any]:
            nonlocal number
            number += 1
            await pipe.send_json({"id": number, "method": method, "params": parameters})
            while True:
                said = json.loads((await pipe.receive()).data)
                if said.get("id") == number:
                    found: dict[str, Any] = said["result"]
                    return found

        async def picture() -> bytes:
            return base64.b64decode((await call("Page.captureScreenshot"))["data"])

        await call("Page.bringToFront")
        await asyncio.sleep(wait)
        for kind in ("mousePressed", "mouseReleased"):
            await call("Input.dispatchMouseEvent", type=kind, x=600, y=680, button="left", clickCount=1)
        await asyncio.sleep(2)
        before = await picture()
        await call("Input.dispatchKeyEvent", type="rawKeyDown", key="Escape", windowsVirtualKeyCode=27)
        await asyncio.sleep(1)  # or the terminal takes both keys for one
        for key in keys:
            await call("Input.dispatchKeyEvent", type="keyDown", text=key, key=key)
            await call("Input.dispatchKeyEvent", type="keyUp", key=key)
        await asyncio.sleep(3)
        return before, await picture()


async def test_it_draws_in_a_browser_and_takes_keys(served: str, browser: int, tmp_path: Path) -> None:
    request = urllib.request.Request(f"http://127.0.0.1:{browser}/json/new?{served}", method="PUT")
    with urllib.request.urlopen(request, timeout=10) as answer:
        page = json.loads(answer.read())["webSocketDebuggerUrl"]
    first, second = await look(page, "3", 15)
    (tmp_path / "first.png").write_bytes(first)
    (tmp_path / "second.png").write_bytes(second)
    assert colours(first) > 60
    assert first != second


def test_nobody_else_can_reach_it(served: str) -> None:
    listening = [
        connection.laddr.ip
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
        and connection.laddr.port == urllib.parse.urlsplit(served).port
    ]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}
