"""Tables of results that met the same cases, with comparisons of their rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from core.config.saved import older_value
from core.config.settings import ALL_USERS
from core.errors import ResultError
from core.evaluation.metrics import HEADLINE, OF_CATALOGUE, TIE_BREAK, compare_by, metrics_for, per_case
from core.evaluation.statistics import ALPHA, Comparison, Estimate, compare_all, holm
from core.methods import METHODS, record_of
from core.results.format import Case, Lateness, Result, estimate
from core.results.pairing import cases_of, has_control_gate, paired_ranks

PRIMARY_SETS = ("spread", "last")
"""Test sets in the order of their weight: the first that a table has decides which row is best."""


@dataclass(frozen=True)
class Row:
    """One method in one configuration, all its training seeds together."""

    label: str
    """The method's name, with whatever sets it apart from other rows of the same method."""
    runs: tuple[Result, ...]
    """One result per seed, in the order of the seeds, all on the same cases."""

    @property
    def first(self) -> Result:
        """The run of the lowest seed, for everything that the seeds share."""
        return self.runs[0]

    @property
    def method(self) -> str:
        """The method's name, without what sets the row apart."""
        return self.first.method

    @property
    def created(self) -> str:
        """When its newest result was made."""
        return max(run.created for run in self.runs)

    @property
    def seeds(self) -> tuple[int, ...]:
        """Training seeds, ascending."""
        return tuple(run.seed for run in self.runs)

    @cached_property
    def metrics(self) -> Mapping[str, Mapping[str, Estimate]]:
        """Test set -> metric -> mean over cases, seeds averaged per case first."""
        whole = self.first.whole
        return {test_set: estimate(self._cases[test_set], whole) for test_set in self.first.metrics}

    @property
    def peak_memory_bytes(self) -> int:
        """The hungriest seed's peak."""
        return max(run.peak_memory_bytes for run in self.runs)

    def timing(self, name: str) -> float | None:
        """Mean of a timing over the seeds that have it; None where none has."""
        known = [run.timings[name] for run in self.runs if name in run.timings]
        return fmean(known) if known else None

    def values(self, test_set: str, metric: str) -> npt.NDArray[np.float64]:
        """One metric per seed and case: (seeds, n), cases sorted by user and position.

        Raises:
            ResultError: the metric is not one that a single case has.
        """
        known = metrics_for(self.first.whole)
        if metric not in known and metric in OF_CATALOGUE:
            raise ResultError(
                f"{metric} needs a ranking of the whole catalogue, and these cases have sampled candidates",
                "ilora-app bench --candidates catalogue makes one",
            )
        if metric not in known:
            raise ResultError(
                f"{metric} is not a figure of single cases, so rows cannot be compared by it",
                f"choose from: {', '.join(known)}",
            )
        return np.stack([per_case(ranks, metric) for ranks in self._ranks[test_set]])

    def estimates(self, test_set: str, members: npt.NDArray[np.bool_]) -> dict[str, Estimate]:
        """Every metric with its interval over some of a test set's cases, (n,) in the order of `values`."""
        kept = np.flatnonzero(members)
        chosen = [[cases[place] for place in kept] for cases in self._cases[test_set]]
        return estimate(chosen, self.first.whole)

    def users(self, test_set: str) -> list[str]:
        """The user of each case, in the order of `values`."""
        return [user for user, _ in self.places[test_set]]

    @cached_property
    def places(self) -> Mapping[str, list[tuple[str, int]]]:
        """Test set -> user and position of each case, in the order of `values`."""
        return {
            test_set: [case.place for case in self._cases[test_set][0]] for test_set in self.first.metrics
        }

    @cached_property
    def _cases(self) -> Mapping[str, list[list[Case]]]:
        """Test set -> each seed's cases, sorted by user and position."""
        return {test_set: [cases_of(run, test_set) for run in self.runs] for test_set in self.first.metrics}

    @cached_property
    def _ranks(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """Test set -> (seeds, n) ranks, in the order of `places`."""
        return {test_set: paired_ranks(self.runs, test_set)[1] for test_set in self.first.metrics}


@dataclass(frozen=True, eq=False)
class Pair:
    """Two rows of a table, compared on the same cases."""

    a: Row
    b: Row
    asked: tuple[str, str]
    """Test set and metric."""
    found: Comparison
    """Positive numbers favour `a`."""
    p_holm: float
    """The p-value after Holm's correction over all pairs of the table."""

    def joins(self, one: Row, other: Row) -> bool:
        """Whether these are the two rows, in either order."""
        return (one is self.a and other is self.b) or (one is self.b and other is self.a)

    def facing(self, row: Row) -> Pair:
        """The same comparison, seen from one of its two rows."""
        if row is self.a:
            return self
        a, b = self.b, self.a
        test_set, metric = self.asked
        found = compare_by(metric, a.values(*self.asked), b.values(*self.asked), a.users(test_set))
        return Pair(a, b, self.asked, found, self.p_holm)


@dataclass(frozen=True)
class Table:
    """Rows that met the same users, histories and candidates, and may therefore be compared."""

    dataset: str
    split: str
    samples_sha256: str
    rows: tuple[Row, ...]
    """Best first: by HR@1 on the first of `PRIMARY_SETS`."""
    controls: tuple[Row, ...] = ()
    """Rows that ask another row's trained model in another way: they compete with nobody."""

    @property
    def everything(self) -> tuple[Row, ...]:
        """All rows, the controls last."""
        return (*self.rows, *self.controls)

    @property
    def whole(self) -> bool:
        """Whether its cases were ranked against the whole catalogue."""
        return self.rows[0].first.whole

    @property
    def lateness(self) -> Lateness | None:
        """What its split lets training see of the time after its test cases; None where no row knows."""
        known = (run.lateness for row in self.rows for run in row.runs)
        return next((one for one in known if one is not None), None)

    @property
    def sets(self) -> dict[str, int]:
        """Test sets with their number of cases, the deciding one first."""
        sizes = {name: len(self.rows[0].users(name)) for name in self.rows[0].first.metrics}
        return {name: sizes[name] for name in sorted(sizes, key=_weight)}

    @property
    def created(self) -> str:
        """When its newest result was made."""
        return max(row.created for row in self.everything)

    def compare(self, a: Row, b: Row, test_set: str, metric: str = HEADLINE) -> Comparison:
        """Paired comparison of two rows on the same cases; positive numbers favour `a`."""
        return compare_by(metric, a.values(test_set, metric), b.values(test_set, metric), a.users(test_set))

    def pairs(self, test_set: str, metric: str = HEADLINE) -> list[Pair]:
        """Every two rows that have the metric, the better one first; Holm corrects over them all."""
        rows = [row for row in self.rows if metric in row.metrics[test_set]]
        if len(rows) < 2:
            return []
        # The first of two has the larger figure, whichever is better.
        rows.sort(key=lambda row: -row.metrics[test_set][metric].value)
        found = compare_all([row.values(test_set, metric) for row in rows], rows[0].users(test_set))
        adjusted = holm([comparison.p for comparison in found.values()])
        larger_first = metrics_for(self.whole)[metric].higher_is_better
        made = []
        for ((i, j), comparison), p in zip(found.items(), adjusted, strict=True):
            better, other = (rows[i], rows[j]) if larger_first else (rows[j], rows[i])
            made.append(Pair(better, other, (test_set, metric), comparison, p))
        return made

    def best(self, test_set: str) -> Row:
        """The row with the highest HR@1 (MRR where equal)."""
        return max(self.rows, key=lambda row: _strength(row, test_set))

    def level_with_best(self, test_set: str, alpha: float = ALPHA) -> list[Row]:
        """Rows that cannot be told apart from the best one by HR@1: paired test, Holm-adjusted p >= alpha."""
        best = self.best(test_set)
        others = [row for row in self.rows if row is not best]
        adjusted = holm([self.compare(best, row, test_set).p for row in others])
        return [row for row, p in zip(others, adjusted, strict=True) if p >= alpha]

    def reference(self, row: Row, method: str) -> Row | None:
        """The row of another method that was run the same way as `row`; None where there is none.

        Both share preset, objective, model, quantization and precision; of several such rows the one whose
        config differs least is taken.
        """
        alike = [other for other in self.rows if other.method == method and _alike(row, other)]
        return min(alike, key=lambda other: _distance(row, other), default=None)

    def pair(self, method: str, reference: str) -> tuple[Row, Row] | None:
        """The row of one method that has a `reference` row run the same way, and that row.

        Of several, as in an ablation, the one that leaves the others' common settings nowhere, or else the
        newest, controls last.
        Not the best: a comparison whose side was chosen by test scores would flatter it.
        """
        ours = [row for row in self.rows if row.method == method]
        ours.sort(key=lambda row: (row.label == method, not has_control_gate(row.first), row.created))
        pairs = ((row, self.reference(row, reference)) for row in reversed(ours))
        return next(((row, other) for row, other in pairs if other is not None), None)

    def gated_pair(self) -> tuple[Row, Row] | None:
        """The row of a gated method and that of its counterpart without a gate, run the same way."""
        gated = (method for method in METHODS.values() if method.has_gate and method.counterpart)
        pairs = (self.pair(method.name, method.counterpart) for method in gated)
        return next((pair for pair in pairs if pair is not None), None)

    def extra_over_lora(self, row: Row) -> float | None:
        """The adapter's parameters beyond those of plain LoRA, in %; None for rows without an adapter.

        Measured against the table's LoRA row that was run the same way, else against the row's own A and B.
        """
        size = row.first.parameters
        lora = self.reference(row, "lora")
        plain = lora.first.parameters.adapter if lora else size.adapter
        if size.adapter == 0 or plain == 0:
            return None
        return 100 * (size.adapter + size.extra_over_lora - plain) / plain


def group_tables(results: Iterable[Result]) -> list[Table]:
    """Sorts results into tables, newest first, and seeds into rows.

    Results meet in a table only if dataset, split, the samples' checksum and every test case agree.
    """
    tables: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        key = (result.dataset, result.split, result.samples_sha256, _cases_sha256(result))
        tables.setdefault(key, []).append(result)
    made = [
        Table(dataset, split, samples, *_rows(members))
        for (dataset, split, samples, _), members in tables.items()
    ]
    return sorted(made, key=lambda table: table.created, reverse=True)


def _rows(results: Sequence[Result]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """One row per (method, config), the best on the deciding test set first, and the controls' rows.

    Controls by themselves, as where nothing else was asked for, are rows like any other.
    """
    grouped: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        grouped.setdefault((result.method, result.config_sha256), []).append(result)
    runs = [tuple(sorted(group, key=lambda run: run.seed)) for group in grouped.values()]
    rows = [
        Row(label, group) for label, group in zip(_labels([group[0] for group in runs]), runs, strict=True)
    ]
    deciding = min(results[0].metrics, key=_weight)
    rows.sort(key=lambda row: _strength(row, deciding), reverse=True)
    own = tuple(row for row in rows if not record_of(row.method).is_control)
    controls = [row for row in rows if record_of(row.method).is_control]
    controls.sort(key=lambda row: [*METHODS].index(row.method))
    return (own, tuple(controls)) if own else (tuple(controls), ())


SHOWN_SETTINGS = 3
"""At most this many settings tell rows of one method apart by name; beyond, a checksum does."""


def _labels(firsts: Sequence[Result]) -> list[str]:
    """For each row the method's name, followed by what differs from other rows of that method."""
    labels = []
    for result in firsts:
        namesakes = [_description(other) for other in firsts if other.method == result.method]
        own = _description(result)
        differing = [part for place, part in enumerate(own) if len({other[place] for other in namesakes}) > 1]
        if record_of(result.method).is_remote and (result.model or "none") not in differing:
            differing.append(result.model or "none")  # it is not the model that the other rows share
        names = [part.rstrip("/\\").replace("\\", "/").rsplit("/", 1)[-1] for part in differing]
        labels.append(f"{result.method} ({', '.join(names)})" if names else result.method)
    for label in {label for label in labels if labels.count(label) > 1}:
        rows = [place for place, own in enumerate(labels) if own == label]
        for place, apart in zip(rows, _told_apart([firsts[place] for place in rows]), strict=True):
            labels[place] = f"{label}{apart}"
    return labels


def _told_apart(namesakes: Sequence[Result]) -> list[str]:
    """What tells results of one name apart: the settings that differ, or the beginning of their checksum.

    Where many settings differ, as in an ablation of one thing at a time, each result is named by where it
    leaves what most have in common; the one that leaves it nowhere keeps the plain name.
    """
    places = {
        (part, key)
        for result in namesakes
        for part, values in result.config.items()
        if isinstance(values, dict)
        for key in values
    }
    values = {place: [repr(value_of(result, place)) for result in namesakes] for place in sorted(places)}
    differing = {place: found for place, found in values.items() if len(set(found)) > 1}
    if len(differing) > SHOWN_SETTINGS:
        usual = {place: Counter(found).most_common(1)[0][0] for place, found in differing.items()}
        own = [
            [place for place, found in differing.items() if found[row] != usual[place]]
            for row in range(len(namesakes))
        ]
    else:
        own = [list(differing)] * len(namesakes)
    names = [
        f" ({', '.join(_setting(result, place) for place in mine)})" if mine else ""
        for result, mine in zip(namesakes, own, strict=True)
    ]
    if len(set(names)) < len(namesakes) or max(map(len, own)) > SHOWN_SETTINGS:
        return [f" {result.config_sha256[:8]}" for result in namesakes]
    return names


def value_of(result: Result, place: tuple[str, str]) -> Any:
    """A setting, by part and name; None where the method does not read it."""
    part, key = place
    held = result.config.get(part)
    return held.get(key, older_value(part, key)) if isinstance(held, dict) else None


def _setting(result: Result, key: tuple[str, str]) -> str:
    """A setting in words: `gate mlp`, `experts 8`, `learning rate 0.001`."""
    part, name = key
    shown = part if name == "kind" else f"{part} {name}" if name in ("scope", "input") else name
    value = value_of(result, key)
    return f"{shown.replace('_', ' ')} {'all' if (key, value) == (('data', 'users'), ALL_USERS) else value}"


def _description(result: Result) -> tuple[str, ...]:
    return tuple(
        part or "none"
        for part in (
            result.preset,
            result.objective,
            result.model,
            result.quantization,
            result.precision,
            result.protocol,
        )
    )


def _alike(row: Row, other: Row) -> bool:
    return _description(row.first) == _description(other.first)


def _distance(row: Row, other: Row) -> int:
    """Number of settings in which two rows' configs differ."""
    ours, theirs = row.first.config, other.first.config
    return sum(ours.get(key, ...) != theirs.get(key, ...) for key in {*ours, *theirs})


def _strength(row: Row, test_set: str) -> tuple[float, float]:
    found = row.metrics[test_set]
    return found[HEADLINE].value, found[TIE_BREAK].value if TIE_BREAK in found else 0.0


def _weight(test_set: str) -> tuple[int, str]:
    known = test_set in PRIMARY_SETS
    return (PRIMARY_SETS.index(test_set) if known else len(PRIMARY_SETS)), test_set


def _cases_sha256(result: Result) -> str:
    """Checksum of which cases were ranked, whatever their order: two results with the same can be paired."""
    asked = sorted((case.set, *case.place) for case in result.cases)
    return hashlib.sha256(repr(asked).encode("utf-8")).hexdigest()
