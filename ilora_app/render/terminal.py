"""Draws sheets in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ilora_app.render.console import SafeConsole
from ilora_app.render.sheets import Sheet


def print_sheet(sheet: Sheet, console: Console | None = None) -> None:
    """One sheet on stdout: its title, its note, its rows."""
    console = console or SafeConsole()
    console.print(Text(sheet.title, style="bold"))
    if sheet.note:
        console.print(Text(sheet.note, style="dim"))
    console.print(sheet_grid(sheet))


def sheet_grid(sheet: Sheet) -> Grid:
    """The rows of a sheet below its heads."""
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="")
    for place, head in enumerate(sheet.columns):
        left = place < sheet.words
        grid.add_column(Text(head), justify="left" if left else "right", overflow="fold", vertical="bottom")
    for place, cells in enumerate(sheet.rows):
        grid.add_row(*map(Text, cells), style="bold" if place in sheet.strong else "")
    return grid
