"""Controls against the row whose trained model they ask: paired, on the same cases, corrected by Holm."""

from __future__ import annotations

from dataclasses import replace

from core.evaluation.metrics import HEADLINE
from core.evaluation.statistics import holm
from core.methods import record_of
from core.results.tables import Pair, Row, Table


def base_of(table: Table, control: Row) -> Row | None:
    """The row that a control asks: of its method, with its very settings; None where the table has none."""
    method, settings = record_of(control.method).control_of, control.first.config_sha256
    alike = (row for row in table.rows if (row.method, row.first.config_sha256) == (method, settings))
    return next(alike, None)


def against_base(table: Table, test_set: str, metric: str = HEADLINE) -> list[Pair]:
    """Every control against the row that it asks; positive numbers favour the control.

    A control whose own row is missing, or has no such metric, is left out.
    """
    found = []
    for control in table.controls:
        base = base_of(table, control)
        if base is None or any(metric not in row.metrics[test_set] for row in (control, base)):
            continue
        comparison = table.compare(control, base, test_set, metric)
        found.append(Pair(control, base, (test_set, metric), comparison, comparison.p))
    adjusted = holm([pair.found.p for pair in found])
    return [replace(pair, p_holm=p) for pair, p in zip(found, adjusted, strict=True)]
