"""The benchmark: every method on the same cases, one result file each, and on from where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from core import hardware
from core.benchmark import budget, estimates
from core.benchmark.case_facts import keep_experts, keep_facts
from core.benchmark.catalogue import check_pool, pool_settings
from core.benchmark.clock import Clock
from core.benchmark.costs import total
from core.benchmark.out_folder import (
    WORK,
    check_written,
    forget_work,
    known_result,
    prepare_out,
    take_turn,
)
from core.benchmark.ranking_files import whole
from core.benchmark.reused import trained_before, twenty_of, without_trained_before
from core.benchmark.sharing import in_turn
from core.benchmark.statements import (
    lateness,
    model_of,
    model_version,
    note_on_users,
    notes_on,
    plan_event,
    withheld,
)
from core.benchmark.testing import Tested, ask_all
from core.benchmark.trained import Trained
from core.benchmark.tuning import Tuned, tune, without_trained
from core.config.checks import check
from core.config.saved import lasting
from core.config.settings import RunConfig
from core.data.card_files import load_card
from core.data.item_texts import item_texts
from core.data.loading import load_task_data
from core.data.types import Dataset, Samples
from core.errors import InputError, Interrupted
from core.events import (
    Emit,
    Evaluated,
    Finished,
    MethodFinished,
    Notice,
    Saved,
    ShouldStop,
    never,
    silent,
)
from core.methods import METHODS, MethodSeed, any_needs_llm, any_remote, check_method, settle
from core.recommenders.base import FitReport, Recommender, Task
from core.recommenders.chat_client import check_ready
from core.recommenders.registry import method_class
from core.results.checking import config_sha256
from core.results.format import Parameters, Result, intervals, means, measure
from core.results.naming import RunKey
from core.results.rankings import ranking_file, save_rankings
from core.results.store import result_path, save_result
from core.run_time import run_seconds
from core.runs.store import RunInfo, run_folder, save_run
from core.stages import Watch
from core.training import parallel


@dataclass(frozen=True)
class Plan:
    """What a benchmark is asked to do."""

    config: RunConfig
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    out: Path
    preset: str | None = None
    command: str = ""
    budget: float | None = None
    """Minutes that all of it may take; settings are cut to fit."""
    cuts: tuple[str, ...] = ()
    """What was cut to fit, in words."""
    models: bool = False
    """Whether a result counts as finished only with its trained model beside it."""
    trials: int = 0
    """Settings that are tried for each method that trains, before it is tested; 0: its settings stand."""
    tuned: Mapping[str, Tuned] = field(default_factory=dict)
    """Method -> what its trials chose."""
    teacher: Path | None = None
    """The run folder that a student learns from."""
    starts: Mapping[MethodSeed, RunInfo] = field(default_factory=dict)
    """What the adapter of a run starts from; others start from nothing."""
    jobs: int = 1
    """Processes on this machine that share the runs, this one among them."""

    def __post_init__(self) -> None:
        check(bool(self.methods), "no methods", f"choose from: {', '.join(METHODS)}")
        check(bool(self.seeds), "no seeds", "give --seeds 1 or more")
        for method in self.methods:
            check_method(method)
            taught = METHODS[method].is_student and self.teacher is None
            check(not taught, f"{method} learns from a trained run", "ilora-app distil RUN trains it")
        if any_remote(self.methods):
            check_ready(self.config.chat)

    def of(self, method: str) -> Tuned:
        """The settings of one method; a control's are those of the method that it asks."""
        return self.tuned.get(METHODS[method].control_of or method) or Tuned(self.config)

    @property
    def ordered(self) -> list[str]:
        """The methods, each once, in the benchmark's order."""
        return [method for method in METHODS if method in self.methods]


