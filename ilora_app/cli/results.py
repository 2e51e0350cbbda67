"""`ilora-app results`: rebuilds the leaderboards from the result files on disk, without running anything."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from core.data.cards import DatasetCard
    from core.results import Table


def results(
    dataset: Annotated[str | None, typer.Option(help="Show this dataset's results only.")] = None,
    out: Annotated[Path, typer.Option(help="Folder that `ilora-app bench` wrote to.")] = Path("runs"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV and nothing else.")] = False,
) -> None:
    """Rebuild the leaderboard from finished runs, without running anything."""
    from core.errors import InputError

    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other", "give one of them")
    tables, problems = _tables(out, dataset)
    cards = {table.dataset: _card(table.dataset) for table in tables}
    if as_json:
        _print_json(tables, problems, cards)
        return
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    if as_csv:
        from ilora_app.render.export import tables_csv

        sys.stdout.write(tables_csv(tables, {name: card.reported for name, card in cards.items() if card}))
    else:
        from ilora_app.render.leaderboard import print_leaderboards

        print_leaderboards(tables, cards)


def _tables(out: Path, dataset: str | None) -> tuple[list[Table], list[str]]:
    """The tables asked for, newest first, and one line for each file left out.

    Raises:
        ResultError: there is nothing to show.
    """
    from core.errors import ResultError
    from core.results import group_tables, load_results

    found, problems = load_results(out)
    wanted = [result for result in found if dataset in (None, result.dataset)]
    if wanted:
        return group_tables(wanted), problems
    for problem in problems:
        typer.echo(f"left out: {problem}", err=True)
    hint = f"ilora-app bench --dataset {dataset or 'movielens'} --out {out} makes some"
    if others := sorted({result.dataset for result in found}):
        hint += f"; there are results for {', '.join(others)}"
    usable = "usable results" if problems else "results"
    raise ResultError(f"no {usable}{f' for {dataset}' if dataset else ''} in {out}", hint)


def _card(dataset: str) -> DatasetCard | None:
    """The dataset's card, for its title and published figures; None where it has none (any more)."""
    from core.data.cards import load_card
    from core.errors import InputError

    try:
        return load_card(dataset)
    except InputError:
        return None


def _print_json(tables: list[Table], problems: list[str], cards: dict[str, DatasetCard | None]) -> None:
    from ilora_app.render.export import table_record

    records = []
    for table in tables:
        card = cards[table.dataset]
        records.append(table_record(table, card.reported if card else ()))
    record = {"tables": records, "problems": problems}
    sys.stdout.write(json.dumps(record, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
