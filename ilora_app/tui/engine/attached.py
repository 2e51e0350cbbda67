"""The engine of a server: asked over HTTP, with the same messages, in place of a child's pipes."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from textual.message import Message

from core.errors import DataError, InputError
from core.events import Event
from core.kinds import is_plain
from core.records import json_of
from core.safe_text import plain
from core.serving.protocol import Request, RequestFailed
from ilora_app import __version__
from ilora_app.tui.engine.client import LONGEST_LINE, Engine
from ilora_app.tui.engine.messages import EngineDied, EngineMumbled, EngineSaid

if TYPE_CHECKING:
    import httpx2

KNOCK_SECONDS = 5.0
"""Between two looks whether the server is still there."""
PATIENCE = 10.0
"""Seconds to wait for a sign of it."""
LARGEST_REPLY = 1 << 16
"""Bytes of what it says about itself, or about a request that it refuses."""
START = "ilora-app serve [RUN] starts one"


@dataclass(frozen=True)
class Server:
    """What a server says about itself."""

    url: str
    dataset: str
    run: str


def server_of(text: str) -> str:
    """The address of a server, without a slash at its end.

    Raises:
        InputError: it is no such address.
    """
    hint = "such as http://127.0.0.1:8723"
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port)
    except ValueError:
        good = ""
    if not good or parts.username or parts.query or parts.fragment or parts.path.strip("/"):
        raise InputError(f"--connect {text[:80]} is no address of a server", hint)
    return f"{parts.scheme}://{parts.netloc}"


def _client(url: str, kind: Any) -> Any:
    """A connection that sends nothing through a proxy where the server is this machine."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    here = host == "localhost"
    with contextlib.suppress(ValueError):
        here = here or ipaddress.ip_address(host).is_loopback
    return kind(trust_env=not here, headers={"Accept-Encoding": "identity"}, timeout=PATIENCE)


def find_server(url: str) -> Server:
    """Asks a server what it is.

    Raises:
        InputError: nobody answers, or something else, or another version, or it lets no screen in.
    """
    import httpx2

    try:
        with _client(url, httpx2.Client) as client, client.stream("GET", f"{url}/health") as reply:
            content = b""
            for piece in reply.iter_bytes():
                content += piece
                if len(content) > LARGEST_REPLY:
                    break
            status = reply.status_code
    except httpx2.HTTPError as error:
        raise InputError(f"no server answers at {url}: {_said(error)}", START) from error
    return _understood(url, status, content)


def _understood(url: str, status: int, content: bytes) -> Server:
    """What `/health` answered, checked."""
    try:
        record = json_of(content, "its answer") if status == 200 else {}
        known = is_plain(record) and isinstance(record, dict) and isinstance(record.get("dataset"), str)
    except DataError:
        known = False
    if not known or "method" not in record:
        raise InputError(f"what answers at {url} is no ilora-app serve (status {status})", START)
    version = str(record.get("version", "an older one"))[:40]
    if version != __version__:
        raise InputError(
            f"the server at {url} is of version {version}, this is {__version__}",
            "use the same on both sides",
        )
    if not record.get("screens"):
        raise InputError(f"the server at {url} lets no screen in", "start it with --screens, or on 127.0.0.1")
    return Server(url, plain(record["dataset"]), plain(str(record.get("run") or "")))


