"""Shows downloads on stderr: a bar in a terminal, one line each elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from core.events import Event, Fetching, Notice
from ilora_app.render import figures
from ilora_app.render.console import SafeConsole


class Downloads:
    """An `Emit` that shows `Fetching` and `Notice` events and ignores all others.

    The bar exists only while something arrives, so that other live displays can follow. Use it as a
    context manager: leaving removes an unfinished bar.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or SafeConsole(stderr=True)
        self._progress: Progress | None = None
        self._shown: tuple[str, str] | None = None

    def __enter__(self) -> Downloads:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def __call__(self, event: Event) -> None:
        """Shows one event."""
        if isinstance(event, Notice):
            self._end()
            style = "yellow" if event.level == "warning" else ""
            text = f"{event.level}: {event.text}"
            self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        elif isinstance(event, Fetching):
            self._arriving(event)

    def _arriving(self, event: Fetching) -> None:
        if self._shown != (event.asset, event.source) or event.done == 0:
            self._begin(event)
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], completed=event.done)
            if event.done >= event.total:
                self._end()

    def _begin(self, event: Fetching) -> None:
        self._end()
        self._shown = (event.asset, event.source)
        text = f"fetching {event.asset} from {event.source}"
        if not self.console.is_terminal:
            size = f" ({figures.size(event.total)})" if event.total else ""
            self.console.print(f"{text}{size}", markup=False, highlight=False, soft_wrap=True)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=self.console)
        self._progress.add_task(text, total=event.total or None)
        self._progress.start()

    def _end(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
