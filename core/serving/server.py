"""The warm engine: takes requests one at a time, the newest first, and answers each with events."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, BinaryIO

from core.assets import cache, fetching, known
from core.data.card_files import known_cards, load_card
from core.errors import DataError, IloraError, InputError
from core.events import Emit, Notice, never
from core.hardware import OUT_OF_MEMORY, is_out_of_memory
from core.methods import record_of
from core.runs.demo import demo_runs
from core.runs.store import RunInfo, list_runs, open_run, read_run
from core.serving.comparing import curves, differences
from core.serving.estimating import estimate
from core.serving.introducing import gates_listed, introduction, run_listed
from core.serving.listing import Listing, keep, kept, listing_of
from core.serving.protocol import (
    Asking,
    AssetListed,
    Curves,
    CurvesListed,
    Differences,
    EncoderReady,
    Estimate,
    Fetch,
    Fetched,
    Open,
    Rank,
    Request,
    RequestFailed,
    Survey,
    Surveyed,
    WarmedUp,
    Why,
)
from core.stages import Watch

if TYPE_CHECKING:
    from core.data.cards import DatasetCard
    from core.data.types import Dataset, Samples
    from core.serving.session import Session

LONGEST_REQUEST = 1 << 22
"""Bytes of the longest request that is read: a history of every item of a large catalogue."""


class Inbox:
    """Requests in the order they came, except that of a replaceable kind only the newest is kept."""

    def __init__(self) -> None:
        self._waiting: list[Request] = []
        self._changed = threading.Condition()
        self._closed = False

    def put(self, request: Request) -> None:
        """Adds a request; an older one of a replaceable kind makes way."""
        with self._changed:
            if request.replaceable:
                self._waiting = [old for old in self._waiting if type(old) is not type(request)]
            self._waiting.append(request)
            self._changed.notify()

    def close(self) -> None:
        """No more requests will come."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def take(self) -> Request | None:
        """The next request, waiting for one; None once the inbox is closed and empty."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            return self._waiting.pop(0) if self._waiting else None


class WarmEngine:
    """Answers requests about one opened run.

    Args:
        emit: receives answers and whatever loading and fetching say meanwhile.
        precision: what runs are opened in.
    """

    def __init__(self, emit: Emit, precision: str = "auto") -> None:
        self.emit, self.precision = emit, precision
        self.session: Session | None = None
        self._estimating, self._wanted = threading.Lock(), -1
        self._thread: threading.Thread | None = None
        self._opening: threading.Thread | None = None
        self._can_answer = threading.Event()
        """Not set while a run is opened that cannot answer yet: questions wait."""
        self._can_answer.set()
        self._handlers: dict[type[Request], Callable[[Any], None]] = {
            Survey: self._survey,
            Fetch: self._fetch,
            Open: self._open,
            Rank: self._rank,
            Why: self._why,
            Differences: self._differences,
            Estimate: self._estimate,
            Curves: self._curves,
        }

    def run(self, inbox: Inbox) -> None:
        """Answers until the inbox is closed."""
        while (request := inbox.take()) is not None:
            self.answer(request)
        self._finish_opening()
        if self._thread is not None:
            self._thread.join()

    def answer(self, request: Request) -> None:
        """Answers one request; what the user can act on becomes a `RequestFailed`."""
        self._say(request, lambda: self._handlers[type(request)](request))

    def _say(self, request: Request, answer: Callable[[], None]) -> None:
        try:
            answer()
        except IloraError as error:
            self.emit(RequestFailed(request.request, error.title, error.hint))
        except Exception as error:  # whatever one request did, the next one gets its answer
            if is_out_of_memory(error):
                self.emit(RequestFailed(request.request, *OUT_OF_MEMORY))
                return
            traceback.print_exc()
            self.emit(RequestFailed(request.request, f"{type(error).__name__}: {error}", "try it again"))

    # --- one method per request -------------------------------------------------------------------------

    def _survey(self, request: Survey) -> None:
        runs, problems = list_runs(Path(request.out))
        shipped = [read_run(path) for path in demo_runs().values()]  # last, whatever else there is
        runs += [run for run in shipped if run.dataset == request.dataset]
        found = [run_listed(run) for run in runs]
        cards, unread = known_cards()
        self.emit(Surveyed(request.request, list(_assets(cards)), found, problems + unread))

    def _fetch(self, request: Fetch) -> None:
        card = load_card(request.dataset)
        fetching.obtain(card.asset, self.emit)
        fetching.obtain(known.EMBEDDED_MODEL.asset, self.emit)
        self.emit(Fetched(request.request))

    def _open(self, request: Open) -> None:
        """Opens a run in a thread of its own, whose encoder may answer meanwhile; one model at a time."""
        self._finish_opening()
        self.session = None
        self._can_answer.clear()
        self._opening = threading.Thread(target=self._open_aside, args=(request,), daemon=True)
        self._opening.start()
        if not request.early:
            self._finish_opening()

    def _finish_opening(self) -> None:
        if self._opening is not None:
            self._opening.join()
            self._opening = None

    def _open_aside(self, request: Open) -> None:
        try:
            self._say(request, lambda: self._load(request))
        finally:
            self._can_answer.set()

    def _load(self, request: Open) -> None:
        try:
            self._load_whole(request)
        except BaseException:
            self.session = None  # the encoder alone is not what was asked for
            raise

    def _load_whole(self, request: Open) -> None:
        started = monotonic()
        if request.run is not None:
            path = Path(request.run)
            shown = self._list_kept(request.request, started, path) if request.early else None
            read = partial(self._data_read, request, started, shown)
            run = open_run(path, self.emit, self.precision, data_read=read)
            from core.serving.opening import session_of

            session = session_of(run, self.emit)
        else:
            from core.serving.opening import encoder_session  # torch is imported here

            session = encoder_session(request.dataset, Path(request.out) / "work", self.emit)
            session.watch = Watch(self.emit, never, session.recommender.name)
            listing = listing_of(session.dataset, session.samples)
            self._introduce(request.request, started, None, listing, session.recommender.name)
        self.emit(gates_listed(request.request, session))
        self.session = session
        self.emit(WarmedUp(request.request, monotonic() - started))

    def _list_kept(self, number: int, started: float, path: Path) -> Listing | None:
        """Lists what was listed of this run's data the last time, before the data is read."""
        info = read_run(path)
        listing = kept(info.config.data)
        if listing is not None:
            self._introduce(number, started, info, listing)
        return listing

    def _data_read(
        self,
        request: Open,
        started: float,
        shown: Listing | None,
        info: RunInfo,
        dataset: Dataset,
        samples: Samples,
    ) -> None:
        """The users are listed before torch is imported, the encoder answers before the model is loaded."""
        listing = listing_of(dataset, samples)
        if listing != shown:
            self._introduce(request.request, started, info, listing)
            keep(listing, info.config.data)
        if not request.early or not record_of(info.method).needs_llm:
            return
        from core.serving.opening import early_session  # torch is imported here

        self.session = early_session(info, dataset, samples)
        self._can_answer.set()
        self.emit(EncoderReady(request.request, self.session.encoder.kind, monotonic() - started))

    def _introduce(
        self, number: int, started: float, info: RunInfo | None, listing: Listing, method: str = ""
    ) -> None:
        """Says what is being opened: the run, its catalogue, its users; the model may still be loading."""
        seconds = monotonic() - started
        for event in introduction(number, seconds, info, listing, method):
            self.emit(event)

    def _rank(self, request: Rank) -> None:
        self.emit(self._opened(request).rank(request.request, request.asked()))

    def _why(self, request: Why) -> None:
        session = self._opened(request)
        self.emit(session.why(request.request, request.asked(), request.item, request.candidates))

    def _differences(self, request: Differences) -> None:
        self.emit(differences(request.request, Path(request.run), Path(request.other)))

    def _curves(self, request: Curves) -> None:
        self.emit(CurvesListed(request.request, list(curves(request.runs))))

    def _estimate(self, request: Estimate) -> None:
        """Works out an estimate in a thread of its own: rankings do not wait until the data is read."""
        self._wanted = request.request
        self._thread = threading.Thread(target=self._estimate_newest, args=(request,), daemon=True)
        self._thread.start()

    def _estimate_newest(self, request: Estimate) -> None:
        with self._estimating:
            if request.request == self._wanted:  # a newer one came while this one waited
                self._say(request, lambda: self.emit(estimate(request, self.precision)))

    def _opened(self, request: Asking) -> Session:
        self._can_answer.wait()
        if self.session is None:
            raise InputError("no run is open", "open one from the results")
        if self.session.info is not None and not self.session.info.path.is_dir():
            path = self.session.info.path
            self.emit(Notice(f"{path} was deleted; what is in memory still answers", "warning"))
        return self.session