class AttachedEngine(Engine):
    """A server's engine; one that is lost is found again by `start`.

    Args:
        name: tells its messages from another engine's.
        post: where messages go.
        url: the server's.
    """

    def __init__(self, name: str, post: Callable[[Message], Any], url: str) -> None:
        super().__init__(name, post)
        self.url = url
        self._http: httpx2.AsyncClient | None = None
        self._tasks: dict[asyncio.Task[None], type[Request] | None] = {}

    @property
    def alive(self) -> bool:
        """Whether the server answered the last time."""
        return self._http is not None

    @property
    def pid(self) -> int | None:
        """No process of this machine's."""
        return None

    async def start(self) -> None:
        """Finds the server; what is wrong with it is posted as its end."""
        await self.stop()
        self._ending = False
        import httpx2

        try:
            await asyncio.to_thread(find_server, self.url)
        except InputError as error:
            self._post(EngineDied(self.name, None, f"{error.title}: {error.hint}"))
            return
        self._http = _client(self.url, httpx2.AsyncClient)
        self._do(self._knock(self._http))

    def ask(self, kind: type[Request], **fields: Any) -> int:
        """Sends a request and gives its number; a newer one of a replaceable kind ends the older one."""
        self._number += 1
        if self._http is not None:
            if kind.replaceable:
                for task in [task for task, of in self._tasks.items() if of is kind]:
                    task.cancel()
            request = kind(request=self._number, **fields)
            self._do(self._answer(self._http, request), kind)
        return self._number

    async def stop(self) -> None:
        """Lets the server go."""
        self._ending = True
        tasks = [task for task in self._tasks if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    def _do(self, work: Any, kind: type[Request] | None = None) -> None:
        task = asyncio.create_task(work)
        self._tasks[task] = kind
        task.add_done_callback(lambda done: self._tasks.pop(done, None))

    async def _knock(self, http: httpx2.AsyncClient) -> None:
        """Looks now and then whether the server is there: a lost connection says nothing by itself."""
        import httpx2

        while True:
            await asyncio.sleep(KNOCK_SECONDS)
            try:
                async with http.stream("GET", f"{self.url}/health") as reply:
                    reply.raise_for_status()
                    await _first(reply)
            except httpx2.HTTPError as error:
                self._lost(error)
                return

    async def _answer(self, http: httpx2.AsyncClient, request: Request) -> None:
        import httpx2

        headers = {"Content-Type": "application/json"}
        waiting = httpx2.Timeout(PATIENCE, read=None)  # a ranking takes as long as it takes
        try:
            async with http.stream(
                "POST", f"{self.url}/engine", content=request.to_json(), headers=headers, timeout=waiting
            ) as reply:
                if reply.status_code != 200:
                    self._refused(request, reply.status_code, await _first(reply))
                    return
                async for line in _lines(reply):
                    self._take(line)
                    await asyncio.sleep(0)  # a burst of lines must not hold the screen
        except httpx2.HTTPError as error:
            self._lost(error)

    def _take(self, line: str) -> None:
        try:
            event = Event.from_json(line)
        except DataError:
            self._post(EngineMumbled(self.name, line))
            return
        self._post(EngineSaid(self.name, event))

    def _refused(self, request: Request, status: int, content: bytes) -> None:
        try:
            record = json.loads(content)
            title, hint = plain(str(record["error"])[:200]), plain(str(record["hint"])[:200])
        except (ValueError, LookupError, TypeError, RecursionError):
            title, hint = f"the server refused it (status {status})", ""
        self._post(EngineSaid(self.name, RequestFailed(request.request, title, hint)))

    def _lost(self, error: Exception) -> None:
        """Says once that the server is gone, and asks it nothing more."""
        http, self._http = self._http, None
        if http is None or self._ending:
            return
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._post(EngineDied(self.name, None, f"the connection to {self.url} ended: {_said(error)}"))


async def _first(reply: httpx2.Response) -> bytes:
    """The beginning of a reply."""
    content = b""
    async for piece in reply.aiter_bytes():
        content += piece
        if len(content) > LARGEST_REPLY:
            break
    return content


async def _lines(reply: httpx2.Response) -> AsyncIterator[str]:
    """The lines of a reply as they come; one that never ends is the end of the reply."""
    held = b""
    async for piece in reply.aiter_bytes():
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            if line.strip():
                yield line.decode("utf-8", errors="replace")
        if len(held) > LONGEST_LINE:
            return


def _said(error: Exception) -> str:
    """An error in one line."""
    return " ".join(str(error).split())[:160] or type(error).__name__


def attached_to(url: str) -> Callable[[str, Callable[[Message], Any]], Engine]:
    """Makes engines that a server answers for."""
    return lambda name, post: AttachedEngine(name, post, url)
