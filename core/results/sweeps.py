"""Rows of a table by a setting in which they differ, such as the number of training users or the rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.config.settings import ALL_USERS
from core.errors import ResultError
from core.evaluation.metrics import HEADLINE
from core.evaluation.statistics import holm
from core.methods import record_of
from core.results.tables import Pair, Row, Table, value_of

SettingPath = tuple[str, str]
"""Part and name of a setting, such as adapter and rank."""
FEWEST = 3
"""Values that make a curve."""


@dataclass(frozen=True)
class Sweep:
    """A table's rows by one setting."""

    path: SettingPath
    values: tuple[Any, ...]
    """What the setting is, ascending; all training users come last."""
    rows: Mapping[str, tuple[Row | None, ...]]
    """Method -> its row at each value; a method that does not read the setting has one row for all."""

    @property
    def words(self) -> tuple[str, ...]:
        """The values as people read them."""
        return tuple("all" if _is_all(self.path, value) else str(value) for value in self.values)

    def gains(self, table: Table, test_set: str, metric: str = HEADLINE) -> list[Pair | None]:
        """At each value the gated method against its counterpart, corrected by Holm over the values."""
        gated = next((name for name in self.rows if _gated_of(name) in self.rows), None)
        if gated is None:
            return [None] * len(self.values)
        both = zip(self.rows[gated], self.rows[_gated_of(gated)], strict=True)
        found = [_pair(table, *rows, test_set, metric) for rows in both]
        adjusted = iter(holm([pair.found.p for pair in found if pair is not None]))
        return [None if pair is None else replace(pair, p_holm=next(adjusted)) for pair in found]


def _gated_of(method: str) -> str:
    """The counterpart of a method with a gate; nothing for all others."""
    record = record_of(method)
    return record.counterpart if record.has_gate else ""


def _pair(table: Table, a: Row | None, b: Row | None, test_set: str, metric: str) -> Pair | None:
    if a is None or b is None or any(metric not in row.metrics[test_set] for row in (a, b)):
        return None
    found = table.compare(a, b, test_set, metric)
    return Pair(a, b, (test_set, metric), found, found.p)


def sweep_over(table: Table, path: SettingPath) -> Sweep:
    """The rows of a table by a setting.

    Raises:
        ResultError: no two rows of a method differ in it, or two of them do not although other settings do.
    """
    name = path[1].replace("_", " ")
    by_method: dict[str, list[Row]] = {}
    for row in table.rows:
        by_method.setdefault(row.method, []).append(row)
    values = _ordered(path, [value_of(row.first, path) for row in table.rows])
    if len(values) < 2:
        raise ResultError(
            f"no two rows of {table.dataset} differ in {name}", f"ilora-app bench --sweep {name}=… makes some"
        )
    rows = {method: _by_value(own, path, values) for method, own in by_method.items()}
    return Sweep(path, values, rows)


def _by_value(rows: Sequence[Row], path: SettingPath, values: Sequence[Any]) -> tuple[Row | None, ...]:
    found: dict[Any, Row] = {}
    for row in rows:
        value = value_of(row.first, path)
        if value in found:
            raise ResultError(
                f"{found[value].label} and {row.label} have the same {path[1].replace('_', ' ')}",
                "name the methods to be shown with --method, or keep other sweeps in other folders",
            )
        found[value] = row
    if None in found and len(found) == 1:  # it does not read the setting
        return (found[None],) * len(values)
    return tuple(found.get(value) for value in values)


def sweeps(table: Table) -> list[Sweep]:
    """Every sweep over a number of which there are enough values for a curve."""
    paths = {
        (part, key)
        for row in table.rows
        for part, settings in row.first.config.items()
        if isinstance(settings, Mapping)
        for key in settings
    }
    found = []
    for path in sorted(paths):
        try:
            one = sweep_over(table, path)
        except ResultError:
            continue
        if len(one.values) >= FEWEST and all(type(value) in (int, float) for value in one.values):
            found.append(one)
    return found


def _ordered(path: SettingPath, values: Sequence[Any]) -> tuple[Any, ...]:
    known = [value for value in dict.fromkeys(map(_hashable, values)) if value is not None]
    if all(type(value) in (int, float) for value in known):
        known.sort(key=lambda value: (_is_all(path, value), value))
    return tuple(known)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _is_all(path: SettingPath, value: Any) -> bool:
    return path == ("data", "users") and value == ALL_USERS
