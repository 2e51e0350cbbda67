"""Finds columns by their names, and takes the ones that somebody names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from core.data import times
from core.data.own import sniffing
from core.data.own.looking import Look
from core.data.reading.lines import LOOK_AT_CARD, BrokenLine
from core.errors import InputError

NAMES = {
    "user": "userid user uid username customerid customer reviewerid visitorid sessionid session listenerid "
    "memberid accountid clientid playerid profileid viewerid steamid",
    "item": "itemid item iid movieid movie productid product parentasin asin isbn artistid artist trackid "
    "songid bookid gameid appid businessid articleid newsid videoid courseid recipeid sku id",
    "rating": "rating ratings score stars overall overallrating bookrating",
    "timestamp": "timestamp unixreviewtime eventtime time date datetime ts reviewtime createdat created "
    "createdtime eventtimestamp ratedat reviewdate viewedat playedat playedtime listenedat orderdate "
    "purchasedate visitdate checkintime utctime unixtime",
    "title": "title name itemname itemtitle movietitle productname producttitle titles booktitle artistname "
    "originaltitle gametitle appname songname songtitle trackname tracktitle newstitle headline description "
    "artist",
}
"""What columns are called, likeliest first."""
KNOWN_NAMES = frozenset(name for names in NAMES.values() for name in names.split())
OPTIONS = {
    "user": "--user-column",
    "item": "--item-column",
    "id": "--id-column",
    "title": "--title-column",
    "timestamp": "--time-column",
}
NONE = "none"
"""What says of a column that it is not there."""

FIXES = {
    "encoding": "say --encoding, such as cp1252 or latin-1, or mend the line",
    "widths": "mend the line; or say --separator or --quoting, if columns were not cut where they should be",
    "quotes": "mend the line; or say --quoting: none, double or backslash",
    "number": "say --rating-column, or --rating-column none; or mend the line",
    "time": f"say --time-column or --time-format; read are {times.WORDS}",
    "id": "say --user-column, --item-column or --id-column if another one is meant; or mend the line",
    "repeated": "say --id-column if another one is meant; or mend the line",
    "unknown": "say --item-column or --id-column if others are meant; --drop-unlisted leaves such lines out",
    "json": "write one JSON object a line; or mend the line",
}
"""What is wrong with a line -> which option helps."""


@contextlib.contextmanager
def advised() -> Iterator[None]:
    """Gives what is wrong with a line the hint that names the option which helps."""
    try:
        yield
    except BrokenLine as error:
        if error.hint == LOOK_AT_CARD:
            error.hint = FIXES.get(error.about, error.hint)
        raise


def first_named(look: Look, what: str, taken: set[int]) -> int | None:
    """The column whose name says most clearly that it is this."""
    plain = {
        sniffing.plain_name(look.names[place]): place
        for place in reversed(look.columns)
        if place not in taken
    }
    return next((plain[name] for name in NAMES[what].split() if name in plain), None)


def given_place(look: Look, given: str, option: str) -> int | None:
    """The place of a column as named, or as counted from 0 where the file has no header.

    Raises:
        InputError: there is none; the hint names the option.
    """
    if given == NONE and option in ("--time-column", "--rating-column") and NONE not in look.names:
        return None
    if look.header:
        for names in (look.names, [name.strip() for name in look.names]):
            if names.count(given) == 1:
                return names.index(given)
        if given in look.names:
            raise InputError(f"{look.path.name} has two columns '{given}'", "give them different names")
        raise InputError(
            f"{look.path.name} has no column {given[:40]!r}",
            f"{option} takes one of: {listed(look, look.columns)}",
        )
    if not given.isdecimal() or int(given[:9]) >= len(look.rows[0]):
        raise InputError(
            f"{look.path.name} has no column {given[:40]!r}",
            f"it has no header: {option} takes a place from 0 to {len(look.rows[0]) - 1}",
        )
    return int(given)


def required(look: Look, what: str, place: int | None) -> int:
    """The place of a column that must be there, and be the only one of its name.

    Raises:
        InputError: it is not; the hint names the option that says it.
    """
    if place is None:
        raise InputError(
            f"{look.path.name}: which column is the {what}?",
            f"say it with {OPTIONS[what]}; there are: {listed(look, look.columns)}",
        )
    if look.header and look.names.count(look.names[place]) > 1:
        raise InputError(
            f"{look.path.name} has two columns {look.names[place][:40]!r}", "give them different names"
        )
    return place


def listed(look: Look, places: Sequence[int]) -> str:
    """Names of columns as they can be shown."""
    names = [look.names[place] if look.names else str(place) for place in places]
    return "".join(letter if letter.isprintable() else "?" for letter in ", ".join(names))[:200]
