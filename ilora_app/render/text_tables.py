"""Tables as plain text cells, written once and drawn in the terminal, in Markdown and in HTML alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core import safe_text
from core.evaluation.metrics import HEADLINE, TIE_BREAK
from core.evaluation.statistics import ALPHA, Estimate
from core.results.breakdown import DIMENSIONS, Group, by_group
from core.results.controls import against_base
from core.results.sweeps import Sweep
from core.results.tables import Pair, Row, Table
from ilora_app.render import columns, figures
from ilora_app.render.reported import ReportedRow, reported_for


@dataclass(frozen=True)
class TextTable:
    """A table of text; its first columns hold words, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    """One line below the title."""
    words: int = 1
    """How many of the first columns hold words."""
    strong: frozenset[int] = frozenset()
    """Rows that stand out."""


def scores(table: Table, test_set: str, reported: Sequence[ReportedRow] = ()) -> TextTable:
    """Quality of every row on one test set; a metric that a row does not have is a dash."""
    metrics = columns.metric_names(table, test_set)
    sign, best = columns.sign(table, test_set), table.best(test_set)
    rows = []
    for row in table.rows:
        found = row.metrics[test_set]
        cells = [
            f"{sign(row)} {name(row)}".lstrip(),
            *(columns.estimate(found.get(metric)) for metric in metrics),
        ]
        cells += [columns.cases(row, test_set), columns.seeds(row, test_set)]
        if reported:
            published = reported_for(row.method, reported)
            cells.append(figures.share(published.hit_ratio_at_1 if published else None))
        rows.append(tuple(cells))
    heads = ["Method", *metrics, "n", "Seeds", *([columns.REPORTED] if reported else [])]
    return TextTable(
        title=f"Quality on {test_set}",
        note=f"{columns.BEST} highest {HEADLINE}; {columns.LEVEL} cannot be told apart from it (paired test "
        "by user, Holm); [ ] 95 % interval",
        columns=tuple(heads),
        rows=tuple(rows),
        strong=frozenset(place for place, row in enumerate(table.rows) if row is best),
    )


def controls(table: Table, test_set: str) -> TextTable | None:
    """Every control beside the row that it asks; None where the table has no controls."""
    if not table.controls:
        return None
    pairs = against_base(table, test_set)
    rows = []
    for row in table.controls:
        pair = next((pair for pair in pairs if pair.a is row), None)
        against = (figures.NONE, figures.NONE)
        if pair is not None:
            found = pair.found
            against = (
                f"{figures.points(found.difference)} {figures.ends(found.low, found.high)}".rstrip(),
                figures.p_value(pair.p_holm).removeprefix("p ").removeprefix("= "),
            )
        metrics = row.metrics[test_set]
        own = (columns.estimate(metrics.get(HEADLINE)), columns.mean(row, test_set, TIE_BREAK))
        rows.append((name(row), *own, *against, columns.seeds(row, test_set)))
    bases = ", ".join(dict.fromkeys(name(pair.b) for pair in pairs))
    basis = f"Against {bases}: paired sign-flip test by user, Holm over the controls." if bases else ""
    heads = ("Control", HEADLINE, TIE_BREAK, "Points", "p (Holm)", "Seeds")
    told = "The same trained weights, asked otherwise; nothing is trained."
    return TextTable(f"Controls on {test_set}", heads, tuple(rows), f"{told} {basis}".rstrip())


def costs(table: Table) -> TextTable:
    """What each row takes to train, to hold and to ask."""
    shown = columns.shown(columns.COSTS)
    rows = tuple(
        (name(row), *(column.text(column.value(table, row)) for column in shown)) for row in table.rows
    )
    heads = ("Method", *(column.title for column in shown))
    return TextTable("Parameters, time and memory", heads, rows)


@dataclass(frozen=True)
class Division:
    """All rows of a table on the groups of one dimension."""

    dimension: str
    groups: tuple[Group, ...]
    found: Sequence[Sequence[Mapping[str, Estimate]]]
    """[group][row] -> metric -> estimate."""

    def text_table(self, table: Table, test_set: str, metric: str) -> TextTable:
        """One metric of every row in every group."""
        rows = tuple(
            (name(row), *(columns.estimate(of_group[place].get(metric)) for of_group in self.found))
            for place, row in enumerate(table.rows)
        )
        heads = tuple(f"{group.name}\nn {len(group)}" for group in self.groups)
        title = f"{metric} on {test_set} by {self.dimension}"
        return TextTable(title, ("Method", *heads), rows, f"{DIMENSIONS[self.dimension]}.")


