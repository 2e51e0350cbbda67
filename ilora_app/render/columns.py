"""The leaderboard's columns, described once: the terminal, the report, CSV, JSON and the screens ask here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.evaluation.metrics import HEADLINE, in_order, metrics_for
from core.evaluation.statistics import Estimate
from core.results.tables import Row, Table
from ilora_app.render import figures
from ilora_app.render.reported import ReportedRow

BEST, LEVEL = "★", "≈"
"""Signs beside a row, so that colour is never the only carrier."""
REPORTED = f"{HEADLINE} reported (paper)"
"""Head of the published figure."""


@dataclass(frozen=True)
class Column:
    """One fact of a row that does not depend on the test set."""

    key: str
    """Its name in CSV."""
    value: Callable[[Table, Row], Any]
    """The plain value; None where a row has none."""
    text: Callable[[Any], str] = str
    """How a person reads it."""
    head: str = ""
    """Its head, with a line break for a narrow table; empty for what only files hold."""
    title: str = ""
    """Its head on one line."""


IDENTITY = tuple(
    Column(name, lambda table, row, name=name: getattr(row.first, name))  # type: ignore[misc]
    for name in ("method", "objective", "protocol", "model", "quantization", "precision", "preset")
)
"""What was run."""


def _parameters(name: str) -> Callable[[Table, Row], Any]:
    return lambda table, row: getattr(row.first.parameters, name)


def _timing(name: str) -> Callable[[Table, Row], Any]:
    return lambda table, row: row.timing(name)


def _over_lora(percent: float | None) -> str:
    return figures.NONE if percent is None else f"{percent:+.2g} %" if percent else "0 %"


COSTS = (
    Column("trainable", _parameters("trainable"), figures.count, "Trained\nparams", "Trained"),
    Column("adapter", _parameters("adapter")),
    Column("extra_over_lora", _parameters("extra_over_lora")),
    Column("total", _parameters("total")),
    Column(
        "extra_over_lora_percent",
        lambda table, row: table.extra_over_lora(row),
        _over_lora,
        "Over\nLoRA",
        "Over LoRA",
    ),
    Column(
        "train_seconds",
        _timing("train_seconds"),
        lambda seconds: figures.duration(seconds or None),
        "Train\ntime",
        "Train time",
    ),
    Column(
        "samples_per_second",
        _timing("samples_per_second"),
        lambda rate: figures.rate(rate or None),
        "Samples\n/s",
        "Samples/s",
    ),
    Column("ms_per_user", _timing("ms_per_user"), figures.rate, "ms /\nuser", "ms/user"),
    Column(
        "peak_memory_bytes",
        lambda table, row: row.peak_memory_bytes,
        figures.size,
        "Peak\nmemory",
        "Peak memory",
    ),
)
"""What a method takes to train, to hold and to ask."""


def shown(columns: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns that people see."""
    return tuple(column for column in columns if column.head)


# --- quality -----------------------------------------------------------------------------------------------


def beside(table: Table, reported: Sequence[ReportedRow]) -> Sequence[ReportedRow]:
    """The published rows that may stand beside a table: they rank twenty candidates, never a catalogue."""
    return () if table.whole else reported


def metric_names(table: Table, test_set: str) -> list[str]:
    """Every metric that some row has, in the order they are shown."""
    return in_order(metric for row in table.rows for metric in row.metrics[test_set])


def lateness(table: Table) -> str | None:
    """One line on how much of the training is later than the earliest test case; None where nobody knows."""
    found = table.lateness
    if found is None:
        return None
    share = f"{100 * found.later / found.interactions:.0f} %"
    return (
        f"{found.later:,} of {found.interactions:,} training interactions ({share}) are later than the "
        "earliest test case"
    )


def about_split(table: Table) -> list[tuple[str, str]]:
    """Head and line of what a split lets training see of the test, and of what it keeps from training."""
    late = lateness(table)
    return [*[("Time", late or "")] * (late is not None), *withheld(table)]


