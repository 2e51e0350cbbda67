"""Ranking files: what each test case's ranking was, with scores, in Parquet beside the result."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from core.data.reading.parquet import read_parquet
from core.data.types import pool_of
from core.errors import DataError, ResultError
from core.files import LARGEST_RESULT, atomic_path, read_regular
from core.results.format import Case, Result

KEPT = 100
"""Places of a ranking that a ranking file keeps; the target is kept wherever it is."""
COLUMNS = ("user", "position", "rank", "item", "score", "target")
DAMAGED = (DataError, OSError, ValueError, TypeError, OverflowError)
"""What reading a damaged file leads to."""
POOL = "pool"
"""One more column, of files in which some cases are ranked among some items only."""


class Ranking(NamedTuple):
    """One test case's ranking."""

    user: str
    position: int
    items: npt.NDArray[np.int64]
    """(k,) catalogue indices, best first."""
    scores: npt.NDArray[np.float32]
    """(k,) scores; NaN where the method gave none."""
    ranks: npt.NDArray[np.int32]
    """(k,) places, ascending: 1, 2, 3, ..., and behind them the target's where it is further down."""
    target: int
    pool: str = ""
    """What the candidates are drawn from; empty for all items."""


def ranking(
    place: tuple[str, int],
    candidates: Sequence[int] | npt.NDArray[np.int64],
    scores: npt.NDArray[np.floating],
    target: int,
    rank: int,
) -> Ranking:
    """The first `KEPT` places of scored candidates, and the target.

    Of equal scores the target's is last, as in its rank; the others stay in the candidates' order.

    Args:
        place: user and position of the case.
        candidates: c items.
        scores: (c,) their scores.
        target: the right one; where it is not among the candidates, it has no score.
        rank: the target's, 1 = best.
    """
    items = np.asarray(candidates, dtype=np.int64)
    values = np.asarray(scores, dtype=np.float32)
    order = first_places(values, items == target, KEPT)
    kept, found, ranks = items[order], values[order], np.arange(1, len(order) + 1, dtype=np.int32)
    if target not in kept:
        own = values[items == target]
        kept, ranks = np.append(kept, target), np.append(ranks, np.int32(rank))
        found = np.append(found, own[0] if own.size else np.float32(np.nan))
    return Ranking(*place, kept, found, ranks, target)


def first_places(
    scores: npt.NDArray[np.floating], last_of_equals: npt.NDArray[np.bool_], count: int
) -> npt.NDArray[np.int64]:
    """Where the highest scores stand, at most `count`, best first; equal ones stay in their order.

    Args:
        scores: (c,) none of them NaN.
        last_of_equals: (c,) true for those that come behind all others of the same score.
        count: at least 1.
    """
    near: npt.NDArray[np.int64] = np.arange(len(scores))
    if len(scores) > count:  # sorting a whole catalogue takes far longer
        near = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    return near[np.lexsort((last_of_equals[near], -scores[near]))[:count]]


@dataclass(frozen=True)
class RankingFile:
    """A ranking file's columns; the rows of a case follow each other, best first."""

    user: tuple[str, ...]
    position: npt.NDArray[np.int32]
    rank: npt.NDArray[np.int32]
    item: tuple[str, ...]
    """The source's own identifiers."""
    score: npt.NDArray[np.float32]
    """NaN where the method gave none."""
    target: npt.NDArray[np.bool_]
    pool: tuple[str, ...] = ()
    """What each row's candidates are drawn from, an empty text for all items; empty where all are of all."""

    @property
    def sha256(self) -> str:
        """Checksum of what the file says, whichever version of a library wrote it."""
        digest = hashlib.sha256()
        for texts in (self.user, self.item, *[self.pool] * bool(self.pool)):
            digest.update("\n".join(texts).encode())
        for numbers in (self.position, self.rank, self.score, self.target):
            digest.update(np.ascontiguousarray(numbers).tobytes())
        return digest.hexdigest()

    def rows(self, pool: str = "") -> dict[tuple[str, int], range]:
        """User and position of every case that is ranked among these items -> its rows."""
        pools = self.pool or ("",) * len(self.user)
        places = list(zip(pools, self.user, self.position.tolist(), strict=True))
        starts = [row for row, place in enumerate(places) if row == 0 or place != places[row - 1]]
        ends = [*starts[1:], len(places)]
        return {
            places[start][1:]: range(start, end)
            for start, end in zip(starts, ends, strict=True)
            if places[start][0] == pool
        }

    def ranks(self, pool: str = "") -> dict[tuple[str, int], int]:
        """User and position of every case that is ranked among these items -> the target's rank."""
        pools = self.pool or ("",) * len(self.user)
        return {
            (self.user[row], int(self.position[row])): int(self.rank[row])
            for row in np.flatnonzero(self.target)
            if pools[row] == pool
        }


