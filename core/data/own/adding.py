"""Makes somebody's own files a dataset: reads them once, and writes the card."""

from __future__ import annotations

import dataclasses
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from core.assets import spec
from core.data.card_files import list_cards, own_cards, parse_card
from core.data.cards import CardSource, DatasetCard, Expected, Licence, PaperSplit, Prompts
from core.data.own.choosing import advised
from core.data.own.guessing import Guess, stored_name
from core.data.reading.interactions import Interactions, count, read_parts
from core.data.reading.lines import BrokenLine
from core.data.samples import CANDIDATES, make_samples
from core.data.types import Dataset
from core.errors import DataError, InputError
from core.files import atomic_write, sha256_of_file

RESERVED = ("add", "remove", "show", "all")
_CHOSEN = "This user has chosen {history} in the previous. Please predict the next"
_CHOOSE = "this user will choose. Choose the answer from the following {count} titles: {candidates}. Answer:"
LEAST_USERS = 10
"""Fewer cannot be divided 8:1:1."""


@dataclass(frozen=True)
class Added:
    """A dataset that was just made known."""

    card: DatasetCard
    path: Path
    """Where the card is."""
    dataset: Dataset
    left_out: int = 0
    """Interactions with items that are not listed."""


def add_dataset(
    name: str,
    guess: Guess,
    noun: str = "item",
    min_rating: float | None = None,
    seed: int = 0,
    drop_unlisted: bool = False,
) -> Added:
    """Writes the card of somebody's own files.

    Args:
        name: what to call the dataset.
        guess: its files and how they are laid out.
        noun: what one item is, such as "book".
        min_rating: interactions rated below only count as seen.
        seed: of the division of users 8:1:1, where there are at least ten.
        drop_unlisted: leave out interactions with items that the items' file does not list.

    Raises:
        InputError: the name is taken or cannot be used.
        DataError: a file cannot be read, or does not make a single case; names file and line.
    """
    check_name(name)
    if drop_unlisted:
        guess = dataclasses.replace(guess, rules=dataclasses.replace(guess.rules, unlisted="drop"))
    with advised():
        card, dataset, interactions = _read(name, guess, noun, min_rating)
    split = _split(guess, dataset, seed)
    card = dataclasses.replace(card, expected=count(dataset, interactions), split=split)
    _check_usable(card, dataset)
    text = to_toml(card)
    if text.encode("utf-8", "replace").decode() != text:
        raise DataError(f"the name of a file or column of {name} is no text", "use plain letters for names")
    if parse_card(text, f"{name}.toml") != card:
        raise DataError(f"the card of {name} cannot be written", "use plain letters for columns and names")
    path = own_cards() / f"{name}.toml"
    try:
        atomic_write(path, text)
    except OSError as error:
        raise InputError(
            f"the card cannot be written: {path}: {error.strerror or error}",
            f"free some space, or set {spec.HOME_VARIABLE} to a folder that can be written",
        ) from error
    return Added(card, path, dataset, interactions.left_out)


def _read(
    name: str, guess: Guess, noun: str, min_rating: float | None
) -> tuple[DatasetCard, Dataset, Interactions]:
    """The card and what its files hold; times that turn out to have fractions are read as such."""
    card = _card(name, guess, noun, min_rating)
    (source,) = card.sources
    files = {stored_name(path): path for path in guess.paths}
    try:
        return card, *read_parts(card, source, files)
    except BrokenLine as error:
        table = guess.interactions
        if error.about != "time" or table is None or table.time_format != "seconds":
            raise
    wider = dataclasses.replace(guess, interactions=dataclasses.replace(table, time_format="decimal"))
    return _read(name, wider, noun, min_rating)


def remove_dataset(name: str) -> Path:
    """Forgets a dataset of the user's own: its card, and the copy of its files; returns the card's path.

    Raises:
        InputError: there is no such card of the user's own.
    """
    path = own_cards() / f"{name}.toml"
    if not re.fullmatch("[a-z0-9][a-z0-9-]*", name) or not path.is_file():
        mine = ", ".join(sorted(card.stem for card in own_cards().glob("*.toml"))) or "none"
        raise InputError(f"no dataset of your own is called '{name}'", f"yours: {mine}")
    copy = spec.home() / "datasets" / name
    try:
        if copy.exists():
            shutil.rmtree(copy)
        path.unlink()
    except OSError as error:
        raise InputError(f"cannot remove {name}: {error.strerror}", f"delete {path} and {copy}") from error
    return path


