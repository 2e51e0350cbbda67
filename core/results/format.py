"""What one result file holds: everything needed to recompute, compare and repeat one run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from core.config.saved import older_value
from core.errors import ResultError
from core.evaluation.metrics import estimate_answers, estimate_reranked, metrics_for, per_case
from core.evaluation.statistics import Estimate, bootstrap_all
from core.kinds import (
    Amount,
    Checksum,
    Count,
    Filled,
    Moment,
    Name,
    Names,
    Plain,
    Positive,
    Rule,
    Share,
)
from core.records import Misfit, build, plain
from core.results.checking import FORMAT, RERUN, check_whole, config_sha256, dump, record_of
from core.results.naming import RunKey
from core.results.withheld import Withheld


def _is_point(value: Mapping[str, Any]) -> bool:
    step = value.get("step", 0)
    numbers = [entry for entry in value.values() if entry is not None and not isinstance(entry, list)]
    return type(step) is int and step >= 0 and all(type(entry) in (int, float) for entry in numbers)


CurvePoint = Annotated[Plain, Rule("a step and numbers", _is_point)]


@dataclass(frozen=True)
class CaseAnswer:
    """What a method wrote in answer to one test question."""

    text: str
    valid: bool
    """Whether it is exactly a candidate's title, but for case, spacing and punctuation around it."""
    substring_valid: bool
    """Whether exactly one candidate's title occurs in it: the official code's rule."""
    substring_hit: bool
    """Whether that one is the target."""


@dataclass(frozen=True)
class Case:
    """One test question and where the method placed the target."""

    set: Name
    """Test set, such as `spread` or `last`."""
    user: Filled
    position: Count
    """Index of the target in the user's kept sequence."""
    rank: Positive
    """1 = best; ties counted against the method. Of a method that answers in words: 1 where the answer is the
    target, else the number of candidates."""
    answer: CaseAnswer | None = None
    """What was written, by a method that answers in words."""
    retrieved: bool | None = None
    """Whether the target was among the items that an encoder passed on; None where nothing was passed on."""

    @property
    def place(self) -> tuple[str, int]:
        """User and position: what this case is called in every result."""
        return self.user, self.position


@dataclass(frozen=True)
class MetricValue:
    """A metric's mean over a test set with its 95 % interval (users resampled)."""

    value: Share
    low: Share | None
    """None with fewer than two users, who cannot be resampled."""
    high: Share | None
    n: Positive
    """Cases."""


@dataclass(frozen=True)
class Parameters:
    """How many numbers the method has; 0 where it has none of a kind."""

    trainable: Count
    """All that training changes."""
    adapter: Count
    """Those of `trainable` in the adapter's A and B."""
    extra_over_lora: Count
    """What the method adds to A and B (iLoRA's gate)."""
    total: Count
    """The whole model, frozen parts included."""


@dataclass(frozen=True)
class Lateness:
    """How far a split lets training see what came after its test cases."""

    interactions: Positive
    """All that training may read, as target or in a history."""
    later: Count
    """Those of them that are later than the earliest target of a test case."""


