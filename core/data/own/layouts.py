"""The files of well-known data sets: folders of them, and what the names of their columns give away."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.data.cards import Rules, Titles
from core.data.reading.pickles import read_frame
from core.data.reading.unpacking import read_content
from core.data.reading.windows import COLUMNS as WINDOW_COLUMNS
from core.data.tables import InteractionsTable, ItemsTable, WindowsTable
from core.errors import DataError


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
    rules: Rules = field(default_factory=Rules)
    """Which interactions count."""
    notes: tuple[str, ...] = ()
    """What somebody should know before trusting it, a line each."""


def stored_name(path: Path) -> str:
    """What a file is called in the cache: its name without unusual letters."""
    return re.sub("[^A-Za-z0-9._-]", "-", path.name).lstrip(".-") or "file"


# --- folders whose layout is fixed -----------------------------------------------------------------------


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
    frame = read_frame(read_content(folder / train), train, WINDOW_COLUMNS)
    first = frame["seq"].iloc[0]
    if (
        not isinstance(first, list)
        or not first
        or len(set(map(repr, first))) != 1
        or type(first[0]) is not int
    ):
        raise DataError(f"{train}, row 1: not a window of padding alone", "the first row shows the padding")
    return Guess(
        tuple(folder / name for name in names),
        ItemsTable(items, id=0, title=1, separator="::"),
        windows=WindowsTable(train, validation, test, first[0]),
        kind="LLaRA",
    )


def _encoding(path: Path) -> str:
    """The encoding of a file that exists in both."""
    try:
        read_content(path).decode()
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


FOLDERS: dict[tuple[str, ...], Callable[[Path, Sequence[str]], Guess]] = {
    ("u.data", "u.item"): _ml_100k,
    ("ratings.dat", "movies.dat"): _ml_dat,
    ("ratings.csv", "movies.csv"): _ml_csv,
    ("train_data.df", "Val_data.df", "Test_data.df", "id2name.txt"): _llara,
}
"""Files -> what they are."""


# --- folders of two files that are looked at -------------------------------------------------------------

PAIRS = (
    ("user_taggedartists-timestamps.dat", "artists.dat"),
    ("user_artists.dat", "artists.dat"),
    ("behaviors.tsv", "news.tsv"),
    ("BX-Book-Ratings.csv", "BX-Books.csv"),
    ("Ratings.csv", "Books.csv"),
    ("ratings.csv", "books.csv"),
    ("yelp_academic_dataset_review.json", "yelp_academic_dataset_business.json"),
)
_PACKED = ("", ".gz", ".bz2", ".xz", ".zip")


def pair_in(folder: Path) -> tuple[Path, Path] | None:
    """The files of interactions and of items in a folder of a known kind, or None."""
    for pair in PAIRS:
        found = [
            next((path for end in _PACKED if (path := folder / (name + end)).is_file()), None)
            for name in pair
        ]
        if found[0] is not None and found[1] is not None:
            return found[0], found[1]
    recbole = [sorted(folder.glob(f"*.{kind}")) for kind in ("inter", "item")]
    if all(len(paths) == 1 for paths in recbole):
        return recbole[0][0], recbole[1][0]
    return _amazon(folder)


def _amazon(folder: Path) -> tuple[Path, Path] | None:
    """Reviews and products: X and meta_X, or reviews_X and meta_X, whatever their kind."""
    metas = sorted(folder.glob("meta_*"))
    if len(metas) != 1:
        return None
    stem = metas[0].name.removeprefix("meta_").partition(".")[0]
    reviews = [path for path in folder.iterdir() if path.name.partition(".")[0] in (stem, f"reviews_{stem}")]
    return (reviews[0], metas[0]) if len(reviews) == 1 else None


# --- what names of columns give away ---------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """A data set that is known by the names of its columns."""

    kind: str
    interactions: frozenset[str]
    """Names that its interactions have, in small letters without marks."""
    rules: Rules = field(default_factory=Rules)
    titles: Titles = field(default_factory=Titles)
    items: frozenset[str] = frozenset()


_DROP = Rules(unlisted="drop")
KNOWN = (
    Known(
        "HetRec Last.fm (tags)",
        frozenset({"userid", "artistid", "tagid"}),
        Rules(unlisted="drop", repeats="first"),
    ),
    Known("HetRec Last.fm", frozenset({"userid", "artistid", "weight"}), _DROP),
    Known("Book-Crossing", frozenset({"userid", "isbn", "bookrating"}), _DROP, Titles(entities=True)),
    Known("Amazon 2018", frozenset({"reviewerid", "asin"}), _DROP, Titles(entities=True)),
    Known("Amazon 2023", frozenset({"userid", "parentasin"}), _DROP),
    Known("REES46", frozenset({"eventtime", "eventtype", "productid", "userid"})),
    Known("Yelp", frozenset({"reviewid", "userid", "businessid"}), _DROP),
    Known("goodbooks-10k", frozenset({"userid", "bookid", "rating"}), items=frozenset({"title", "authors"})),
    Known(
        "MovieLens (.csv)",
        frozenset({"userid", "movieid", "rating"}),
        titles=Titles(style="trailing-article"),
        items=frozenset({"movieid", "title", "genres"}),
    ),
)


def known_by(interactions: frozenset[str], items: frozenset[str]) -> Known | None:
    """The data set whose columns these are, or None."""
    fitting = (known for known in KNOWN if known.interactions <= interactions and known.items <= items)
    return next(fitting, None)
