"""What one result file holds: everything needed to recompute, compare and repeat one run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from core.config import DATASET_NAME
from core.data.strict import is_text, json_of, shown
from core.errors import DataError, ResultError
from core.metrics import ANSWER_METRICS, METRICS, estimate_answers, per_case
from core.statistics import Estimate, bootstrap_all

FORMAT = 1
"""Version of the file's layout; a change that old readers would misread raises it."""

_RERUN = "run the benchmark again, or remove the file"


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
        for key in _checks(record):
            if key == "cases":
                text = "[\n  " + ",\n  ".join(_dump(case) for case in record[key]) + "\n ]"
            else:
                text = _dump(record[key])
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
        record = _checked_record(text, name)
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


def config_sha256(config: Mapping[str, Any]) -> str:
    """Checksum of a config's canonical JSON (sorted keys), as hexadecimal digits."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


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
    return estimate_answers(per_case(ranks, "HR@1"), **flags, users=users)


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


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


# --- reading: every key is checked, and every complaint names the file and the key ---------------------


def _checked_record(text: str, name: str) -> dict[str, Any]:
    """The file's record without `format` and `config_sha256`, every value of the right kind."""
    try:
        record = json_of(text, name)
    except DataError as error:
        raise ResultError(error.title, _RERUN) from error
    if not isinstance(record, dict):
        raise ResultError(f"{name}: not a result file", _RERUN)
    version: Any = record.get("format")
    if not _whole(version) or version < FORMAT:
        raise ResultError(f"{name}: made by an older version (format {version!r}, needed {FORMAT})", _RERUN)
    if version > FORMAT:
        hint = "update ilora-app, or remove the file"
        raise ResultError(f"{name}: made by a newer version (format {version}, known {FORMAT})", hint)
    checks = _checks(record)
    _same_keys(record, checks.keys(), name, "")
    for key, check in checks.items():
        check(record[key], name, key)
    if config_sha256(record["config"]) != record["config_sha256"]:
        raise ResultError(f"{name}: config_sha256 does not match the config", _RERUN)
    asked = Counter((case["set"], case["user"], case["position"]) for case in record["cases"])
    answered = {case["set"] for case in record["cases"] if "answer" in case}
    if mixed := [case for case in record["cases"] if case["set"] in answered and "answer" not in case]:
        raise ResultError(f"{name}: a case of {mixed[0]['set']} lacks its answer, others have one", _RERUN)
    if twice := [case for case, times in asked.items() if times > 1]:
        raise ResultError(f"{name}: case {twice[0]} appears more than once", _RERUN)
    return {key: value for key, value in record.items() if key not in ("format", "config_sha256")}


_Check = Callable[[Any, str, str], None]


def _is(kind: str, accepts: Callable[[Any], bool]) -> _Check:
    """A check that complains `file: key must be kind`."""

    def check(value: Any, name: str, key: str) -> None:
        if not accepts(value):
            raise ResultError(f"{name}: {key} must be {kind}, found {shown(value)}", _RERUN)

    return check


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _number(value: Any) -> bool:
    return _whole(value) or (isinstance(value, float) and math.isfinite(value))


