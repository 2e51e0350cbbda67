"""Recommendations on their way into one Parquet file: parts, each whole or not there, of the users they name.

A part's name says which users it has, so that work goes on with exactly those that are missing, whichever
engine wrote the others, and in whatever order.
"""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from core.data.history_file import PARQUET
from core.errors import DataError, InputError, ResultError
from core.files import atomic_path, remove_leftovers
from core.kinds import Count
from core.records import build, json_of
from core.runs.parts import LOCK, claimed

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
Row = tuple[str, int, str, str, float]
"""User, rank, item's id, title, score."""

PART_SECONDS = 30.0
"""About as much work is lost at most when the process is killed."""
PART_USERS = 32 * 625
"""A part has at most so many users, however fast they are: this bounds the memory."""
SAID = b"ilora-app"
"""Where a file says what became of its users."""


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


@dataclass(frozen=True)
class Span:
    """Users that stand beside each other."""

    first: int
    """The place of the first one, from 0."""
    users: int

    @property
    def end(self) -> int:
        """The place behind the last one."""
        return self.first + self.users


def fill(
    out: Path,
    count: Callable[[], int],
    agree: Callable[[Path], None],
    work: Callable[[Path, list[Span]], None],
) -> Tally:
    """Has the missing users written as parts beside a file, and makes the file of them.

    Args:
        out: the Parquet file.
        count: gives the number of users.
        agree: is given the parts' folder, and raises `ResultError` where it holds another job.
        work: writes parts of the users that are missing into the folder.

    Raises:
        InputError: the file exists, or another process works on it.
        ResultError: what was begun beside the file is another job, or damaged.
    """
    parts = out.with_name(f"{out.name}.parts")
    if out.exists():
        if not parts.exists():
            raise InputError(f"{out} exists", "choose another file with --out, or remove it")
        with claimed(parts):  # all was written, and the parts were not yet removed
            agree(parts)
            tally = tally_of(out)
        shutil.rmtree(parts)
        return tally
    total = count()
    parts.mkdir(parents=True, exist_ok=True)
    needless = False
    try:
        with claimed(parts):
            try:
                tally = _filled(parts, out, total, agree, work)
                needless = True
            except BaseException:
                left = {path.name for path in parts.iterdir()} if parts.is_dir() else set()
                needless = left <= {LOCK}  # it never began
                raise
    finally:
        if needless and parts.is_dir():
            shutil.rmtree(parts)
    return tally


def _filled(
    parts: Path,
    out: Path,
    total: int,
    agree: Callable[[Path], None],
    work: Callable[[Path, list[Span]], None],
) -> Tally:
    agree(parts)
    remove_leftovers(parts)
    if missing := gaps(parts, total):
        work(parts, missing)
    if left := gaps(parts, total):
        users = sum(span.users for span in left)
        raise ResultError(f"{users} users were left out", "the same command goes on from there")
    return _merge(parts, out)


def spans(parts: Path) -> list[tuple[Span, Path]]:
    """The users and the path of every part, in order."""
    found = []
    for path in parts.glob(f"*{PARQUET}"):
        if matched := re.fullmatch(r"(\d+)-(\d+)", path.stem):
            found.append((Span(int(matched[1]), int(matched[2])), path))
    return sorted(found, key=lambda one: one[0].first)


def gaps(parts: Path, total: int) -> list[Span]:
    """The users that no part has.

    Raises:
        ResultError: parts share users, or have more than there are.
    """
    found, place = [], 0
    for span, path in spans(parts):
        if span.first < place or span.end > total:
            raise ResultError(f"{path} has users of another part, or none", f"remove {parts} to begin anew")
        if span.first > place:
            found.append(Span(place, span.first - place))
        place = span.end
    return [*found, Span(place, total - place)] if place < total else found


def batches(users: Iterable[T], missing: Iterable[Span], size: int) -> Iterator[tuple[int, list[T]]]:
    """The missing users in batches, each with the place of its first one; all are gone through once."""
    left, place = iter(users), 0
    for span in missing:
        next(islice(left, span.first - place, span.first - place), None)  # passes over them
        for first in range(span.first, span.end, size):
            yield first, list(islice(left, min(size, span.end - first)))
        place = span.end


# --- the files ---------------------------------------------------------------------------------------------


class PartWriter:
    """Collects what was recommended, and writes it as parts, in whatever order it comes.

    Args:
        parts: the folder.
    """

    def __init__(self, parts: Path) -> None:
        self.parts = parts
        self._held: list[tuple[int, pa.Table, Tally]] = []
        self._since = time.monotonic()

    def add(self, first: int, rows: pa.Table, tally: Tally) -> None:
        """Recommendations of users that begin at this place; written at times."""
        self._held.append((first, rows, tally))
        users = sum(tally.users for _, _, tally in self._held)
        if time.monotonic() - self._since >= PART_SECONDS or users >= PART_USERS:
            self.flush()

    def flush(self) -> None:
        """Writes all that is held, a part for each run of neighbours."""
        self._held.sort(key=lambda one: one[0])
        run: list[tuple[int, pa.Table, Tally]] = []
        for one in self._held:
            if run and run[-1][0] + run[-1][2].users != one[0]:
                self._write(run)
                run = []
            run.append(one)
        if run:
            self._write(run)
        self._held, self._since = [], time.monotonic()

    def _write(self, run: Sequence[tuple[int, pa.Table, Tally]]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        tally = Tally()
        for _, _, own in run:
            tally.add(own)
        table = pa.concat_tables([rows for _, rows, _ in run]).replace_schema_metadata(_said(tally))
        with atomic_path(self.parts / f"{run[0][0]:012}-{tally.users:06}{PARQUET}") as temporary:
            pq.write_table(table, temporary)


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Rows as a table."""
    import pyarrow as pa

    return pa.table([[row[column] for row in rows] for column in range(5)], schema=_schema())


def _schema() -> pa.Schema:
    import pyarrow as pa

    columns = {
        "user": pa.string(),
        "rank": pa.int32(),
        "item": pa.string(),
        "title": pa.string(),
        "score": pa.float32(),
    }
    return pa.schema(list(columns.items()))


def _said(tally: Tally) -> dict[bytes, bytes]:
    return {SAID: json.dumps(asdict(tally)).encode()}


def tally_of(path: Path) -> Tally:
    """What a part, or the whole file, says of its users.

    Raises:
        ResultError: it says nothing, or cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return tally_from(json_of(pq.read_schema(path).metadata[SAID], path.name))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, DataError) as error:
        raise ResultError(f"{path} cannot be read", "remove it and its folder to begin anew") from error


def tally_from(said: Any) -> Tally:
    """A tally as its record says it.

    Raises:
        DataError: it is none.
    """
    return build(Tally, said)


def _merge(parts: Path, out: Path) -> Tally:
    """Makes one file of the parts, a part at a time."""
    import pyarrow.parquet as pq

    tally, files = Tally(), [path for _, path in spans(parts)]
    for path in files:
        tally.add(tally_of(path))
    schema = _schema().with_metadata(_said(tally))
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for path in files:
            writer.write_table(pq.read_table(path).replace_schema_metadata(schema.metadata))
    return tally
