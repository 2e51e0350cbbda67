"""What one result file holds: everything needed to recompute, compare and repeat one run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.config.settings import older_value
from core.evaluation.metrics import METRICS, estimate_answers, per_case
from core.evaluation.statistics import Estimate, bootstrap_all
from core.results.checking import FORMAT, checked_record, checks_of, config_sha256, dump


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

    set: str
    """Test set, such as `spread` or `last`."""
    user: str
    position: int
    """Index of the target in the user's kept sequence."""
    rank: int
    """1 = best; ties counted against the method. Of a method that answers in words: 1 where the answer is the
    target, else the number of candidates."""
    answer: CaseAnswer | None = None
    """What was written, by a method that answers in words."""


@dataclass(frozen=True)
class MetricValue:
    """A metric's mean over a test set with its 95 % interval (users resampled)."""

    value: float
    low: float | None
    """None with fewer than two users, who cannot be resampled."""
    high: float | None
    n: int
    """Cases."""


@dataclass(frozen=True)
class Parameters:
    """How many numbers the method has; 0 where it has none of a kind."""

    trainable: int
    """All that training changes."""
    adapter: int
    """Those of `trainable` in the adapter's A and B."""
    extra_over_lora: int
    """What the method adds to A and B (iLoRA's gate)."""
    total: int
    """The whole model, frozen parts included."""


@dataclass(frozen=True)
class Result:
    """One finished run: one method with one training seed on one set of test samples."""

    dataset: str
    split: str
    method: str
    objective: str | None
    """`listwise` or `language-model`; None for methods without a choice."""
    model: str | None
    """The language model; None for methods without one."""
    quantization: str | None
    preset: str | None
    seed: int
    """Training seed."""
    config: Mapping[str, Any]
    """The resolved settings as plain JSON, without the seed: seeds of one config share a table row."""
    samples_sha256: str
    """Checksum over the test samples (users, histories, targets, candidates)."""
    metrics: Mapping[str, Mapping[str, MetricValue]]
    """Test set -> metric -> value; always what `measure(cases)` gives."""
    cases: tuple[Case, ...]
    parameters: Parameters
    timings: Mapping[str, float]
    """Seconds unless the name says otherwise: `load_seconds`, `train_seconds`, `test_seconds`,
    `samples_per_second` (training), `ms_per_user` (ranking one user's candidates)."""
    peak_memory_bytes: int
    versions: Mapping[str, str]
    command: str
    created: str
    """When the run ended: ISO 8601 with time zone."""
    history: tuple[Mapping[str, Any], ...] = ()
    """Validation curve: `step` and metric values."""
    notes: tuple[str, ...] = ()
    peak_gpu_memory_bytes: int | None = None
    """What was allocated on the GPU at most; None without one, and left out of the file then."""

    @property
    def protocol(self) -> str | None:
        """How the method was asked: rank, generate or constrained; None for methods without a choice."""
        answering = self.config.get("answering")
        return answering.get("protocol") if isinstance(answering, Mapping) else None

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

    def to_json(self) -> str:
        """The file's text: one key a line, one case a line.

        Raises:
            ValueError: a number that JSON cannot hold (NaN, infinity).
            TypeError: something in `config` or `history` that is not plain JSON.
        """
        record = {"format": FORMAT, **dataclasses.asdict(self), "config_sha256": self.config_sha256}
        for case in record["cases"]:
            if case["answer"] is None:
                del case["answer"]
        lines = []
        for key in checks_of(record):
            if key == "cases":
                text = "[\n  " + ",\n  ".join(dump(case) for case in record[key]) + "\n ]"
            else:
                text = dump(record[key])
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
        record = checked_record(text, name)
        return Result(
            **{
                **record,
                "metrics": {
                    test_set: {metric: MetricValue(**value) for metric, value in values.items()}
                    for test_set, values in record["metrics"].items()
                },
                "cases": tuple(_case(case) for case in record["cases"]),
                "parameters": Parameters(**record["parameters"]),
                "history": tuple(record["history"]),
                "notes": tuple(record["notes"]),
            }
        )


def measure(cases: Sequence[Case]) -> dict[str, dict[str, MetricValue]]:
    """All metrics with intervals from the cases' ranks and answers: test set -> metric -> value.

    A metric that is not defined is left out: whoever answers in words gives no ranking.

    The bootstrap is seeded, so that the same cases give the same intervals anywhere.
    """
    metrics = {}
    for test_set in dict.fromkeys(case.set for case in cases):
        of_set = [case for case in cases if case.set == test_set]
        estimates = estimate([of_set])
        metrics[test_set] = {
            metric: MetricValue(found.value, _or_none(found.low), _or_none(found.high), found.n)
            for metric, found in estimates.items()
        }
    return metrics


def estimate(runs: Sequence[Sequence[Case]]) -> dict[str, Estimate]:
    """Every metric that is defined, with its interval, from one test set's cases, a row of them per seed."""
    users = [case.user for case in runs[0]]
    ranks = np.array([[case.rank for case in run] for run in runs])  # (seeds, n)
    answers = [[case.answer for case in run if case.answer is not None] for run in runs]
    if not any(answers):
        return bootstrap_all({metric: per_case(ranks, metric) for metric in METRICS}, users)
    flags = {
        name: np.array([[float(getattr(answer, name)) for answer in row] for row in answers])
        for name in ("valid", "substring_valid", "substring_hit")
    }
    return estimate_answers(ranks, **flags, users=users)


def recompute(result: Result) -> dict[str, dict[str, MetricValue]]:
    """The metrics as the result's cases have them; equal to `result.metrics` in an honest file."""
    return measure(result.cases)


def disagreement(result: Result) -> str | None:
    """The first stored metric that its cases do not bear out, in words; None when all agree."""
    found = recompute(result)
    if found.keys() != result.metrics.keys():
        return (
            f"metrics for {', '.join(result.metrics) or 'no set'} but cases for {', '.join(found) or 'none'}"
        )
    for test_set, values in found.items():
        if values.keys() != result.metrics[test_set].keys():
            return f"{test_set} has {', '.join(result.metrics[test_set])}, its cases give {', '.join(values)}"
        for metric, value in values.items():
            stored = result.metrics[test_set][metric]
            same_ends = _close(stored.low, value.low, 1e-6) and _close(stored.high, value.high, 1e-6)
            if stored.n != value.n or not _close(stored.value, value.value, 1e-9) or not same_ends:
                return f"{metric} on {test_set} is stored as {_say(stored)}, its cases give {_say(value)}"
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


def _case(record: Mapping[str, Any]) -> Case:
    answer = record.get("answer")
    return Case(**{**record, "answer": None if answer is None else CaseAnswer(**answer)})
