"""Reads a result file's text: every key is checked, and every complaint names file and key."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from core.config.checks import DATASET_NAME
from core.config.records import is_text, json_of, shown
from core.errors import DataError, ResultError
from core.evaluation.metrics import METRICS, VALID_RATIO, answer_metrics

FORMAT = 1
"""Version of the file's layout; a change that old readers would misread raises it."""

_RERUN = "run the benchmark again, or remove the file"


def config_sha256(config: Mapping[str, Any]) -> str:
    """Checksum of a config's canonical JSON (sorted keys), as hexadecimal digits."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def dump(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def checked_record(text: str, name: str) -> dict[str, Any]:
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
    checks = checks_of(record)
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
_name = _is(
    "text that is a plain name",
    lambda value: isinstance(value, str) and bool(re.fullmatch(DATASET_NAME, value)),
)
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
    answered = VALID_RATIO in value
    names = [metric for metric in answer_metrics() if metric in value] if answered else list(METRICS)
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


def checks_of(record: Mapping[str, Any]) -> dict[str, _Check]:
    """The checks of a record's keys, those of optional ones included where they say something."""
    return {**_CHECKS, **{key: check for key, check in _OPTIONAL.items() if record.get(key) is not None}}
