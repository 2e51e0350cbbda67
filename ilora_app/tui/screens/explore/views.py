"""Keys that keep a view with its edits, open one again, and copy the command that gives it."""

from __future__ import annotations

from core.errors import InputError
from ilora_app.tui.screens.dialogs.name import Name
from ilora_app.tui.screens.dialogs.pick import PickName
from ilora_app.tui.screens.explore.edits import EditKeys
from ilora_app.tui.state import views


class ViewKeys(EditKeys):
    """What is on screen can be kept by name, and comes back with all its edits."""

    def action_keep(self) -> None:
        """Asks for a name and keeps this view under it."""
        view = views.view_of(self.explored)
        if view is None:
            self.notify("There is nothing to keep yet.")
            return

        def named(name: str | None) -> None:
            if not name:
                return
            try:
                path = views.keep(view, name)
            except OSError as error:
                self.notify(f"{error.strerror}: {views.folder()}", title="not kept", severity="error")
                return
            self.notify(f"{path}\nO opens it again, ilora-app tui --open too", title="kept", markup=False)

        whose = f"user {view.user}" if view.user else "own taste"
        text = "A name for this history with its edits; one of the same name is replaced."
        self.app.push_screen(Name("Keep this view", text, whose, views.wrong_name), named)

    def action_open_kept(self) -> None:
        """Chooses among the views that were kept."""

        def chosen(name: str | None) -> None:
            if not name:
                return
            try:
                self.show_view(views.read(name))
            except InputError as error:
                self.notify(f"{error.title}\n{error.hint}", severity="error", markup=False)

        self.app.push_screen(PickName("Open a view", views.kept(), "None kept yet.\nW keeps one."), chosen)

    def show_view(self, view: views.View) -> None:
        """Puts a view on screen, or says why it does not fit."""
        wrong = views.show(view, self.explored)
        if wrong:
            self.notify(wrong, title="not opened", severity="error", markup=False)
            return
        self.asked_base = -1
        self.edited(cursor=0)
        self.list_users()

    def list_users(self) -> None:
        """The users that are asked for, in the chosen order."""
        raise NotImplementedError

    def action_copy_command(self) -> None:
        """Copies the command that prints this ranking."""
        view = views.view_of(self.explored)
        if view is None:
            self.notify("There is nothing to repeat yet.")
            return
        command = views.command_of(view)
        self.app.copy_to_clipboard(command)
        self.notify(command, title="copied", markup=False)
