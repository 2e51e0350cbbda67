"""Reads a dataset's files into a catalogue and one sequence per user, checking every line."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.data import titles
from core.data.cards import CardSource, Column, DatasetCard, InteractionsTable, ItemsTable, Rules
from core.data.cards import Titles as TitleRules
from core.data.types import Catalogue, Dataset, UserSequence
from core.errors import DataError

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_WHOLE = re.compile(r"\d{1,18}", re.ASCII)


@dataclass(frozen=True)
class Interactions:
    """All interactions of a dataset in file order, one entry per line."""

    users: tuple[str, ...]
    """User ids."""
    items: npt.NDArray[np.int64]  # (lines,) catalogue indices
    ratings: npt.NDArray[np.float64]  # (lines,) NaN where the source has none
    timestamps: npt.NDArray[np.int64]  # (lines,) seconds since 1970; zeros where the source has none

    def __len__(self) -> int:
        return len(self.users)


def read_dataset(card: DatasetCard, source: CardSource, files: Mapping[str, Path]) -> Dataset:
    """The dataset from the files of one source, after the card's rules and checks.

    Raises:
        DataError: a file breaks its contract (names file and line), or the data is not what the card says.
    """
    catalogue = parse_catalogue(_read(files[source.items.file]), source.items, card.titles)
    interactions = parse_interactions(_read(files[source.interactions.file]), source.interactions, catalogue)
    dataset = build_dataset(card, catalogue, interactions)
    _check_expected(card, dataset, interactions, source)
    return dataset


def parse_catalogue(content: bytes, table: ItemsTable, rules: TitleRules) -> Catalogue:
    """The catalogue from the bytes of an items file, in the order of its ids.

    Raises:
        DataError: names the file and the line.
    """
    lines = _Lines(content, table)
    ids = lines.texts("id", table.id)
    _refuse_repeats(ids, lines)
    names, years = _names(_raw_titles(lines, table), ids, rules)
    tags = _tags(lines, table)
    order = sorted(range(len(ids)), key=lambda index: natural_key(ids[index]))
    shown = titles.make_unique(names, years, ids)
    return Catalogue(
        ids=tuple(ids[index] for index in order),
        titles=tuple(shown[index] for index in order),
        tags=tuple(tags[index] for index in order),
    )


def parse_interactions(content: bytes, table: InteractionsTable, catalogue: Catalogue) -> Interactions:
    """The interactions from the bytes of a ratings file.

    Raises:
        DataError: names the file and the line.
    """
    lines = _Lines(content, table)
    users = lines.texts("user", table.user)
    places = {item: place for place, item in enumerate(catalogue.ids)}
    items = lines.texts("item", table.item)
    unknown = next((row for row, item in enumerate(items) if item not in places), None)
    if unknown is not None:
        raise lines.broken(unknown, f"unknown item id {_short(items[unknown])}")
    ratings, times = np.full(len(lines), np.nan), np.zeros(len(lines), np.int64)
    if table.rating is not None:
        ratings = lines.numbers("rating", table.rating)
    if table.timestamp is not None:
        times = lines.times("timestamp", table.timestamp)
    return Interactions(tuple(users), np.array([places[item] for item in items], np.int64), ratings, times)


def build_dataset(card: DatasetCard, catalogue: Catalogue, interactions: Interactions) -> Dataset:
    """One sequence per user: kept items by time, equal times in file order."""
    kept = _kept(interactions, card.rules)
    order = np.argsort(interactions.timestamps, kind="stable")
    rows: dict[str, list[int]] = {user: [] for user in sorted(set(interactions.users), key=natural_key)}
    for row in order.tolist():
        rows[interactions.users[row]].append(row)
    sequences = {}
    for user, mine in rows.items():
        everything = np.array(mine, np.int64)
        chosen = everything[kept[everything]]
        sequences[user] = UserSequence(
            user=user,
            items=interactions.items[chosen],
            timestamps=interactions.timestamps[chosen],
            seen=frozenset(interactions.items[everything].tolist()),
        )
    return Dataset(card.name, card.title, catalogue, sequences)


def natural_key(identifier: str) -> tuple[int, int, str]:
    """Sorts ids that are whole numbers by value, before all others by their letters."""
    if _WHOLE.fullmatch(identifier):
        return (0, int(identifier), identifier)
    return (1, 0, identifier)


def _kept(interactions: Interactions, rules: Rules) -> npt.NDArray[np.bool_]:
    if rules.min_rating is None:
        return np.ones(len(interactions), np.bool_)
    return np.asarray(interactions.ratings >= rules.min_rating)


# --- titles and tags -------------------------------------------------------------------------------------


def _names(raw: Sequence[str], ids: Sequence[str], rules: TitleRules) -> tuple[list[str], list[str]]:
    """Repaired titles and years; both as they are, and no years, under the style `as-is`."""
    names, years = [], []
    for title, item in zip(raw, ids, strict=True):
        name, year = title.strip(), ""
        if not name or name in rules.unknown:
            name = rules.unknown_name.format(id=item)
        elif rules.style == "trailing-article":
            name, year = titles.split_year(name)
            name = titles.restore_article(name)
        names.append(name)
        years.append(year)
    return names, years


def _raw_titles(lines: _Lines, table: ItemsTable) -> list[str]:
    """Titles as "Title (year)", also where the source keeps the year apart."""
    raw = [" ".join(title.split()) for title in lines.texts("title", table.title, empty=True)]
    if table.year is None:
        return raw
    years = lines.texts("year", table.year, empty=True)
    return [f"{title} ({year})" if year else title for title, year in zip(raw, years, strict=True)]


def _tags(lines: _Lines, table: ItemsTable) -> list[tuple[str, ...]]:
    if table.tags is not None:
        texts = lines.texts("tags", table.tags, empty=True)
        return [tuple(tag for tag in text.split(table.tag_separator) if tag) for text in texts]
    if table.flags is None:
        return [()] * len(lines)
    flags = [lines.flags(name, table.flags + place) for place, name in enumerate(table.flag_names)]
    return [
        tuple(name for name, flag in zip(table.flag_names, row, strict=True) if flag)
        for row in zip(*flags, strict=True)
    ]


# --- lines and columns -----------------------------------------------------------------------------------


class _Lines:
    """A file's lines cut into fields, with checks whose messages name file and line."""

    def __init__(self, content: bytes, table: InteractionsTable | ItemsTable) -> None:
        self.file = table.file
        self._cut(_decode(content, table), table.separator)
        self.header = self.rows.pop(0) if table.header and self.rows else []
        self.first = 2 if table.header else 1  # number in the file of the first line with data
        if not self.rows:
            raise DataError(f"{table.file} has no lines", "it was cut off, or is the wrong file")
        self._check_widths()

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, what: str, column: Column, empty: bool = False) -> list[str]:
        """A column of ids or titles; an empty field is refused unless `empty`."""
        place = self._place(what, column)
        values = [fields[place].strip() for fields in self.rows]
        if not empty and "" in values:
            raise self.broken(values.index(""), f"no {what}")
        if _CONTROL.search("".join(values)):
            row = next(row for row, value in enumerate(values) if _CONTROL.search(value))
            raise self.broken(row, f"{what} {_short(values[row])} has control characters")
        return values

    def numbers(self, what: str, column: Column) -> npt.NDArray[np.float64]:
        """A column of finite numbers."""
        values = self.texts(what, column)
        for row, value in enumerate(values):
            if not _NUMBER.fullmatch(value) or not math.isfinite(float(value)):
                raise self.broken(row, f"{what} {_short(value)} is not a number")
        return np.array(values, np.float64)

    def times(self, what: str, column: Column) -> npt.NDArray[np.int64]:
        """A column of whole seconds since 1970."""
        values = self.texts(what, column)
        for row, value in enumerate(values):
            if not _WHOLE.fullmatch(value):
                raise self.broken(row, f"{what} {_short(value)} is not a whole number of seconds")
        return np.array(values, np.int64)

    def flags(self, what: str, place: int) -> list[bool]:
        """A column of 0 and 1."""
        values = self.texts(what, place)
        for row, value in enumerate(values):
            if value not in ("0", "1"):
                raise self.broken(row, f"the flag of '{what}' is {_short(value)}, not 0 or 1")
        return [value == "1" for value in values]

    def broken(self, row: int, problem: str) -> DataError:
        """The error to raise about a line, given its place among those with data."""
        return _broken(self.file, self.first + row, problem)

    def _cut(self, text: str, separator: str) -> None:
        reader = csv.reader(
            io.StringIO(text, newline=""), delimiter=separator, quoting=csv.QUOTE_NONE, strict=True
        )
        try:
            self.rows = list(reader)
        except csv.Error as error:
            raise _broken(self.file, reader.line_num, str(error)) from error

    def _check_widths(self) -> None:
        width = len(self.header or self.rows[0])
        for row, fields in enumerate(self.rows):
            if len(fields) != width:
                raise self.broken(row, f"{len(fields)} columns where {width} are due")

    def _place(self, what: str, column: Column) -> int:
        if isinstance(column, str):
            if column not in self.header:
                raise _broken(self.file, 1, f"no column '{column}' for the {what}")
            return self.header.index(column)
        if column >= len(self.rows[0]):
            raise _broken(self.file, 1, f"no column {column} for the {what}")
        return column


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})", "fetch the dataset again") from error


