"""Guesses how somebody's own files are laid out: format, separator, header, and which column is what."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from core.data.cards import Titles
from core.data.reading.columns import read_parquet
from core.data.reading.lines import NUMBER, date_seconds, decimal_seconds, whole_seconds
from core.data.reading.pickles import read_frame
from core.data.reading.windows import COLUMNS as WINDOW_COLUMNS
from core.data.tables import Column, InteractionsTable, ItemsTable, WindowsTable
from core.errors import DataError, InputError

SAMPLE = 200
"""Lines that are looked at."""
_SEPARATORS = ("\t", "::", ",", "|", ";")
_NAMES = {
    "user": "userid user uid username customerid customer reviewerid visitorid sessionid session listenerid",
    "item": "itemid item iid movieid movie productid product asin parentasin isbn artistid artist trackid "
    "songid bookid gameid appid businessid articleid newsid id",
    "rating": "rating ratings score stars overall overallrating bookrating",
    "timestamp": "timestamp time date datetime ts unixreviewtime reviewtime createdat created",
    "title": "title name itemname itemtitle movietitle productname producttitle titles booktitle artistname "
    "artist",
}
"""What columns are called, likeliest first."""
_OPTIONS = {"user": "--user-column", "item": "--item-column", "id": "--id-column", "title": "--title-column"}


@dataclass(frozen=True)
class Guess:
    """A layout, and the files that have it."""

    paths: tuple[Path, ...]
    items: ItemsTable
    interactions: InteractionsTable | None = None
    windows: WindowsTable | None = None
    titles: Titles = field(default_factory=Titles)
    kind: str = ""
    """What it was taken for, in words."""


def guess(
    interactions: Path, items: Path | None, given: Mapping[str, str], encoding: str | None = None
) -> Guess:
    """The layout of two files, or of one folder that has both.

    Args:
        interactions: a file, or a folder of MovieLens, RecBole or LLaRA.
        items: the items' file; not needed for a folder.
        given: columns named by the user: user, item, rating, timestamp, id, title.
        encoding: the text's encoding where it is not the usual one.

    Raises:
        InputError: a file is not there, or a column cannot be guessed.
        DataError: a file cannot be read.
    """
    for path in (interactions, *([items] if items else [])):
        if not path.exists():
            raise InputError(f"no such file: {path}", "check the path")
    if interactions.is_dir():
        return _folder(interactions)
    if items is None or items.is_dir():
        raise InputError("--items is missing", "name the file that has the items' ids and titles")
    return Guess(
        (interactions, items),
        _items(items, given, encoding),
        _interactions(interactions, given, encoding),
        kind="two files",
    )


# --- folders of known data sets --------------------------------------------------------------------------


def _folder(folder: Path) -> Guess:
    for names, layout in _FOLDERS.items():
        if all((folder / name).is_file() for name in names):
            return layout(folder, names)
    found = [sorted(folder.glob(f"*.{kind}")) for kind in ("inter", "item")]
    if all(len(paths) == 1 for paths in found):
        interactions, items = found[0][0], found[1][0]
        return Guess(
            (interactions, items),
            _items(items, {}, None),
            _interactions(interactions, {}, None),
            kind="RecBole",
        )
    known = "; ".join(" and ".join(names) for names in _FOLDERS)
    raise InputError(
        f"{folder} is no folder of a known kind",
        f"known: {known}; one .inter and one .item; or name two files",
    )


def _ml_100k(folder: Path, names: Sequence[str]) -> Guess:
    return Guess(
        tuple(folder / name for name in names),
        ItemsTable("u.item", id=0, title=1, separator="|", encoding="latin-1"),
        InteractionsTable("u.data", user=0, item=1, rating=2, timestamp=3),
        titles=Titles(style="trailing-article"),
        kind="MovieLens-100K",
    )


def _ml_dat(folder: Path, names: Sequence[str]) -> Guess:
    return Guess(
        tuple(folder / name for name in names),
        ItemsTable(
            "movies.dat",
            id=0,
            title=1,
            tags=2,
            tag_separator="|",
            separator="::",
            encoding=_encoding(folder / "movies.dat"),
        ),
        InteractionsTable("ratings.dat", user=0, item=1, rating=2, timestamp=3, separator="::"),
        titles=Titles(style="trailing-article"),
        kind="MovieLens (.dat)",
    )


def _ml_csv(folder: Path, names: Sequence[str]) -> Guess:
    return Guess(
        tuple(folder / name for name in names),
        ItemsTable(
            "movies.csv",
            id="movieId",
            title="title",
            tags="genres",
            tag_separator="|",
            separator=",",
            header=True,
            quoted=True,
        ),
        InteractionsTable(
            "ratings.csv", "userId", "movieId", "rating", "timestamp", separator=",", header=True, quoted=True
        ),
        titles=Titles(style="trailing-article"),
        kind="MovieLens (.csv)",
    )


def _llara(folder: Path, names: Sequence[str]) -> Guess:
    train, validation, test, items = names
    frame = read_frame((folder / train).read_bytes(), train, WINDOW_COLUMNS)
    first = frame["seq"].iloc[0]
    if not isinstance(first, list) or len(set(first)) != 1 or type(first[0]) is not int:
        raise DataError(f"{train}, row 1: not a window of padding alone", "the first row shows the padding")
    return Guess(
        tuple(folder / name for name in names),
        ItemsTable(items, id=0, title=1, separator="::"),
        windows=WindowsTable(train, validation, test, first[0]),
        kind="LLaRA",
    )


_FOLDERS = {
    ("u.data", "u.item"): _ml_100k,
    ("ratings.dat", "movies.dat"): _ml_dat,
    ("ratings.csv", "movies.csv"): _ml_csv,
    ("train_data.df", "Val_data.df", "Test_data.df", "id2name.txt"): _llara,
}


# --- single files ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Look:
    """The first lines of a file."""

    path: Path
    rows: list[list[str]]
    separator: str
    header: bool
    quoted: bool
    encoding: str
    format: str = "text"

    @property
    def names(self) -> list[str]:
        return self.rows[0] if self.header else []

    @property
    def data(self) -> list[list[str]]:
        return self.rows[1:] if self.header else self.rows


def _interactions(path: Path, given: Mapping[str, str], encoding: str | None) -> InteractionsTable:
    look = _look(path, encoding)
    columns = {name: _column(look, name, given.get(name)) for name in ("user", "item", "rating", "timestamp")}
    user, item = _required(look, "user", columns), _required(look, "item", columns)
    return InteractionsTable(
        stored_name(path),
        user,
        item,
        columns["rating"],
        columns["timestamp"],
        time_format=_time_format(look, columns["timestamp"]),
        separator=look.separator,
        header=look.header,
        quoted=look.quoted,
        encoding=look.encoding,
        format=look.format,
    )


def _items(path: Path, given: Mapping[str, str], encoding: str | None) -> ItemsTable:
    look = _look(path, encoding)
    columns = {
        "id": _column(look, "item", given.get("id"), places={2: 0}),
        "title": _column(look, "title", given.get("title"), places={2: 1}),
    }
    return ItemsTable(
        stored_name(path),
        id=_required(look, "id", columns),
        title=_required(look, "title", columns),
        separator=look.separator,
        header=look.header,
        quoted=look.quoted,
        encoding=look.encoding,
        format=look.format,
    )


def _look(path: Path, encoding: str | None) -> _Look:
    try:
        if path.suffix == ".parquet":
            frame = read_parquet(path.read_bytes(), path.name)
            rows = [[str(value) for value in row] for row in frame.head(SAMPLE).itertuples(index=False)]
            return _Look(path, [list(map(str, frame.columns)), *rows], "\t", True, False, "utf-8", "parquet")
        with path.open("rb") as handle:
            content = b"".join(handle.readline(1 << 16) for _ in range(SAMPLE))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", "check the path") from error
    text = content.decode(encoding or "utf-8", errors="replace").removeprefix("\ufeff")
    lines = [line for line in text.splitlines() if line]
    if not lines:
        raise DataError(f"{path.name} is empty", "it was cut off, or is the wrong file")
    separator = max(_SEPARATORS, key=lambda mark: (mark in lines[0]) * (100 - _SEPARATORS.index(mark)))
    if separator not in lines[0]:
        raise DataError(f"{path.name}, line 1: no tab, comma, |, ; or :: between columns", "is it a table?")
    quoted = separator != "::" and '"' in text
    if len(separator) > 1:
        rows = [line.split(separator) for line in lines]
    else:
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        rows = list(csv.reader(lines, delimiter=separator, quoting=quoting))
    return _Look(path, rows, separator, _has_header(rows), quoted, encoding or "utf-8")


def _has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line names columns: no number in it, and a known name, or numbers below it."""
    known = {name for names in _NAMES.values() for name in names.split()}
    if any(NUMBER.fullmatch(field.strip()) for field in rows[0]):
        return False
    below = any(NUMBER.fullmatch(field.strip()) for row in rows[1:2] for field in row)
    return below or any(_plain(field) in known for field in rows[0])


