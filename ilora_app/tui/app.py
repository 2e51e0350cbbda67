"""The app: themes, tabs, and the one that hears the engine."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from textual.driver import Driver
from textual.signal import Signal

from core.events import Event
from ilora_app.tui.drawing.themes import THEMES
from ilora_app.tui.engine.client import Engine, engine_in
from ilora_app.tui.engine.messages import EngineComplained, EngineDied, EngineMumbled, EngineSaid
from ilora_app.tui.everywhere import Everywhere
from ilora_app.tui.leaving import end_when_told, end_without_terminal
from ilora_app.tui.screens.main_screen import TabScreen, lazily, load
from ilora_app.tui.state.app_state import MAIN, SPEAKERS, AppState, Post, Stage
from ilora_app.tui.state.views import View
from ilora_app.tui.tour import Tour
from ilora_app.tui.widgets.topbar import TABS


class IloraTui(Everywhere):
    """Instance-wise LoRA, live.

    Args:
        out: the folder of runs.
        dataset: used where no run says otherwise.
        run: the run to open first.
        theme: name of a theme.
        make_engine: how an engine is made.
        precision: what runs are opened and trained in.
        opening: the view to begin with.
        driver_class: what draws; the one of this terminal if not given.
        attached: the address of the server whose run is shown; empty where engines are children.
    """

    TITLE = "iLoRA"
    CSS_PATH = "app.tcss"
    MODES: ClassVar[dict[str, Any]] = {name: lazily(name) for name in TABS}
    DEFAULT_MODE = "explore"
    ENABLE_COMMAND_PALETTE = True

    def __init__(
        self,
        out: Path = Path("runs"),
        dataset: str = "movielens",
        run: str | None = None,
        theme: str = "",
        make_engine: Callable[[str, Post], Engine] | None = None,
        precision: str = "auto",
        driver_class: type[Driver] | None = None,
        opening: View | None = None,
        attached: str = "",
    ) -> None:
        super().__init__(driver_class)
        make_engine = make_engine or engine_in(precision)
        self.app_state = AppState(self.post_message, out, dataset, run, make_engine, precision, attached)
        self.tour, self.opening = Tour(self), opening
        self.said: Signal[tuple[str, Event]] = Signal(self, "engine said")
        for known in THEMES:
            self.register_theme(known)
        self.theme = theme or THEMES[0].name

    # --- the engine -------------------------------------------------------------------------------------

    def on_mount(self) -> None:
        """The engine starts once the first screen is painted."""
        end_when_told(self)
        end_without_terminal()
        gc.set_threshold(700, 10, 10_000)  # collecting everything would hold the screen for 100 ms
        self.call_after_refresh(self.run_worker, self.app_state.start, exit_on_error=True, group="engine")

    def on_engine_said(self, message: EngineSaid) -> None:
        """Known first, then shown."""
        before = self.app_state.stage
        self.app_state.hear(message.engine, message.event)
        self.said.publish((message.engine, message.event))
        if warning := self.app_state.first_warning(message.event):
            self.notify(warning, severity="warning", markup=False)
        if self.app_state.stage is not before:
            self._stage_changed()

    def _stage_changed(self) -> None:
        gc.freeze()  # what lives as long as the screen is not searched for garbage again
        if self.app_state.stage is Stage.MISSING:
            self.action_first_run()
        if self.app_state.stage is Stage.READY:
            self.run_worker(self.app_state.open_beside(), group="beside")
        self.refresh_state()

    def on_engine_complained(self, message: EngineComplained) -> None:
        """A line of stderr is for the log."""
        self.app_state.journal.add(SPEAKERS[message.engine], message.line, quiet=True)

    def on_engine_mumbled(self, message: EngineMumbled) -> None:
        """A line that is no event is shown, and changes nothing."""
        self.notify(
            message.line[:200], title="the engine said something odd", severity="warning", markup=False
        )

    def on_engine_died(self, message: EngineDied) -> None:
        """Edits stay; the same run is opened again on request."""
        self.app_state.died(message.engine, message.last_words)
        if message.engine == MAIN:
            title, again = f"the engine stopped (exit code {message.code})", "starts it again"
            if self.app_state.attached:
                title, again = "the server is gone", "connects again"
            text = f"Your edits are kept. ctrl+r {again}."
            self.notify(text, title=title, severity="error", timeout=8)
        self.refresh_state()

    def refresh_state(self) -> None:
        """Every tab that is open shows how the engine is."""
        for screen in self.screen_stack:
            if isinstance(screen, TabScreen) and screen.is_mounted:
                screen.refresh_state()

    # --- actions ----------------------------------------------------------------------------------------

    async def action_go(self, tab: str) -> None:
        """To another tab; what it is made of is read beside the screen, which would stand still for it."""
        await asyncio.to_thread(load, tab)
        if tab != self.current_mode:
            self.switch_mode(tab)

    def explore(self, user: str, position: int | None) -> None:
        """Shows a user in Explore."""
        from ilora_app.tui.screens.explore.screen import ExploreScreen

        if self.current_mode != "explore":
            self.switch_mode("explore")

        def show() -> None:
            if isinstance(self.screen, ExploreScreen):
                self.screen.show_user(user, position)

        self.call_after_refresh(show)

    def compare_with(self, run: str) -> None:
        """Opens a run in the second engine."""
        self.run_worker(self.app_state.open_beside(run), group="beside", exclusive=True)

    async def end(self) -> None:
        """Ends the engines, then the screen."""
        await self.app_state.stop()
        self.exit()

    async def on_unmount(self) -> None:
        """However it ends, no engine is left."""
        await self.app_state.stop()
