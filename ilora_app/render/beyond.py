"""What methods recommend beside hits, as text tables, records and CSV."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from core.errors import ResultError
from core.evaluation.exposure import COVERAGE, GINI
from core.evaluation.statistics import Estimate
from core.results.beyond import (
    AGREEMENT,
    LIFT,
    MEASURES,
    MISCALIBRATION,
    NOVELTY,
    POPULARITY,
    RANK,
    SIMILARITY,
    Agreement,
    Beyond,
    Found,
    Measure,
    SetBeyond,
    beyond,
)
from core.results.tables import Table
from core.safe_text import csv_cell
from ilora_app.render import columns, figures
from ilora_app.render.blocks import Block, Heading, More, Words
from ilora_app.render.text_tables import TextTable, name

HISTORIES = "Histories"
"""The row of what the users had before."""
TWENTY = (
    "Coverage, popularity, novelty and genres are not shown: of 20 candidates 19 are drawn at random, so "
    "that the draw decides what can be recommended. bench --candidates catalogue gives lists that they can "
    "be asked of."
)


def _amount(found: Estimate, digits: int) -> str:
    low, high = (f"{end:,.{digits}f}" for end in (found.low, found.high))
    return f"{found.value:,.{digits}f} [{low}, {high}]"


def _lift(found: Estimate) -> str:
    return f"{100 * found.value:+.0f} [{100 * found.low:+.0f}, {100 * found.high:+.0f}]"


_TEXTS: dict[str, Callable[[Estimate], str]] = {
    POPULARITY: lambda found: _amount(found, 0),
    LIFT: _lift,
    NOVELTY: lambda found: _amount(found, 2),
    MISCALIBRATION: lambda found: _amount(found, 2),
}
"""How figures are written that are no shares."""
GROUPS = {
    "Catalogue and popularity": (COVERAGE, GINI, RANK, LIFT),
    "Novelty and genres": (NOVELTY, SIMILARITY, MISCALIBRATION),
}
"""Title -> the measures that stand side by side."""


def text(key: str, found: Estimate | None) -> str:
    """A figure with its interval; a dash where there is none."""
    if found is None:
        return figures.NONE
    return _TEXTS.get(key, columns.estimate)(found)


def text_tables(table: Table, found: Beyond) -> Iterator[TextTable]:
    """What the rows recommend, for each test set: catalogue, genres, agreement."""
    for of_set in found.sets:
        for title, keys in GROUPS.items():
            known = [key for key in keys if any(key in measured for _, measured in of_set.rows)]
            if known:
                yield _measured(table, found, of_set, title, known)
        if of_set.agreement:
            yield _agreement(found, of_set)


def _measured(table: Table, found: Beyond, of_set: SetBeyond, title: str, keys: Sequence[str]) -> TextTable:
    def line(label: str, measured: Found) -> tuple[str, ...]:
        return (label, *(text(key, measured.get(key)) for key in keys))

    rows = [line(name(row), measured) for row, measured in of_set.rows]
    if any(key in of_set.histories for key in keys):
        rows.append(line(HISTORIES, of_set.histories))
    heads = (MEASURES[key].label.replace(" ", "\n", 1) for key in keys)
    cases = figures.plural(table.sets[of_set.test_set], "case")
    note = f"The first {found.top} of {found.items:,} items, {cases}; [ ] 95 % interval, users resampled."
    return TextTable(f"{title} on {of_set.test_set}", ("Method", *heads), tuple(rows), note)


def _agreement(found: Beyond, of_set: SetBeyond) -> TextTable:
    rows = tuple((name(pair.a), name(pair.b), columns.estimate(pair.found)) for pair in of_set.agreement)
    note = f"{AGREEMENT.label}: {AGREEMENT.about}. First {found.top} places; [ ] 95 % interval."
    title = f"How alike two methods recommend on {of_set.test_set}"
    return TextTable(title, ("A", "B", f"{AGREEMENT.label}@{found.top}"), rows, note, words=2)


def meanings(found: Beyond) -> list[str]:
    """One line for each measure shown: what it is, and whose definition."""
    shown = {key for of_set in found.sets for _, measured in of_set.rows for key in measured}
    listed = [measure for key, measure in MEASURES.items() if key in shown and key != POPULARITY]
    return [f"{measure.label}: {measure.about} ({measure.source})." for measure in (*listed, AGREEMENT)]


def blocks(table: Table, folders: Sequence[Path]) -> Iterator[Block]:
    """The part of a report; why there is none, where it cannot be said."""
    yield Heading("More than accuracy")
    if not table.whole:
        yield Words(TWENTY)
        return
    try:
        found = beyond(table, folders)
    except ResultError as error:
        yield Words(f"Not shown: {error.title}.")
        return
    yield from text_tables(table, found)
    yield More("What these figures are", tuple(map(Words, (*meanings(found), *found.problems))))


# --- for other programs -----------------------------------------------------------------------------------


def record(found: Beyond) -> dict[str, Any]:
    """Everything as plain JSON values."""
    return {
        "top": found.top,
        "items": found.items,
        "definitions": {
            measure.key: {"about": measure.about, "source": measure.source} for measure in _all_measures()
        },
        "sets": {
            of_set.test_set: {
                "rows": [
                    {"label": row.label, "method": row.method, "measures": _figures(measured)}
                    for row, measured in of_set.rows
                ],
                "histories": _figures(of_set.histories),
                "agreement": [
                    {"a": pair.a.label, "b": pair.b.label, AGREEMENT.key: _plain(pair.found)}
                    for pair in of_set.agreement
                ],
            }
            for of_set in found.sets
        },
        "problems": list(found.problems),
    }


def _all_measures() -> tuple[Measure, ...]:
    return (*MEASURES.values(), AGREEMENT)


def _figures(measured: Found) -> dict[str, Any]:
    return {key: _plain(measured[key]) for key in MEASURES if key in measured}


def _plain(found: Estimate) -> dict[str, Any]:
    return {key: columns.plain(value) for key, value in dataclasses.asdict(found).items()}


CSV_COLUMNS = (
    "dataset", "split", "set", "method", "label", "other", "measure", "top", "value", "low", "high", "n",
    "users", "seeds", "source",
)  # fmt: skip


def beyond_csv(found: Sequence[tuple[Table, Beyond]]) -> str:
    """One line for each figure; of the agreement of two rows, `other` is the second one."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for table, one in found:
        place = {"dataset": table.dataset, "split": table.split, "top": one.top}
        for of_set in one.sets:
            for line in _lines(of_set):
                writer.writerow({key: csv_cell(value) for key, value in (place | line).items()})
    return stream.getvalue()


def _lines(of_set: SetBeyond) -> Iterator[dict[str, Any]]:
    for row, measured in of_set.rows:
        for key in MEASURES:
            if key in measured:
                yield _line(of_set, MEASURES[key], measured[key]) | {"method": row.method, "label": row.label}
    for key in MEASURES:
        if key in of_set.histories:
            yield _line(of_set, MEASURES[key], of_set.histories[key]) | {"label": HISTORIES}
    for pair in of_set.agreement:
        yield _line(of_set, AGREEMENT, pair.found) | _names(pair)


def _line(of_set: SetBeyond, measure: Measure, found: Estimate) -> dict[str, Any]:
    kept = ("value", "low", "high", "n", "users", "seeds")
    figures_ = {key: columns.plain(getattr(found, key)) for key in kept}
    return {"set": of_set.test_set, "measure": measure.key, "source": measure.source, **figures_}


def _names(pair: Agreement) -> dict[str, str]:
    return {"method": pair.a.method, "label": pair.a.label, "other": pair.b.label}