def check_name(name: str) -> None:
    """Refuses names that are taken, or that a command could not tell from an action.

    Raises:
        InputError: the name cannot be used.
    """
    if not re.fullmatch("[a-z0-9][a-z0-9-]{0,63}", name) or name in RESERVED:
        raise InputError(f"'{name}' cannot be a dataset's name", "use small letters, digits and '-'")
    if (own_cards() / f"{name}.toml").exists():
        raise InputError(f"there is a dataset '{name}' already", f"ilora-app data remove {name} forgets it")
    if name in list_cards():
        raise InputError(f"'{name}' comes with the program", "choose another name")


def to_toml(card: DatasetCard) -> str:
    """A card as TOML, without what is left at its default."""
    return f"# {card.title}, added by its owner.\n" + tomli_w.dumps(_changed(card))


def _card(name: str, guess: Guess, noun: str, min_rating: float | None) -> DatasetCard:
    folder = guess.paths[0].absolute().parent
    files = tuple(_local(path.absolute()) for path in guess.paths)
    published = PaperSplit(published=True) if guess.windows else None
    return DatasetCard(
        name=name,
        title=name,
        description=f"Read from {folder}.",
        homepage=folder.as_uri(),
        citation="Your own data.",
        noun=noun,
        licence=Licence("your own", folder.as_uri(), "Yours to decide."),
        sources=(CardSource("your files", "local", files, guess.items, guess.interactions, guess.windows),),
        rules=dataclasses.replace(guess.rules, min_rating=min_rating),
        expected=Expected(1, 1, 1, 1),
        prompts=Prompts(
            history="This user chose:",
            item="{title}",
            ask="Will they choose next:",
            language_model=f"{_CHOSEN} {_braces(noun)} {_CHOOSE}",
        ),
        titles=dataclasses.replace(guess.titles, unknown_name=f"Unknown {_braces(noun)} ({{id}})"),
        split=published,
    )


def _braces(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _local(path: Path) -> spec.RemoteFile:
    return spec.RemoteFile(stored_name(path), str(path), sha256_of_file(path), max(1, path.stat().st_size))


def _split(guess: Guess, dataset: Dataset, seed: int) -> PaperSplit | None:
    if guess.windows is not None:
        return PaperSplit(published=True)
    return PaperSplit(seed=seed) if len(dataset.sequences) >= LEAST_USERS else None


def _check_usable(card: DatasetCard, dataset: Dataset) -> None:
    """Refuses data that no method could be trained or tested on."""
    n_items = len(dataset.catalogue)
    if n_items < CANDIDATES:
        raise DataError(
            f"{card.name} has {n_items} items, and a case needs {CANDIDATES} candidates",
            "add items, or choose another data set",
        )
    for user, mine in dataset.sequences.items():
        if n_items - len(mine.seen) < CANDIDATES - 1:
            raise DataError(
                f"user '{user}' of {card.name} has {n_items - len(mine.seen)} unseen items, "
                f"{CANDIDATES - 1} are needed",
                "every candidate must be new to the user: leave this user out",
            )
    for split in card.splits:
        if split == "temporal":
            continue  # it divides what leave-one-out divides
        samples = make_samples(dataset, card, split)
        if samples.train and samples.validation and samples.test["last"]:
            return
    raise DataError(
        f"{card.name}: no split gives cases to train, to validate and to test on",
        f"users need at least {card.rules.min_history + 1} kept items",
    )


# --- TOML ------------------------------------------------------------------------------------------------


def _changed(value: Any) -> dict[str, Any]:
    """A dataclass as a table, without fields that have their default value."""
    table = {}
    for field in dataclasses.fields(value):
        content = getattr(value, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if content != default:
            table[field.name] = _plain(content)
    return table


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _changed(value)
    return [_plain(entry) for entry in value] if isinstance(value, tuple) else value
