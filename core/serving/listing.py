"""What a screen lists before anything is asked, a catalogue and its users: kept, so that it is there at once.

Reading a dataset imports pandas and takes a second or two. What was listed the last time is shown meanwhile,
and is shown anew where the data turn out to be others.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from core.assets import cache
from core.assets.spec import home
from core.config.checks import sha256_of
from core.config.settings import DataConfig
from core.data.card_files import load_card
from core.data.samples import user_parts
from core.data.types import Dataset, Samples
from core.errors import IloraError
from core.files import atomic_write
from core.records import build, json_of, plain, read_text
from core.serving.protocol import ItemsListed, UserListed, UsersListed

VERSION = 1
"""Of what is kept."""
PIECE = 100
"""Users or items in one event, so that no line takes long to read."""
LARGEST = 5_000_000
"""Interactions of the largest dataset that is kept: of more the file would take as long as the data."""


@dataclass(frozen=True)
class Listing:
    """A dataset as a screen lists it."""

    dataset: str
    title: str
    split: str
    min_history: int
    max_history: int
    titles: list[str]
    years: list[str]
    tags: list[list[str]]
    users: list[UserListed]

    def events(self, request: int) -> Iterator[ItemsListed | UsersListed]:
        """Catalogue and users, in pieces."""
        for at in range(0, len(self.titles), PIECE):
            part = slice(at, at + PIECE)
            yield ItemsListed(request, at, self.titles[part], self.years[part], self.tags[part])
        for at in range(0, len(self.users), PIECE):
            yield UsersListed(request, at, self.users[at : at + PIECE])


def listing_of(dataset: Dataset, samples: Samples) -> Listing:
    """A dataset that was read, as a screen lists it."""
    parts, catalogue = user_parts(samples), dataset.catalogue
    users: list[UserListed] = [
        {
            "user": user,
            "part": parts.get(user, "train"),
            "items": sequence.items.tolist(),
            "times": sequence.timestamps.tolist(),
        }
        for user, sequence in dataset.sequences.items()
    ]
    return Listing(
        dataset=dataset.name,
        title=dataset.title,
        split=samples.split,
        min_history=dataset.rules.min_history,
        max_history=dataset.rules.max_history,
        titles=list(catalogue.titles),
        years=list(catalogue.years),
        tags=[list(of_item) for of_item in catalogue.tags],
        users=users,
    )


def kept(config: DataConfig) -> Listing | None:
    """What was listed of this data the last time; None where nothing is known, or its files changed."""
    with contextlib.suppress(IloraError, OSError):
        path = _path(config)
        if path is not None and path.is_file():
            return build(Listing, json_of(read_text(path, most=2**30), path.name))
    return None


def keep(listing: Listing, config: DataConfig) -> None:
    """Writes it down for the next time; where that cannot be, the next time takes longer."""
    if sum(len(user["items"]) for user in listing.users) > LARGEST:
        return
    with contextlib.suppress(IloraError, OSError):
        path = _path(config)
        if path is not None:
            atomic_write(path, json.dumps(plain(listing), ensure_ascii=False))


def _path(config: DataConfig) -> Path | None:
    """Where it is kept: by the card, the state of the cached files, and what decides who is in which part."""
    card = load_card(config.dataset)
    stored = cache.find(card.asset)
    if stored is None:
        return None
    states = [[name, *_state(path)] for name, path in sorted(stored.files.items())]
    key = sha256_of([VERSION, plain(card), plain(config), stored.source, states])
    return home() / "listings" / f"{card.name}-{key[:16]}.json"


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
