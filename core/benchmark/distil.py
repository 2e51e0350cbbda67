"""What training a student takes: its plan, and its teacher's results beside its own in one folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from core.benchmark.out_folder import prepare_out
from core.benchmark.run import Plan, method_config
from core.config.checks import sha256_of
from core.config.distillation import DistillationConfig
from core.config.settings import RunConfig
from core.data.loading import load_task_data
from core.errors import InputError, ResultError
from core.events import Emit, silent
from core.methods import method_names, record_of, settle
from core.results.checking import config_sha256
from core.results.format import Result
from core.results.naming import RunKey
from core.results.rankings import load_rankings, save_rankings
from core.results.store import load_result, result_path, save_result
from core.runs.store import RunInfo, result_of


@dataclass(frozen=True)
class Order:
    """A student as it is asked for; what is left out is as `DistillationConfig` has it."""

    out: Path
    """Where results and the student go."""
    histories: str | None = None
    """How many the teacher is asked about: a number, or a share of them such as 0.5 or 50%."""
    candidates: int | None = None
    drawn: float | None = None
    temperature: float | None = None
    precision: str = "auto"
    """What the teacher is computed in."""


def student_of(info: RunInfo, order: Order, command: str, emit: Emit = silent) -> Plan:
    """The plan that trains a student of a run, and tests it beside the SASRec that learnt from the data.

    Args:
        info: the teacher.
        order: what is asked for.
        command: what was typed.
        emit: receives progress where the dataset must be read.

    Raises:
        InputError: the run has no language model, or a number cannot be used.
        AssetError, DataError: the dataset cannot be read.
    """
    method = record_of(info.method)
    if not method.has_adapter:
        raise InputError(
            f"{info.path.name} is {method.label}, which asks no language model: there is nothing to save",
            "name the run of an adapter, or demo",
        )
    (student,) = method_names(lambda record: record.is_student)
    given = {"candidates": order.candidates, "drawn": order.drawn, "temperature": order.temperature}
    settings = DistillationConfig(
        teacher=info.path.name,
        weights=sha256_of([info.created, info.files])[:12],
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
    )
    if order.histories is not None:
        settings = replace(settings, histories=_histories(order.histories, info, emit))
    model = replace(info.config.model, precision=order.precision)
    config = settle(replace(info.config, model=model, distillation=settings), student)
    return Plan(
        config=config,
        methods=(record_of(student).network, student),
        seeds=(info.seed,),
        out=order.out,
        command=command,
        teacher=info.path,
    )


def _histories(text: str, info: RunInfo, emit: Emit) -> int:
    """How many histories a number or a share of them is."""
    wrong = InputError(f"--histories is {text[:40]!r}", "give a number such as 2000, or a share such as 0.5")
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise wrong from None
    if number >= 1 and number == int(number) and not text.endswith("%"):
        return int(number)
    if not 0 < number <= 1:
        raise wrong
    return max(1, round(number * len(load_task_data(info.config.data, emit)[1].train)))


def bring_results(info: RunInfo, config: RunConfig, out: Path) -> Result:
    """Puts the teacher's result into a folder, and the plain SASRec's where the teacher's folder has it.

    Args:
        info: the teacher.
        config: the student's settings.
        out: the folder; what is there already stays.

    Returns:
        The teacher's result.

    Raises:
        ResultError: the teacher has no result, or the folder cannot be written.
    """
    result, source = result_of(info.path), info.path.absolute().parent.parent
    prepare_out(out)
    _bring(result, source, out)
    (student,) = method_names(lambda record: record.is_student)
    plain = record_of(student).network
    sha = config_sha256(method_config(config, plain))
    file = result_path(source, *RunKey(info.dataset, info.split, plain, info.seed, sha))
    if file.is_file():
        try:
            found = load_result(file)
        except ResultError:
            return result  # it is trained anew
        if found.samples_sha256 == info.samples_sha256:
            _bring(found, source, out)
    return result


def _bring(result: Result, source: Path, out: Path) -> None:
    """Copies a result, with its run file where there is a whole one."""
    place = result_path(out, *result.key)
    if place.exists():
        return
    try:
        save_rankings(load_rankings(result, result_path(source, *result.key)), place)
    except ResultError:
        result = replace(result, rankings_sha256=None)
    save_result(result, out)