def ranking_file(rankings: Sequence[Ranking], ids: Sequence[str]) -> RankingFile:
    """Rankings as the columns of a ranking file.

    Args:
        rankings: one for each case.
        ids: the catalogue's identifiers.
    """
    lengths = [len(one.items) for one in rankings]
    pools = tuple(one.pool for one in rankings for _ in one.items)
    items = np.concatenate([one.items for one in rankings])
    return RankingFile(
        user=tuple(one.user for one in rankings for _ in one.items),
        position=np.repeat(np.array([one.position for one in rankings], np.int32), lengths),
        rank=np.concatenate([one.ranks for one in rankings]).astype(np.int32),
        item=tuple(ids[item] for item in items),
        score=np.concatenate([one.scores for one in rankings]).astype(np.float32),
        target=items == np.repeat([one.target for one in rankings], lengths),
        pool=pools if any(pools) else (),
    )


def rankings_path(result_file: Path) -> Path:
    """Where the ranking file of a result lies: beside it."""
    return result_file.with_suffix(".parquet")


def save_rankings(found: RankingFile, result_file: Path) -> Path:
    """Writes a result's ranking file whole, and returns its path.

    Raises:
        ResultError: the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {name: getattr(found, name) for name in (*COLUMNS, *[POOL] * bool(found.pool))}
    texts = columns.keys() & {"user", "item", POOL}
    columns |= {name: pa.array(columns[name], pa.string()).dictionary_encode() for name in texts}
    path = rankings_path(result_file)
    try:
        with atomic_path(path) as temporary:
            pq.write_table(
                pa.table(columns),
                temporary,
                compression="zstd",
                use_dictionary=sorted({*texts, "position"}),
                column_encoding={"rank": "DELTA_BINARY_PACKED", "score": "BYTE_STREAM_SPLIT"},
            )
    except OSError as error:
        raise ResultError(
            f"cannot write {path}: {error.strerror}", "choose another folder with --out"
        ) from error
    return path


def load_rankings(result: Result, result_file: Path) -> RankingFile:
    """A result's ranking file, which says what the result says, also where that has only some of its cases.

    Raises:
        ResultError: the result has none, or it is missing, damaged or of other cases.
    """
    path = rankings_path(result_file)
    if result.rankings_sha256 is None:
        raise ResultError(
            f"{result_file.name} is of an older version and has no ranking file", "run the benchmark again"
        )
    if not path.exists():
        raise ResultError(f"the ranking file {path.name} is missing", _again(result))
    try:
        found = _read(path)
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:100]
        raise ResultError(f"the ranking file {path.name} is damaged ({reason})", _again(result)) from error
    pools = {pool_of(test_set) for test_set in result.metrics}
    if any(not _stated(result, pool).items() <= found.ranks(pool).items() for pool in pools):
        raise ResultError(
            f"the ranking file {path.name} is of other cases or ranks than its result", _again(result)
        )
    if found.sha256 != result.rankings_sha256:
        raise ResultError(
            f"the ranking file {path.name} is damaged: not the checksum that its result states",
            _again(result),
        )
    return found


def cases_from(found: RankingFile, sets: Mapping[str, Sequence[tuple[str, int]]]) -> list[Case]:
    """The cases of test sets with the ranks that a ranking file states: what metrics are computed from.

    Args:
        found: the ranking file.
        sets: test set -> user and position of its cases.
    """
    ranks = {name: found.ranks(pool_of(name)) for name in sets}
    return [Case(name, *place, ranks[name][place]) for name, places in sets.items() for place in places]


def _stated(result: Result, pool: str) -> dict[tuple[str, int], int]:
    """The ranks that a result states of its cases that are ranked among these items."""
    return {case.place: case.rank for case in result.cases if pool_of(case.set) == pool}


def _again(result: Result) -> str:
    return f"`ilora-app bench` with the same settings makes it again ({result.method}, seed {result.seed})"


def _read(path: Path) -> RankingFile:
    content = read_regular(path, LARGEST_RESULT)
    frame = read_parquet(content, path.name, None)
    lacking = [name for name in COLUMNS if name not in frame]
    if lacking:
        raise DataError(f"no column '{lacking[0]}'", "the file is damaged")
    given = [name for name in ("user", "item", POOL) if name in frame]
    texts: Any = {name: tuple(map(str, frame[name])) for name in given}
    kinds = {"position": np.int32, "rank": np.int32, "score": np.float32, "target": np.bool_}
    with np.errstate(invalid="ignore"):  # what is no number then fails the checksum
        numbers: Any = {name: frame[name].to_numpy().astype(kind) for name, kind in kinds.items()}
    return RankingFile(**texts, **numbers)
