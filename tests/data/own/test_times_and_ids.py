"""Times and ids are read as people and programs write them, and what joins two files is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.data.own.adding import remove_dataset
from tests.data.own.acts import TIMED, TITLED, USERS, acts, add, kept, listing, order, refused, text

pytestmark = pytest.mark.usefixtures("own_home")
CSV = "{id},{title}"


# --- times -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "form"),
    [
        ("{m:%Y-%m-%d %H:%M:%S} UTC", "date"),
        ("{m:%Y-%m-%d %H:%M:%S}+00:00", "date"),
        ("{m:%Y-%m-%d %H:%M:%S} +0000", "date"),
        ("{m:%Y-%m-%dT%H:%M:%S}.123456789Z", "date"),
        ("{m:%Y%m%dT%H%M%S}", "date"),
        ("{m:%Y%m%d%H%M%S}", "%Y%m%d%H%M%S"),
        ("{m:%Y/%m/%d %H:%M:%S}", "%Y/%m/%d %H:%M:%S"),
        ("{m:%d.%m.%Y %H:%M:%S}", "%d.%m.%Y %H:%M:%S"),
        ("{m:%d/%m/%Y %H:%M:%S}", "%d/%m/%Y %H:%M:%S"),
        ("{m:%m/%d/%Y %I:%M:%S %p}", "%m/%d/%Y %I:%M:%S %p"),
        ("{m:%a %b %d %H:%M:%S} +0000 {m:%Y}", "%a %b %d %H:%M:%S %z %Y"),
        ("{second}000000000", "nanoseconds"),
        ("{second}000000", "microseconds"),
        ("{second}123", "milliseconds"),
        ("{second}.5", "decimal"),
        ("{second}.0", "decimal"),
        ("{second}000.0", "milliseconds"),
    ],
)
def test_times_are_read_as_people_write_them(tmp_path: Path, line: str, form: str) -> None:
    for header, name in (
        ("user_id,item_id,timestamp", "timestamp"),
        ("user_id,item_id,event_time", "event_time"),
    ):
        added = add(tmp_path, text(header, "{user},{item}," + line))
        table = added.card.sources[0].interactions
        assert table is not None and (table.timestamp, table.time_format) == (name, form)
        assert kept(added) == order(7)
        first = min(act.second for act in acts() if act.user == 7)
        assert added.dataset.sequences["7"].timestamps[0] == first
        remove_dataset("own")


def test_an_unusual_name_of_dates_is_found_and_one_of_numbers_asked_for(tmp_path: Path) -> None:
    assert kept(
        add(tmp_path, text("user_id,item_id,listened", "{user},{item},{m:%Y-%m-%d %H:%M:%S}"))
    ) == order(7)
    remove_dataset("own")
    assert kept(add(tmp_path, text("user_id,item_id,play_time", "{user},{item},{second}"))) == order(7)
    remove_dataset("own")
    odd = text("user_id,item_id,x", "{user},{item},{second}")
    refused(tmp_path, "i.csv: which column is the time?", "--time-column none", interactions=odd)
    assert kept(add(tmp_path, odd, timestamp="x")) == order(7)
    remove_dataset("own")
    assert kept(add(tmp_path, odd, timestamp="none")) == [act.item for act in acts() if act.user == 7]


def test_times_that_cannot_be_read_are_no_reason_to_take_lines_in_their_order(tmp_path: Path) -> None:
    odd = text("user_id,item_id,timestamp", "{user},{item},some day {second}")
    refused(
        tmp_path,
        "'timestamp' holds no times that can be read, such as 'some day",
        "--time-format",
        interactions=odd,
    )
    wrong = TIMED.replace(",1300", ",yesterday", 3)
    refused(tmp_path, "timestamp 'yesterday", "nanoseconds", interactions=wrong)
    both = text("user_id,item_id,timestamp", "{user},{item},0{rating}/0{rating}/2011")
    refused(tmp_path, "written as %m/%d/%Y or as %d/%m/%Y", "--time-format", interactions=both)
    add(tmp_path, both, time_format="%d/%m/%Y")


def test_times_of_two_units_are_refused_with_the_line(tmp_path: Path) -> None:
    lines = TIMED.splitlines()
    lines[90] += "000"
    refused(tmp_path, "i.csv, line 91: its time has another unit", "--time", interactions="\n".join(lines))
    lines = [line + "000" for line in TIMED.splitlines()[1:]]
    lines[90] = lines[90][:-3]
    refused(tmp_path, "i.csv, line 91: its time has another unit", "--time", interactions="\n".join(lines))


def test_fractions_that_come_late_are_still_times(tmp_path: Path) -> None:
    lines = TIMED.splitlines() * 3
    late = "\n".join([*lines[:121], *(line for line in lines[122:] if line[0] != "u")]) + ".5\n"
    assert len(add(tmp_path, late).dataset.sequences) == USERS


# --- ids, and what joins the files -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acted", "listed"),
    [
        ("{user},{item}.0,{rating},{second}", CSV),
        ("{user},{item},{rating},{second}", "{id}.0,{title}"),
        ("{user}.0,{item}.0,{rating},{second}", "{id}.0,{title}"),
        ("{user},{item}.00,{rating},{second}", CSV),
        ("{user}, {item} ,{rating},{second}", "{id} ,{title}"),
        ('{user},"{item}",{rating},{second}', CSV),
    ],
)
def test_ids_are_the_same_however_a_program_wrote_them(tmp_path: Path, acted: str, listed: str) -> None:
    header = "user_id,item_id,rating,timestamp"
    assert kept(add(tmp_path, text(header, acted), listing("item_id,title", listed))) == order(7)


@pytest.mark.parametrize(
    ("acted", "line", "header", "listed"),
    [
        ("rating,asin,parent_asin,user_id,timestamp", "{rating},V{item},{item},{user},{second}",
         "main_category,title,parent_asin", "Books,{title},{id}"),
        ("user_id,book_id,rating,timestamp", "{user},{item},{rating},{second}",
         "book_id,goodreads_book_id,isbn,authors,title", "{id},1{id},000{id},A,{title}"),
        ("user_id,item_id,rating,timestamp", "{user},{item},{rating},{second}",
         "id,artist,title", "{id},Some Artist,{title}"),
        ("user_id,sku,timestamp", "{user},{item},{second}", "name,sku", "{title},{id}"),
        ("user_id,venue,timestamp", "{user},{item},{second}", "venue,name", "{id},{title}"),
        ("user_id,movie_id,timestamp", "{user},{item},{second}", "id,movie_id,title", "{id}9,{id},{title}"),
        ("user_id,movie_id,timestamp", "{user},{item},{second}", "id,movie_id,title", "{id},{id}9,{title}"),
        ("id,user_id,track_id,timestamp", "{item},{user},{item},{second}",
         "track_id,id,track_name", "{id},x{id},{title}"),
        ("session_id,user_id,product_id,timestamp", "9,{user},{item},{second}", "asin,title", "{id},{title}"),
        ("user,item,timestamp", "{user},{item},{second}", "item,artist_id,title", "{id},7,{title}"),
    ],
)  # fmt: skip
def test_the_id_that_joins_the_files_is_found(
    tmp_path: Path, acted: str, line: str, header: str, listed: str
) -> None:
    added = add(tmp_path, text(acted, line), listing(header, listed))
    assert kept(added) == order(7) and added.dataset.catalogue.titles[4] == "Title 5"


def test_wrong_ids_are_refused_with_the_options_that_say_others(tmp_path: Path) -> None:
    items = listing("item_id,title", "X{id},{title}")
    refused(tmp_path, "i.csv, line 2: unknown item id", "--item-column or --id-column", items=items)
    twice = TITLED + "5,Another\n"
    refused(tmp_path, "t.csv, line 62: item id '5' a second time", "--id-column", items=twice)
    assert len(add(tmp_path, items=TITLED + "5,Title 5\n").dataset.catalogue) == 60


def test_unlisted_items_can_be_left_out(tmp_path: Path) -> None:
    more = TIMED + "7,900,5,1\nnobody,901,5,1\n"
    added = add(tmp_path, more, unlisted=True)
    assert added.left_out == 2 and kept(added) == order(7) and "nobody" not in added.dataset.sequences
