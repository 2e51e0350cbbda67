"""`POST /engine`: what a screen that is attached asks, in the engine's own messages, reading alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response, StreamingResponse

from core.data.cards import LONGEST_HISTORY
from core.errors import DataError, IloraError
from core.events import Event
from core.kinds import is_plain
from core.records import json_of
from core.serving.batcher import Batcher
from core.serving.comparing import curves
from core.serving.introducing import gates_listed, introduction, run_listed
from core.serving.listing import Listing, listing_of
from core.serving.protocol import (
    Asking,
    Curves,
    CurvesListed,
    Open,
    Rank,
    Request,
    RequestFailed,
    Survey,
    Surveyed,
    WarmedUp,
    Why,
)
from ilora_app.server.reading import Refused, read_body
from ilora_app.server.schema import MOST_CANDIDATES

LINES = "application/x-ndjson"
"""One event a line."""
NOT_HERE = "an attached screen reads: it trains, fetches and compares nothing"


class ScreenRequests:
    """Answers screens about the run that the server holds; no path that they name is ever looked at.

    Args:
        batcher: owns the model; its session is the run's.
    """

    def __init__(self, batcher: Batcher) -> None:
        self.batcher, self.session = batcher, batcher.session
        info = batcher.session.info
        self.name = "" if info is None else info.path.name
        """What screens call the run: its folder's name, without where that lies."""
        self._listing: Listing | None = None

    async def answer(self, request: HttpRequest) -> Response:
        """One request's events, a line each, as they come."""
        try:
            asked = await self._asked(request)
        except Refused as error:
            return JSONResponse({"error": error.title, "hint": error.hint}, error.status)
        return StreamingResponse(self._lines(asked), media_type=LINES)

    async def _asked(self, request: HttpRequest) -> Request:
        """The request, checked.

        Raises:
            Refused: a web page asks, or it is no request, or too large.
        """
        if request.headers.get("origin") is not None:
            raise Refused(403, "a web page asks", "screens are attached with ilora-app tui --connect")
        body = await read_body(request)
        try:
            asked = Request.from_json(body.decode("utf-8"))
            if not is_plain(json_of(body, "the body")):
                raise DataError("the body holds half a character, or a number of too many digits")
            question = asked.asked() if isinstance(asked, Asking) else None
        except (DataError, UnicodeDecodeError) as error:
            title = error.title if isinstance(error, DataError) else "the body is not UTF-8"
            raise Refused(422, title, "docs/protocol.md lists what can be asked") from error
        if question is None:
            return asked
        offered = [question.candidates or [], asked.candidates if isinstance(asked, Why) else []]
        for name, count, most in (
            ("the history", len(question.history), LONGEST_HISTORY),
            ("the candidates", max(map(len, offered)), MOST_CANDIDATES),
            ("what is retrieved", question.retrieve, MOST_CANDIDATES),
        ):
            if count > most:
                raise Refused(422, f"{name}: {count} items", f"send {most} or fewer")
        return asked

    async def _lines(self, asked: Request) -> AsyncIterator[str]:
        try:
            async for event in self._events(asked):
                yield event.to_json() + "\n"
        except IloraError as error:
            yield RequestFailed(asked.request, error.title, error.hint).to_json() + "\n"

    async def _events(self, asked: Request) -> AsyncIterator[Event]:
        number, info = asked.request, self.session.info
        match asked:
            case Survey():
                runs = [] if info is None else [run_listed(info, self.name)]
                yield Surveyed(number, [], runs, [])
            case Open():
                if asked.run not in (None, self.name):
                    yield RequestFailed(
                        number, f"the server holds {self.name} alone", "start another server for another run"
                    )
                    return
                async for event in self._opened(number):
                    yield event
            case Rank():
                yield await self._in_turn(partial(self.session.rank, number, asked.asked()))
            case Why():
                why = partial(self.session.why, number, asked.asked(), asked.item, asked.candidates)
                yield await self._in_turn(why)
            case Curves():
                wanted = info is not None and self.name in asked.runs
                found = list(curves([str(info.path)])) if wanted and info is not None else []
                yield CurvesListed(number, [{**curve, "run": self.name} for curve in found])
            case _:
                yield RequestFailed(number, NOT_HERE, "use ilora-app where the server runs")

    async def _opened(self, number: int) -> AsyncIterator[Event]:
        """The run as it is introduced, its users and its gates."""
        started, session = time.monotonic(), self.session
        if self._listing is None:
            self._listing = await asyncio.to_thread(listing_of, session.dataset, session.samples)
        method = session.recommender.name
        for event in introduction(number, 0.0, session.info, self._listing, method, self.name):
            yield event
        yield await self._in_turn(partial(gates_listed, number, session))
        yield WarmedUp(number, time.monotonic() - started)

    async def _in_turn(self, work: Callable[[], Event]) -> Event:
        """What the model's own thread makes of it; nothing is asked for a screen that is gone."""
        return await asyncio.wrap_future(self.batcher.call(work))