def withheld(table: Table) -> list[tuple[str, str]]:
    """Head and line of everything that the split keeps from training."""
    found = table.rows[0].first.withheld  # the same for all rows
    if found is None:
        return []
    users = {user for test_set in table.sets for user in table.rows[0].users(test_set)}
    places = {place for test_set in table.sets for place in table.rows[0].places[test_set]}
    new = (
        f"training does not know {found.new_users:,} of {len(users):,} test users and the targets of "
        f"{found.new_targets:,} of {len(places):,} test cases (results --by user, --by item)"
    )
    rule = (
        f"{found.withheld_items:,} of {found.items:,} items are in no training: encoders have the mean of "
        "all other vectors for them (MoRec their titles), language models leave their slots empty"
    )
    cold = f"{found.cold_items:,} items were drawn to be cold, and are in no validation either"
    when = f"tested from {found.test_from} on, trained before {found.validation_from}; {new}"
    lines = [("Moment", when)] * (found.test_from is not None)
    lines += [("Cold", cold)] * (found.cold_items > 0)
    return [*lines, ("Unknown items", rule)]


IN_SHORT = ("HR@10", "NDCG@10", "MRR")
"""Metrics of a whole catalogue that stand beside the headline where there is no room for all."""


def ranking_columns(table: Table, short: bool = False) -> list[str]:
    """Metrics of single cases that stand beside the headline, for rows with a ranking."""
    if table.whole and short:
        return list(IN_SHORT)
    return [name for name in metrics_for(table.whole) if name != HEADLINE]


def reranked(table: Table) -> list[Row]:
    """The rows that rerank what an encoder passes on."""
    return [row for row in table.rows if row.first.retrieve is not None]


def estimate(found: Estimate | None, counted: bool = False) -> str:
    """A mean with its interval and, where asked for, what it rests on: .568 [.51, .63] (95)."""
    if found is None:
        return figures.NONE
    text = f"{figures.share(found.value)} {figures.interval(found.low, found.high)}".rstrip()
    return f"{text} ({found.n})" if counted else text


def mean(row: Row, test_set: str, metric: str) -> str:
    """A metric's mean alone; a dash where the row has no such metric."""
    found = row.metrics[test_set].get(metric)
    return figures.share(None if found is None else found.value)


def cases(row: Row, test_set: str) -> str:
    """The number of cases."""
    return str(next(iter(row.metrics[test_set].values())).n)


def seeds(row: Row, test_set: str) -> str:
    """The number of training seeds, and how far apart their headline figures are."""
    found = row.metrics[test_set].get(HEADLINE)
    spread = math.nan if found is None else found.seed_std
    return str(len(row.seeds)) + ("" if math.isnan(spread) else f" ±{figures.share(spread, 2)}")


def sign(table: Table, test_set: str) -> Callable[[Row], str]:
    """What stands before a row's name: `BEST`, `LEVEL` or nothing."""
    best, level = table.best(test_set), table.level_with_best(test_set)
    return lambda row: BEST if row is best else LEVEL if any(row is other for other in level) else ""


# --- for other programs ------------------------------------------------------------------------------------


def described(table: Table) -> list[dict[str, Any]]:
    """The table's metrics for whoever draws it from a record."""
    names = in_order(name for test_set in table.sets for name in metric_names(table, test_set))
    known = metrics_for(table.whole)
    return [
        {
            "name": name,
            "higher_is_better": name not in known or known[name].higher_is_better,
            "per_case": name in known,
        }
        for name in names
    ]


def flat_metrics(found: Mapping[str, Estimate]) -> dict[str, Any]:
    """A row's metrics as CSV has them: value and both ends of the interval."""
    line: dict[str, Any] = {}
    for name, value in found.items():
        line |= {name: value.value, f"{name} low": plain(value.low), f"{name} high": plain(value.high)}
    return line


def plain(value: Any) -> Any:
    """What JSON can hold: a number that is none becomes null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