def _decode(content: bytes, table: InteractionsTable | ItemsTable) -> str:
    if not content.strip():
        raise DataError(f"{table.file} is empty", "it was cut off, or is the wrong file")
    try:
        return content.decode(table.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _broken(table.file, line, f"not {table.encoding} text") from error


def _refuse_repeats(ids: Sequence[str], lines: _Lines) -> None:
    if len(set(ids)) == len(ids):
        return
    met: set[str] = set()
    for row, item in enumerate(ids):
        if item in met:
            raise lines.broken(row, f"item id {_short(item)} a second time")
        met.add(item)


def _broken(file: str, line: int, problem: str) -> DataError:
    return DataError(
        f"{file}, line {line}: {problem}", "the file is cut off, damaged, or not what its card says"
    )


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


# --- facts -----------------------------------------------------------------------------------------------


def interactions_sha256(interactions: Interactions, catalogue: Catalogue) -> str:
    """Checksum over `user<TAB>item<TAB>rating<TAB>timestamp` lines in file order, the same for any source."""
    rows = zip(
        interactions.users,
        interactions.items.tolist(),
        interactions.ratings.tolist(),
        interactions.timestamps.tolist(),
        strict=True,
    )
    return _digest(f"{user}\t{catalogue.ids[item]}\t{rating:g}\t{time}" for user, item, rating, time in rows)


def catalogue_sha256(catalogue: Catalogue) -> str:
    """Checksum over `id<TAB>title<TAB>tag|tag` lines in catalogue order, the same for any source."""
    rows = zip(catalogue.ids, catalogue.titles, catalogue.tags, strict=True)
    return _digest(f"{item}\t{title}\t{'|'.join(tags)}" for item, title, tags in rows)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _check_expected(
    card: DatasetCard, dataset: Dataset, interactions: Interactions, source: CardSource
) -> None:
    """Refuses data that differs from what the card says about it."""
    found: dict[str, int | str] = {
        "users": len(dataset.sequences),
        "items": len(dataset.catalogue),
        "interactions": len(interactions),
        "kept": sum(len(sequence.items) for sequence in dataset.sequences.values()),
    }
    if card.expected.interactions_sha256:
        found["interactions_sha256"] = interactions_sha256(interactions, dataset.catalogue)
    if card.expected.catalogue_sha256:
        found["catalogue_sha256"] = catalogue_sha256(dataset.catalogue)
    for name, value in found.items():
        due = getattr(card.expected, name)
        if value != due:
            raise DataError(
                f"{card.name} from {source.name}: {name} is {value}, and the card expects {due}",
                "the files are cut off or of another version; or the card's [expected] is wrong",
            )