def _plain(name: str) -> str:
    """A column's name without capitals, marks, and RecBole's type after the colon."""
    return re.sub("[^a-z0-9]", "", name.partition(":")[0].lower())


def _column(
    look: _Look, what: str, given: str | None, places: Mapping[int, int] | None = None
) -> Column | None:
    """The column as given, or the likeliest one, or None."""
    if given is not None:
        return _given(look, given)
    if look.header:
        plain = [_plain(name) for name in look.names]
        place = next((plain.index(name) for name in _NAMES[what].split() if name in plain), None)
        return None if place is None else look.names[place]
    width = len(look.rows[0])
    if places is not None:
        return places[2] if width >= 2 else None
    third = "timestamp" if width == 3 and _looks_like_time(look.rows) else "rating"
    order = {"user": 0, "item": 1, third: 2} | ({"timestamp": 3} if width > 3 else {})
    place = order.get(what)
    return place if place is not None and place < width else None


def _given(look: _Look, given: str) -> Column:
    if look.header:
        if given not in look.names:
            raise InputError(
                f"{look.path.name} has no column '{given}'", f"it has: {', '.join(look.names)[:200]}"
            )
        return given
    if not given.isdecimal() or int(given) >= len(look.rows[0]):
        raise InputError(
            f"{look.path.name} has no column '{given}'",
            f"it has no header: give a place from 0 to {len(look.rows[0]) - 1}",
        )
    return int(given)


