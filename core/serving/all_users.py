"""Recommends for all users: streamed into a Parquet file, and gone on with after it was killed.

Finished users go into small files beside the result, each whole or not there. At the end they become one
file. A part's name says which users it has, so that work goes on exactly where the last part ends.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.data.history_file import PARQUET
from core.data.people import Person, count_people, people
from core.errors import DataError, InputError, Interrupted, ResultError
from core.files import atomic_path, remove_leftovers
from core.kinds import Count
from core.records import build, json_of
from core.runs.parts import claimed, job_of, same_job
from core.serving.session import Session

if TYPE_CHECKING:
    import pyarrow as pa

BATCH = 32
"""Users whose candidates are scored together; parts end where a batch does."""
PART_SECONDS = 30.0
"""About as much work is lost at most when the process is killed."""
PART_USERS = 32 * 625
"""A part has at most so many users, however fast they are: this bounds the memory."""
NO_ITEM, NOTHING_LEFT = "no known item in the history", "fewer than two items left to recommend"


@dataclass(frozen=True)
class Order:
    """What is to be recommended."""

    out: Path
    """The Parquet file."""
    top: int = 10
    """Items per user."""
    retrieve: int = 100
    """Unseen items that the encoder takes from the catalogue for each user; the run ranks these."""
    histories: Path | None = None
    """A file of histories; the dataset's own users without one."""


@dataclass
class Tally:
    """What became of the users."""

    users: Count = 0
    """All that were read."""
    recommended: Count = 0
    """Users with recommendations."""
    unknown: Count = 0
    """Items of histories that the catalogue does not have, each time they occur; they were passed over."""
    with_unknown: Count = 0
    """Users who have such items."""
    left_out: dict[str, Count] = field(default_factory=dict)
    """Why users have no recommendation -> how many."""

    def add(self, other: Tally) -> None:
        """Counts the other's users too."""
        self.users += other.users
        self.recommended += other.recommended
        self.unknown += other.unknown
        self.with_unknown += other.with_unknown
        for why, users in other.left_out.items():
            self.leave_out(why, users)

    def leave_out(self, why: str, users: int = 1) -> None:
        """So many users have no recommendation."""
        self.left_out[why] = self.left_out.get(why, 0) + users


def recommend_all(session: Session, order: Order) -> Tally:
    """Writes every user's best unseen items, best first, and says what became of the users.

    The file has columns user, rank (from 1), item (the source's id), title and score, in the order of the
    users. The newest items are the history: what is recommended comes after all that is known of a user.

    Args:
        session: an opened run; its watch is told how far the work is, and may stop it.
        order: what and where to.

    Raises:
        InputError: a number or path cannot be used, a user is there twice, or another process works on the
            file.
        DataError: a row of the file of histories is not as it should be.
        ResultError: what was begun beside the file is another job.
        Interrupted: stopped; the same order goes on from there.
    """
    check_order(order)
    if session.info is None:
        raise InputError("there is no run to recommend with", "ilora-app train makes one")
    parts = order.out.with_name(f"{order.out.name}.parts")
    if order.out.exists():
        if not parts.exists():
            raise InputError(f"{order.out} exists", "choose another file with --out, or remove it")
        with claimed(parts):  # all was written, and the parts were not yet removed
            same_job(parts, _job(session, order))
            tally = _tally(order.out)
        shutil.rmtree(parts)
        return tally
    total = count_people(session.dataset, order.histories, session.watch)
    parts.mkdir(parents=True, exist_ok=True)
    with claimed(parts):
        same_job(parts, _job(session, order))
        remove_leftovers(parts)
        done = _done(parts)
        _work(session, order, parts, done, max(0, total - done))
        tally = _merge(parts, order.out)
    shutil.rmtree(parts)
    return tally


def check_order(order: Order) -> None:
    """Raises `InputError` where a number or the file's name cannot be used."""
    if order.histories is not None and not order.histories.is_file():
        raise InputError(
            f"no file {order.histories}", "give a file of JSON lines, or one that ends in .parquet"
        )
    if order.out.suffix != PARQUET:
        raise InputError(f"{order.out} does not end in {PARQUET}", "such as --out recs.parquet")
    if order.top < 1:
        raise InputError(f"--top is {order.top}", "give 1 or more")
    if order.retrieve < max(2, order.top):
        raise InputError(
            f"--candidates is {order.retrieve}, and --top {order.top}",
            "take at least as many, and at least 2",
        )


# --- the users ---------------------------------------------------------------------------------------------