@dataclass(frozen=True)
class Result:
    """One finished run: one method with one training seed on one set of test samples."""

    dataset: Names
    split: Name
    method: Name
    objective: str | None
    """`listwise` or `language-model`; None for methods without a choice."""
    model: str | None
    """The language model; None for methods without one."""
    quantization: str | None
    preset: str | None
    seed: Count
    """Training seed."""
    config: Plain
    """The resolved settings as plain JSON, without the seed: seeds of one config share a table row."""
    samples_sha256: Checksum
    """Checksum over the test samples (users, histories, targets, candidates)."""
    metrics: Mapping[str, Mapping[str, MetricValue]]
    """Test set -> metric -> value; always what `measure(cases)` gives."""
    cases: Annotated[tuple[Case, ...], Rule("a list that is not empty", bool)]
    parameters: Parameters
    timings: Mapping[str, Amount]
    """Seconds unless the name says otherwise: `load_seconds`, `train_seconds`, `test_seconds`,
    `samples_per_second` (training), `ms_per_user` (ranking one user's candidates)."""
    peak_memory_bytes: Count
    versions: Mapping[str, str]
    command: str
    created: Moment
    """When the run ended: ISO 8601 with time zone."""
    history: tuple[CurvePoint, ...] = ()
    """Validation curve: `step` and metric values."""
    notes: tuple[str, ...] = ()
    peak_gpu_memory_bytes: Positive | None = None
    """What was allocated on the GPU at most; None without one, and left out of the file then."""
    rankings_sha256: Checksum | None = None
    """Checksum of what the ranking file beside it says; None in files of older versions, which have none."""
    lateness: Lateness | None = None
    """None where the data has no times, and in files of older versions."""
    withheld: Withheld | None = None
    """None where the split keeps nothing from training but the test itself."""

    @property
    def protocol(self) -> str | None:
        """How the method was asked: rank, generate or constrained; None for methods without a choice."""
        answering = self.config.get("answering")
        return answering.get("protocol") if isinstance(answering, Mapping) else None

    @property
    def pool(self) -> Mapping[str, Any]:
        """How the target was ranked against the whole catalogue; empty for sampled candidates."""
        pool = self.config.get("pool")
        return pool if isinstance(pool, Mapping) else {}

    @property
    def whole(self) -> bool:
        """Whether the target was ranked against the whole catalogue."""
        return bool(self.pool)

    @property
    def retrieve(self) -> int | None:
        """How many items an encoder passed on to be reranked; None for a method that ranks all itself."""
        return self.pool.get("retrieve") or None

    @property
    def precision(self) -> str | None:
        """What the language model was computed in; None for methods without one."""
        model = self.config.get("model")
        return (
            model.get("precision", older_value("model", "precision")) if isinstance(model, Mapping) else None
        )

    @property
    def config_sha256(self) -> str:
        """Checksum of the config, whatever the order of its keys."""
        return config_sha256(self.config)

    @property
    def key(self) -> RunKey:
        """What tells this run from all others."""
        return RunKey(self.dataset, self.split, self.method, self.seed, self.config_sha256)

    def to_json(self) -> str:
        """The file's text: one key a line, one case a line.

        Raises:
            ValueError: a number that JSON cannot hold (NaN, infinity).
            TypeError: something in `config` or `history` that is not plain JSON.
        """
        record: dict[str, Any] = {"format": FORMAT}
        for key, value in plain(self).items():
            record[key] = value
            if key == "config":
                record["config_sha256"] = self.config_sha256
        for key in ("peak_gpu_memory_bytes", "rankings_sha256", "lateness", "withheld"):
            if record[key] is None:
                del record[key]
        for case in record["cases"]:
            for key in ("answer", "retrieved"):
                if case[key] is None:
                    del case[key]
        lines = []
        for key, value in record.items():
            text = "[\n  " + ",\n  ".join(map(dump, value)) + "\n ]" if key == "cases" else dump(value)
            lines.append(f" {json.dumps(key)}: {text}")
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @staticmethod
    def from_json(text: str, name: str = "result") -> Result:
        """The result written by `to_json`.

        Args:
            text: the file's text.
            name: the file's name, for messages.

        Raises:
            ResultError: damaged JSON, another format, keys missing or unknown, values of a wrong type,
                or a config that does not match its checksum.
        """
        record = record_of(text, name)
        sha = record.pop("config_sha256", None)
        try:
            result = build(Result, record)
        except Misfit as error:
            raise ResultError(f"{name}: {error.said}", RERUN) from error
        if result.config_sha256 != sha:
            raise ResultError(f"{name}: config_sha256 does not match the config", RERUN)
        check_whole(result, name)
        return result


def measure(cases: Sequence[Case], whole: bool = False) -> dict[str, dict[str, MetricValue]]:
    """All metrics with intervals from the cases' ranks and answers: test set -> metric -> value.

    A metric that is not defined is left out: whoever answers in words gives no ranking.

    The bootstrap is seeded, so that the same cases give the same intervals anywhere.

    Args:
        cases: of all test sets.
        whole: whether they were ranked against the whole catalogue.
    """
    metrics = {}
    for test_set in dict.fromkeys(case.set for case in cases):
        of_set = [case for case in cases if case.set == test_set]
        estimates = estimate([of_set], whole)
        metrics[test_set] = {
            metric: MetricValue(found.value, _or_none(found.low), _or_none(found.high), found.n)
            for metric, found in estimates.items()
        }
    return metrics