def _looks_like_time(rows: Sequence[Sequence[str]]) -> bool:
    values = [row[2].strip() for row in rows if len(row) > 2]
    return all((whole_seconds(value) or 0) > 10**6 or date_seconds(value) is not None for value in values)


def _required(look: _Look, what: str, columns: Mapping[str, Column | None]) -> Column:
    column = columns[what]
    if column is None:
        names = ", ".join(look.names or map(str, range(len(look.rows[0]))))[:200]
        raise InputError(
            f"{look.path.name}: which column is the {what}?",
            f"say it with {_OPTIONS[what]}; there are: {names}",
        )
    return column


def _time_format(look: _Look, column: Column | None) -> str:
    if column is None or look.format == "parquet":
        return "seconds" if column is None else "decimal"
    place = look.names.index(column) if isinstance(column, str) else column
    values = [row[place].strip() for row in look.data if len(row) > place]
    for form, reader in (("seconds", whole_seconds), ("decimal", decimal_seconds), ("date", date_seconds)):
        if values and all(reader(value) is not None for value in values):
            return form
    return "seconds"  # reading the file will name the line that is wrong


def stored_name(path: Path) -> str:
    """What a file is called in the cache: its name without unusual letters."""
    return re.sub("[^A-Za-z0-9._-]", "-", path.name).lstrip(".-") or "file"


def _encoding(path: Path) -> str:
    """The encoding of a file that exists in both."""
    try:
        path.read_bytes().decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"
