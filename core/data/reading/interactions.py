"""Turns a dataset's files into a catalogue and one sequence per user, and checks them against the card."""

from __future__ import annotations

import hashlib
import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from core.assets.unpacking import limit
from core.data.cards import CardSource, DatasetCard, Expected, Rules
from core.data.cards import Titles as TitleRules
from core.data.reading import titles
from core.data.reading.codes import cell_text, code, code_column
from core.data.reading.columns import Columns, read_columns
from core.data.reading.lines import CONTROL, Lines, broken, plain_ids, short
from core.data.reading.parquet import read_parquet
from core.data.reading.pickles import read_frame
from core.data.reading.unpacking import read_content
from core.data.reading.windows import check_counts, read_windows
from core.data.tables import InteractionsTable, ItemsTable
from core.data.times import WHOLE
from core.data.types import Catalogue, Dataset, UserSequence
from core.errors import DataError

_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Marks that turn the direction of whatever follows them, also outside the title."""


@dataclass(frozen=True)
class Interactions:
    """All interactions of a dataset in file order, one entry per line."""

    user_ids: tuple[str, ...]
    """The different users."""
    user_codes: npt.NDArray[np.int64]  # (lines,) places in `user_ids`
    items: npt.NDArray[np.int64]  # (lines,) catalogue indices
    ratings: npt.NDArray[np.float64]  # (lines,) NaN where the source has none
    timestamps: npt.NDArray[np.int64]  # (lines,) seconds since 1970; zeros where the source has none
    left_out: int = 0
    """Lines with items that the catalogue does not list."""

    def __len__(self) -> int:
        return len(self.items)

    @property
    def users(self) -> tuple[str, ...]:
        """User id of every line."""
        return tuple(self.user_ids[place] for place in self.user_codes.tolist())


def read_dataset(card: DatasetCard, source: CardSource, files: Mapping[str, Path]) -> Dataset:
    """The dataset from the files of one source, after the card's rules and checks.

    Raises:
        DataError: a file breaks its contract (names file and line), or the data is not what the card says.
    """
    dataset, interactions = read_parts(card, source, files)
    _check_expected(card, dataset, interactions, source)
    return dataset


def read_parts(
    card: DatasetCard, source: CardSource, files: Mapping[str, Path]
) -> tuple[Dataset, Interactions]:
    """The dataset after the card's rules, not yet compared with what the card expects.

    Raises:
        DataError: a file breaks its contract; names file and line.
    """
    catalogue = read_catalogue(source, files, card.titles)
    if source.windows is not None:
        interactions, published = _of_windows(card, source, files, catalogue)
    else:
        assert source.interactions is not None
        columns = read_columns(_read(files[source.interactions.file]), source.interactions)
        interactions, published = _with_catalogue(columns, catalogue, card.rules.unlisted), {}
    return build_dataset(card, catalogue, interactions, published), interactions


def read_catalogue(source: CardSource, files: Mapping[str, Path], rules: TitleRules) -> Catalogue:
    """The catalogue from the items file of one source.

    Raises:
        DataError: names the file and the line.
    """
    return parse_catalogue(_read(files[source.items.file]), source.items, rules)


def parse_catalogue(content: bytes, table: ItemsTable, rules: TitleRules) -> Catalogue:
    """The catalogue from the bytes of an items file, in the order of its ids.

    Raises:
        DataError: names the file and the line.
    """
    fail: Callable[[int, str, str], DataError]
    if table.format in ("text", "jsonl"):
        lines = Lines(content, table)
        ids, raw, tags = lines.texts("id", table.id), _raw_titles(lines, table), _tags(lines, table)
        fail = lines.broken
    else:
        ids, raw = _framed_items(content, table)
        tags = [()] * len(ids)

        def fail(row: int, problem: str, about: str) -> DataError:
            return broken(table.file, row + 1, problem, "row", about)

    rows = _first_rows(plain_ids(ids), raw, fail)
    ids, raw, tags = list(rows), [raw[row] for row in rows.values()], [tags[row] for row in rows.values()]
    names, years = _names(raw, ids, rules)
    plain = [titles.split_year(name)[0] for name in names]
    order = sorted(range(len(ids)), key=lambda index: natural_key(ids[index]))
    apart = [""] * len(ids) if rules.style == "as-is" else years  # there the year is in the name still
    shown = titles.make_unique(names, apart, ids)
    return Catalogue(
        ids=tuple(ids[index] for index in order),
        titles=tuple(shown[index] for index in order),
        tags=tuple(tags[index] for index in order),
        years=tuple(years[index] for index in order),
        plain_titles=tuple(plain[index] for index in order),
    )


def parse_interactions(
    content: bytes, table: InteractionsTable, catalogue: Catalogue, unlisted: str = "refuse"
) -> Interactions:
    """The interactions from the bytes of a ratings file.

    Args:
        content: the file.
        table: how it is laid out.
        catalogue: the items.
        unlisted: `refuse` the file where an item is not in the catalogue, or `drop` the interaction.

    Raises:
        DataError: names the file and the line.
    """
    return _with_catalogue(read_columns(content, table), catalogue, unlisted)


def _with_catalogue(columns: Columns, catalogue: Catalogue, unlisted: str = "refuse") -> Interactions:
    """Interactions whose items are catalogue indices."""
    places = {item: place for place, item in enumerate(catalogue.ids)}
    known = np.array([_place(item, places) for item in columns.items.ids], np.int64)
    items = known[columns.items.codes]
    kept = items >= 0
    if kept.all():
        return Interactions(
            columns.users.ids, columns.users.codes, items, columns.ratings, columns.timestamps
        )
    row = int(np.argmin(kept))
    unknown = columns.items.ids[columns.items.codes[row]]
    if unlisted == "refuse" or not kept.any():
        raise columns.broken(row, f"unknown item id {short(unknown)}", "unknown")
    users, codes = np.unique(columns.users.codes[kept], return_inverse=True)
    names = tuple(columns.users.ids[user] for user in users.tolist())
    return Interactions(
        names,
        codes.astype(np.int64),
        items[kept],
        columns.ratings[kept],
        columns.timestamps[kept],
        left_out=int((~kept).sum()),
    )


def _place(item: str, places: Mapping[str, int]) -> int:
    """An item's place in the catalogue, also where only the interactions write 9 as 9.0; or -1."""
    place = places.get(item)
    return places.get(item.removesuffix(".0"), -1) if place is None else place


