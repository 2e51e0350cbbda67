"""How a source's files are laid out: which column is what, and in which format."""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from core.data import times
from core.errors import DataError

Column = int | str
"""A column by its header, or by its place (from 0) in a file without a header."""
TABLE_FORMATS = ("text", "jsonl", "parquet", "pickle", "impressions")
ENCODINGS = (
    "utf-8", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252", "iso8859-15", "mac-roman",
    "cp437", "cp850",
    "cp1250", "iso8859-2", "cp1251", "iso8859-5", "koi8-r", "koi8-u", "cp866", "cp1253", "iso8859-7",
    "cp1254", "iso8859-9", "cp1255", "iso8859-8", "cp1256", "iso8859-6", "cp1257", "cp1258", "cp874",
    "gb18030", "gbk", "big5", "big5hkscs", "shift_jis", "cp932", "euc-jp", "iso2022-jp", "euc_kr", "cp949",
)  # fmt: skip
"""What text may be written in; nothing that turns bytes into something else than the same letters."""
UNLISTED = ("refuse", "drop")
REPEATS = ("keep", "first")
EXAMPLE = "datasets/movielens.toml shows every key"


def encoding_named(name: str) -> str | None:
    """The one of `ENCODINGS` that goes by a name, such as `UTF8` or `windows-1252`; None where none does."""
    try:
        meant = codecs.lookup(name).name
    except (LookupError, ValueError):
        return None
    if meant == "utf-8-sig":  # a mark at the beginning is passed over anyway
        return "utf-8"
    return next((known for known in ENCODINGS if codecs.lookup(known).name == meant), None)


@dataclass(frozen=True)
class InteractionsTable:
    """How one source writes down who interacted with what."""

    file: str
    """Stored file name."""
    user: Column
    """Column of the user's id."""
    item: Column
    """Column of the item's id."""
    rating: Column | None = None
    """Column of the rating; without one every interaction counts as liked."""
    timestamp: Column | None = None
    """Column of the time; without one the file's order is the order in time."""
    time_format: str = "seconds"
    """`seconds`: whole ones since 1970; `decimal`: the same with a fraction; `milliseconds`, `microseconds`,
    `nanoseconds`; `date`: ISO 8601, such as 2014-07-01 or 2014-07-01T12:30:00Z, without a zone taken as UTC;
    or a pattern such as `%d/%m/%Y %H:%M`."""
    separator: str = "\t"
    """What is between columns: one character, or `::`."""
    header: bool = False
    """Whether the first line names the columns."""
    quoted: bool = False
    """Whether fields may stand in double quotes, which then may hold separators and line breaks."""
    escaped: bool = False
    """Whether a backslash takes the meaning from the character after it, such as a quote."""
    encoding: str = "utf-8"
    """Text encoding: `utf-8`, `latin-1`, `cp1252` or another of `ENCODINGS`."""
    format: str = "text"
    """`text`; `jsonl`: a JSON object a line; `parquet`; `pickle`: a pandas table with one row per user, lists
    in its other columns; `impressions`: as MIND has them, text whose items are `ID-1` where they were
    clicked and `ID-0` where not, separated by spaces."""
    history: Column | None = None
    """Of impressions: the column of the items clicked before, separated by spaces."""

    def __post_init__(self) -> None:
        _check_table(self)
        check_columns(self.header, self.user, self.item, self.rating, self.timestamp, self.history)
        if not times.is_form(self.time_format):
            raise DataError(f"unknown time format '{self.time_format}' of {self.file}", times.WORDS)
        if self.format != "impressions" and self.history is not None:
            raise DataError(f"{self.file}: only impressions have a history", "drop 'history'")
        if self.format == "impressions" and (self.rating is not None or self.timestamp is None):
            raise DataError(f"{self.file}: impressions have times, and no ratings", EXAMPLE)
        if self.format == "pickle" and self.rating is not None:
            raise DataError(f"{self.file}: a pickled table of lists has no ratings", "drop 'rating'")


@dataclass(frozen=True)
class WindowsTable:
    """Pickled pandas tables of published windows: what each user had met, and what came next.

    A row holds `seq`, the last ids before the target, padded on the right, its length, and `next`. A user's
    training rows follow each other, the first without any history; validation and test rows are a user each.
    """

    train: str
    """Stored file name of the training windows."""
    validation: str
    """Stored file name of the validation windows."""
    test: str
    """Stored file name of the test windows."""
    padding: int
    """The id that stands for nothing."""


@dataclass(frozen=True)
class ItemsTable:
    """How one source writes down the items."""

    file: str
    """Stored file name."""
    id: Column
    """Column of the item's id."""
    title: Column
    """Column of the title."""
    year: Column | None = None
    """Column of the year, where the title does not end in it in brackets."""
    tags: Column | None = None
    """Column of the tags, separated by `tag_separator`."""
    tag_separator: str = " "
    """What separates tags within their column."""
    flags: int | None = None
    """First of several columns holding 1 where the item has a tag, and 0 where not."""
    flag_names: tuple[str, ...] = ()
    """The tags these columns stand for, in their order."""
    separator: str = "\t"
    """What is between columns: one character, or `::`."""
    header: bool = False
    """Whether the first line names the columns."""
    quoted: bool = False
    """Whether fields may stand in double quotes, which then may hold separators and line breaks."""
    escaped: bool = False
    """Whether a backslash takes the meaning from the character after it, such as a quote."""
    encoding: str = "utf-8"
    """Text encoding: `utf-8`, `latin-1`, `cp1252` or another of `ENCODINGS`."""
    format: str = "text"
    """`text`; `jsonl`: a JSON object a line; `parquet`; or `pickle`: a pandas table with one row per item."""

    def __post_init__(self) -> None:
        _check_table(self)
        check_columns(self.header, self.id, self.title, self.year, self.tags)
        if (self.flags is None) != (not self.flag_names):
            raise DataError("'flags' and 'flag_names' belong together", "give both or neither")
        if self.flags is not None and (self.flags < 0 or self.tags is not None):
            raise DataError("'flags' must be a column's place, and excludes 'tags'", EXAMPLE)
        if not self.tag_separator:
            raise DataError("'tag_separator' must not be empty", EXAMPLE)


def _check_table(table: InteractionsTable | ItemsTable) -> None:
    file, separator = table.file, table.separator
    if separator != "::" and (len(separator) != 1 or separator in '\r\n"\0'):
        raise DataError(f"the separator of {file} must be one character, or ::", 'such as "\\t", "," or "|"')
    if table.encoding not in ENCODINGS:
        raise DataError(f"unknown encoding '{table.encoding}' of {file}", f"known: {', '.join(ENCODINGS)}")
    if table.format not in TABLE_FORMATS:
        raise DataError(f"unknown format '{table.format}' of {file}", f"known: {', '.join(TABLE_FORMATS)}")
    if table.format not in ("text", "impressions") and not table.header:
        raise DataError(f"{file}: the columns of a {table.format} file have names", "say header = true")
    if table.quoted and separator == "::":
        raise DataError(f"{file}: fields between :: cannot be quoted", "drop 'quoted'")
    if table.escaped and not table.quoted:
        raise DataError(f"{file}: only quoted fields are escaped", "say quoted = true")


def check_columns(header: bool, *columns: Column | None) -> None:
    """Raises `DataError` unless columns are named where there is a header, else numbered."""
    for column in columns:
        if column is None:
            continue
        if isinstance(column, str) != header or (isinstance(column, int) and column < 0):
            expected = (
                "a name, as the file has a header" if header else "a place from 0, as the file has no header"
            )
            raise DataError(f"column {column!r} must be {expected}", EXAMPLE)
