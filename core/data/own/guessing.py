"""Guesses how somebody's own files are laid out: which column is what, and which id joins the two files.

By hand: `csv.Sniffer` guesses a separator only, and never says why it was wrong.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.data import times
from core.data.cards import Rules, Titles
from core.data.own import layouts, sniffing
from core.data.own.choosing import KNOWN_NAMES, NAMES, OPTIONS, advised, first_named, given_place, required
from core.data.own.dating import time_column, time_format
from core.data.own.layouts import FOLDERS, Guess, Known, stored_name
from core.data.own.looking import Look, Said, look_at
from core.data.reading.impressions import is_shown
from core.data.reading.lines import plain_ids
from core.data.tables import InteractionsTable, ItemsTable
from core.errors import InputError

__all__ = ["Guess", "guess", "stored_name"]

_NEWS = (8, 5)  # columns of MIND's news, and which of them holds an address


def guess(
    interactions: Path,
    items: Path | None,
    given: Mapping[str, str],
    encoding: str | None = None,
    said: Said | None = None,
) -> Guess:
    """The layout of two files, or of one folder that has both.

    Args:
        interactions: a file, or a folder of a known data set.
        items: the items' file; not with a folder.
        given: columns named by the user: user, item, rating, timestamp, id, title; and `time_format`.
        encoding: the text's encoding where it is not the usual one.
        said: how the text is written, where it is not found out.

    Raises:
        InputError: a file is not there, a column cannot be guessed, or an option does not fit.
        DataError: a file cannot be read.
    """
    said = dataclasses.replace(said or Said(), **({"encoding": encoding} if encoding else {}))
    for path in (interactions, *([items] if items else [])):
        if not path.exists():
            raise InputError(f"no such file: {path}", "check the path")
    if interactions.is_dir():
        if items is not None:
            raise InputError("--items does not go with a folder", "name two files, or the folder alone")
        with advised():
            return _folder(interactions, given, said)
    if items is None or items.is_dir():
        raise InputError("--items is missing", "name the file that has the items' ids and titles")
    with advised():
        return _two_files(interactions, items, given, said)


def _folder(folder: Path, given: Mapping[str, str], said: Said) -> Guess:
    for names, layout in FOLDERS.items():
        if all((folder / name).is_file() for name in names):
            found = layout(folder, names)
            if not given and not said.names():
                return found
            if found.interactions is None:
                raise InputError(f"a folder of {found.kind} files takes no options", "leave them out")
            asked = _two_files(folder / names[0], folder / names[1], given, said)
            return dataclasses.replace(asked, titles=found.titles, kind=found.kind)
    pair = layouts.pair_in(folder)
    if pair is not None:
        asked = _two_files(*pair, given, said)
        return dataclasses.replace(asked, kind="RecBole") if pair[0].suffix == ".inter" else asked
    known = "; ".join(" and ".join(names) for names in (*FOLDERS, *layouts.PAIRS))
    raise InputError(
        f"{folder} is no folder of a known kind",
        f"known: {known}; one .inter and one .item; X and meta_X of Amazon; or name two files",
    )


def _two_files(interactions: Path, items: Path, given: Mapping[str, str], said: Said) -> Guess:
    acts = look_at(interactions, said, "interactions", KNOWN_NAMES)
    things = look_at(items, said, "items", KNOWN_NAMES)
    if said.separator and said.separator not in (acts.separator, things.separator):
        raise InputError(
            f"{said.separator!r} is not between the columns of either file", "leave --separator out"
        )
    if not acts.header and not given and (shown := _shown_column(acts)) is not None:
        return _impressions(acts, things, shown)
    known = _known(acts, things)
    table, notes = _interactions(acts, things, given)
    item = _item_table(acts, things, given, acts.place(table.item))
    return Guess(
        (interactions, items),
        item,
        table,
        titles=known.titles if known else Titles(),
        kind=known.kind if known else "two files",
        rules=known.rules if known else Rules(),
        notes=notes,
    )


def _known(acts: Look, things: Look) -> Known | None:
    names = [frozenset(map(sniffing.plain_name, look.names)) for look in (acts, things)]
    return layouts.known_by(names[0], names[1])


# --- interactions ----------------------------------------------------------------------------------------


def _interactions(
    acts: Look, things: Look, given: Mapping[str, str]
) -> tuple[InteractionsTable, tuple[str, ...]]:
    places: dict[str, int | None] = {
        what: given_place(acts, given[what], OPTIONS.get(what, "--rating-column"))
        for what in ("user", "item", "rating", "timestamp")
        if what in given
    }
    taken = {place for place in places.values() if place is not None}
    if "timestamp" not in places:
        places["timestamp"] = time_column(acts, taken)
        taken |= {places["timestamp"]} if places["timestamp"] is not None else set()
    if "item" not in places:
        places["item"] = _joining(acts, things, given, taken)[0]
        taken |= {places["item"]} if places["item"] is not None else set()
    if "user" not in places:
        places["user"] = first_named(acts, "user", taken) if acts.named else _first_free(acts, taken)
        taken |= {places["user"]} if places["user"] is not None else set()
    if "rating" not in places:
        places["rating"] = _rating(acts, taken)
    user, item = required(acts, "user", places["user"]), required(acts, "item", places["item"])
    rating, moment = places["rating"], places["timestamp"]
    if moment is None and "time_format" in given:
        raise InputError("--time-format without a column of times", "say --time-column")
    table = InteractionsTable(
        stored_name(acts.path),
        acts.name(user),
        acts.name(item),
        None if rating is None else acts.name(rating),
        None if moment is None else acts.name(moment),
        time_format="seconds" if moment is None else time_format(acts, moment, given.get("time_format")),
        **acts.written(),
    )
    if moment is not None:
        same = len(acts.data) > 1 and len(set(acts.values(moment))) == 1
        return table, (f"the first times in {acts.path.name} are all the same",) if same else ()
    return table, (f"{acts.path.name} has no times: the order of its lines is taken as the order in time",)


def _first_free(look: Look, taken: set[int]) -> int | None:
    return next((place for place in look.columns if place not in taken), None)


def _rating(look: Look, taken: set[int]) -> int | None:
    """A column of numbers that is named so, or else the first one left."""
    place = first_named(look, "rating", taken) if look.named else _first_free(look, taken)
    if place is None:
        return None
    values = look.values(place)
    numbers = sum(times.NUMBER.fullmatch(value.replace(",", ".")) is not None for value in values)
    return place if numbers >= 0.8 * len(values) and values else None


# --- items, and what joins the files ---------------------------------------------------------------------


def _item_table(acts: Look, things: Look, given: Mapping[str, str], item: int) -> ItemsTable:
    if "id" in given:
        id_place = given_place(things, given["id"], "--id-column")
    else:
        id_place = _joining(acts, things, given, set(), item)[1]
    if "title" in given:
        title = given_place(things, given["title"], "--title-column")
    elif things.named:
        title = first_named(things, "title", {id_place} if id_place is not None else set())
        title = first_named(things, "title", set()) if title is None else title
    else:
        title = _unnamed_title(things, id_place)
    return ItemsTable(
        stored_name(things.path),
        id=things.name(required(things, "id", id_place)),
        title=things.name(required(things, "title", title)),
        **things.written(),
    )


def _unnamed_title(things: Look, id_place: int | None) -> int | None:
    """Without names, the title is the first column after the id; MIND's news have two of kinds before it."""
    addresses = things.values(_NEWS[1])[:9] if len(things.columns) == _NEWS[0] else []
    if addresses and all(value.startswith("http") for value in addresses):
        return 3
    return next((place for place in things.columns if place != id_place), None)


