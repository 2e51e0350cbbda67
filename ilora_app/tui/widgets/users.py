"""The list of users: id, part of the split, length of sequence, and how one-sided the gate is."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from ilora_app.tui.drawing.bars import bar, fit
from ilora_app.tui.state.grid import Grid
from ilora_app.tui.state.run_data import PARTS, RunData, User
from ilora_app.tui.widgets.rows import Cell, Rows


class UserList(Rows):
    """All users of the dataset.

    ● test user, ◐ validation user, · training user. `items` is the number of items in the user's sequence;
    the bar tells how one-sided the gate is: empty where all experts weigh the same, full where one has
    everything (the mean over layers, where each has a gate of its own).
    After a search `hits` counts the matching items of the history that is shown.
    """

    TITLE: ClassVar[str] = "Users"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "slash",
            "screen.search_users",
            "Search",
            tooltip="search users by id, title, genre or part",
            id="users.search",
        ),
        Binding(
            "o",
            "screen.order_users",
            "Order",
            tooltip="sort users by length or by how one-sided",
            id="users.order",
        ),
        Binding(
            "n",
            "screen.own_taste",
            "Own taste",
            tooltip="your own taste, a new one or yours",
            id="users.own-taste",
        ),
    ]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.run_data = RunData()
        self.shown: list[User] = []
        self.hits: dict[str, int] = {}

    def show(self, run_data: RunData, users: list[User], hits: dict[str, int], keep: str | None) -> None:
        """Other users; the cursor stays on `keep` where it can."""
        self.run_data, self.shown, self.hits = run_data, users, hits
        place = next((at for at, user in enumerate(users) if user.user == keep), 0)
        self.renew(len(users), place)

    def at(self, index: int) -> User | None:
        """The user of a row."""
        return self.shown[index] if 0 <= index < len(self.shown) else None

    def grid(self) -> Grid:
        """Id, part of the split, number of items, one-sidedness of the gate, favourite genre."""
        rows = [
            (user.user, user.part, len(user.items), user.one_sided, self.run_data.favourite(user))
            for user in self.shown
        ]
        return Grid("Users", ("user", "part", "items", "one-sided", "favourite"), tuple(rows))

    def head(self, width: int) -> str:
        """Column names."""
        measure = "hits" if self.hits else "items"
        return fit(f"    {'user':<5}{measure:>5} gate", width) if width > 17 else fit("    user", width)

    def cells(self, index: int, width: int) -> list[Cell]:
        """Sign, id, length, one-sidedness, favourite genre."""
        user = self.shown[index]
        measure = self.hits[user.user] if self.hits else len(user.items)
        sign_ink = {"test": "accent", "validation": "second"}.get(user.part, "dim")
        cells: list[Cell] = [
            (f" {PARTS[user.part]} ", sign_ink),
            (fit(user.user, 5), "bright"),
            (fit(str(measure), 5, right=True), ""),
            (" ", ""),
        ]
        left = width - 14
        gauge = min(6, left)
        if user.one_sided is not None:
            cells.append((bar(user.one_sided, gauge), "first"))
        else:
            cells.append((fit("–", gauge), "dim"))
        if left - gauge > 6:
            cells.append((" " + fit(self.run_data.favourite(user), left - gauge - 1), "dim"))
        return cells
