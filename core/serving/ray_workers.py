"""What Ray's processes run of `recommend --all-users`: one reads users, the others hold the model and rank.

Plain code, found by its name in the installed program: nothing that lies in a run folder is unpickled. Rows
of the pipeline are numbers and text; a failure that somebody can act on travels as a row, too.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from core.data.people import Person, people
from core.errors import IloraError
from core.events import Event, Notice
from core.serving.user_parts import Span, batches, table_of

FIRST, PEOPLE, SAID, ROWS = "first", "people", "said", "rows"
"""A batch's first place; its users as JSON; a record as JSON; an Arrow stream."""


def read_users(
    batch: dict[str, Any], run: str, histories: str | None, missing: Sequence[tuple[int, int]], size: int
) -> Iterator[dict[str, Any]]:
    """The missing users in batches, a row each, read as they are needed.

    Args:
        batch: says nothing: one call reads everything.
        run: the run folder, whose dataset it is.
        histories: a file of histories; the dataset's own users without one.
        missing: first place and number of users, in order.
        size: of a batch.
    """
    from core.data.loading import load_task_data
    from core.runs.store import read_run

    del batch
    try:
        dataset, _ = load_task_data(read_run(Path(run)).config.data)
        found = people(dataset, None if histories is None else Path(histories))
        for first, part in batches(found, [Span(*one) for one in missing], size):
            texts = [[one.user, list(one.history), sorted(one.seen), one.unknown] for one in part]
            yield {FIRST: np.array([first]), PEOPLE: np.array([json.dumps(texts)])}
    except IloraError as error:
        yield {FIRST: np.array([-1]), PEOPLE: np.array([_failure(error)])}


class Recommending:
    """A worker: an opened run that ranks for the batches it is given.

    Args:
        run: the run folder.
        precision: what the language model is computed in.
        top: items per user.
        retrieve: unseen items that the encoder takes from the catalogue for each user.
    """

    def __init__(self, run: str, precision: str, top: int, retrieve: int) -> None:
        from core.serving.opening import open_session

        self.top, self.retrieve = top, retrieve
        self.notices: list[str] = []
        self.failure: str | None = None
        try:
            self.session = open_session(Path(run), self._hear, precision)
        except IloraError as error:
            self.failure = _failure(error)

    def _hear(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.text)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Ranks for one batch of users.

        Args:
            batch: a row of `read_users`.

        Returns:
            a row: the batch's first place; a record of what became of the users and what is this worker's
            run and precision, or an error's title and hint; the recommendations.
        """
        first, text = int(batch[FIRST][0]), str(batch[PEOPLE][0])
        if failure := self.failure or (text if first < 0 else None):
            return _row(first, failure, b"")
        users = [Person(user, tuple(known), frozenset(seen), no) for user, known, seen, no in _listed(text)]
        from core.serving.all_users import precision_of, recommend_batch

        started = time.monotonic()
        try:
            rows, tally = recommend_batch(self.session, users, self.top, self.retrieve)
        except IloraError as error:
            return _row(first, _failure(error), b"")
        info = self.session.info
        assert info is not None
        said = {
            "tally": asdict(tally),
            "precision": precision_of(self.session),
            "run": [info.created, info.samples_sha256, info.files],
            "notices": self.notices,
            "seconds": time.monotonic() - started,
        }
        return _row(first, json.dumps(said), _packed(table_of(rows)))


def _listed(text: str) -> list[tuple[str, list[int], list[int], int]]:
    found: list[tuple[str, list[int], list[int], int]] = json.loads(text)
    return found


def _failure(error: IloraError) -> str:
    return json.dumps({"error": error.title, "hint": error.hint})


def _row(first: int, said: str, rows: bytes) -> dict[str, Any]:
    return {FIRST: np.array([first]), SAID: np.array([said]), ROWS: np.array([rows], dtype=object)}


def _packed(table: Any) -> bytes:
    """A table as an Arrow stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())