def method_config(config: RunConfig, method: str) -> dict[str, Any]:
    """The settings that decide a method's result, and no others; without a gate there are no experts.

    A baseline is its own kind of encoder, whichever one the gate reads. How many items an encoder reads is
    the dataset's rule, and stands among its settings.

    Raises:
        InputError: there is no such dataset.
    """
    record = lasting(settle(config, method))
    kept = {part: record[part] for part in METHODS[method].reads if part in record}
    if "adapter" in kept and "gate" not in kept:
        del kept["adapter"]["experts"], kept["training"]["gate_rate_multiplier"]
    if "encoder" in kept:
        kept["encoder"]["max_history"] = load_card(config.data.dataset).rules.max_history
    if METHODS[method].is_encoder:
        del kept["encoder"]["kind"]
    if "chat" in kept:
        del kept["chat"]["price_in"], kept["chat"]["price_out"]  # same answers at any price
    if "training" in kept:
        del kept["training"]["checkpointing"]  # same result either way
        if not ("gate" in kept and config.gate.sees_batch):
            del kept["training"]["micro_batch_size"]
    for name in ("candidates", "retrieve"):
        kept.get("data", {}).pop(name, None)  # the part `pool` says so, and only to whom it matters
    return kept | pool_settings(config, method)


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
    started = run_seconds()
    prepare_out(plan.out)
    from core.lm.loading import settle_precision

    tell = emit if any_needs_llm(plan.methods) else silent
    plan = replace(plan, config=replace(plan.config, model=settle_precision(plan.config.model, tell)))
    with parallel.main_first():
        dataset, samples = load_task_data(plan.config.data, emit)
    check_pool(plan.config, plan.ordered, dataset)
    if any_needs_llm(plan.methods):
        item_texts(dataset.catalogue, plan.config.model.item_text)  # refused before anything is trained
    runs = [(method, seed) for seed in plan.seeds for method in plan.ordered]
    if plan.budget is not None:
        asked, minutes = plan, plan.budget
        plan = parallel.from_main(lambda: within_budget(asked, runs, dataset, samples, minutes, emit))
        dataset, samples = load_task_data(plan.config.data, emit)
    if plan.trials:
        task = Task(dataset, samples, plan.config, plan.seeds[0], plan.out / WORK, emit, should_stop)
        told = partial(plan_event, plan, samples)
        plan = replace(
            plan, tuned=tune(runs, task, plan.trials, plan.out, lambda took: emit(told(took)), plan.jobs)
        )
    keys = {run: _key(plan, samples, *run) for run in runs}
    trained = Trained(plan.out, keys, dataset, samples, emit, should_stop, plan.teacher)

    def known_of(run: MethodSeed) -> Result | None:
        model = plan.models or trained.needed(run) or METHODS[run[0]].is_student
        found = known_result(plan.out, keys[run], samples.sha256, model)
        return whole(found, plan.out, emit, should_stop)

    known = parallel.from_main(lambda: {run: known_of(run) for run in runs})
    trained.check(known)
    left = [run for run in runs if known[run] is None]
    stages = parallel.from_main(lambda: estimates.stages(plan.config, left, dataset, samples))
    if plan.trials:
        stages = without_trained(stages, left, plan.seeds[0])
    stages = without_trained_before(stages, [_of_twenty(plan, samples, *run) for run in left])
    emit(plan_event(plan, samples, total(stages) / 60 / plan.jobs))
    clock = Clock(dict(zip(left, stages, strict=True)), emit, jobs=plan.jobs)
    emit = clock
    for note in note_on_users(samples):
        emit(Notice(note))
    if any_needs_llm(method for method, _ in left):
        from core.lm.checking import try_model
        from core.lm.sharding import check_sharding

        check_sharding(plan.config.model)
        with parallel.main_first_if_whole():
            try_model(plan.config.model, Watch(emit, should_stop))  # before other methods are trained
    if parallel.is_main():
        keep_facts(dataset, samples, plan.config.data, plan.out)
    results: dict[MethodSeed, Result] = {}
    places = {run: result_path(plan.out, *keys[run]) for run in runs}
    stale = {run for run in left if places[run].is_file()}
    for run in in_turn(keys, lambda run: run not in stale and places[run].is_file(), plan.out / WORK, clock):
        method, seed = run
        config = settle(plan.of(method).config, method)
        task = Task(dataset, samples, config, seed, plan.out / WORK, emit, should_stop)
        if run in plan.starts:
            task = replace(task, start=plan.starts[run].path)
        with ExitStack() as turn:
            result = parallel.from_main(
                partial(_in_turn, turn, task, method, keys[run], known[run], partial(known_of, run))
            )
            reused = result is not None
            if result is None:
                task = replace(task, trained=trained.asked_by(run, config.model.precision))
                result = _run(plan, task, method, clock)
        emit(MethodFinished(method, seed, str(places[run]), reused, means(result), intervals(result)))
        results[run] = result
    found = [results[run] for run in runs]
    parallel.from_main(lambda: check_written(plan.out, found, plan.models, emit))
    emit(Finished(run_seconds() - started, [str(places[run]) for run in runs]))
    return found


def within_budget(
    plan: Plan, runs: Sequence[MethodSeed], dataset: Dataset, samples: Samples, minutes: float, emit: Emit
) -> Plan:
    """The plan with settings cut to fit its minutes: as decided before in this folder, or now.

    Raises:
        InputError: the minutes do not even suffice to load and test every method.
    """
    path = budget.decision_path(plan.out, plan.config, runs, minutes)
    cut = budget.load_decision(path)
    if cut is None:
        measured = estimates.measured(plan.config, plan.methods, dataset, samples)
        cut = budget.fit(
            plan.config, runs, samples, minutes, lambda data: load_task_data(data, emit)[1], measured
        )
        budget.save_decision(path, cut)
    for note in cut.notes or (f"all of it fits into {minutes:g} minutes, nothing is cut",):
        emit(Notice(note))
    return replace(plan, config=cut.config, cuts=cut.notes)