def estimate(runs: Sequence[Sequence[Case]], whole: bool = False) -> dict[str, Estimate]:
    """Every metric that is defined, with its interval, from one test set's cases, a row of them per seed.

    See `measure` for `whole`.
    """
    users = [case.user for case in runs[0]]
    ranks = np.array([[case.rank for case in run] for run in runs])  # (seeds, n)
    answers = [[case.answer for case in run if case.answer is not None] for run in runs]
    if not any(answers):
        found = bootstrap_all({metric: per_case(ranks, metric) for metric in metrics_for(whole)}, users)
        passed = [[case.retrieved for case in run if case.retrieved is not None] for run in runs]
        return (
            found | estimate_reranked(ranks, np.array(passed, dtype=np.float64), users)
            if any(passed)
            else found
        )
    flags = {
        name: np.array([[float(getattr(answer, name)) for answer in row] for row in answers])
        for name in ("valid", "substring_valid", "substring_hit")
    }
    return estimate_answers(ranks, **flags, users=users)


def recompute(result: Result) -> dict[str, dict[str, MetricValue]]:
    """The metrics as the result's cases have them; equal to `result.metrics` in an honest file."""
    return measure(result.cases, result.whole)


def completed(result: Result) -> Result:
    """The result with every metric that its cases give: an older file has fewer, and they are all computed.

    Raises:
        ResultError: a metric is stored that the cases do not bear out.
    """
    found = recompute(result)
    if wrong := _disagreement(result, found):
        raise ResultError(wrong)
    metrics = {name: {**values, **result.metrics[name]} for name, values in found.items()}
    return dataclasses.replace(result, metrics=metrics)


def disagreement(result: Result) -> str | None:
    """The first metric that the file lacks or its cases do not bear out, in words; None when all agree."""
    found = recompute(result)
    for test_set, values in found.items():
        if lacking := values.keys() - result.metrics.get(test_set, {}).keys():
            return f"{test_set} lacks {', '.join(sorted(lacking))}"
    return _disagreement(result, found)


def _disagreement(result: Result, found: Mapping[str, Mapping[str, MetricValue]]) -> str | None:
    if found.keys() != result.metrics.keys():
        return (
            f"metrics for {', '.join(result.metrics) or 'no set'} but cases for {', '.join(found) or 'none'}"
        )
    for test_set, stored in result.metrics.items():
        values = found[test_set]
        if stored.keys() - values.keys():
            return f"{test_set} has {', '.join(stored)}, its cases give {', '.join(values)}"
        for metric, own in stored.items():
            value = values[metric]
            same_ends = _close(own.low, value.low, 1e-6) and _close(own.high, value.high, 1e-6)
            if own.n != value.n or not _close(own.value, value.value, 1e-9) or not same_ends:
                return f"{metric} on {test_set} is stored as {_say(own)}, its cases give {_say(value)}"
    return None


def _say(value: MetricValue) -> str:
    if value.low is None or value.high is None:
        return f"{value.value:.4f} (n {value.n})"
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}] (n {value.n})"


def _close(stored: float | None, found: float | None, tolerance: float) -> bool:
    if stored is None or found is None:
        return stored is found
    return abs(stored - found) <= tolerance


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def means(result: Result) -> dict[str, dict[str, float]]:
    """Test set -> metric -> its mean."""
    return {
        name: {metric: value.value for metric, value in values.items()}
        for name, values in result.metrics.items()
    }


def intervals(result: Result, metric: str = "HR@1") -> dict[str, list[float]]:
    """Test set -> both ends of a metric's 95 % interval, where it has one."""
    found = {name: values[metric] for name, values in result.metrics.items() if metric in values}
    return {
        name: [value.low, value.high]
        for name, value in found.items()
        if value.low is not None and value.high is not None
    }
