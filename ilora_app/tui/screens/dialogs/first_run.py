"""Nothing is cached yet: what will be fetched, how large it is, under which licence, and the progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Footer, ProgressBar, Static

from core.events import Event, Fetching, Notice
from core.serving.protocol import Fetched, RequestFailed
from ilora_app.render.figures import size
from ilora_app.tui.screens.dialogs.scrolled import ScrolledDialog
from ilora_app.tui.state.app_state import Stage

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui


class FirstRun(ScrolledDialog[None]):
    """Says what is missing on this machine, and fetches it when told to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f,enter", "fetch", "Fetch", key_display="f"),
        Binding("escape", "dismiss(None)", "Later"),
        Binding("q", "app.leave", "Quit"),
    ]
    BOX = "#first-run"

    def compose(self) -> ComposeResult:
        """The list, the progress, the keys."""
        with Vertical(id="first-run") as box:
            box.border_title = "First run"
            yield Static(self._list(), id="assets")
            yield ProgressBar(id="progress", show_eta=False)
            yield Static("", id="said", markup=False)
            yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Listens for progress."""
        self.query_one(ProgressBar).display = False
        self.ilora.said.subscribe(self, self._hear, immediate=True)

    @property
    def ilora(self) -> IloraTui:
        """The app."""
        app: Any = self.app
        return app  # type: ignore[no-any-return]

    def _list(self) -> Text:
        missing = self.ilora.app_state.missing
        total = size(sum(asset["bytes"] for asset in missing))
        text = Text(f"To rank and to train, this is needed and not on this machine yet, {total} in all:\n\n")
        for asset in missing:
            text.append(f"  {asset['title']}", "bold")
            text.append(f"  {size(asset['bytes'])}\n")
            text.append(f"    licence: {asset['licence']}\n", "dim")
            if asset["terms"]:
                text.append(f"    {asset['terms']}\n", "dim")
            text.append(f"    {asset['source']}\n", "dim")
        text.append("\nChecksums are verified; nothing else is sent or fetched.")
        return text

    def action_fetch(self) -> None:
        """Begins."""
        if self.ilora.app_state.stage is not Stage.FETCHING:
            self.ilora.app_state.fetch()
            self.query_one("#said", Static).update("fetching …")

    def _hear(self, said: tuple[str, Event]) -> None:
        _, event = said
        match event:
            case Fetching():
                bar = self.query_one(ProgressBar)
                bar.display = True
                bar.update(total=event.total or None, progress=event.done)
                of_total = f" of {size(event.total)}" if event.total else ""
                line = f"{event.asset} from {event.source}: {size(event.done)}{of_total}"
                self.query_one("#said", Static).update(line)
            case Notice():
                self.query_one("#said", Static).update(event.text)
            case Fetched():
                self.dismiss(None)
            case RequestFailed():
                self.query_one("#said", Static).update(f"✕ {event.title}\n  {event.hint}\n  f tries again")
