"""The benchmark: every method on the same cases, one result file each, and on from where it stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from core import estimates, hardware
from core.config import RunConfig, check
from core.data.types import Sample, Samples
from core.errors import InputError, Interrupted, ResultError
from core.events import (
    Emit,
    Evaluated,
    Finished,
    MethodFinished,
    PlanMade,
    Saved,
    ShouldStop,
    StageStarted,
    StepLogged,
    Stopped,
    never,
    silent,
)
from core.metrics import ranks_from_scores
from core.recommenders import CONFIG_PARTS, LLM_METHODS, METHODS, check_method, method_class
from core.recommenders.base import FitReport, Recommender, Task
from core.results import (
    Case,
    Parameters,
    Result,
    config_sha256,
    load_result,
    measure,
    result_path,
    save_result,
)
from core.runs import SAVED_METHODS, load_task_data, run_folder, save_run

CHUNK = 16
"""Test cases scored between two looks at the clock."""


@dataclass(frozen=True)
class Plan:
    """What a benchmark is asked to do."""

    config: RunConfig
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    preset: str | None = None
    command: str = ""

    def __post_init__(self) -> None:
        check(bool(self.methods), "no methods", f"choose from: {', '.join(METHODS)}")
        check(bool(self.seeds), "no seeds", "give --seeds 1 or more")
        for method in self.methods:
            check_method(method)

    @property
    def ordered(self) -> list[str]:
        """The methods, each once, in the benchmark's order."""
        return [method for method in METHODS if method in self.methods]


def method_config(config: RunConfig, method: str) -> dict[str, Any]:
    """The settings that decide a method's result, and no others; plain LoRA has no experts."""
    record = config.to_dict()
    kept = {part: record[part] for part in CONFIG_PARTS[method]}
    if method == "lora":
        del kept["adapter"]["experts"]
    if "training" in kept:
        del kept["training"]["micro_batch_size"], kept["training"]["checkpointing"]  # same result either way
    return kept


