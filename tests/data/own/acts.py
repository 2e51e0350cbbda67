"""Made-up interactions and titles that tests write in whatever layout they need."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from core.data.own.adding import Added, add_dataset
from core.data.own.guessing import guess
from core.data.own.looking import Said
from core.errors import IloraError

ITEMS = 60
USERS = 12
EACH = 10


class Act(NamedTuple):
    user: int
    item: int
    rating: int
    second: int

    @property
    def moment(self) -> datetime:
        return datetime.fromtimestamp(self.second, UTC)


def acts() -> list[Act]:
    """Ten different items for each user, every one at a time of its own, in no order."""
    draw = random.Random(3)
    found = [
        Act(user, item, draw.randint(1, 5), 1_300_000_000 + 86_000 * place + user)
        for user in range(1, USERS + 1)
        for place, item in enumerate(draw.sample(range(1, ITEMS + 1), EACH))
    ]
    draw.shuffle(found)
    return found


def order(user: int) -> list[int]:
    """A user's items by time."""
    return [act.item for act in sorted(acts(), key=lambda act: act.second) if act.user == user]


def titles(changed: Mapping[int, str] | None = None) -> dict[int, str]:
    return {item: (changed or {}).get(item, f"Title {item}") for item in range(1, ITEMS + 1)}


def text(header: str, line: str, end: str = "\n") -> str:
    """A table of interactions; `line` is filled with what an act has."""
    lines = [header] if header else []
    lines += [line.format(**act._asdict(), a=act, m=act.moment) for act in acts()]
    return end.join(lines) + end


def listing(header: str, line: str, changed: Mapping[int, str] | None = None, end: str = "\n") -> str:
    """A table of items; `line` is filled with `id` and `title`."""
    lines = [header] if header else []
    lines += [line.format(id=item, title=title) for item, title in titles(changed).items()]
    return end.join(lines) + end


TIMED = text("user_id,item_id,rating,timestamp", "{user},{item},{rating},{second}")
TITLED = listing("item_id,title", "{id},{title}")


def add(
    folder: Path,
    interactions: str | bytes = TIMED,
    items: str | bytes = TITLED,
    names: tuple[str, str] = ("i.csv", "t.csv"),
    said: Said | None = None,
    unlisted: bool = False,
    **given: str,
) -> Added:
    """Writes two files and adds them under the name `own`."""
    folder.mkdir(exist_ok=True)
    for name, content in zip(names, (interactions, items), strict=True):
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    found = guess(folder / names[0], folder / names[1], given, said=said)
    return add_dataset("own", found, drop_unlisted=unlisted)


def kept(added: Added, user: object = 7, prefix: str = "") -> list[int]:
    """A user's items as they were read, by their numbers."""
    ids = added.dataset.catalogue.ids
    return [int(ids[item].removeprefix(prefix)) for item in added.dataset.sequences[str(user)].items]


def refused(tmp_path: Path, words: str, hint: str, **files: object) -> None:
    """Adding these files fails in one line with these words, and a hint with those."""
    with pytest.raises(IloraError) as caught:
        add(tmp_path, **files)  # type: ignore[arg-type]
    assert words in caught.value.title and hint in caught.value.hint
    assert "\n" not in caught.value.title + caught.value.hint
