"""Tables of results for other programs: plain records, and CSV with one line per row and test set."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

from core.evaluation.metrics import HEADLINE
from core.evaluation.statistics import Comparison, Estimate
from core.results.controls import against_base
from core.results.tables import Row, Table
from core.safe_text import csv_cell
from ilora_app.render import columns
from ilora_app.render.reported import ReportedRow, reported_for


def table_record(table: Table, reported: Sequence[ReportedRow] = ()) -> dict[str, Any]:
    """A table as plain JSON values; what is not a number is null."""
    reported = columns.beside(table, reported)
    level = {test_set: table.level_with_best(test_set) for test_set in table.sets}
    best = {test_set: table.best(test_set) for test_set in table.sets}
    return {
        "dataset": table.dataset,
        "split": table.split,
        "candidates": "catalogue" if table.whole else "20",
        "samples_sha256": table.samples_sha256,
        "sets": {
            test_set: {"n": n, "users": len(set(table.rows[0].users(test_set)))}
            for test_set, n in table.sets.items()
        },
        "metrics": columns.described(table),
        "rows": [
            {
                **_row_record(table, row, reported),
                "best": {test_set: row is best[test_set] for test_set in table.sets},
                "level_with_best": {
                    test_set: any(row is other for other in level[test_set]) for test_set in table.sets
                },
            }
            for row in table.rows
        ],
        "controls": _control_records(table, reported),
        "ilora_over_lora": _gain_records(table),
        "reported": [
            {
                "method": row.method,
                "hit_ratio_at_1": row.hit_ratio_at_1,
                "valid_ratio": row.valid_ratio,
                "source": row.source,
            }
            for row in reported
        ],
    }


def tables_csv(tables: Sequence[Table], reported: dict[str, Sequence[ReportedRow]]) -> str:
    """All tables as CSV: one line per table, row and test set; `reported` maps a dataset to its rows."""
    lines = [
        _flat(table, row, test_set, columns.beside(table, reported.get(table.dataset, ())))
        for table in tables
        for test_set in table.sets
        for row in table.everything
    ]
    text = io.StringIO()
    names = list(dict.fromkeys(name for line in lines for name in line))  # not every row has every metric
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in line.items()} for line in lines)
    return text.getvalue()


def _row_record(table: Table, row: Row, reported: Sequence[ReportedRow]) -> dict[str, Any]:
    run, published = row.first, reported_for(row.method, reported)
    names = {name: None for other in row.runs for name in other.timings}
    return {
        "label": row.label,
        **{column.key: column.value(table, row) for column in columns.IDENTITY},
        "config_sha256": run.config_sha256,
        "seeds": list(row.seeds),
        "metrics": {
            test_set: {metric: _estimate_record(found) for metric, found in of_set.items()}
            for test_set, of_set in row.metrics.items()
        },
        "parameters": dataclasses.asdict(run.parameters),
        "extra_over_lora_percent": table.extra_over_lora(row),
        "timings": {name: row.timing(name) for name in names},
        "peak_memory_bytes": row.peak_memory_bytes,
        "hit_ratio_at_1_reported": published.hit_ratio_at_1 if published else None,
    }


def _control_records(table: Table, reported: Sequence[ReportedRow]) -> list[dict[str, Any]]:
    """Every control with its comparison against the row that it asks, per test set; null without that row."""
    records = [_row_record(table, row, reported) for row in table.controls]
    for test_set in table.sets:
        pairs = against_base(table, test_set)
        for row, record in zip(table.controls, records, strict=True):
            pair = next((pair for pair in pairs if pair.a is row), None)
            found = None
            if pair is not None:
                plain = {key: columns.plain(value) for key, value in dataclasses.asdict(pair.found).items()}
                found = {"row": pair.b.label, **plain, "p_holm": pair.p_holm}
            record.setdefault("against", {})[test_set] = found
    return records


def _estimate_record(found: Estimate) -> dict[str, Any]:
    return {key: columns.plain(value) for key, value in dataclasses.asdict(found).items()}


def _gain_records(table: Table) -> dict[str, Any] | None:
    """iLoRA against LoRA by the headline metric, per test set; None without such a pair."""
    pair = table.gated_pair()
    if pair is None:
        return None
    found: dict[str, Comparison] = {test_set: table.compare(*pair, test_set) for test_set in table.sets}
    return {
        "rows": [row.label for row in pair],
        **{
            test_set: {key: columns.plain(value) for key, value in dataclasses.asdict(comparison).items()}
            for test_set, comparison in found.items()
        },
    }


def _flat(table: Table, row: Row, test_set: str, reported: Sequence[ReportedRow]) -> dict[str, Any]:
    """One line of the CSV."""
    record = _row_record(table, row, reported)
    hits = row.metrics[test_set][HEADLINE]
    line: dict[str, Any] = {"dataset": table.dataset, "split": table.split, "set": test_set}
    line |= {column.key: column.value(table, row) for column in columns.IDENTITY}
    line |= {"config_sha256": record["config_sha256"], "samples_sha256": table.samples_sha256}
    line |= {"seeds": " ".join(map(str, row.seeds)), "n": hits.n, "users": hits.users}
    line |= columns.flat_metrics(row.metrics[test_set])
    line |= {column.key: column.value(table, row) for column in columns.COSTS}
    line["hit_ratio_at_1_reported"] = record["hit_ratio_at_1_reported"]
    return line
