"""Runs on disk in the terminal: a list, one in detail, two compared."""

from __future__ import annotations

import math
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from core.evaluation.metrics import HEADLINE
from ilora_app.render import figures
from ilora_app.render.tables import facts


def runs_table(rows: list[dict[str, Any]]) -> Table:
    """All runs, one a line, from the records that `ilora-app runs --json` prints."""
    table = Table(box=box.SIMPLE)
    table.add_column("run", overflow="fold")
    table.add_column(f"{HEADLINE} by test set", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("made", no_wrap=True)
    for row in rows:
        shown = [f"{name} {figures.share(values.get(HEADLINE))}" for name, values in row["metrics"].items()]
        table.add_row(row["name"], "\n".join(shown), figures.size(row["bytes"]), row["created"][:10])
    return table


def run_details(row: dict[str, Any]) -> Table:
    """One run with its figures, settings and files."""
    table = facts(row["name"])
    table.add_row("method", f"{figures.method_name(row['method'])}, seed {row['seed']}")
    table.add_row("data", f"{row['dataset']}, {row['split']} split, checksum {row['samples_sha256'][:12]}")
    for name, values in row["figures"].items():
        shown = ", ".join(
            f"{metric} {figures.share(value['value'])} {figures.interval(value['low'], value['high'])}"
            for metric, value in values.items()
        )
        table.add_row(f"{name}, {next(iter(values.values()))['n']} cases", shown)
    for part, values in row["config"].items():
        table.add_row(part, ", ".join(f"{name} {value}" for name, value in values.items()))
    table.add_row("files", ", ".join(f"{name} {figures.size(size)}" for name, size in row["files"].items()))
    table.add_row("made", f"{row['created']} by {row['command'] or 'an unknown command'}")
    for note in row["notes"]:
        table.add_row("note", note)
    table.add_row("folder", row["path"])
    return table


def print_comparison(record: dict[str, Any], console: Console) -> None:
    """What `ilora-app runs compare --json` would give, for people."""
    a, b = record["runs"]
    console.print(f"A  {a['name']}\nB  {b['name']}", highlight=False)
    table = Table(box=box.SIMPLE)
    for column in ("test set", "metric", "A − B, points [95 %]", "p", "cases", "users"):
        table.add_column(column, justify="left" if column in ("test set", "metric") else "right")
    for name, values in record["sets"].items():
        for metric, found in values.items():
            shown = f"{figures.points(found['difference'])} {figures.ends(found['low'], found['high'])}"
            p = "–" if math.isnan(found["p"]) else f"{found['p']:.3f}"
            table.add_row(name, metric, shown, p, f"{found['n']:,}", f"{found['users']:,}")
    console.print(table)
    for name, (ours, theirs) in record["settings"].items():
        console.print(f"{name}: {ours} in A, {theirs} in B", highlight=False)
    if not record["settings"]:
        console.print("the two have the same settings")