def prepare_out(out: Path) -> None:
    """Makes the output folder.

    Raises:
        ResultError: it is a file, or cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise ResultError(f"{out} is a file, not a folder", "name a folder with --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".probe-{time.monotonic_ns()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ResultError(
            f"cannot write to {out}: {error.strerror}", "choose another folder with --out"
        ) from error


def run_benchmark(plan: Plan, emit: Emit = silent, should_stop: ShouldStop = never) -> list[Result]:
    """Runs what is not on disk yet and returns all results of the plan.

    Args:
        plan: methods, seeds, settings, output folder.
        emit: receives the plan, progress and every finished method.
        should_stop: asked often; when it says so, everything worth keeping is saved first.

    Raises:
        Interrupted: `should_stop` said so; the same plan goes on from there.
        IloraError: data, model or a setting cannot be used here.
    """
    started = time.monotonic()
    prepare_out(plan.out)
    dataset, samples = load_task_data(plan.config.data, emit)
    jobs = [(method, seed) for seed in plan.seeds for method in plan.ordered]
    known = {job: _known(plan, samples, *job) for job in jobs}
    left = [job for job in jobs if known[job] is None]
    emit(_plan_event(plan, samples, left))
    if any(method in LLM_METHODS for method, _ in left):
        from core.llm import check_model

        check_model(plan.config.model, emit)  # now, not after the methods before it have trained
    results = []
    for method, seed in jobs:
        result = known[method, seed]
        if result is None:
            task = Task(dataset, samples, plan.config, seed, plan.out / "work", emit, should_stop)
            result = _run(plan, task, method)
        path = result_path(plan.out, *_key(plan, samples, method, seed))
        emit(MethodFinished(method, seed, str(path), known[method, seed] is not None, _means(result)))
        results.append(result)
    paths = [str(result_path(plan.out, *_key(plan, samples, *job))) for job in jobs]
    emit(Finished(time.monotonic() - started, paths))
    return results


def _key(plan: Plan, samples: Samples, method: str, seed: int) -> tuple[str, str, str, int, str]:
    sha = config_sha256(method_config(plan.config, method))
    return samples.dataset, samples.split, method, seed, sha


def _known(plan: Plan, samples: Samples, method: str, seed: int) -> Result | None:
    """The result on disk, if it is of these very samples.

    Raises:
        ResultError: there is a file and it is damaged or of another version.
    """
    path = result_path(plan.out, *_key(plan, samples, method, seed))
    if not path.exists():
        return None
    result = load_result(path)
    return result if result.samples_sha256 == samples.sha256 else None


def _plan_event(plan: Plan, samples: Samples, left: Sequence[tuple[str, int]]) -> PlanMade:
    minutes = estimates.minutes(plan.config, left, samples) if left else 0.0
    return PlanMade(
        dataset=samples.dataset,
        split=samples.split,
        preset=plan.preset or "custom",
        methods=plan.ordered,
        seeds=list(plan.seeds),
        config=plan.config.to_dict(),
        minutes=minutes,
        samples_sha256=samples.sha256,
        cases={name: len(cases) for name, cases in samples.test.items()},
    )


def _run(plan: Plan, task: Task, method: str) -> Result:
    """Fits, tests and writes one (method, seed)."""
    recommender = method_class(method)()
    task.emit(StageStarted(method, task.seed, "load"))
    try:
        with hardware.PeakMemory() as memory:
            report = recommender.fit(task)
            cases, test_seconds = rank_cases(recommender, task)
    except Interrupted:
        raise
    except MemoryError as error:
        raise InputError(
            f"{method} ran out of memory", "lower --micro-batch, or use a smaller --model"
        ) from error
    result = _result(plan, task, method, report, cases, test_seconds, memory.bytes)
    key = _key(plan, task.samples, method, task.seed)
    if method in SAVED_METHODS:
        folder = save_run(recommender, task, run_folder(plan.out, *key), result.created, _means(result))
        task.emit(Saved("model", str(folder)))
    task.emit(Saved("result", str(save_result(result, plan.out))))
    recommender.finish()
    return result


def rank_cases(recommender: Recommender, task: Task) -> tuple[list[Case], float]:
    """The target's rank in every test case, and the seconds that scoring took.

    A case that belongs to several test sets is scored once.

    Raises:
        Interrupted: the task asked to stop.
    """
    unique: dict[tuple[str, int], Sample] = {
        (case.user, case.position): case for cases in task.samples.test.values() for case in cases
    }
    samples = list(unique.values())
    task.emit(StageStarted(recommender.name, task.seed, "test", len(samples)))
    ranks: dict[tuple[str, int], int] = {}
    started = time.monotonic()
    for start in range(0, len(samples), CHUNK):
        if task.should_stop():
            task.emit(Stopped(recommender.name, task.seed, "test", start))
            raise Interrupted
        chunk = samples[start : start + CHUNK]
        scores = recommender.score([case.history for case in chunk], [case.candidates for case in chunk])
        columns = np.array([case.candidates.index(case.target) for case in chunk])
        for case, rank in zip(chunk, ranks_from_scores(scores, columns), strict=True):
            ranks[case.user, case.position] = int(rank)
        _log_test(task, recommender.name, start + len(chunk), len(samples), time.monotonic() - started)
    seconds = time.monotonic() - started
    cases = [
        Case(set=name, user=case.user, position=case.position, rank=ranks[case.user, case.position])
        for name, members in task.samples.test.items()
        for case in members
    ]
    return cases, seconds


def _log_test(task: Task, method: str, done: int, total: int, seconds: float) -> None:
    rate = done / seconds if seconds else None
    left = (total - done) / rate if rate else None
    task.emit(StepLogged(method, task.seed, "test", done, total, samples_per_second=rate, seconds_left=left))


def _result(
    plan: Plan,
    task: Task,
    method: str,
    report: FitReport,
    cases: Sequence[Case],
    test_seconds: float,
    peak: int,
) -> Result:
    config, has_llm = plan.config, method in LLM_METHODS
    adapted = "training" in CONFIG_PARTS[method]
    metrics = measure(cases)
    scored = len({(case.user, case.position) for case in cases})
    for name, values in metrics.items():
        shown = {metric: value.value for metric, value in values.items()}
        task.emit(Evaluated(method, task.seed, name, next(iter(values.values())).n, shown))
    return Result(
        dataset=task.samples.dataset,
        split=task.samples.split,
        method=method,
        objective=config.training.objective if adapted else None,
        model=config.model.name if has_llm else None,
        quantization=config.model.quantize if has_llm else None,
        preset=plan.preset,
        seed=task.seed,
        config=method_config(config, method),
        samples_sha256=task.samples.sha256,
        metrics=metrics,
        cases=tuple(cases),
        parameters=Parameters(
            trainable=report.trainable_parameters,
            adapter=report.adapter_parameters,
            extra_over_lora=report.gate_parameters,
            total=report.total_parameters,
        ),
        timings={
            "load_seconds": round(report.load_seconds, 3),
            "train_seconds": round(report.train_seconds, 3),
            "test_seconds": round(test_seconds, 3),
            "samples_per_second": round(report.samples_per_second, 3),
            "ms_per_user": round(1000 * test_seconds / max(1, scored), 3),
        },
        peak_memory_bytes=peak,
        versions=hardware.versions(),
        command=plan.command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        history=tuple(report.curve),
        notes=tuple(report.notes),
    )


def _means(result: Result) -> dict[str, dict[str, float]]:
    return {
        name: {metric: value.value for metric, value in values.items()}
        for name, values in result.metrics.items()
    }
