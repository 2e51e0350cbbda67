"""Finds the column of times in somebody's file, and the form they are written in."""

from __future__ import annotations

from collections.abc import Sequence

from core.data import times
from core.data.own import sniffing
from core.data.own.choosing import NAMES, NONE, first_named, listed
from core.data.own.looking import Look
from core.errors import InputError

_TIMELY = ("time", "date", "stamp", "when", "epoch", "utc")


def time_column(look: Look, taken: set[int]) -> int | None:
    """The column of times: by its name where that says it, else by what it holds.

    Raises:
        InputError: a column named so holds no times, or several could be it.
    """
    free = [place for place in look.columns if place not in taken]
    if not look.named:
        dated = [place for place in free[1:] if times.plausible(look.values(place))]
        fourth = free[3:4] if len(look.columns) > 3 and times.fitting(look.values(free[3])) else []
        return next(iter(dated or fourth), None)
    named = {sniffing.plain_name(look.names[place]): place for place in reversed(free)}
    places = [named[name] for name in NAMES["timestamp"].split() if name in named]
    readable = [place for place in places if _form(look.values(place)) or not look.values(place)]
    if readable:
        return readable[0]
    if places:
        name, example = look.names[places[0]], next(iter(look.values(places[0])), "")
        raise InputError(
            f"{look.path.name}: {name!r} holds no times that can be read, such as {example[:40]!r}",
            f"--time-column {NONE} takes the order of the lines; --time-format says how it is written; "
            f"read are {times.WORDS}",
        )
    return _unnamed_time(look, [place for place in free if first_named(look, "user", taken) != place])


def _unnamed_time(look: Look, free: Sequence[int]) -> int | None:
    """The one column that holds dates, or numbers that must be times, though its name is not a usual one."""
    likely = [place for place in free if times.plausible(look.values(place))]
    sure = [place for place in likely if _is_dated(look, place)]
    if len(sure) == 1:
        return sure[0]
    ids = NAMES["item"].split()
    unsure = [place for place in likely if sniffing.plain_name(look.names[place]) not in ids]
    if not unsure:
        return None
    raise InputError(
        f"{look.path.name}: which column is the time?",
        f"say it with --time-column; it could be: {listed(look, unsure)}; --time-column {NONE} takes the "
        "order of the lines",
    )


def _is_dated(look: Look, place: int) -> bool:
    timely = any(word in look.names[place].lower() for word in _TIMELY)
    return timely or times.fitting(look.values(place))[0] not in times.UNITS


def _form(values: Sequence[str]) -> str | None:
    """The form of nearly all values, so that reading can name the one that is wrong."""
    forms = times.fitting(values)
    if forms:
        return forms[0]
    for value in values[:5]:
        for form in times.fitting([value]):
            read = times.reader(form)
            if sum(read(other) is not None for other in values) >= 0.8 * len(values):
                return form
    return None


def time_format(look: Look, place: int, said: str | None) -> str:
    """How times are written.

    Raises:
        InputError: days and months cannot be told apart.
    """
    if said is not None:
        if not times.is_form(said):
            raise InputError(f"--time-format cannot be {said[:40]!r}", f"read are {times.WORDS}")
        return said
    values = look.values(place)
    forms = times.fitting(values)
    if len(forms) > 1 and _swapped(forms[0]) in forms:  # the whole file may tell what its first lines do not
        forms = (
            times.fitting([value.strip() for value in dict.fromkeys(look.whole(place)) if value.strip()])
            or forms
        )
        if _swapped(forms[0]) in forms:
            raise InputError(
                f"{look.path.name}: is {values[0][:40]!r} written as {forms[0]} or as {_swapped(forms[0])}?",
                f"say it with --time-format '{forms[0]}'",
            )
    form = (forms[0] if forms else _form(values)) or "seconds"  # reading the file will name the line
    return "decimal" if form == "seconds" and look.format in ("parquet", "jsonl") else form


def _swapped(form: str) -> str:
    """A pattern with day and month the other way round."""
    return form.translate(str.maketrans("md", "dm"))