def _key(plan: Plan, samples: Samples, method: str, seed: int) -> RunKey:
    sha = config_sha256(method_config(plan.of(method).config, method))
    return RunKey(samples.dataset, samples.split, method, seed, sha)


def _in_turn(
    turn: ExitStack,
    task: Task,
    method: str,
    key: RunKey,
    known: Result | None,
    look: Callable[[], Result | None],
) -> Result | None:
    """The result of a run, if another process made it meanwhile or it was there before."""
    take_turn(turn, task, method, key)
    known = known or look()
    if known is not None:
        forget_work(task, method)
    return known


def _run(plan: Plan, task: Task, method: str, clock: Clock) -> Result:
    """Fits, tests and writes one (method, seed)."""
    hardware.release_memory()  # what the method before it left
    try:
        with hardware.PeakMemory() as memory:
            recommender, report = _fitted(plan, task, method)
            tested = ask_all(recommender, task)
    except Interrupted:
        clock.tell_stop(method, task.seed)
        raise
    except (MemoryError, RuntimeError) as error:
        if not hardware.is_out_of_memory(error):
            raise
        raise InputError(
            f"{method} ran out of memory", "lower --micro-batch, or use a smaller --model"
        ) from error
    rankings = ranking_file(tested.rankings, task.dataset.catalogue.ids)
    result = _result(plan, task, method, report, recommender.remarks(), tested, memory)
    result = replace(result, rankings_sha256=rankings.sha256)
    if parallel.is_main():
        save_rankings(rankings, result_path(plan.out, *_key(plan, task.samples, method, task.seed)))
        _keep(plan, task, recommender, result)
    return result


def _fitted(plan: Plan, task: Task, method: str) -> tuple[Recommender, FitReport]:
    """The trained method, taken from a run of twenty candidates where there is one."""
    folder = _of_twenty(plan, task.samples, method, task.seed)
    if folder is not None and (found := trained_before(method, task, folder)):
        return found
    recommender = method_class(method)()
    return recommender, recommender.fit(task)


def _of_twenty(plan: Plan, samples: Samples, method: str, seed: int) -> Path | None:
    """The run of twenty candidates whose model a lone process takes where it asks the whole catalogue."""
    config = plan.of(method).config
    if parallel.size() > 1 or not (config.data.whole and METHODS[method].keeps_model):
        return None
    twenty = replace(plan, config=twenty_of(config), tuned={})
    folder = run_folder(plan.out, *_key(twenty, samples, method, seed))
    return folder if folder.is_dir() else None


def _keep(plan: Plan, task: Task, recommender: Recommender, result: Result) -> None:
    """Writes what was learnt and what it is worth; checkpoints may go then."""
    method = recommender.name
    key = _key(plan, task.samples, method, task.seed)
    if METHODS[method].keeps_model:
        folder = save_run(recommender, task, run_folder(plan.out, *key), result)
        task.emit(Saved("model", str(folder)))
    keep_experts(recommender, task.samples, plan.out, result_path(plan.out, *key))
    task.emit(Saved("result", str(save_result(result, plan.out))))
    recommender.finish()
    forget_work(task, method)


def _result(
    plan: Plan,
    task: Task,
    method: str,
    report: FitReport,
    remarks: Sequence[str],
    tested: Tested,
    memory: hardware.PeakMemory,
) -> Result:
    config, has_llm = task.config, METHODS[method].needs_llm
    adapted = "training" in METHODS[method].reads
    cases, test_seconds = tested.cases, tested.seconds
    metrics = measure(cases, config.data.whole)
    scored = len(task.samples.questions)
    for name, values in metrics.items():
        shown = {metric: value.value for metric, value in values.items()}
        task.emit(Evaluated(method, task.seed, name, next(iter(values.values())).n, shown))
    return Result(
        dataset=task.samples.dataset,
        split=task.samples.split,
        method=method,
        objective=config.training.objective if adapted else None,
        model=model_of(config, method),
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
        peak_memory_bytes=parallel.largest(memory.bytes),
        peak_gpu_memory_bytes=parallel.largest(memory.gpu_bytes) or None,
        versions=hardware.versions() | model_version(plan.config, method),
        command=plan.command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        lateness=lateness(task.dataset, task.samples),
        withheld=withheld(task.dataset, task.samples),
        history=tuple(report.curve),
        notes=tuple(
            dict.fromkeys(
                [
                    *report.notes,
                    *remarks,
                    *plan.cuts,
                    *plan.of(method).notes,
                    *notes_on(task.samples, method, config.training.item_tokens),
                ]
            )
        ),
    )