def _of_windows(
    card: DatasetCard, source: CardSource, files: Mapping[str, Path], catalogue: Catalogue
) -> tuple[Interactions, dict[str, str]]:
    """The interactions that published windows tell of, and who validates and tests."""
    assert source.windows is not None
    names = (source.windows.train, source.windows.validation, source.windows.test)
    windows = read_windows({name: _read(files[name]) for name in names}, source.windows)
    check_counts(card, windows)
    users = windows.users
    pairs = [(user, item) for user, items in users.items() for item in items]
    nothing = np.zeros(len(pairs))
    columns = Columns(
        file=source.name,
        users=code([user for user, _ in pairs]),
        items=code([item for _, item in pairs]),
        ratings=np.full(len(pairs), np.nan),
        timestamps=nothing.astype(np.int64),
        word="interaction",
    )
    published = {user: part for user in users if (part := user.partition("-")[0]) in ("validation", "test")}
    return _with_catalogue(columns, catalogue), published


def build_dataset(
    card: DatasetCard,
    catalogue: Catalogue,
    interactions: Interactions,
    published: Mapping[str, str] | None = None,
) -> Dataset:
    """One sequence per user: kept items by time, equal times in file order."""
    names = sorted(interactions.user_ids, key=natural_key)
    places = {user: place for place, user in enumerate(names)}
    ranks = np.array([places[user] for user in interactions.user_ids], np.int64)[interactions.user_codes]
    order = np.lexsort((interactions.timestamps, ranks))  # stable: ties stay in file order
    ranks, items, times = ranks[order], interactions.items[order], interactions.timestamps[order]
    kept = _kept(interactions, card.rules)[order]
    if card.rules.repeats == "first":
        kept &= _first_times(ranks, items, kept, len(catalogue))
    ends = np.searchsorted(ranks, np.arange(len(names)), side="right")
    sequences, start, everything = {}, 0, bool(kept.all())  # then nothing is copied
    for user, end in zip(names, ends.tolist(), strict=True):
        mine = slice(start, end) if everything else np.flatnonzero(kept[start:end]) + start
        sequences[user] = UserSequence(
            user=user,
            items=items[mine],
            timestamps=times[mine],
            met=items[start:end],
        )
        start = end
    return Dataset(card, catalogue, sequences, published or {})


def natural_key(identifier: str) -> tuple[int, int, str]:
    """Sorts ids that are whole numbers by value, before all others by their letters."""
    if WHOLE.fullmatch(identifier):
        return (0, int(identifier), identifier)
    return (1, 0, identifier)


