"""What is on screen, to pass on: a picture, a table in a file, a table on the clipboard."""

from __future__ import annotations

import io
import os
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from core.files import atomic_write
from ilora_app.tui.screens.dialogs.ask import Ask
from ilora_app.tui.state.grid import FORMATS, Grid

if TYPE_CHECKING:
    from ilora_app.tui.app import IloraTui


def grid_here(app: IloraTui, pane: str = "") -> Grid | None:
    """The table of a pane by its id, else of the one in focus, else of the screen's first that has rows."""
    asked = [app.screen.query_one(f"#{pane}")] if pane else [app.focused, *app.screen.focus_chain]
    for widget in asked:
        found: Grid | None = getattr(widget, "grid", lambda: None)()
        if found is not None and found.rows:
            return found
    return None


def copy(app: IloraTui, pane: str = "") -> None:
    """Puts a table on the clipboard as Markdown, through the terminal (OSC 52)."""
    found = grid_here(app, pane)
    if found is None:
        app.notify("There is no table here to copy.")
        return
    app.copy_to_clipboard(found.as_markdown())
    text = f"{found.title}: {len(found.rows)} rows. Some terminals forbid it: S saves a file."
    app.notify(text, title="copied", markup=False)


def ask_and_save(app: IloraTui) -> None:
    """Asks for the format, then writes the table of the pane in focus."""
    found = grid_here(app)
    if found is None:
        app.notify("There is no table here to save.")
        return

    def answered(suffix: str | None) -> None:
        if suffix:
            save(app, found, {"c": "csv", "m": "md"}[suffix])

    answers = [("c", FORMATS["csv"]), ("m", FORMATS["md"])]
    app.push_screen(Ask("Save this table", f"{found.title}: {len(found.rows)} rows", answers), answered)


def save(app: IloraTui, grid: Grid, suffix: str) -> None:
    """Writes a table into the working folder; a browser gets it as a download."""
    text, name = grid.text(suffix), file_name(app, suffix)
    if app.is_web:
        app.deliver_text(io.StringIO(text), save_filename=name)
        return
    try:
        path = atomic_write(Path.cwd() / name, text)
    except OSError as error:
        app.notify(f"{error.strerror}: {Path.cwd()}", title="not saved", severity="error")
        return
    app.notify(os.path.relpath(path), title="saved")


def picture(app: IloraTui) -> None:
    """Saves the screen as SVG: a file here, a download in a browser."""
    name = file_name(app, "svg")
    if app.is_web:
        app.deliver_screenshot(filename=name)
        return
    try:
        path = app.save_screenshot(filename=name, path=str(Path.cwd()))
    except OSError as error:
        app.notify(f"{error.strerror}: {Path.cwd()}", title="not saved", severity="error")
        return
    app.notify(os.path.relpath(path), title="saved")


def file_name(app: IloraTui, suffix: str) -> str:
    """A name that says the tab and the moment."""
    return f"ilora-{app.current_mode}-{datetime.now():%Y%m%d-%H%M%S}.{suffix}"
