"""What all tabs share: the top bar, the footer, and ears for the engine."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import ComposeResult
from textual.screen import Screen
from textual.widgets import Footer, Static

from core.events import Event
from ilora_app.tui.state.app_state import AppState
from ilora_app.tui.state.guide import GUIDES
from ilora_app.tui.widgets.topbar import TopBar
from ilora_app.tui.widgets.tour_bar import TourBar

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui


MODULES = {"explore": "explore.screen"}
"""Where a tab's screen is, if not in the module of its name."""


def load(name: str) -> ModuleType:
    """Imports the module of a tab."""
    return import_module(f"ilora_app.tui.screens.{MODULES.get(name, name)}")


def lazily(name: str) -> Callable[[], Screen[Any]]:
    """Makes a tab by its name; its module is imported when it is first gone to."""

    def make() -> Screen[Any]:
        screen: Screen[Any] = getattr(load(name), f"{name.title()}Screen")()
        return screen

    return make


class TabScreen(Screen[None]):
    """Base of all tabs."""

    TAB: ClassVar[str] = ""
    ALLOW_IN_MAXIMIZED_VIEW = "TopBar, Footer"
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 (Textual declares it per instance)
        (0, "-narrow"),
        (116, "-wide"),  # narrower, three columns leave the history none
        (150, "-huge"),
    ]

    def compose(self) -> ComposeResult:
        """Top bar, content, footer."""
        bar = TopBar()
        bar.set_reactive(TopBar.tab, self.TAB)
        yield bar
        yield Static(self.guide(), id="guide", markup=False)
        yield from self.content()
        yield TourBar()
        yield Footer(show_command_palette=False)

    def content(self) -> ComposeResult:
        """What lies between the bars."""
        raise NotImplementedError

    def on_mount(self) -> None:
        """Begins to listen."""
        self.ilora.said.subscribe(self, self._hear, immediate=True)
        self.set_interval(0.5, self.refresh_state)
        self.watch(
            self.app, "app_focus", self.refresh_bindings, init=False
        )  # a browser's tab comes unfocused
        self.refresh_state()

    def on_screen_resume(self) -> None:
        """Catches up with what was said meanwhile."""
        self.refresh_state()
        self.refresh_bindings()
        self.catch_up()

    @property
    def ilora(self) -> IloraTui:
        """The app."""
        app: Any = self.app
        return app  # type: ignore[no-any-return]

    @property
    def app_state(self) -> AppState:
        """What is known."""
        return self.ilora.app_state

    def refresh_state(self) -> None:
        """The engine's state in the top bar, and in panes that wait for it."""
        self.query_one(TopBar).state = self.app_state.status()
        guide, text = self.query_one("#guide", Static), self.guide()
        if text != str(guide.content):  # what stays is not painted again
            guide.update(text)
        self.query_one(TourBar).say(self.ilora.tour.shown)

    def guide(self) -> str:
        """What one sees here, in one line."""
        return GUIDES.get(self.TAB, "")

    def _hear(self, said: tuple[str, Event]) -> None:
        engine, event = said
        self.hear(engine, event)

    def hear(self, engine: str, event: Event) -> None:
        """Something was said."""

    def catch_up(self) -> None:
        """The tab is shown again."""

    async def on_top_bar_went(self, message: TopBar.Went) -> None:
        """A click in the top bar."""
        await self.ilora.action_go(message.tab)
