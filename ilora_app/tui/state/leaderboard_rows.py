"""The leaderboard's lines as the results screen sorts and filters them. No widgets here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.results.naming import RunKey
from ilora_app.render.figures import method_name

SORTS = ("HR@1", "HR@5", "NDCG@10", "MRR", "method", "time")


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
        """The run's folder, if its model was kept."""
        path = out / "models" / self.folder
        return path if self.folder and (path / "run.json").is_file() else None


def lines_of(record: dict[str, Any]) -> list[Line]:
    """All lines of what `ilora-app results --json` prints."""
    found = []
    for table in record["tables"]:
        for test_set in table["sets"]:
            found += [_measured(table, row, test_set) for row in table["rows"]]
            found += [_reported(table, row, test_set) for row in table["reported"]]
    return found


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


def arrange(lines: list[Line], test_set: str, dataset: str, sort: str, reported: bool) -> list[Line]:
    """The lines to show, in order; `dataset` empty for all."""
    shown = [
        line
        for line in lines
        if line.test_set == test_set and dataset in ("", line.dataset) and (reported or not line.reported)
    ]
    if sort == "method":
        return sorted(shown, key=lambda line: line.label.casefold())
    if sort == "time":
        return sorted(shown, key=lambda line: line.train_seconds or float("inf"))
    return sorted(shown, key=lambda line: -line.value(sort))
