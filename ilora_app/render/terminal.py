"""Draws text_tables in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from ilora_app.render.console import SafeConsole
from ilora_app.render.text_tables import TextTable


def print_text_table(text_table: TextTable, console: Console | None = None) -> None:
    """One table on stdout: its title, its note, its rows."""
    console = console or SafeConsole()
    console.print(Text(text_table.title, style="bold"))
    if text_table.note:
        console.print(Text(text_table.note, style="dim"))
    console.print(text_grid(text_table))


def text_grid(text_table: TextTable) -> Grid:
    """The rows of a table below its heads."""
    grid = Grid(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="")
    for place, head in enumerate(text_table.columns):
        left = place < text_table.words
        grid.add_column(Text(head), justify="left" if left else "right", overflow="fold", vertical="bottom")
    for place, cells in enumerate(text_table.rows):
        grid.add_row(*map(Text, cells), style="bold" if place in text_table.strong else "")
    return grid
