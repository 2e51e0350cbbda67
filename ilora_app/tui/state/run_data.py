"""What the engine has said about the opened run: catalogue, users, gates and experts. No widgets here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime

from core.serving.protocol import ExpertListed, GatesListed, ItemsListed, Opened, UsersListed

ORDERS = ("listed", "length", "one-sided")
"""How users can be sorted: test users first, longest first, most one-sided gate first."""
PARTS = {"test": "●", "validation": "◐", "train": "·"}
"""Sign of the part of the split that a user belongs to."""


@dataclass
class User:
    """One user as the list shows them."""

    user: str
    part: str
    items: list[int]
    times: list[int]
    one_sided: float | None = None
    """0 where the gate's weights are even, 1 where one expert has everything; None without a gate."""


@dataclass
class RunData:
    """Grows as the engine's pieces arrive; a new run empties it."""

    opened: Opened | None = None
    titles: list[str] = field(default_factory=list)
    years: list[str] = field(default_factory=list)
    tags: list[list[str]] = field(default_factory=list)
    users: list[User] = field(default_factory=list)
    profiles: list[ExpertListed] = field(default_factory=list)
    complete: bool = False
    _places: dict[str, int] = field(default_factory=dict)

    @property
    def min_history(self) -> int:
        """Fewest items before a target, by the opened dataset's rules; 1 before anything is open."""
        return self.opened.min_history if self.opened else 1

    @property
    def max_history(self) -> int:
        """Items of a history that are read, by the opened dataset's rules; 1 before anything is open."""
        return self.opened.max_history if self.opened else 1

    def take(self, event: Opened | ItemsListed | UsersListed | GatesListed) -> None:
        """Adds a piece."""
        if isinstance(event, Opened):
            self.__init__(opened=event)  # type: ignore[misc]
        elif isinstance(event, ItemsListed):
            self.titles += event.titles
            self.years += event.years
            self.tags += event.tags
        elif isinstance(event, UsersListed):
            for record in event.users:
                self._places[record["user"]] = len(self.users)
                self.users.append(User(**record))
        else:
            self.profiles = event.profiles
            for user, side in zip(event.users, event.one_sided, strict=False):
                self.users[self._places[user]].one_sided = side
            self.complete = True

    def user(self, name: str) -> User | None:
        """A user by id."""
        place = self._places.get(name)
        return None if place is None else self.users[place]

    def title(self, item: int) -> str:
        """An item's title."""
        return self.titles[item] if 0 <= item < len(self.titles) else f"item {item}"

    def year(self, item: int) -> str:
        """An item's year, empty where unknown."""
        return self.years[item] if 0 <= item < len(self.years) else ""

    def genres(self, item: int) -> str:
        """An item's genres in one line."""
        return ", ".join(self.tags[item]) if 0 <= item < len(self.tags) else ""

    def find_items(self, query: str, limit: int | None = None) -> list[int]:
        """Items whose title holds every word of the query, or which have it as genre or year; best first."""
        words = query.casefold().split()
        if not words:
            return []
        found = []
        for item, title in enumerate(self.titles):
            low = title.casefold()
            tags = [tag.casefold() for tag in self.tags[item]]
            if all(word in low or word in tags or word == self.years[item] for word in words):
                found.append(item)
        whole = query.casefold()
        found.sort(key=lambda item: (not self.titles[item].casefold().startswith(whole), self.titles[item]))
        return found[:limit]

    def find_users(self, query: str, order: str) -> tuple[list[User], dict[str, int]]:
        """Users that a query means, in an order, and how many items of each one's history match.

        A query is a user's id, words of a title in the history, a genre, or test, validation, train.
        """
        asked = query.strip().casefold()
        usable = [user for user in self.users if len(user.items) > self.min_history]
        matches: dict[str, int] = {}
        if asked in PARTS:
            usable = [user for user in usable if user.part == asked]
        elif asked and any(user.user.casefold() == asked for user in usable):
            usable = [user for user in usable if user.user.casefold().startswith(asked)]
        elif asked:
            wanted = set(self.find_items(asked))
            matches = {user.user: sum(item in wanted for item in self.newest(user)) for user in usable}
            usable = [user for user in usable if matches[user.user]]
        if order == "length":
            usable.sort(key=lambda user: -len(user.items))
        elif order == "one-sided":
            usable.sort(key=lambda user: -(user.one_sided or 0.0))
        elif matches:
            usable.sort(key=lambda user: -matches[user.user])
        else:
            rank = list(PARTS)
            usable.sort(key=lambda user: rank.index(user.part))
        return usable, matches

    def newest(self, user: User) -> list[int]:
        """The history that is shown when the user is chosen: what came before their last item."""
        return user.items[:-1][-self.max_history :]

    def favourite(self, user: User) -> str:
        """The genre that most of a user's newest history has."""
        counts = Counter(
            tag for item in self.newest(user) if item < len(self.tags) for tag in self.tags[item]
        )
        return counts.most_common(1)[0][0] if counts else ""


def day(seconds: int) -> str:
    """A date as people write it in lists; empty where the source has none."""
    if seconds <= 0:
        return ""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d")
