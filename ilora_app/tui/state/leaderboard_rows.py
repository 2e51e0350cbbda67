"""The leaderboard's lines as the results screen sorts and filters them. No widgets here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.results.naming import RunKey
from core.runs.demo import DEMO_OUT
from ilora_app.render.figures import method_name

OTHER_SORTS = ("method", "time")
"""What lines can be sorted by beside the metrics."""


@dataclass(frozen=True)
class Metric:
    """A metric as the table's record describes it."""

    name: str
    higher_is_better: bool


def metrics_of(record: dict[str, Any]) -> list[Metric]:
    """The metrics of all tables in what `ilora-app results --json` prints, in the order they are shown."""
    found = {
        metric["name"]: Metric(metric["name"], metric["higher_is_better"])
        for table in record["tables"]
        for metric in table["metrics"]
        if metric["per_case"]
    }
    return list(found.values())


@dataclass(frozen=True)
class Line:
    """One row: a method that was run, or one that the paper reports."""

    dataset: str
    split: str
    label: str
    method: str
    model: str
    preset: str
    test_set: str
    metrics: dict[str, dict[str, Any]]
    """Metric -> value, low, high, n."""
    seeds: tuple[int, ...]
    train_seconds: float | None
    best: bool
    level: bool
    reported: bool
    source: str
    folder: str
    """Name of the run's folder below `models`."""

    def value(self, metric: str) -> float:
        """A metric's mean; below all others where it is missing."""
        found = self.metrics.get(metric, {}).get("value")
        return float(found) if found is not None else -1.0

    def run(self, out: Path) -> Path | None:
        """The run's folder, if its model was kept: one's own, or the one that comes with the program."""
        paths = [folder / "models" / self.folder for folder in (out, DEMO_OUT)]
        return next((path for path in paths if self.folder and (path / "run.json").is_file()), None)

    def shipped(self, out: Path) -> bool:
        """Whether the result is the one that comes with the program, and none of one's own."""
        own, demo = (folder / "results" / f"{self.folder}.json" for folder in (out, DEMO_OUT))
        return bool(self.folder) and demo.is_file() and not own.is_file()


def lines_of(record: dict[str, Any], out: Path) -> list[Line]:
    """All lines of what `ilora-app results --json` prints; those that came with the program say so."""
    found = []
    for table in record["tables"]:
        for test_set in table["sets"]:
            found += [_measured(table, row, test_set) for row in table["rows"]]
            reported = [_reported(table, row, test_set) for row in table["reported"]]
            found += [line for line in reported if line not in found]  # of other cases, the same figure
    return [replace(line, label=f"{line.label} demo") if line.shipped(out) else line for line in found]


def _measured(table: dict[str, Any], row: dict[str, Any], test_set: str) -> Line:
    key = RunKey(table["dataset"], table["split"], row["method"], row["seeds"][0], row["config_sha256"])
    return Line(
        dataset=table["dataset"],
        split=table["split"],
        label=method_name(row["label"]),
        method=row["method"],
        model=row["model"] or "",
        preset=row["preset"] or "",
        test_set=test_set,
        metrics=row["metrics"][test_set],
        seeds=tuple(row["seeds"]),
        train_seconds=row["timings"].get("train_seconds"),
        best=row["best"][test_set],
        level=row["level_with_best"][test_set],
        reported=False,
        source="",
        folder=key.name,
    )


def _reported(table: dict[str, Any], row: dict[str, Any], test_set: str) -> Line:
    return Line(
        dataset=table["dataset"],
        split=table["split"],
        label=row["method"],
        method="",
        model="",
        preset="paper",
        test_set=test_set,
        metrics={"HR@1": {"value": row["hit_ratio_at_1"], "low": None, "high": None, "n": None}},
        seeds=(),
        train_seconds=None,
        best=False,
        level=False,
        reported=True,
        source=row["source"],
        folder="",
    )


def arrange(
    lines: list[Line], test_set: str, dataset: str, sort: str, reported: bool, rising: bool = False
) -> list[Line]:
    """The lines to show, in order; `dataset` empty for all, `rising` where less of a metric is better."""
    shown = [
        line
        for line in lines
        if line.test_set == test_set and dataset in ("", line.dataset) and (reported or not line.reported)
    ]
    if sort == "method":
        return sorted(shown, key=lambda line: line.label.casefold())
    if sort == "time":
        return sorted(shown, key=lambda line: line.train_seconds or float("inf"))
    known = [line for line in shown if sort in line.metrics]
    return sorted(known, key=lambda line: line.value(sort) if rising else -line.value(sort)) + [
        line for line in shown if sort not in line.metrics
    ]