def _assets(cards: Sequence[DatasetCard]) -> Iterable[AssetListed]:
    """Every dataset, and the embedded model: what it is, its size and licence, whether it is here."""
    for card in cards:
        size = sum(file.size for file in card.asset.sources[0].files)
        yield {
            "kind": "dataset",
            "name": card.name,
            "title": card.title,
            "cached": cache.find(card.asset) is not None,
            "bytes": size,
            "licence": card.licence.name,
            "terms": card.licence.redistribution,
            "source": card.homepage,
        }
    model = known.EMBEDDED_MODEL
    yield {
        "kind": "model",
        "name": model.name,
        "title": model.title,
        "cached": cache.find(model.asset) is not None,
        "bytes": model.size,
        "licence": model.licence,
        "terms": "",
        "source": model.homepage,
    }


def listen(lines: Iterable[str], inbox: Inbox, emit: Emit) -> None:
    """Puts every request line into the inbox; a line that is none is said, not fatal."""
    for line in lines:
        if not line.strip():
            continue
        try:
            inbox.put(Request.from_json(line))
        except DataError as error:
            emit(Notice(f"a request could not be read: {error}", "warning"))
    inbox.close()


def request_lines(stream: BinaryIO, emit: Emit, longest: int = LONGEST_REQUEST) -> Iterator[str]:
    """The lines of a stream, whatever bytes they hold; one that is too long is said and passed over."""
    while line := stream.readline(longest + 1):
        if len(line) <= longest:
            yield line.decode("utf-8", errors="replace")
            continue
        while line and not line.endswith(b"\n"):
            line = stream.readline(longest)
        emit(Notice(f"a request could not be read: it is longer than {longest >> 20} MiB", "warning"))