def division(table: Table, test_set: str, groups: Sequence[Group], dimension: str) -> Division:
    """Every metric of every row, separately for the groups of one dimension."""
    chosen = tuple(group for group in groups if group.dimension == dimension)
    return Division(dimension, chosen, by_group(table.rows, test_set, chosen))


def pair_rows(pairs: Sequence[Pair], test_set: str, metric: str, of: int | None = None) -> TextTable:
    """Comparisons of two rows each; `of` is the number of pairs that Holm corrected for."""
    rows = []
    for pair in pairs:
        found = pair.found
        rows.append(
            (
                name(pair.a),
                name(pair.b),
                f"{figures.points(found.difference)} {figures.ends(found.low, found.high)}".rstrip(),
                f"{figures.points(found.relative)} "
                f"{figures.ends(found.relative_low, found.relative_high)}".rstrip(),
                figures.p_value(found.p).removeprefix("p ").removeprefix("= "),
                figures.p_value(pair.p_holm).removeprefix("p ").removeprefix("= "),
                f"{len(pair.a.seeds)} / {len(pair.b.seeds)}",
            )
        )
    first = pairs[0].found if pairs else None
    basis = f"{figures.plural(first.n, 'case')}, {figures.plural(first.users, 'user')}; " if first else ""
    return TextTable(
        title=f"Paired comparisons by {metric} on {test_set}",
        note=f"{basis}sign-flip permutation test by user; Holm corrects for "
        f"{figures.plural(of or len(pairs), 'pair')} of the table. Points and %: 95 % interval.",
        columns=("A", "over B", "Points", "Relative %", "p", "p (Holm)", "Seeds"),
        rows=tuple(rows),
        words=2,
        strong=frozenset(place for place, pair in enumerate(pairs) if pair.p_holm < ALPHA),
    )


def sweep(found: Sweep, table: Table, test_set: str, metric: str) -> TextTable:
    """One metric of every method at each value of a setting, and what the gate gains there."""
    gains = found.gains(table, test_set, metric)
    rows = []
    for at, value in enumerate(found.words):
        cells = [columns.estimate(_metric(of[at], test_set, metric)) for of in found.rows.values()]
        rows.append((value, *cells, *_gain(gains[at])))
    setting = found.path[1].replace("_", " ")
    known = next((pair for pair in gains if pair is not None), None)
    names = [figures.method_name(row.method) for row in (known.a, known.b)] if known else []
    heads = (" over ".join(names), "p (Holm)") if known else ()
    return TextTable(
        f"{metric} on {test_set} by {setting}",
        (setting.capitalize(), *map(figures.method_name, found.rows), *heads),
        tuple(row if known else row[:-2] for row in rows),
        "[ ] 95 % interval" + "; paired sign-flip test by user, Holm over the values" * (known is not None),
    )


def _metric(row: Row | None, test_set: str, metric: str) -> Estimate | None:
    return None if row is None else row.metrics[test_set].get(metric)


def _gain(pair: Pair | None) -> tuple[str, str]:
    if pair is None:
        return figures.NONE, figures.NONE
    found = pair.found
    ends = figures.ends(found.relative_low, found.relative_high)
    return (
        f"{figures.points(found.relative)} % {ends}".rstrip(),
        figures.p_value(pair.p_holm).removeprefix("p ").removeprefix("= "),
    )


def name(row: Row) -> str:
    """How the row's method is written."""
    return figures.method_name(row.label)


def markdown(text_table: TextTable, level: int = 3) -> str:
    """A table as a Markdown section."""

    def shown(cell: str) -> str:
        return "<br>".join(map(safe_text.markdown, cell.replace("|", "\\|").split("\n")))

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(shown, cells)) + " |"

    rule = ["---" if place < text_table.words else "---:" for place in range(len(text_table.columns))]
    rows = [
        [f"**{cells[0]}**", *cells[1:]] if place in text_table.strong else cells
        for place, cells in enumerate(text_table.rows)
    ]
    parts = [f"{'#' * level} {safe_text.markdown(text_table.title)}", ""]
    if text_table.note:
        parts += [safe_text.markdown(text_table.note), ""]
    return "\n".join([*parts, line(text_table.columns), line(rule), *(line(cells) for cells in rows), ""])
