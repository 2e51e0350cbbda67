"""A list on screen as a plain table, for the clipboard and for files. No widgets here."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

from core.safe_text import csv_cell, markdown

Value = str | int | float | None
FORMATS = {"csv": "CSV, for spreadsheets", "md": "Markdown, for text"}
"""Suffix -> what it is."""


@dataclass(frozen=True)
class Grid:
    """Column names and rows; figures are whole, not as the screen shortens them."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]

    def as_csv(self) -> str:
        """One line per row, the heads first."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.heads)
        writer.writerows([csv_cell("" if value is None else value) for value in row] for row in self.rows)
        return out.getvalue()

    def as_markdown(self) -> str:
        """A title and a table, figures to three decimals."""
        cells = [[_said(value) for value in row] for row in self.rows]
        lines = [[markdown(head) for head in self.heads], ["---"] * len(self.heads), *cells]
        return f"**{markdown(self.title)}**\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines)

    def text(self, suffix: str) -> str:
        """The table in one of `FORMATS`."""
        return self.as_csv() if suffix == "csv" else self.as_markdown()


def _said(value: Value) -> str:
    if value is None:
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else markdown(str(value)).replace("|", "\\|")
