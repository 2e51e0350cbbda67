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
from core.errors import DataError, IloraError, InputError, ResultError
from core.events import Emit, Notice, never
from core.hardware import OUT_OF_MEMORY, is_out_of_memory
from core.methods import record_of
from core.records import plain
from core.runs.demo import DEMO, demo_runs, is_demo, opening
from core.runs.store import RunInfo, list_runs, read_run, result_of
from core.serving.estimating import estimate
from core.serving.protocol import (
    Asking,
    AssetListed,
    CaseDiffered,
    Differed,
    Differences,
    Estimate,
    ExpertListed,
    Fetch,
    Fetched,
    GatesListed,
    ItemsListed,
    Open,
    Opened,
    Rank,
    Request,
    RequestFailed,
    RunListed,
    Survey,
    Surveyed,
    UserListed,
    UsersListed,
    WarmedUp,
    Why,
)
from core.stages import Watch

if TYPE_CHECKING:
    from core.data.cards import DatasetCard
    from core.data.types import Dataset, Samples
    from core.serving.session import Session

PIECE = 100
"""Users or items in one event, so that no line takes long to read."""
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
        self._handlers: dict[type[Request], Callable[[Any], None]] = {
            Survey: self._survey,
            Fetch: self._fetch,
            Open: self._open,
            Rank: self._rank,
            Why: self._why,
            Differences: self._differences,
            Estimate: self._estimate,
        }

    def run(self, inbox: Inbox) -> None:
        """Answers until the inbox is closed."""
        while (request := inbox.take()) is not None:
            self.answer(request)
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
        found: list[RunListed] = [
            {
                "path": str(run.path),
                "dataset": run.dataset,
                "split": run.split,
                "method": run.method,
                "seed": run.seed,
                "created": run.created,
                "samples_sha256": run.samples_sha256,
                "metrics": run.metrics,
                "demo": is_demo(run.path),
                "model": run.config.model.name if record_of(run.method).needs_llm else None,
            }
            for run in runs
        ]
        cards, unread = known_cards()
        self.emit(Surveyed(request.request, list(_assets(cards)), found, problems + unread))

    def _fetch(self, request: Fetch) -> None:
        card = load_card(request.dataset)
        fetching.obtain(card.asset, self.emit)
        fetching.obtain(known.EMBEDDED_MODEL.asset, self.emit)
        self.emit(Fetched(request.request))

    def _open(self, request: Open) -> None:
        started = monotonic()
        self.session = None
        from core.serving.opening import encoder_session, open_session  # torch is imported here

        if request.run is not None:
            introduce = partial(self._introduce, request.request, started)
            session = open_session(Path(request.run), self.emit, self.precision, data_read=introduce)
        else:
            session = encoder_session(request.dataset, Path(request.out) / "work", self.emit)
            session.watch = Watch(self.emit, never, session.recommender.name)
            self._introduce(
                request.request, started, None, session.dataset, session.samples, session.recommender.name
            )
        self._describe_gates(request.request, session)
        self.session = session
        self.emit(WarmedUp(request.request, monotonic() - started))

    def _introduce(
        self,
        number: int,
        started: float,
        info: RunInfo | None,
        dataset: Dataset,
        samples: Samples,
        method: str = "",
    ) -> None:
        """Says what is being opened: the run, its catalogue, its users; the model may still be loading."""
        from core.serving.session import user_parts

        begin = opening() if info and info.path == DEMO else None
        method = info.method if info else method
        parts = user_parts(samples)
        self.emit(
            Opened(
                request=number,
                run=str(info.path) if info else None,
                method=method,
                dataset=dataset.name,
                title=dataset.title,
                split=samples.split,
                seed=info.seed if info else 0,
                model=info.config.model.name if info and record_of(info.method).needs_llm else None,
                experts=info.config.adapter.experts if info and record_of(method).has_gate else 0,
                min_history=dataset.rules.min_history,
                max_history=dataset.rules.max_history,
                items=len(dataset.catalogue),
                users=len(dataset.sequences),
                metrics=info.metrics if info else {},
                seconds=monotonic() - started,
                first=begin.user if begin else None,
                why_first=begin.rule if begin else "",
            )
        )
        catalogue = dataset.catalogue
        for at in range(0, len(catalogue), PIECE):
            part = slice(at, at + PIECE)
            tags = [list(of_item) for of_item in catalogue.tags[part]]
            texts = list(catalogue.titles[part]), list(catalogue.years[part])
            self.emit(ItemsListed(number, at, *texts, tags))
        records: list[UserListed] = [
            {
                "user": user,
                "part": parts.get(user, "train"),
                "items": sequence.items.tolist(),
                "times": sequence.timestamps.tolist(),
            }
            for user, sequence in dataset.sequences.items()
        ]
        for at in range(0, len(records), PIECE):
            self.emit(UsersListed(number, at, records[at : at + PIECE]))

    def _describe_gates(self, number: int, session: Session) -> None:
        """Says what the gate makes of every user, and what wakes each expert."""
        users, _ = session.gates()
        profiles: list[ExpertListed] = [plain(profile) for profile in session.profiles()]
        sides = [round(side, 5) for side in session.one_sided()]
        self.emit(GatesListed(number, users, sides, profiles))

    def _rank(self, request: Rank) -> None:
        self.emit(self._opened(request).rank(request.request, request.asked()))

    def _why(self, request: Why) -> None:
        session = self._opened(request)
        self.emit(session.why(request.request, request.asked(), request.item, request.candidates))

    def _differences(self, request: Differences) -> None:
        self.emit(differences(request.request, Path(request.run), Path(request.other)))

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
        if self.session is None:
            raise InputError("no run is open", "open one from the results")
        if self.session.info is not None and not self.session.info.path.is_dir():
            path = self.session.info.path
            self.emit(Notice(f"{path} was deleted; what is in memory still answers", "warning"))
        return self.session


def differences(request: int, run: Path, other: Path) -> Differed:
    """Target ranks of two runs' test cases side by side, from their result files.

    Raises:
        ResultError: a result file is missing, or the two met other cases.
    """
    from core.results.pairing import paired_ranks

    results = [result_of(path) for path in (run, other)]
    tested = [name for name in ("spread", "last") if all(name in found.metrics for found in results)]
    if not tested:
        raise ResultError("the two runs share no test set", "run the benchmark for both")
    places, ranks = paired_ranks(results, tested[0])
    cases: list[CaseDiffered] = [
        {"user": user, "position": position, "rank": int(rank), "other": int(other)}
        for (user, position), rank, other in zip(places, *ranks, strict=True)
    ]
    cases.sort(key=lambda case: -abs(case["other"] - case["rank"]))
    gained = sum(case["rank"] < case["other"] for case in cases)
    lost = sum(case["rank"] > case["other"] for case in cases)
    return Differed(request, str(run), str(other), tested[0], cases, gained, lost, len(cases) - gained - lost)


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