def _share(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _time(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _plain(value: Any) -> bool:
    """Whether a value is plain JSON whose texts can be written to a file."""
    if isinstance(value, dict):
        return all(map(is_text, value)) and all(map(_plain, value.values()))
    if isinstance(value, list):
        return all(map(_plain, value))
    return value is None or isinstance(value, bool) or _number(value) or is_text(value)


def _point(value: Any) -> bool:
    """Whether a value is an entry of a validation curve: a step and numbers."""
    if not isinstance(value, dict) or not all(map(is_text, value)):
        return False
    step = value.get("step", 0)
    numbers = (entry for entry in value.values() if entry is not None and not isinstance(entry, list))
    return _whole(step) and 0 <= step < _MOST and all(map(_number, numbers)) and _plain(value)


_MOST = 10**15
"""Beyond it nothing is an amount of seconds, bytes or samples."""
_text = _is("text", is_text)
_filled = _is("text that is not empty", lambda value: is_text(value) and value != "")
_name = _is("a plain name", lambda value: isinstance(value, str) and bool(re.fullmatch(DATASET_NAME, value)))
_optional_text = _is("text or null", lambda value: value is None or is_text(value))
_checksum = _is(
    "a checksum", lambda value: isinstance(value, str) and bool(re.fullmatch("[0-9a-f]{1,64}", value))
)
_moment = _is("a time", _time)
_settings = _is("an object of plain values", lambda value: isinstance(value, dict) and _plain(value))
_curve_point = _is("a step and numbers", _point)
_integer = _is("a whole number", _whole)
_count = _is("a whole number, 0 or more", lambda value: _whole(value) and 0 <= value < 2**53)
_positive = _is("a whole number, 1 or more", lambda value: _whole(value) and 1 <= value < 2**53)
_amount = _is("a number, 0 or more", lambda value: _number(value) and 0 <= value < _MOST)
_fraction = _is("a number between 0 and 1", _share)
_optional_fraction = _is("a number between 0 and 1, or null", lambda value: value is None or _share(value))
_object = _is("an object", lambda value: isinstance(value, dict))
_flag = _is("true or false", lambda value: isinstance(value, bool))
_list = _is("a list", lambda value: isinstance(value, list))
_filled_list = _is("a list that is not empty", lambda value: isinstance(value, list) and value != [])


def _same_keys(record: Any, expected: Any, name: str, where: str) -> None:
    """Complains about a key too few or too many."""
    if missing := [key for key in expected if key not in record]:
        raise ResultError(f"{name}: {where}lacks {', '.join(missing)}", _RERUN)
    if unknown := [key for key in record if key not in expected]:
        raise ResultError(f"{name}: {where}has unknown {', '.join(unknown)}", _RERUN)


def _record(**checks: _Check) -> _Check:
    """An object with exactly these keys."""

    def check(value: Any, name: str, key: str) -> None:
        _object(value, name, key)
        _same_keys(value, checks.keys(), name, f"{key} ")
        for part, of_part in checks.items():
            of_part(value[part], name, f"{key}.{part}")

    return check


def _each(of_entry: _Check, of_list: _Check | None = None) -> _Check:
    """A list of such entries."""

    def check(value: Any, name: str, key: str) -> None:
        (of_list or _list)(value, name, key)
        for place, entry in enumerate(value):
            of_entry(entry, name, f"{key}[{place}]")

    return check


def _table(of_value: _Check) -> _Check:
    """An object with any keys and such values."""

    def check(value: Any, name: str, key: str) -> None:
        _object(value, name, key)
        for part, entry in value.items():
            _text(part, name, key)
            of_value(entry, name, f"{key}.{part}")

    return check


_metric_value = _record(value=_fraction, low=_optional_fraction, high=_optional_fraction, n=_positive)

_case_keys = {"set": _name, "user": _filled, "position": _count, "rank": _positive}
_ranked_case = _record(**_case_keys)
_answered_case = _record(
    **_case_keys, answer=_record(text=_text, valid=_flag, substring_valid=_flag, substring_hit=_flag)
)


def _any_case(value: Any, name: str, key: str) -> None:
    """A case, with or without an answer in words."""
    answered = isinstance(value, dict) and "answer" in value
    (_answered_case if answered else _ranked_case)(value, name, key)
    if answered:
        answer = value["answer"]
        hits = {"valid": value["rank"] == 1, "substring_valid": answer["substring_hit"]}
        for flag, hit in hits.items():
            if hit and not answer[flag]:
                raise ResultError(f"{name}: {key} is right but not {flag}", _RERUN)


def _metrics(value: Any, name: str, key: str) -> None:
    """One test set's metrics: all of a ranking, or those of answers that are defined."""
    _object(value, name, key)
    answered = "ValidRatio" in value
    names = [metric for metric in ANSWER_METRICS if metric in value] if answered else METRICS
    _record(**dict.fromkeys(names, _metric_value))(value, name, key)


_CHECKS: dict[str, _Check] = {
    "format": _integer,
    "dataset": _name,
    "split": _name,
    "method": _name,
    "objective": _optional_text,
    "model": _optional_text,
    "quantization": _optional_text,
    "preset": _optional_text,
    "seed": _integer,
    "config": _settings,
    "config_sha256": _checksum,
    "samples_sha256": _checksum,
    "metrics": _table(_metrics),
    "cases": _each(_any_case, _filled_list),
    "parameters": _record(trainable=_count, adapter=_count, extra_over_lora=_count, total=_count),
    "timings": _table(_amount),
    "peak_memory_bytes": _count,
    "versions": _table(_text),
    "command": _text,
    "created": _moment,
    "history": _each(_curve_point),
    "notes": _each(_text),
}
"""Every key that a file must have, in the order written, with its check."""

_OPTIONAL: dict[str, _Check] = {"peak_gpu_memory_bytes": _positive}
"""Keys that are left out where they say nothing."""


def _checks(record: Mapping[str, Any]) -> dict[str, _Check]:
    """The checks of a record's keys, those of optional ones included where they say something."""
    return {**_CHECKS, **{key: check for key, check in _OPTIONAL.items() if record.get(key) is not None}}
