"""Keys that work on every screen: tabs, help, tour, pictures, themes, leaving."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, cast

from textual.app import App, SystemCommand
from textual.binding import Binding, BindingType
from textual.screen import Screen

from ilora_app.tui.drawing.themes import next_theme
from ilora_app.tui.tour import Tour
from ilora_app.tui.widgets.topbar import TABS

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui


class Everywhere(App[None]):
    """What every screen can do; the app itself knows how."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"go('{tab}')", tab, show=False) for number, tab in enumerate(TABS, 1)),
        Binding("question_mark", "help", "Help", key_display="?", id="app.help"),
        Binding(
            "f1", "tour", "Tour", show=False, tooltip="a tour of six steps, or its next step", id="app.tour"
        ),
        Binding("escape", "end_tour", "End tour", show=False, tooltip="end the tour", id="app.end-tour"),
        Binding("s", "export", "Save as SVG", show=False, id="app.picture"),
        Binding(
            "S",
            "save_table",
            "Save table",
            show=False,
            tooltip="save this table as CSV or Markdown",
            id="app.save-table",
        ),
        Binding(
            "y",
            "copy_table",
            "Copy table",
            show=False,
            tooltip="copy this table to the clipboard",
            id="app.copy-table",
        ),
        Binding("t", "next_theme", "Theme", show=False, id="app.theme"),
        Binding(
            "z",
            "enlarge",
            "Enlarge",
            show=False,
            tooltip="this pane over the whole screen, or back",
            id="app.enlarge",
        ),
        Binding("F", "first_run", "Fetch", show=False, tooltip="fetch what is missing here", id="app.fetch"),
        Binding("ctrl+r", "restart", "Restart engine", show=False, id="app.restart-engine"),
        Binding("q,ctrl+q", "leave", "Quit", key_display="q", id="app.quit"),
        Binding("ctrl+c", "how_to_quit", "Copy", show=False, system=True, id="app.copy"),
    ]

    tour: Tour

    @property
    def _ilora(self) -> IloraTui:
        return cast("IloraTui", self)

    async def action_tour(self) -> None:
        """Begins the tour, or goes on with it."""
        self.run_worker(self.tour.go_on(), group="tour", exclusive=True)  # it waits for answers

    async def action_end_tour(self) -> None:
        """Ends the tour where it is."""
        await self.tour.end()

    def action_help(self) -> None:
        """Help for the pane in focus."""
        from ilora_app.tui.screens.dialogs.help import HelpScreen, keys_here

        if not isinstance(self.screen, HelpScreen):
            tab = getattr(self.screen, "TAB", "")
            self.push_screen(HelpScreen(self.focused or self.screen, keys_here(self), tab))

    def action_export(self) -> None:
        """The screen as SVG: a file here, a download in a browser."""
        from ilora_app.tui.sharing import picture

        picture(self._ilora)

    def action_copy_table(self) -> None:
        """The table of the pane in focus, on the clipboard."""
        from ilora_app.tui.sharing import copy

        copy(self._ilora)

    def action_save_table(self) -> None:
        """The table of the pane in focus, as CSV or Markdown."""
        from ilora_app.tui.sharing import ask_and_save

        ask_and_save(self._ilora)

    def action_next_theme(self) -> None:
        """Dark, light, high contrast."""
        self.theme = next_theme(self.theme)

    def action_enlarge(self) -> None:
        """The pane in focus takes the whole screen, or gives it back."""
        screen, pane = self.screen, self.focused
        if screen.maximized is not None:
            screen.minimize()
        elif pane is not None:
            screen.maximize(pane, container=False)

    def action_restart(self) -> None:
        """Starts the engine again with the same run."""
        self.run_worker(self._ilora.app_state.start(), group="engine", exclusive=True)

    def action_first_run(self) -> None:
        """What will be fetched, from where, under which licence."""
        from ilora_app.tui.screens.dialogs.first_run import FirstRun

        if self._ilora.app_state.missing and not isinstance(self.screen, FirstRun):
            self.push_screen(FirstRun())

    def action_how_to_quit(self) -> None:
        """Copies what is selected, as terminals do; otherwise says which key quits."""
        from ilora_app.tui.leaving import say_how

        say_how(self._ilora)

    async def action_leave(self) -> None:
        """Quits; a training in progress is asked about first."""
        from ilora_app.tui.leaving import leave

        await leave(self._ilora)

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """What the command palette offers."""
        from ilora_app.tui.commands import commands_of

        return commands_of(self._ilora, screen)
