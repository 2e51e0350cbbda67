"""Brings a result file of any version to today's format, and checks what no single value's type can say."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from core.errors import DataError, ResultError
from core.evaluation.metrics import (
    HEADLINE,
    OF_RETRIEVED,
    RETRIEVED,
    VALID_RATIO,
    answer_metrics,
    metrics_for,
)
from core.records import Upgrade, json_of, upgraded

if TYPE_CHECKING:
    from core.results.format import Result

UPGRADES: tuple[Upgrade, ...] = ()
"""What turns a file of version 1 into one of version 2, and so on.

A change that older readers would misread adds one. A setting or a metric more does not: what an older file
lacks is known, or computed from its ranks.
"""
FORMAT = 1 + len(UPGRADES)
"""Version of the files that are written."""

RERUN = "run the benchmark again, or remove the file"
_UPDATE = "update ilora-app, or remove the file"


def config_sha256(config: Mapping[str, Any]) -> str:
    """Checksum of a config's canonical JSON (sorted keys), as hexadecimal digits."""
    canonical = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("utf-8")).hexdigest()


def dump(value: Any) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def record_of(text: str, name: str) -> dict[str, Any]:
    """The record in a file of any version, as one of the newest; its values are not checked yet.

    Raises:
        ResultError: it is no JSON, no result, or of a newer version.
    """
    try:
        record = json_of(text, name)
    except DataError as error:
        raise ResultError(error.title, RERUN) from error
    if not isinstance(record, dict):
        raise ResultError(f"{name}: not a result file", RERUN)
    try:
        return upgraded(record, UPGRADES)
    except DataError as error:
        hint = _UPDATE if "newer" in error.title else RERUN
        raise ResultError(f"{name}: {error.title}", hint) from error


def check_whole(result: Result, name: str) -> None:
    """Raises `ResultError` where cases contradict each other, or metrics are no metrics of such cases."""
    for place, case in enumerate(result.cases):
        answer = case.answer
        if answer is not None and case.rank == 1 and not answer.valid:
            raise ResultError(f"{name}: cases[{place}] is right but not valid", RERUN)
        if answer is not None and answer.substring_hit and not answer.substring_valid:
            raise ResultError(f"{name}: cases[{place}] is right but not substring_valid", RERUN)
    answered = {case.set for case in result.cases if case.answer is not None}
    if mixed := [case for case in result.cases if case.set in answered and case.answer is None]:
        raise ResultError(f"{name}: a case of {mixed[0].set} lacks its answer, others have one", RERUN)
    passed = {case.set for case in result.cases if case.retrieved is not None}
    if mixed := [case for case in result.cases if case.set in passed and case.retrieved is None]:
        raise ResultError(f"{name}: a case of {mixed[0].set} lacks retrieved, others have it", RERUN)
    asked = Counter((case.set, *case.place) for case in result.cases)
    if twice := [case for case, times in asked.items() if times > 1]:
        raise ResultError(f"{name}: case {twice[0]} appears more than once", RERUN)
    for test_set, values in result.metrics.items():
        known = (
            answer_metrics()
            if VALID_RATIO in values
            else (*metrics_for(result.whole), RETRIEVED, OF_RETRIEVED)
        )
        if HEADLINE not in values:
            raise ResultError(f"{name}: metrics.{test_set} lacks {HEADLINE}", RERUN)
        if unknown := [metric for metric in values if metric not in known]:
            raise ResultError(f"{name}: metrics.{test_set} has unknown {unknown[0]}", _UPDATE)
