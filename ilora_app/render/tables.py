"""Rich tables of datasets and models."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from ilora_app.render import figures


def datasets_table(rows: list[dict[str, Any]]) -> Table:
    """All datasets, one a line, from the records that `ilora-app data --json` prints."""
    table = _table("dataset", "state", "size", "users", "items", "interactions", "licence")
    for row in rows:
        table.add_row(
            row["name"],
            state(row["cached"]),
            figures.size(row["bytes"]),
            f"{row['users']:,}",
            f"{row['items']:,}",
            f"{row['interactions']:,}",
            row["licence"]["name"],
        )
    return table


def dataset_details(row: dict[str, Any]) -> Table:
    """One dataset with its counts, splits and terms."""
    table = facts(row["title"])
    table.add_row("about", row["description"])
    table.add_row("homepage", row["homepage"])
    table.add_row("licence", f"{row['licence']['name']}: {row['licence']['redistribution']}")
    table.add_row("terms", row["licence"]["url"])
    table.add_row("cite", row["citation"])
    table.add_row("source", f"{row['source']}, {figures.size(row['bytes'])} in {row['path']}")
    table.add_row("users", f"{row['users']:,}")
    table.add_row("items", f"{row['items']:,}")
    table.add_row("interactions", f"{row['interactions']:,}, of which {row['kept']:,} make the sequences")
    lengths = row["sequence_lengths"]
    table.add_row(
        "sequences", f"{lengths['shortest']} to {lengths['longest']} items, half below {lengths['median']}"
    )
    for split in row["splits"]:
        tests = ", ".join(f"{count:,} {name}" for name, count in split["test"].items())
        table.add_row(
            f"split {split['split']}",
            f"{split['train']:,} train, {split['validation']:,} validation, test: {tests}"
            f"\nsamples seed {split['samples_seed']}, checksum {split['samples_sha256'][:12]}",
        )
    return table


def models_table(rows: list[dict[str, Any]]) -> Table:
    """All models that are fetched by name, one a line, from the records that `--json` prints."""
    table = _table("model", "state", "size", "licence", "title")
    for row in rows:
        table.add_row(
            row["name"], state(row["cached"]), figures.size(row["bytes"]), row["licence"], row["title"]
        )
    return table


def model_details(row: dict[str, Any]) -> Table:
    """One model with its file and its terms."""
    table = facts(row["title"])
    table.add_row("homepage", row["homepage"])
    table.add_row("licence", row["licence"])
    table.add_row("file", f"{row['path']} ({figures.size(row['bytes'])})")
    table.add_row("sha256", row["sha256"])
    return table


def state(cached: bool) -> Text:
    """Whether something is on this machine."""
    return Text("cached", style="green") if cached else Text("not fetched", style="dim")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in columns:
        right = column in ("size", "users", "items", "interactions")
        table.add_column(
            column, justify="right" if right else "left", no_wrap=column not in ("title", "licence")
        )
    return table


def facts(title: str) -> Table:
    """A table of names and what is known of them; without borders, long text folded."""
    table = Table(box=None, show_header=False, title=Text(title, style="bold"), title_justify="left")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    return table
