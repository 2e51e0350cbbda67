"""Whose history is looked at: the list of users, its search and order, and a taste of one's own."""

from __future__ import annotations

from textual import on
from textual.widgets import Input

from ilora_app.tui.screens.explore.edits import EditKeys
from ilora_app.tui.state.run_data import ORDERS
from ilora_app.tui.widgets.history import HistoryList
from ilora_app.tui.widgets.rows import Rows
from ilora_app.tui.widgets.users import UserList


class PeopleKeys(EditKeys):
    """Choosing a user shows their newest history; a taste of one's own is kept meanwhile."""

    def list_users(self) -> None:
        """The users that are asked for, in the chosen order."""
        run_data = self.app_state.run_data
        users, hits = run_data.find_users(self.query_text, self.order)
        keep = self.explored.user.user if self.explored.user else None
        self.query_one(UserList).show(run_data, users, hits, keep)
        self.query_one("#people").border_title = f"Users · {len(users):,}"
        self.query_one("#people").border_subtitle = "" if self.order == ORDERS[0] else f"by {self.order}"

    @on(Rows.Highlighted, "#users")
    def _user_highlighted(self, message: Rows.Highlighted) -> None:
        user = self.query_one(UserList).at(message.index)
        if user is not None and user is not self.explored.user:
            self.stop_replay()
            self.asked_why = -1
            self.explored.choose(user)
            self.explored.trail = []
            self.draw(cursor=0)
            self.ask()

    @on(Rows.Chosen, "#users")
    def _user_chosen(self) -> None:
        if self.explored.own:
            self._user_highlighted(
                Rows.Highlighted(self.query_one(UserList), self.query_one(UserList).cursor)
            )
        self.query_one(HistoryList).focus()

    def action_search_users(self) -> None:
        """Opens the search field above the users."""
        field = self.query_one("#find", Input)
        field.add_class("-open")
        field.focus()

    @on(Input.Changed, "#find")
    def _search_changed(self, message: Input.Changed) -> None:
        self.query_text = message.value
        self.list_users()
        self.refresh_state()
        users = self.query_one(UserList)
        user = users.at(users.cursor)
        if user is not None and user is not self.explored.user:
            self._user_highlighted(Rows.Highlighted(users, users.cursor))

    @on(Input.Submitted, "#find")
    def _search_submitted(self) -> None:
        self.query_one(UserList).focus()

    def action_order_users(self) -> None:
        """The next order of users."""
        self.order = ORDERS[(ORDERS.index(self.order) + 1) % len(ORDERS)]
        self.list_users()

    def action_own_taste(self) -> None:
        """Goes back to one's own taste, or starts one."""
        self.stop_replay()
        self.explored.start_own()
        self.asked = self.asked_why = -1
        self.draw(cursor=0)
        self.refresh_state()
        self.query_one(HistoryList).focus()
        if self.explored.history:
            self.ask()
        else:
            self.action_add_item()

    def show_user(self, name: str, position: int | None = None) -> None:
        """Looks at a user by id, from another tab."""
        user = self.app_state.run_data.user(name)
        if user is not None:
            self.query_text = self.query_one("#find", Input).value = ""
            self.explored.choose(user, position)
            self.list_users()
            self.draw(cursor=0)
            self.ask()