def _work(session: Session, order: Order, parts: Path, done: int, left: int) -> None:
    """Goes through the users that have no part yet."""
    stage = session.watch.stage("recommend", left)
    users = islice(people(session.dataset, order.histories), done, None)
    rows: list[tuple[str, int, int, float]] = []
    tally, started, first = Tally(), time.monotonic(), done
    while batch := list(islice(users, BATCH)):
        if session.watch.should_stop():
            if tally.users:
                _write_part(session, parts, first, rows, tally)
            raise Interrupted
        rows += _recommend(session, order, batch, tally)
        stage.advance(len(batch))
        if time.monotonic() - started >= PART_SECONDS or tally.users >= PART_USERS:
            _write_part(session, parts, first, rows, tally)
            first += tally.users
            rows, tally, started = [], Tally(), time.monotonic()
    if tally.users or not first:
        _write_part(session, parts, first, rows, tally)


def _recommend(
    session: Session, order: Order, batch: Sequence[Person], tally: Tally
) -> list[tuple[str, int, int, float]]:
    """(user, rank, item, score) of a batch, in its order."""
    asked: list[tuple[Person, tuple[int, ...]]] = []
    for person in batch:
        tally.users += 1
        tally.unknown += person.unknown
        tally.with_unknown += person.unknown > 0
        if not person.history:
            tally.leave_out(NO_ITEM)
        elif len(session.dataset.catalogue) - len(person.seen) < 2:
            tally.leave_out(NOTHING_LEFT)
        else:
            found = session.retrieve(person.history, person.seen, order.retrieve)
            asked.append((person, found.items))
    tally.recommended += len(asked)
    best: dict[int, list[tuple[str, int, int, float]]] = {}
    for size in sorted({len(items) for _, items in asked}):  # of one length, which a batch must be
        places = [place for place, (_, items) in enumerate(asked) if len(items) == size]
        histories, candidates = zip(
            *((asked[place][0].history, asked[place][1]) for place in places), strict=True
        )
        for place, scores in zip(places, session.recommender.score(histories, candidates), strict=True):
            person, items = asked[place]
            chosen = np.argsort(-scores, kind="stable")[: order.top]
            best[place] = [
                (person.user, rank, items[index], float(scores[index]))
                for rank, index in enumerate(chosen, start=1)
            ]
    return [row for place in range(len(asked)) for row in best[place]]


# --- the files ---------------------------------------------------------------------------------------------


def _job(session: Session, order: Order) -> dict[str, Any]:
    """What decides the rows: another job may not go on with these parts."""
    assert session.info is not None
    info, model = session.info, getattr(session.recommender, "model", None)
    llm = getattr(model, "llm", None)
    return job_of(
        info,
        order.histories,
        method=info.method,
        seed=info.seed,
        precision="float32" if llm is None else str(llm.dtype).removeprefix("torch."),
        top=order.top,
        candidates=order.retrieve,
    )


def _part_files(parts: Path) -> list[tuple[int, int, Path]]:
    """First user, number of users and path of every part, in order."""
    found = []
    for path in parts.glob(f"*{PARQUET}"):
        if matched := re.fullmatch(r"(\d+)-(\d+)", path.stem):
            found.append((int(matched[1]), int(matched[2]), path))
    return sorted(found)


def _done(parts: Path) -> int:
    """How many users have been written.

    Raises:
        ResultError: a part between others is missing.
    """
    done = 0
    for first, users, path in _part_files(parts):
        if first != done:
            raise ResultError(f"the part before {path} is missing", f"remove {parts} to begin anew")
        done += users
    return done


def _schema(tally: Tally) -> pa.Schema:
    import pyarrow as pa

    columns = {
        "user": pa.string(),
        "rank": pa.int32(),
        "item": pa.string(),
        "title": pa.string(),
        "score": pa.float32(),
    }
    return pa.schema(list(columns.items()), metadata={"ilora-app": json.dumps(asdict(tally))})


def _write_part(
    session: Session, parts: Path, first: int, rows: list[tuple[str, int, int, float]], tally: Tally
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    catalogue = session.dataset.catalogue
    arrays = [
        [row[0] for row in rows],
        [row[1] for row in rows],
        [catalogue.ids[row[2]] for row in rows],
        [catalogue.titles[row[2]] for row in rows],
        [row[3] for row in rows],
    ]
    table = pa.table(arrays, schema=_schema(tally))
    with atomic_path(parts / f"{first:012}-{tally.users:06}{PARQUET}") as temporary:
        pq.write_table(table, temporary)


def _tally(path: Path) -> Tally:
    """What a part, or the whole file, says of its users.

    Raises:
        ResultError: it says nothing, or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return build(Tally, json_of(pq.read_schema(path).metadata[b"ilora-app"], path.name))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, DataError) as error:
        raise ResultError(f"{path} cannot be read", "remove it and its folder to begin anew") from error


def _merge(parts: Path, out: Path) -> Tally:
    """Makes one file of the parts, a part at a time."""
    import pyarrow.parquet as pq

    tally, files = Tally(), [path for _, _, path in _part_files(parts)]
    for path in files:
        tally.add(_tally(path))
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, _schema(tally)) as writer:
        for path in files:
            writer.write_table(pq.read_table(path).replace_schema_metadata(_schema(tally).metadata))
    return tally