def _joining(
    acts: Look, things: Look, given: Mapping[str, str], taken: set[int], item: int | None = None
) -> tuple[int | None, int | None]:
    """The item's id in the interactions and in the items' file: the pair whose values agree best.

    Among pairs that agree alike, the one with the same name in both files; then the likelier name.
    """
    items = [item] if item is not None else _item_places(acts, things, taken)
    said = given_place(things, given["id"], "--id-column") if "id" in given else None
    ids = _id_places(things, acts, items) if said is None else [said]
    if len(items) * len(ids) <= 1:
        return (items[0] if items else None), (ids[0] if ids else None)
    listed = {place: frozenset(plain_ids(list(things.whole(place)))) for place in ids}
    ranked = []
    for first, left in enumerate(items):
        values = plain_ids(acts.values(left))
        for second, right in enumerate(ids):
            share = sum(value in listed[right] for value in values) / max(1, len(values))
            ranked.append(
                (round(share, 2), _same_name(acts, left, things, right), -first, -second, left, right)
            )
    best = max(ranked)
    return best[4], best[5]


def _item_places(acts: Look, things: Look, taken: set[int]) -> list[int]:
    """Columns that may hold the item's id, likeliest first."""
    free = [place for place in acts.columns if place not in taken]
    if not acts.named:
        return [*free[1:], *free[:1]]
    plain = {sniffing.plain_name(acts.names[place]): place for place in reversed(free)}
    found = [plain[name] for name in NAMES["item"].split() if name in plain]
    if len(found) > 1 and found[-1] == plain.get("id"):
        found.pop()  # the number of the line
    if found:
        return found
    theirs = {sniffing.plain_name(name) for name in things.names}
    others = set(NAMES["user"].split()) | set(NAMES["rating"].split()) | set(NAMES["title"].split())
    return [place for name, place in plain.items() if name in theirs and name and name not in others]


def _id_places(things: Look, acts: Look, items: Sequence[int]) -> list[int]:
    """Columns of the items' file that may hold the id, likeliest first."""
    if not things.named:
        return things.columns[:2] if len(things.columns) > 2 else things.columns[:1]
    plain = {sniffing.plain_name(things.names[place]): place for place in reversed(things.columns)}
    found = [plain[name] for name in NAMES["item"].split() if name in plain]
    shared = [
        place for place in things.columns if any(_same_name(acts, item, things, place) for item in items)
    ]
    return list(dict.fromkeys([*found, *shared]))


def _same_name(acts: Look, left: int, things: Look, right: int) -> bool:
    if not (acts.named and things.named):
        return False
    return sniffing.plain_name(acts.names[left]) == sniffing.plain_name(things.names[right])


# --- MIND ------------------------------------------------------------------------------------------------


def _shown_column(acts: Look) -> int | None:
    """The column of shown items, where it is MIND's file of behaviours."""
    if len(acts.columns) != 5 or not acts.data:
        return None
    return 4 if all(is_shown(row[4]) for row in acts.data) else None


def _impressions(acts: Look, things: Look, shown: int) -> Guess:
    table = InteractionsTable(
        stored_name(acts.path),
        user=1,
        item=shown,
        timestamp=2,
        history=3,
        time_format=time_format(acts, 2, "%m/%d/%Y %I:%M:%S %p"),
        separator=acts.separator,
        encoding=acts.encoding,
        format="impressions",
    )
    written = things.written() | {"quoted": False, "escaped": False}
    title = things.name(required(things, "title", _unnamed_title(things, 0)))
    item = ItemsTable(stored_name(things.path), id=things.name(0), title=title, **written)
    return Guess((acts.path, things.path), item, table, kind="MIND", rules=Rules(unlisted="drop"))
