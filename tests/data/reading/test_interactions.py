"""Ratings files are read whole and exactly, or refused with file and line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.data.card_files import parse_card
from core.data.reading.interactions import (
    Interactions,
    build_dataset,
    natural_key,
    parse_catalogue,
    parse_interactions,
    read_dataset,
)
from core.data.tables import InteractionsTable
from core.data.types import Catalogue
from core.errors import DataError
from tests.data import made_up

CARD = parse_card(made_up.card(), "made-up.toml")
TABLE = CARD.sources[0].interactions
ITEMS = CARD.sources[0].items
CATALOGUE = parse_catalogue(made_up.films(), ITEMS, CARD.titles)
RATINGS = made_up.ratings()


def refused(content: bytes, table: InteractionsTable = TABLE) -> str:
    with pytest.raises(DataError) as caught:
        parse_interactions(content, table, CATALOGUE)
    assert caught.value.title.startswith(table.file) and caught.value.hint
    return caught.value.title


def test_the_catalogue_has_repaired_titles_and_tags() -> None:
    assert CATALOGUE.ids[:2] == ("1", "2") and len(CATALOGUE) == made_up.ITEMS
    assert CATALOGUE.titles[0] == "The Film 1"
    assert CATALOGUE.tags[0] == ("Drama", "Comedy")


def test_sequences_are_in_time_ties_in_file_order_low_ratings_seen_but_not_kept() -> None:
    content = b"7\t5\t5\t20\n7\t4\t3\t10\n7\t3\t2\t15\n7\t9\t4\t10\n7\t8\t3.5\t10\n"
    sequence = build_dataset(CARD, CATALOGUE, parse_interactions(content, TABLE, CATALOGUE)).sequences["7"]
    assert [CATALOGUE.ids[item] for item in sequence.items] == ["4", "9", "8", "5"]
    assert sequence.timestamps.tolist() == [10, 10, 10, 20]
    assert {CATALOGUE.ids[item] for item in sequence.seen} == {"3", "4", "5", "8", "9"}


def test_users_are_in_the_order_of_their_numbers() -> None:
    dataset = build_dataset(CARD, CATALOGUE, parse_interactions(RATINGS, TABLE, CATALOGUE))
    assert list(dataset.sequences) == [str(user) for user in range(1, made_up.USERS + 1)]
    assert sorted(["b", "10", "9", "a"], key=natural_key) == ["9", "10", "a", "b"]


def test_columns_are_found_by_their_header() -> None:
    named = InteractionsTable("named.csv", user="who", item="what", separator=",", header=True)
    read = parse_interactions(b"what,noise,who\r\n5,x,7\r\n", named, CATALOGUE)
    assert read.users == ("7",) and read.items.tolist() == [4]
    assert np.isnan(read.ratings).all() and read.timestamps.tolist() == [0]
    assert "line 1: no column 'who'" in refused(b"what,noise\n5,x\n", named)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"1\t2\t3\t4\n1\t2\t3", "line 2: 3 columns where 4 are due"),
        (b"1\t2\t3\t4\n\n1\t2\t3\t4\n", "line 2: 0 columns"),
        (b"1\t2\tnan\t4\n", "line 1: rating 'nan' is not a number"),
        (b"1\t2\tNaN\t4\n", "line 1: rating 'NaN'"),
        (b"1\t2\tinf\t4\n", "line 1: rating 'inf'"),
        (b"1\t2\t1e999\t4\n", "line 1: rating '1e999'"),
        (b"1\t2\t1_0\t4\n", "line 1: rating '1_0'"),
        (b"1\t2\tgood\t4\n", "line 1: rating 'good' is not a number"),
        (b"1\t2\t\t4\n", "line 1: no rating"),
        (b"1\t2\t3\tnoon\n", "line 1: timestamp 'noon' is not a whole number"),
        (b"1\t2\t3\t4.5\n", "line 1: timestamp '4.5'"),
        (b"1\t2\t3\t99999999999999999999\n", "line 1: timestamp"),
        (b"1\t2\t3\t4\n1\t61\t3\t4\n", "line 2: unknown item id '61'"),
        (b"\t2\t3\t4\n", "line 1: no user"),
        (b"1\x1b\t2\t3\t4\n", "line 1: user '1\\x1b' has control characters"),
        (b"1\t2\t3\t4\n1\t\xff\t3\t4\n", "line 2: not utf-8 text"),
        (b"1 2 3 4\n", "line 1: no column 1"),
        (b"x" * 200_000, "line 1: "),
    ],
)
def test_bad_ratings_are_refused_with_file_and_line(content: bytes, words: str) -> None:
    assert words in refused(content)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"1|Film|\n1|Other|\n", "line 2: item id '1' a second time"),
        (b"1|Film\n", "line 1: no column 2"),
        (b"|Film|\n", "line 1: no id"),
        (b"1|Fi\x07lm|\n", "line 1: title"),
    ],
)
def test_bad_catalogues_are_refused_with_file_and_line(content: bytes, words: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_catalogue(content, ITEMS, CARD.titles)
    assert words in caught.value.title


def test_items_without_a_title_get_a_usable_name() -> None:
    rules = dataclasses.replace(CARD.titles, unknown=("unknown",), unknown_name="Unknown film ({id})")
    named = parse_catalogue(b"1|unknown|\n2||\n3|Babe (1995)|\n", ITEMS, rules)
    assert named.titles == ("Unknown film (1)", "Unknown film (2)", "Babe")


def test_flags_become_tags() -> None:
    table = dataclasses.replace(ITEMS, tags=None, flags=2, flag_names=("Drama", "War"))
    assert parse_catalogue(b"1|Babe|0|1\n2|Duel|1|1\n", table, CARD.titles).tags == (
        ("War",),
        ("Drama", "War"),
    )
    with pytest.raises(DataError, match="flag of 'War' is '2', not 0 or 1"):
        parse_catalogue(b"1|Babe|0|2\n", table, CARD.titles)


def test_data_that_differs_from_the_card_is_refused(tmp_path: Path) -> None:
    files = made_up.written(tmp_path, RATINGS[: RATINGS.rindex(b"\n", 0, -1) + 1])
    with pytest.raises(DataError, match="interactions is 119, and the card expects 120"):
        read_dataset(CARD, CARD.sources[0], files)


def test_a_checksum_of_the_content_guards_every_source(tmp_path: Path) -> None:
    expected = dataclasses.replace(CARD.expected, interactions_sha256=made_up.sha256(RATINGS))
    card = dataclasses.replace(CARD, expected=expected)
    assert (
        len(read_dataset(card, card.sources[0], made_up.written(tmp_path, RATINGS)).sequences)
        == made_up.USERS
    )
    swapped = b"".join(reversed(RATINGS.splitlines(keepends=True)))
    with pytest.raises(DataError, match="interactions_sha256"):
        read_dataset(card, card.sources[0], made_up.written(tmp_path, swapped))


# --- any mutation parses or is refused, and nothing else ---------------------------------------------------


def read_or_refused(content: bytes) -> None:
    try:
        read = parse_interactions(content, TABLE, CATALOGUE)
    except DataError as error:
        assert error.title.startswith(TABLE.file) and "\n" not in error.title and error.hint
        return
    assert_valid(read, CATALOGUE)


def assert_valid(read: Interactions, catalogue: Catalogue) -> None:
    assert len(read) == len(read.items) == len(read.ratings) == len(read.timestamps) > 0
    assert all(read.users) and np.isfinite(read.ratings).all()
    assert read.items.min() >= 0 and read.items.max() < len(catalogue) and read.timestamps.min() >= 0
    dataset = build_dataset(CARD, catalogue, read)
    assert sum(len(sequence.items) for sequence in dataset.sequences.values()) == (read.ratings >= 3).sum()


@settings(deadline=None)
@given(st.integers(0, len(RATINGS)), st.integers(0, 60), st.binary(max_size=12))
@example(0, 0, b"\xef\xbb\xbf")
@example(5, 0, b"\r")
@example(5, 0, b"\0")
def test_any_edited_ratings_file_is_read_or_refused(at: int, cut: int, inserted: bytes) -> None:
    read_or_refused(RATINGS[:at] + inserted + RATINGS[at + cut :])


FIELDS = st.sampled_from(["1", "2", "3", "61", "nan", "-1", "1e5", "", " 4 ", "٣", '"', "x\u2028y", "9" * 30])


@settings(deadline=None)
@given(st.lists(st.lists(FIELDS | st.text(max_size=3), min_size=3, max_size=5), max_size=4))
def test_any_table_is_read_or_refused(rows: list[list[str]]) -> None:
    read_or_refused("\n".join("\t".join(row) for row in rows).encode("utf-8", "surrogatepass"))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_a_catalogue(content: bytes) -> None:
    try:
        read = parse_catalogue(content, ITEMS, CARD.titles)
    except DataError as error:
        assert error.title.startswith(ITEMS.file) and error.hint
        return
    assert len({title.casefold() for title in read.titles}) == len(read) > 0 and all(read.titles)
