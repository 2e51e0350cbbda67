"""The trials of searches for settings, as text tables, records and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from core.records import plain
from core.results.tables import Table
from core.results.trials import ENDED, STATES, Search, Trial, load_searches
from core.safe_text import csv_cell
from ilora_app.render import figures
from ilora_app.render.blocks import Block, Heading
from ilora_app.render.text_tables import TextTable


def text_table(search: Search) -> TextTable:
    """Every trial of a search; the chosen one stands out."""
    places = _places(search)
    rows = []
    for number, trial in enumerate(search.trials):
        values = (f"{trial.settings[place]:.3g}" if place in trial.settings else "" for place in places)
        worth = figures.share(trial.mrr, 4)
        rows.append((str(number + 1), *values, worth, _state(trial), figures.duration(trial.seconds)))
    heads = (_words(place) for place in places)
    best = search.best
    note = (
        f"Seed {search.seed}, best validation MRR of each training, n {search.cases}; trial 1 has the run's "
        "own settings. Of a trial that was stopped early, the best until then."
    )
    return TextTable(
        f"Trials of {figures.method_name(search.method)} on {search.dataset}, {search.split} split",
        ("Trial", *heads, "MRR", "", "Time"),
        tuple(rows),
        note,
        strong=frozenset() if best is None else frozenset({best}),
    )


def blocks(table: Table, folders: Sequence[Path]) -> Iterator[Block]:
    """The part of a report about the methods of a table; nothing where none was tuned."""
    methods = {row.method for row in table.everything}
    found = [
        text_table(search)
        for search in load_searches(folders)[0]
        if (search.dataset, search.split) == (table.dataset, table.split) and search.method in methods
    ]
    if found:
        yield Heading("Settings tried on validation")
        yield from found


def records(searches: Sequence[Search]) -> list[dict[str, Any]]:
    """Searches as plain JSON values, with the number of the chosen trial."""
    return [
        plain(search) | {"chosen": None if search.best is None else search.best + 1} for search in searches
    ]


def trials_csv(searches: Sequence[Search]) -> str:
    """One line for each trial."""
    lines: list[dict[str, Any]] = [
        {
            "dataset": search.dataset,
            "split": search.split,
            "method": search.method,
            "seed": search.seed,
            "trial": number + 1,
            "state": trial.state,
            "chosen": number == search.best,
            "MRR": trial.mrr,
            "n": search.cases,
            "seconds": trial.seconds,
            **trial.settings,
        }
        for search in searches
        for number, trial in enumerate(search.trials)
    ]
    stream = io.StringIO()
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in line.items()} for line in lines)
    return stream.getvalue()


def _places(search: Search) -> list[str]:
    return list(dict.fromkeys(place for trial in search.trials for place in trial.settings))


def _words(place: str) -> str:
    """The setting at the head of a column."""
    return place.partition(".")[2].replace("_", "\n")


def _state(trial: Trial) -> str:
    return "" if trial.state == ENDED else STATES[trial.state].partition(":")[0]
