"""`POST /recommend` and what belongs to it: checks what comes in, asks the batcher, answers in JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import psutil
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from core.data.cards import LONGEST_HISTORY
from core.errors import DataError, IloraError, InputError
from core.kinds import is_plain
from core.records import json_of
from core.serving.batcher import Batcher, Busy, Query, Recommended
from ilora_app import __version__
from ilora_app.server.engine import ScreenRequests
from ilora_app.server.latencies import Latencies
from ilora_app.server.reading import Refused, read_body
from ilora_app.server.schema import MOST_CANDIDATES, schema

MEMORY = "process_resident_memory_bytes"
"""The name that Prometheus has for it."""


class Service:
    """A run that answers over HTTP.

    Args:
        batcher: answers; its session has the catalogue.
        screens: whether screens may be attached.
    """

    def __init__(self, batcher: Batcher, screens: bool = False) -> None:
        self.screens = screens
        self.batcher, self.latencies, self.process = batcher, Latencies(), psutil.Process()
        self.catalogue = batcher.session.dataset.catalogue
        self.places = {title: place for place, title in enumerate(self.catalogue.titles)}
        self.places |= {item: place for place, item in enumerate(self.catalogue.ids)}  # an id goes first
        self.words = [profile.words for profile in batcher.session.profiles()]

    async def recommend(self, request: Request) -> Response:
        """Ranks what may come after a history."""
        started = time.perf_counter()
        try:
            response: Response = JSONResponse(await self._answer(request))
        except Refused as error:
            record = {"error": error.title, "hint": error.hint}
            headers = {"Retry-After": "1"} if error.status == 503 else {}
            response = JSONResponse(record, error.status, headers)
        self.latencies.add(response.status_code, time.perf_counter() - started)
        return response

    async def _answer(self, request: Request) -> dict[str, Any]:
        record = _record(await read_body(request))
        history, unknown = self._items(record["history"])
        if not history:
            raise Refused(
                422, "no item of the history is in the catalogue", "GET /items lists ids and titles"
            )
        candidates = None
        if record["candidates"] is not None:
            candidates, strange = self._items(record["candidates"])
            if strange:
                raise Refused(422, f"no item {strange[0][:80]} in the catalogue", "leave it out")
        ask = Query(history, candidates, record["top"], record["explain"])
        try:
            answer = await asyncio.wrap_future(self.batcher.submit(ask))
        except Busy as error:
            raise Refused(503, error.title, error.hint) from error
        except InputError as error:
            raise Refused(422, error.title, error.hint) from error
        return self._said(answer, history, unknown)

    def _items(self, names: Sequence[str]) -> tuple[tuple[int, ...], list[str]]:
        """Catalogue indices of ids or titles, and those that are neither."""
        known = tuple(self.places[name] for name in names if name in self.places)
        return known, [name for name in names if name not in self.places]

    def _said(self, answer: Recommended, history: Sequence[int], unknown: list[str]) -> dict[str, Any]:
        read = history[-self.batcher.session.rules.max_history :]
        record: dict[str, Any] = {
            "items": [
                {**self._item(item), "rank": rank, "score": score}
                for rank, (item, score) in enumerate(zip(answer.items, answer.scores, strict=True), start=1)
            ],
            "history": [self._item(item) for item in read],
            "unknown": unknown,
            "omega": answer.omega,
            "experts": self.words,
        }
        if answer.changes is not None:
            record["why"] = [
                {**self._item(item), "change": change}
                for item, change in zip(read, answer.changes, strict=True)
            ]
        return record

    def _item(self, item: int) -> dict[str, str]:
        return {"id": self.catalogue.ids[item], "title": self.catalogue.titles[item]}

    async def health(self, _: Request) -> Response:
        """Whether it answers, and with what."""
        session, info = self.batcher.session, self.batcher.session.info
        return JSONResponse(
            {
                "status": "ok",
                "version": __version__,
                "run": None if info is None else info.path.name,
                "screens": self.screens,
                "dataset": session.dataset.name,
                "method": session.recommender.name,
                "seed": None if info is None else info.seed,
                "items": len(self.catalogue),
            }
        )

    async def items(self, _: Request) -> Response:
        """The catalogue."""
        return JSONResponse([self._item(item) for item in range(len(self.catalogue))])

    async def metrics(self, _: Request) -> Response:
        """Requests, times, how many share a forward, and the memory in use."""
        batcher = self.batcher
        together = batcher.asked / batcher.forwards if batcher.forwards else 0.0
        gauges = {
            "ilora_waiting": float(batcher.waiting),
            "ilora_questions_per_forward": together,
            MEMORY: float(self.process.memory_info().rss),
        }
        return PlainTextResponse(self.latencies.text(gauges))

    async def openapi(self, _: Request) -> Response:
        """What can be asked."""
        return JSONResponse(schema())


def make_app(batcher: Batcher, hosts: Sequence[str], screens: bool = False) -> Starlette:
    """The application.

    Args:
        batcher: answers.
        hosts: names under which requests may call it; `*` for any. Others are refused, so that a web page
            cannot reach a server on its reader's machine by a name that leads there.
        screens: whether `ilora-app tui --connect` may be attached, which reads all users' histories.
    """
    service = Service(batcher, screens)
    attached = [Route("/engine", ScreenRequests(batcher).answer, methods=["POST"])] if screens else []
    return Starlette(
        routes=[
            *attached,
            Route("/recommend", service.recommend, methods=["POST"]),
            Route("/health", service.health),
            Route("/items", service.items),
            Route("/metrics", service.metrics),
            Route("/openapi.json", service.openapi),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={IloraError: _failed},
    )


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, IloraError)
    return JSONResponse({"error": error.title, "hint": error.hint}, 500)


def _record(content: bytes) -> dict[str, Any]:
    """What was asked, checked."""
    try:
        record = json_of(content, "the body")
    except DataError as error:
        raise Refused(400, "the body is not JSON", "GET /openapi.json says what can be asked") from error
    if not is_plain(record):
        raise Refused(422, "the body holds half a character, or a number of too many digits")
    if not isinstance(record, dict):
        raise Refused(422, "the body is no object", "GET /openapi.json says what can be asked")
    if strange := sorted(record.keys() - {"history", "candidates", "top", "explain"}):
        raise Refused(422, f"unknown field: {strange[0][:80]}", "GET /openapi.json says what can be asked")
    found: dict[str, Any] = {"candidates": None}
    found["history"] = _names(record.get("history"), "history", 1, LONGEST_HISTORY)
    if record.get("candidates") is not None:
        found["candidates"] = _names(record["candidates"], "candidates", 2, MOST_CANDIDATES)
    found["top"], found["explain"] = record.get("top", 10), record.get("explain", False)
    if type(found["top"]) is not int or not 1 <= found["top"] <= MOST_CANDIDATES:
        raise Refused(422, "top is no whole number that can be used", f"from 1 to {MOST_CANDIDATES}")
    if type(found["explain"]) is not bool:
        raise Refused(422, "explain is neither true nor false")
    return found


def _names(value: Any, name: str, least: int, most: int) -> list[str]:
    """Ids or titles as texts; ids may be written as whole numbers."""
    if not isinstance(value, list) or not all(type(entry) in (str, int) for entry in value):
        raise Refused(422, f"{name} is no list of ids or titles", 'such as {"history": ["50", "172"]}')
    if not least <= len(value) <= most:
        raise Refused(422, f"{name} has {len(value)} items", f"send {least} to {most}")
    return list(map(str, value))