def _kept(interactions: Interactions, rules: Rules) -> npt.NDArray[np.bool_]:
    if rules.min_rating is None:
        return np.ones(len(interactions), np.bool_)
    return np.asarray(interactions.ratings >= rules.min_rating)


def _first_times(
    ranks: npt.NDArray[np.int64], items: npt.NDArray[np.int64], kept: npt.NDArray[np.bool_], n_items: int
) -> npt.NDArray[np.bool_]:
    """Whether a kept entry is its user's first of that item."""
    import pandas as pd

    first = np.zeros(len(items), np.bool_)
    first[kept] = ~pd.Series(ranks[kept] * n_items + items[kept]).duplicated().to_numpy()
    return first


# --- titles and tags -------------------------------------------------------------------------------------


def _names(raw: Sequence[str], ids: Sequence[str], rules: TitleRules) -> tuple[list[str], list[str]]:
    """Repaired titles, and years; under the style `as-is` a title keeps its year."""
    names, years = [], []
    for title, item in zip(raw, ids, strict=True):
        text = html.unescape(title) if rules.entities else title
        name = " ".join(_DIRECTION.sub("", text).split())
        bare, year = titles.split_year(name)
        if not name or name in rules.unknown:
            name, year = rules.unknown_name.format(id=item), ""
        elif rules.style == "trailing-article":
            name = titles.restore_article(bare)
        names.append(name)
        years.append(year)
    return names, years


def _raw_titles(lines: Lines, table: ItemsTable) -> list[str]:
    """Titles as "Title (year)", also where the source keeps the year apart."""
    raw = [" ".join(title.split()) for title in lines.texts("title", table.title, empty=True)]
    if table.year is None:
        return raw
    years = lines.texts("year", table.year, empty=True)
    return [f"{title} ({year})" if year else title for title, year in zip(raw, years, strict=True)]


def _tags(lines: Lines, table: ItemsTable) -> list[tuple[str, ...]]:
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


def _framed_items(content: bytes, table: ItemsTable) -> tuple[list[str], list[str]]:
    """Ids and raw titles from a parquet file or a pickled table; a missing title is an empty one."""
    columns = (str(table.id), str(table.title))
    read = read_parquet if table.format == "parquet" else read_frame
    frame = read(content, table.file, columns)
    if not len(frame):
        raise DataError(f"{table.file} has no rows", "it was cut off, or is the wrong file")
    ids = code_column(frame[columns[0]], "id", table.file, np.arange(1, len(frame) + 1))
    raw, left = [], limit(len(content))
    for row, cell in enumerate(frame[columns[1]], start=1):
        if isinstance(cell, (list, dict, np.ndarray)):
            raise broken(table.file, row, "title is neither a text nor a number", "row")
        raw.append(" ".join(cell_text(cell).split()))
        left -= len(raw[-1])
        if left < 0:  # one long text may be written once and meant a million times
            raise broken(table.file, row, "its titles unfold to more than the file can hold", "row")
        if CONTROL.search(raw[-1]):
            raise broken(table.file, row, f"title {short(raw[-1])} has control characters", "row")
    return [ids.ids[place] for place in ids.codes.tolist()], raw


def _first_rows(
    ids: Sequence[str], raw: Sequence[str], fail: Callable[[int, str, str], DataError]
) -> dict[str, int]:
    """Item -> its first row; it may come again with the same title, not with another one."""
    rows: dict[str, int] = {}
    for row, item in enumerate(ids):
        first = rows.setdefault(item, row)
        if raw[first] != raw[row]:
            raise fail(row, f"item id {short(item)} a second time, with another title", "repeated")
    return rows


def _read(path: Path) -> bytes:
    return read_content(path, "fetch the dataset again")


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


def count(dataset: Dataset, interactions: Interactions) -> Expected:
    """What a card may expect of this data."""
    return Expected(
        users=len(dataset.sequences),
        items=len(dataset.catalogue),
        interactions=len(interactions),
        kept=sum(len(sequence.items) for sequence in dataset.sequences.values()),
    )


def _check_expected(
    card: DatasetCard, dataset: Dataset, interactions: Interactions, source: CardSource
) -> None:
    """Refuses data that differs from what the card says about it."""
    counted = count(dataset, interactions)
    found: dict[str, int | str] = {
        name: getattr(counted, name) for name in ("users", "items", "interactions", "kept")
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
