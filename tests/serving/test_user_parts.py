"""Parts of recommendations: any order, any engine, and each user once in the file that is made of them."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from core.errors import ResultError
from core.serving import user_parts
from core.serving.user_parts import PartWriter, Span, Tally, batches, fill, gaps, spans, table_of


def piece(first: int, users: int) -> tuple[int, object, Tally]:
    """Two rows for each of these users."""
    rows = [(str(user), rank, "i", "t", 0.5) for user in range(first, first + users) for rank in (1, 2)]
    return first, table_of(rows), Tally(users=users, recommended=users)


def test_the_missing_users_come_in_batches_and_all_are_gone_through_once() -> None:
    asked: list[int] = []

    def everybody() -> object:
        for user in range(20):
            asked.append(user)
            yield user

    found = list(batches(everybody(), [Span(0, 3), Span(8, 5), Span(19, 1)], 4))
    assert found == [(0, [0, 1, 2]), (8, [8, 9, 10, 11]), (12, [12]), (19, [19])]
    assert asked == list(range(20))


def test_pieces_in_any_order_become_parts_of_neighbours_and_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_parts, "PART_USERS", 12)
    order = list(range(0, 40, 4))
    random.Random(2).shuffle(order)
    seen: list[list[Span]] = []

    def half(parts: Path, missing: list[Span]) -> None:
        seen.append(missing)
        writer = PartWriter(parts)
        for first in order[:5]:
            writer.add(*piece(first, 4))
        writer.flush()
        raise KeyboardInterrupt

    def rest(parts: Path, missing: list[Span]) -> None:
        seen.append(missing)
        writer = PartWriter(parts)
        for first, batch in reversed(list(batches(range(40), missing, 4))):
            writer.add(*piece(first, len(batch)))
        writer.flush()

    out = tmp_path / "recs.parquet"
    with pytest.raises(KeyboardInterrupt):
        fill(out, lambda: 40, lambda parts: None, half)
    written = {user for span, _ in spans(tmp_path / "recs.parquet.parts") for user in range(*_ends(span))}
    assert written == {first + one for first in order[:5] for one in range(4)}
    tally = fill(out, lambda: 40, lambda parts: None, rest)
    assert seen[0] == [Span(0, 40)]
    assert {user for span in seen[1] for user in range(*_ends(span))} == set(range(40)) - written
    assert (tally.users, tally.recommended) == (40, 40)
    rows = pq.read_table(out).to_pylist()
    assert [row["user"] for row in rows] == [str(user) for user in range(40) for _ in range(2)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["recs.parquet"]


def _ends(span: Span) -> tuple[int, int]:
    return span.first, span.end


@pytest.mark.parametrize(("first", "users"), [(2, 4), (6, 10)], ids=["shared", "too many"])
def test_parts_that_cannot_be_are_not_gone_on_with(tmp_path: Path, first: int, users: int) -> None:
    for start, count in ((0, 4), (first, users)):
        writer = PartWriter(tmp_path)
        writer.add(*piece(start, count))
        writer.flush()
    with pytest.raises(ResultError, match="users of another part"):
        gaps(tmp_path, 12)


def test_work_that_never_began_leaves_nothing(tmp_path: Path) -> None:
    def work(parts: Path, missing: list[Span]) -> None:
        raise ResultError("not today")

    with pytest.raises(ResultError, match="not today"):
        fill(tmp_path / "recs.parquet", lambda: 4, lambda parts: None, work)
    assert not list(tmp_path.iterdir())


def test_users_that_nobody_wrote_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    def work(parts: Path, missing: list[Span]) -> None:
        writer = PartWriter(parts)
        writer.add(*piece(0, 4))
        writer.flush()

    with pytest.raises(ResultError, match="8 users were left out"):
        fill(tmp_path / "recs.parquet", lambda: 12, lambda parts: None, work)
    assert not (tmp_path / "recs.parquet").exists()
