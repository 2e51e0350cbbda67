"""The leaderboard: every method on the same cases, with intervals, costs, and what the paper reported."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table as Grid
from rich.text import Text

from core.config.checks import JOINT
from core.data.cards import DatasetCard
from core.data.types import COLD, COLD_ALL, SHORT
from core.errors import ResultError
from core.evaluation.metrics import HEADLINE, OF_RETRIEVED, RETRIEVED
from core.evaluation.power import POWER
from core.methods import record_of
from core.results.power import power_of
from core.results.tables import Row, Table
from ilora_app.render import columns, figures, text_tables
from ilora_app.render.console import SafeConsole
from ilora_app.render.reported import ReportedRow, reported_for, unmatched
from ilora_app.render.terminal import text_grid

WIDE = 120
"""From this many columns on, costs stand in the same table as the deciding test set."""

SETS = {
    "spread": "several positions of each test user",
    "last": "each test user's last item",
    COLD: "cold targets, ranked among cold items",
    COLD_ALL: "the same targets, ranked among all items",
    SHORT: "histories that are shorter than usual",
}
"""What the test sets ask."""


def about_set(table: Table, test_set: str) -> str:
    """What a test set asks, after a comma; nothing where nothing is known."""
    if test_set in table.dataset.split(JOINT):
        return ", that dataset's cases alone"
    if JOINT in table.dataset:
        return ", the cases of all datasets"
    return f", {SETS[test_set]}" if test_set in SETS else ""


_ASCII = str.maketrans("★≈–·±", "*~--+")


@dataclass(frozen=True)
class Column:
    """One column: its head, and the cell of a row."""

    head: str
    cell: Callable[[Row], RenderableType]
    left: bool = False
    folds: bool = False


class Leaderboard:
    """A table of results as Rich draws it, laid out for the width at hand.

    Args:
        table: rows that met the same cases.
        reported: the dataset card's published rows; no such column when empty.
        title: the dataset's full name; its short name when empty.
    """

    def __init__(self, table: Table, reported: Sequence[ReportedRow] = (), title: str = "") -> None:
        self.table = table
        self.reported = columns.beside(table, reported)
        self.title = title or table.dataset

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        parts = Group(*self._parts(console, options))
        if options.encoding.startswith("utf"):
            yield parts
            return
        for segment in console.render(parts, options):  # same widths, only signs that the terminal has
            text = segment.text.translate(_ASCII).encode(options.encoding, "replace")
            yield Segment(text.decode(options.encoding), segment.style, segment.control)

    def _parts(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        wide = options.max_width >= WIDE
        yield self._heading()
        for place, test_set in enumerate(self.table.sets):
            costs = self._costs() if wide and place == 0 else []
            yield from ("", self._set_heading(test_set))
            scores = self._scores(test_set, not wide)
            yield self._grid([self._names(test_set), *scores, *costs], console, options)
            if reranked := columns.reranked(self.table):
                yield from ("", Text(f"What an encoder passed on, test set {test_set}", style="bold"))
                yield self._grid([self._names(), *self._passed(test_set)], console, options, reranked)
            if self._answering():
                yield from ("", Text(f"Answers in words, test set {test_set}", style="bold"))
                yield self._grid(
                    [self._names(), *self._answers(test_set)], console, options, self._answering()
                )
            if headline := self.headline(test_set):
                yield headline
                if seen := self.power(test_set):
                    yield seen
            if (controls := text_tables.controls(self.table, test_set)) is not None:
                yield from ("", Text(controls.title, style="bold"), text_grid(controls))
                yield Text(controls.note, style="dim")
            if place == 0 and (extra := self.extra()):
                yield extra
        if not wide:
            yield from ("", Text("What it costs", style="bold"))
            yield self._grid([self._names(), *self._costs()], console, options)
        for place, (head, line) in enumerate(columns.about_split(self.table)):
            yield from [""] * (place == 0)
            yield Text(f"{head}: ", style="bold").append(f"{line}.", "not bold")
        yield from ("", self._legend())

    def headline(self, test_set: str) -> Text | None:
        """One line: iLoRA over LoRA by HR@1, with what it rests on; None without such a pair."""
        pair = self.table.gated_pair()
        if pair is None:
            return None
        found = self.table.compare(*pair, test_set)
        gain, low, high, unit = found.relative, found.relative_low, found.relative_high, "%"
        if math.isnan(gain):  # LoRA has no hit at all, and there is no percentage of nothing
            gain, low, high, unit = found.difference, found.low, found.high, "points"
        line = Text(f"{' over '.join(figures.method_name(row.label) for row in pair)}: ", style="bold")
        line.append(f"{100 * gain:+.1f} {unit}", style="green" if found.low > 0 else "")
        if not math.isnan(low):
            line.append(f" [{100 * low:+.1f}, {100 * high:+.1f}]", style="not bold")
        basis = [
            figures.plural(found.n, "case"),
            figures.plural(found.users, "user"),
            figures.plural(min(len(row.seeds) for row in pair), "seed"),
            figures.p_value(found.p),
        ]
        return line.append(", " + ", ".join(basis), style="not bold")

    def power(self, test_set: str) -> Text | None:
        """One line: the smallest lift that the headline's test could have seen; None where none is known."""
        pair = self.table.gated_pair()
        if pair is None:
            return None
        try:
            found = power_of(self.table, *pair, test_set)
        except ResultError:
            return None
        least = figures.signed_percent(found.detectable())
        return Text(f"A test of this size could have seen {least} or more ({100 * POWER:.0f} % power).")

    def extra(self) -> Text | None:
        """One line: what iLoRA's gate adds to LoRA's parameters; None without such a pair."""
        pair = self.table.gated_pair()
        percent = self.table.extra_over_lora(pair[0]) if pair else None
        if percent is None:
            return None
        return Text("Trainable parameters over LoRA's adapter: ").append(f"{percent:+.2g} %")

    def _heading(self) -> Text:
        """The dataset, the split, and whatever all rows share."""
        runs = [row.first for row in self.table.rows]
        settings = [
            {run.preset for run in runs} - {None},
            {run.model for run in runs if not record_of(run.method).is_remote} - {None},
            {run.quantization for run in runs} - {None},
            {run.precision for run in runs} - {None},
            {run.objective for run in runs} - {None},
            {run.protocol for run in runs} - {None, "rank"},
        ]
        shared = [str(*found) for found in settings if len(found) == 1]
        shared[:0] = ["whole catalogue"] * self.table.whole
        heading = Text(self.title, style="bold")
        return heading.append(
            "".join(f" · {part}" for part in (f"{self.table.split} split", *shared)), "not bold"
        )

    def _set_heading(self, test_set: str) -> Text:
        estimate = self.table.rows[0].metrics[test_set][HEADLINE]
        basis = f"{figures.plural(estimate.n, 'case')} of {figures.plural(estimate.users, 'user')}"
        what = f" · {basis}{about_set(self.table, test_set)}"
        return Text(f"Test set {test_set}", style="bold").append(what, style="not bold")

    def _names(self, test_set: str | None = None) -> Column:
        """The methods; marked where a test set decides who is best."""
        signs = columns.sign(self.table, test_set) if test_set else None

        def cell(row: Row) -> Grid:
            sign = (signs(row) if signs else "") or " "
            style = {columns.BEST: "bold green", columns.LEVEL: "green"}.get(sign, "")
            named = Grid.grid(padding=(0, 1, 0, 0))
            named.add_row(Text(sign, style), Text(figures.method_name(row.label), style, overflow="fold"))
            return named

        return Column("  Method", cell, left=True, folds=True)

    def _passed(self, test_set: str) -> list[Column]:
        """How many targets each reranking row was given, and how well it did on those."""

        def measured(head: str, metric: str) -> Column:
            return Column(head, lambda row: columns.estimate(row.metrics[test_set].get(metric)), left=True)

        return [
            Column("Passed\non", lambda row: str(row.first.retrieve)),
            measured("Targets among\nthem [95 %]", RETRIEVED),
            measured(f"{OF_RETRIEVED}\n[95 %]", OF_RETRIEVED),
        ]

    def _scores(self, test_set: str, short: bool = False) -> list[Column]:
        """Quality on one test set."""

        def hits(row: Row) -> Text:
            found = row.metrics[test_set][HEADLINE]
            value = Text(figures.share(found.value), style="bold")
            return value.append(f" {figures.interval(found.low, found.high)}".rstrip(), style="not bold")

        def mean(metric: str) -> Column:
            return Column(metric, lambda row: columns.mean(row, test_set, metric))

        made = [
            Column(f"{HEADLINE} [95 %]", hits, left=True),
            *(mean(metric) for metric in columns.ranking_columns(self.table, short)),
            Column("n", lambda row: columns.cases(row, test_set)),
            Column("Seeds", lambda row: columns.seeds(row, test_set)),
        ]
        head = columns.REPORTED.replace(" (", "\n(")
        return [*made, Column(head, self._published)] if self.reported else made

    def _answering(self) -> list[Row]:
        """The rows that were asked to write their answer."""
        return [row for row in self.table.rows if row.first.protocol not in (None, "rank")]

    def _answers(self, test_set: str) -> list[Column]:
        """How many of the answers count, and how many of those are right, by either rule."""

        def measured(head: str, metric: str, counted: bool = False) -> Column:
            def cell(row: Row) -> str:
                return columns.estimate(row.metrics[test_set].get(metric), counted)

            return Column(head, cell, left=True)

        def by_substring(row: Row) -> str:
            names = ("ValidRatio (substring)", "HR@1 of valid (substring)")
            return ", ".join(columns.mean(row, test_set, name) for name in names)

        made = [
            measured("Valid\n[95 %]", "ValidRatio"),
            measured("HR@1 of valid\n[95 %] (n)", "HR@1 of valid", counted=True),
            Column("Substring:\nvalid, HR@1", by_substring, left=True),
        ]
        return [*made, Column("Valid\n(paper)", self._published_valid)] if self.reported else made

    def _published_valid(self, row: Row) -> Text:
        found = reported_for(row.method, self.reported)
        return Text(figures.share(found.valid_ratio if found else None), style="italic")

    def _published(self, row: Row) -> Text:
        found = reported_for(row.method, self.reported)
        return Text(figures.share(found.hit_ratio_at_1) if found else figures.NONE, style="italic")

    def _costs(self) -> list[Column]:
        """What a method takes to train, to hold and to ask."""

        def cell(column: columns.Column) -> Callable[[Row], str]:
            return lambda row: column.text(column.value(self.table, row))

        return [Column(column.head, cell(column)) for column in columns.shown(columns.COSTS)]

    def _grid(
        self,
        shown: Sequence[Column],
        console: Console,
        options: ConsoleOptions,
        rows: Sequence[Row] | None = None,
    ) -> Grid:
        """The rows (all unless told) as a table, airy where the width allows it."""
        listed = self.table.rows if rows is None else rows
        airy = self._spaced(shown, listed, 1)
        unbound = options.update(width=1_000)
        if Measurement.get(console, unbound, airy).maximum <= options.max_width:
            return airy
        return self._spaced(shown, listed, 0)

    def _spaced(self, shown: Sequence[Column], rows: Sequence[Row], gap: int) -> Grid:
        grid = Grid(
            box=box.SIMPLE_HEAD, padding=(0, gap, 0, 0), pad_edge=False, show_edge=False, header_style=""
        )
        for column in shown:
            justify: Any = "left" if column.left else "right"
            grid.add_column(
                column.head, justify=justify, no_wrap=not column.folds, overflow="fold", vertical="bottom"
            )
        for row in rows:
            grid.add_row(*(column.cell(row) for column in shown))
        return grid

    def _legend(self) -> Grid:
        """What the signs and brackets mean, one entry each."""
        entries = [
            (columns.BEST, f"highest {HEADLINE}"),
            (columns.LEVEL, "cannot be told apart from it (paired sign-flip test by user, Holm, p >= .05)"),
            ("[ ]", f"95 % interval: {self._resampled()}"),
            ("±", "standard deviation between training seeds"),
            ("%", "iLoRA over LoRA: relative difference in HR@1 on the same cases"),
        ]
        if self._answering():
            entries += [
                (figures.NONE, "not defined: a method that writes one answer gives no ranking"),
                ("valid", "the answer is a candidate's title; HR@1 is over all cases, valid or not"),
                ("substring", "the published rule: exactly one candidate's title occurs in the answer"),
            ]
        if columns.reranked(self.table):
            what = "a row's HR@k can be no higher: targets that its encoder did not pass on count as misses"
            entries.append(("among them", what))
        legend = Grid.grid(padding=(0, 1))
        for sign, meaning in entries + (self._legend_of_reported() if self.reported else []):
            legend.add_row(Text(sign, style="bold"), Text(meaning, style="dim"))
        return legend

    def _resampled(self) -> str:
        """What the intervals and tests are about, and what they cannot know."""
        users = "users resampled, each with all their cases"
        if all(len(row.seeds) == 1 for row in self.table.everything):
            return f"{users}; one seed: nothing is said of what another would have trained"
        return f"{users}, and training seeds where a row has several; tests, too"

    def _legend_of_reported(self) -> list[tuple[str, str]]:
        sources = "; ".join(dict.fromkeys(row.source for row in self.reported))
        others = unmatched((row.method for row in self.table.rows), self.reported)
        rest = "; ".join(f"{row.method} {figures.share(row.hit_ratio_at_1)}" for row in others)
        note = (
            "reported by the paper, not measured here: other protocol and backbone (Llama-2-7B), "
            "no intervals; beside LoRA stands LLaRA."
        )
        also = f" Also reported: {rest}." if rest else ""
        return [("paper", f"{note}{also} Source: {sources}")]


def print_leaderboards(tables: Sequence[Table], cards: Mapping[str, DatasetCard | None]) -> None:
    """Prints tables on stdout, each under its dataset's title and beside its published figures."""
    console = SafeConsole()
    for place, table in enumerate(tables):
        if place:
            console.rule()
        card = cards[table.dataset]
        console.print(Leaderboard(table, card.reported if card else (), card.title if card else ""))
