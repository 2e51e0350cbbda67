"""`ilora-app results --beyond`: what methods recommend beside hits, from ranking files on disk."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ilora_app.cli.saying import say, say_json

if TYPE_CHECKING:
    from core.results.beyond import Beyond
    from core.results.tables import Table


def print_beyond(
    tables: Sequence[Table], folders: Sequence[Path], top: int | None, as_json: bool, as_csv: bool
) -> None:
    """Coverage, popularity, novelty, genres and agreement of every table against the whole catalogue.

    Raises:
        InputError: no table is, or lists are longer than what ranking files keep.
        ResultError: a file is missing or damaged.
    """
    from ilora_app.render.beyond import beyond_csv, meanings, record, text_tables
    from ilora_app.render.terminal import print_text_table

    found = _measured(tables, folders, top)
    if as_json:
        say_json({"tables": [_named(table) | record(one) for table, one in found]})
        return
    if as_csv:
        sys.stdout.write(beyond_csv(found))
        return
    for table, one in found:
        say(f"{table.dataset} · {table.split} split · whole catalogue of {one.items:,} items\n")
        for problem in one.problems:
            say(f"left out: {problem}", err=True)
        for text_table in text_tables(table, one):
            print_text_table(text_table)
            say("")
        for line in meanings(one):
            say(line)


def _measured(
    tables: Sequence[Table], folders: Sequence[Path], top: int | None
) -> list[tuple[Table, Beyond]]:
    """The tables that can be asked; a table of twenty candidates is named where there are others."""
    from core.config.bounds import Bound
    from core.results.beyond import TOP, beyond
    from core.results.rankings import KEPT
    from core.stages import Watch
    from ilora_app.render.progress import ProgressView

    places = TOP if top is None else top
    Bound(1, KEPT, "--top").check(places)
    asked = [table for table in tables if table.whole]
    if asked:
        for table in tables:
            if not table.whole:
                say(f"left out: {table.dataset}, {table.split} split, with 20 candidates", err=True)
    with ProgressView() as view:
        return [(table, beyond(table, folders, places, Watch(view))) for table in asked or tables]


def _named(table: Table) -> dict[str, str]:
    return {"dataset": table.dataset, "split": table.split, "samples_sha256": table.samples_sha256}
