"""Recommends for all users: streamed into a Parquet file, and gone on with after it was killed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.data.history_file import PARQUET
from core.data.people import Person, count_people, people
from core.errors import InputError, Interrupted
from core.runs.parts import job_of, same_job
from core.runs.store import RunInfo
from core.serving.session import Session
from core.serving.user_parts import PartWriter, Row, Span, Tally, batches, fill, table_of

BATCH = 32
"""Users whose candidates are scored together; parts end where a batch does."""
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
    info = session.info
    if info is None:
        raise InputError("there is no run to recommend with", "ilora-app train makes one")
    return fill(
        order.out,
        lambda: count_people(session.dataset, order.histories, session.watch),
        lambda parts: same_job(parts, job(info, order, precision_of(session))),
        lambda parts, missing: _work(session, order, parts, missing),
    )


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


def job(info: RunInfo, order: Order, precision: str | None = None) -> dict[str, Any]:
    """What decides the rows: another job may not go on with these parts. Without a precision all but that."""
    return job_of(
        info,
        order.histories,
        method=info.method,
        seed=info.seed,
        **({} if precision is None else {"precision": precision}),
        top=order.top,
        candidates=order.retrieve,
    )


def precision_of(session: Session) -> str:
    """What the session's scores are computed in."""
    llm = getattr(getattr(session.recommender, "model", None), "llm", None)
    return "float32" if llm is None else str(llm.dtype).removeprefix("torch.")


def _work(session: Session, order: Order, parts: Path, missing: Sequence[Span]) -> None:
    """Goes through the users that have no part yet."""
    stage = session.watch.stage("recommend", sum(span.users for span in missing))
    writer = PartWriter(parts)
    for first, batch in batches(people(session.dataset, order.histories), missing, BATCH):
        if session.watch.should_stop():
            writer.flush()
            raise Interrupted
        rows, tally = recommend_batch(session, batch, order.top, order.retrieve)
        writer.add(first, table_of(rows), tally)
        stage.advance(len(batch))
    writer.flush()


def recommend_batch(
    session: Session, batch: Sequence[Person], top: int, retrieve: int
) -> tuple[list[Row], Tally]:
    """The best unseen items of some users, in the users' order, and what became of them."""
    tally = Tally()
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
            found = session.retrieve(person.history, person.seen, retrieve)
            asked.append((person, found.items))
    tally.recommended += len(asked)
    catalogue = session.dataset.catalogue
    best: dict[int, list[Row]] = {}
    for size in sorted({len(items) for _, items in asked}):  # of one length, which a batch must be
        places = [place for place, (_, items) in enumerate(asked) if len(items) == size]
        histories, candidates = zip(
            *((asked[place][0].history, asked[place][1]) for place in places), strict=True
        )
        for place, scores in zip(places, session.recommender.score(histories, candidates), strict=True):
            person, items = asked[place]
            best[place] = [
                (
                    person.user,
                    rank,
                    catalogue.ids[items[index]],
                    catalogue.titles[items[index]],
                    float(scores[index]),
                )
                for rank, index in enumerate(np.argsort(-scores, kind="stable")[:top], start=1)
            ]
    return [row for place in range(len(asked)) for row in best[place]], tally
