"""Offers the interface to a browser on this machine, and to nobody else.

A page of another site can make a browser send requests to this machine, and other users can reach its ports:
so names of hosts, origins and a token that only the printed address holds are checked before anything runs.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from textual_serve.server import Server

MOST_SESSIONS = 4
"""Tabs at once: each is a program with an engine of its own."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class LocalServer(Server):
    """One program per browser tab, for whoever has the address with its token.

    Args:
        command: what runs in each tab.
        port: where it listens, on this machine's own addresses only.
    """

    def __init__(self, command: str, port: int) -> None:
        super().__init__(command, host="localhost", port=port, title="iLoRA")
        self.token = secrets.token_urlsafe(24)
        self._cookie = f"ilora-{port}"
        self._hosts = {f"{name}:{port}" for name in ("localhost", "127.0.0.1", "[::1]")}
        self._sessions = 0

    @property
    def address(self) -> str:
        """What to open; the token in it is the key."""
        return f"{self.public_url}/?token={self.token}"

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._guard())
        return app

    def _guard(self) -> Any:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            """Lets through what comes from this machine and knows the token."""
            self._check_place(request)
            given = request.query.get("token", "")
            if request.path == "/" and given:
                self._check_token(given)
                answer = web.HTTPFound(f"{self.public_url}/")  # so that the token leaves the address line
                answer.set_cookie(self._cookie, self.token, httponly=True, samesite="Strict")
                raise answer
            self._check_token(request.cookies.get(self._cookie, ""))
            if request.path != "/ws":
                return await handler(request)
            if self._sessions >= MOST_SESSIONS:
                raise web.HTTPServiceUnavailable(text=f"{MOST_SESSIONS} tabs are open: close one")
            self._sessions += 1
            try:
                return await handler(request)
            finally:
                self._sessions -= 1

        return guard

    def _check_place(self, request: web.Request) -> None:
        """Refuses other hosts' names and pages of other origins; a WebSocket must name its origin."""
        origin = request.headers.get("Origin")
        own = {f"http://{host}" for host in self._hosts}
        if request.headers.get("Host", "").lower() not in self._hosts:
            raise web.HTTPForbidden(text="this is not the name of this machine's own address")
        if (origin is None and request.path == "/ws") or (origin is not None and origin not in own):
            raise web.HTTPForbidden(text="the page that asks is another one")

    def _check_token(self, given: str) -> None:
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise web.HTTPForbidden(text="open the address that the terminal shows, with its token")

    async def on_startup(self, app: web.Application) -> None:
        """Says nothing: the command has said the address already."""
