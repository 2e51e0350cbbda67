"""`bench --tune N`: searches the settings of every method that trains, N trials each, before it is tested.

Optuna proposes (TPE) and stops what is worse than half of the trials before it (median pruner); validation
MRR decides, and the test cases are never asked. Trial 0 has the run's own settings, so that none is tuned for
the worse. What is proposed follows from the number of a trial and the finished ones alone: a search that was
stopped goes on as if it had not been. Adapters read the encoder that its own search chose.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.benchmark import estimates
from core.benchmark.clock import Clock
from core.benchmark.costs import Stage, encoder_epoch, total, untrained
from core.benchmark.sharing import free_first, is_held
from core.benchmark.spaces import Range, space_of, with_values
from core.benchmark.studies import PROBLEM, SECONDS, asked_of, finished_of, given_up, kept_of, open_study
from core.config.checks import check, sha256_of
from core.config.saved import lasting
from core.config.settings import RunConfig
from core.errors import TrainingError
from core.events import Emit, Evaluated, Event, Notice, SettingTried, StageStarted
from core.hardware import release_memory
from core.lm.checking import try_model
from core.methods import METHODS, MethodSeed, settle
from core.recommenders.base import Task, lock_of
from core.recommenders.registry import method_class
from core.results.trials import (
    ENDED,
    FOLDER,
    PRUNED,
    STATES,
    Search,
    load_search,
    save_search,
    search_path,
)
from core.run_time import run_seconds
from core.training import parallel
from core.training.job import Pruned

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Asked

CRITERION = "MRR"
QUIET_EPOCHS = 6
"""Of an encoder, in which no trial is stopped early: a lower rate begins more slowly."""
UNASKED = ("spread_positions", "test_users", "candidates", "retrieve")
"""Settings of the data that say how it is tested, which no trial is."""
_OF_TRIAL = ("load", "train", "validate")
"""Stages that every trial goes through."""


@dataclass(frozen=True)
class Tuned:
    """The settings that a method is tested with."""

    config: RunConfig
    notes: tuple[str, ...] = ()
    """What its results say about that."""


def tune(
    runs: Sequence[MethodSeed],
    task: Task,
    trials: int,
    out: Path,
    announce: Callable[[float], None],
    jobs: int = 1,
) -> dict[str, Tuned]:
    """The settings of every method, chosen by its own search where it trains.

    Args:
        runs: methods and training seeds, in the benchmark's order.
        task: data, the run's own settings, the training seed of all trials.
        trials: of each method.
        out: the output folder, which keeps them.
        announce: told, before the first trial, the minutes that all of it will take at most.
        jobs: processes that share the searches.

    Raises:
        Interrupted: asked to stop; the same call goes on from there.
        InputError: Optuna is missing, or there are several processes.
        ResultError: what is on disk of an earlier search is damaged.
        TrainingError: no trial of a method could be trained.
    """
    check_ready()
    check(
        not task.dataset.parts,
        f"--tune N searches the settings of one dataset, and {task.dataset.name} joins several",
        "tune each of them by itself",
    )
    methods = list(dict.fromkeys(method for method, _ in runs))
    kind = task.config.encoder.kind
    asks_encoder = any(METHODS[method].needs_llm and not METHODS[method].is_encoder for method in methods)
    encoders = list(dict.fromkeys([*[kind] * asks_encoder, *filter(_is_encoder, methods)]))
    adapters = [method for method in methods if not _is_encoder(method) and space_of(method, task.config)]
    searched = [*encoders, *adapters]
    left = _left(searched, task, trials, out)
    if any(METHODS[method].needs_llm and left[method] for method in searched):
        try_model(task.config.model, task.watch(""))  # before anything is trained
    times = _Times(searched, runs, task, left, trials, announce, jobs)
    found = _search([_Searching(method, task, trials, out) for method in encoders], times)
    if kind in found:
        task = _reading(task, found[kind].config)
    found |= _search([_Searching(method, task, trials, out) for method in adapters], times)
    plain = Tuned(task.config, ("not tuned: nothing in it is trained",))
    return {method: found.get(method, plain) for method in methods}


def without_trained(
    stages: Sequence[Sequence[Stage]], runs: Sequence[MethodSeed], seed: int
) -> list[list[Stage]]:
    """What is left of runs whose best trial was trained with this seed: it is not trained again."""
    return [
        untrained(of_run) if own == seed else [*of_run] for (_, own), of_run in zip(runs, stages, strict=True)
    ]


def check_ready() -> None:
    """Raises `InputError` where nothing can be searched here."""
    check(
        parallel.announced() == 1,
        "--tune N trains one trial after the other, in one process",
        "start it without a launcher",
    )
    try:
        import optuna  # noqa: F401
    except ImportError:
        check(False, "--tune N needs Optuna, which is not installed", "pip install 'ilora-app[tune]'")


def _is_encoder(method: str) -> bool:
    return METHODS[method].is_encoder


def _search(searches: Sequence[_Searching], times: _Times) -> dict[str, Tuned]:
    """What each search chooses; what another process is at comes last, and is waited for."""
    return {one.method: one.run(times) for one in free_first(searches, lambda one: is_held(one.lock))}


# --- one method -------------------------------------------------------------------------------------------


class _Searching:
    """The search of one method.

    Args:
        method: its name.
        task: the settings that trial 0 has.
        trials: how many are made.
        out: the output folder.
    """

    def __init__(self, method: str, task: Task, trials: int, out: Path) -> None:
        self.method, self.task, self.trials, self.out = method, task, trials, out
        self.space = space_of(method, task.config)
        self.key = _key(method, task, self.space)
        self.lock = lock_of(task.folder, f"tuning-{method}-{self.key[:8]}")

    def known(self) -> Search | None:
        """What is on disk of it."""
        path = search_path(self.out, self._search(()))
        return load_search(path) if path.is_file() else None

    def run(self, times: _Times) -> Tuned:
        """Makes the trials that are lacking, and says what validation chose."""
        self.task = replace(self.task, emit=times.emit)
        with self.task.watch(self.method).alone(self.lock, f"tuning {self.method}, seed {self.task.seed}"):
            study = open_study(self.out / FOLDER / f"{self._search(()).name}.db", self.key, self._quiet())
            halves = given_up(study)
            for number in range(len(finished_of(study))):
                times.made(self.method, number)  # also those that another process made meanwhile
            while len(finished := finished_of(study)) < self.trials:
                times.begin(self.method, len(finished))
                self._make(study, len(finished), halves)
                self._settle(study, len(finished))
                times.made(self.method, len(finished))
            save_search(self._search(finished), self.out)
            return self._chosen(self._search(finished[: self.trials]))

    def _make(self, study: Study, number: int, halves: Sequence[FrozenTrial]) -> None:
        """Trains one trial, on from where it was stopped."""
        from optuna.trial import TrialState

        asked = asked_of(study, number, self.task.config, self.task.seed, self.space)
        self.task.emit(SettingTried(self.method, self.task.seed, _said(self.space, asked.params)))
        before = next((half for half in halves if half.params == asked.params), None)
        started = run_seconds() - (before.user_attrs.get(SECONDS, 0.0) if before else 0.0)
        follower = _Follower(asked, self.method, self.task.emit, before)
        try:
            worth = self._train(replace(self._task_of(asked.params), emit=follower), follower)
        except Pruned:
            worth = None
        except TrainingError as error:
            worth = None
            asked.set_user_attr(PROBLEM, error.title)
        finally:
            if METHODS[self.method].needs_llm:
                release_memory()
            asked.set_user_attr(SECONDS, round(run_seconds() - started, 1))
        study.tell(asked, worth, state=TrialState.PRUNED if worth is None else TrialState.COMPLETE)

    def _train(self, task: Task, follower: _Follower) -> float:
        """The best validation of a training."""
        report = method_class(self.method)().fit(task)
        follower.complete(report.curve)
        return max(row[CRITERION] for row in report.curve)

    def _settle(self, study: Study, number: int) -> None:
        """Keeps and tells a trial that has just been made, and removes what worse ones left.

        The best one is tested later without being trained again.
        """
        search = self._search(finished_of(study))
        save_search(search, self.out)
        trial, best = search.trials[number], search.best
        worth = f"{CRITERION} {trial.mrr:.4f}" if trial.state == ENDED else STATES[trial.state]
        chosen = "" if best is None else f"; best: trial {best + 1}"
        place = f"{self.method}, seed {self.task.seed}, trial {number + 1} of {self.trials}"
        self.task.emit(Notice(f"{place}, {_said(self.space, trial.settings)}: {worth}{chosen}"))
        for other in (other for other in search.trials if best is None or other is not search.trials[best]):
            method_class(self.method)().forget(self._task_of(other.settings))

    def _task_of(self, values: Mapping[str, float]) -> Task:
        return replace(self.task, config=with_values(self.task.config, values))

    def _quiet(self) -> int:
        """Steps in which no trial is stopped early."""
        if not _is_encoder(self.method):
            return 0
        return QUIET_EPOCHS * encoder_epoch(self.task.config, self.task.samples)

    def _search(self, finished: Sequence[FrozenTrial]) -> Search:
        samples = self.task.samples
        return Search(
            dataset=samples.dataset,
            split=samples.split,
            method=self.method,
            seed=self.task.seed,
            cases=len(samples.validation),
            key=self.key,
            trials=tuple(map(kept_of, finished)),
        )

    def _chosen(self, search: Search) -> Tuned:
        if search.best is None:
            problem = "none of its trials could be trained"
            raise TrainingError(f"{self.method}: {problem}", "choose other settings, or leave --tune out")
        trial = search.trials[search.best]
        stopped = sum(one.state == PRUNED for one in search.trials)
        note = (
            f"tuned by validation {CRITERION} (n {search.cases}): trial {search.best + 1} of {self.trials}, "
            f"{_said(self.space, trial.settings)}: {trial.mrr:.4f}; {stopped} stopped early"
        )
        return Tuned(with_values(self.task.config, trial.settings), (note,))


class _Follower:
    """Passes events on, reports validations to the study, and stops what is not worth going on with."""

    def __init__(self, asked: Asked, method: str, emit: Emit, before: FrozenTrial | None) -> None:
        self.asked, self.method, self.emit = asked, method, emit
        self.doomed = False
        self.reported: set[int] = set()
        for step, value in sorted((before.intermediate_values if before else {}).items()):
            self.doomed = self.doomed or self._report(step, value)

    def __call__(self, event: Event) -> None:
        self.emit(event)
        if getattr(event, "method", None) != self.method:
            return
        if isinstance(event, Evaluated) and event.set == "validation" and event.step:
            self.doomed = self.doomed or self._report(event.step, event.metrics[CRITERION])
        training = isinstance(event, StageStarted) and event.stage == "train"
        if self.doomed and (training or isinstance(event, Evaluated)):
            raise Pruned

    def complete(self, curve: Sequence[Mapping[str, float]]) -> None:
        """Reports what was validated before this process followed, as where a trained encoder was found."""
        for row in curve:
            if row["step"]:
                self._report(int(row["step"]), row[CRITERION])

    def _report(self, step: int, value: float) -> bool:
        """Whether the trial is worse by now than half of those before it."""
        if step in self.reported:
            return False
        self.reported.add(step)
        self.asked.report(value, step)
        return bool(self.asked.should_prune())


def _key(method: str, task: Task, space: Sequence[Range]) -> str:
    """Checksum of all that decides the trials, apart from their number."""
    record = lasting(settle(task.config, method))
    kept = {part: record[part] for part in METHODS[method].reads if part in record}
    for name in UNASKED:
        kept.get("data", {}).pop(name, None)
    if "training" in kept:
        del kept["training"]["checkpointing"]  # same weights either way
        if not ("gate" in kept and task.config.gate.sees_batch):
            del kept["training"]["micro_batch_size"]
    ranges = [[one.path, one.low, one.high, one.by_ratio] for one in space]
    cases = [[*case.place, case.history, case.target, case.candidates] for case in task.samples.validation]
    return sha256_of([kept, ranges, sha256_of(cases), len(task.samples.train), task.seed])


def _said(space: Sequence[Range], values: Any) -> str:
    return ", ".join(f"{one.words} {values[one.path]:.3g}" for one in space)


# --- time -------------------------------------------------------------------------------------------------


class _Times:
    """Says beforehand how long all searches will take, and while they run how long they still do.

    Args:
        methods: those that are searched, in their order.
        runs: what is run afterwards.
        task: data and settings.
        left: trials that are not made yet, by method.
        trials: of each method.
        announce: told the minutes of all of it, where any trial is lacking.
        jobs: processes that share it.
    """

    def __init__(
        self,
        methods: Sequence[str],
        runs: Sequence[MethodSeed],
        task: Task,
        left: Mapping[str, int],
        trials: int,
        announce: Callable[[float], None],
        jobs: int,
    ) -> None:
        self.emit: Emit = task.emit
        self._clock: Clock | None = None
        if not any(left.values()):
            return
        stages: dict[MethodSeed, list[Stage]] = {}
        for method in methods:
            (one,) = _stages([(method, task.seed)], task)
            own = [stage for stage in one if stage.method == method and stage.name in _OF_TRIAL]
            stages |= {(method, number): own for number in range(trials - left[method], trials)}
        names = ", ".join(METHODS[method].label for method in methods if left[method])
        minutes = max(1, round(total(stages.values()) / 60 / jobs))
        text = (
            f"tuning {names}: {trials} trials each, validation {CRITERION} chooses; at most about "
            f"{minutes:,} min on this machine, then the benchmark"
        )
        of_runs = zip(runs, _stages(runs, task), strict=True)
        stages["", 0] = [
            stage for (_, seed), own in of_runs for stage in own if seed != task.seed or stage.name == "test"
        ]
        announce(total(stages.values()) / 60 / jobs)
        task.emit(Notice(text))
        self.emit = self._clock = Clock(stages, task.emit, jobs=jobs)

    def begin(self, method: str, number: int) -> None:
        """A trial is at work from now on."""
        if self._clock is not None:
            self._clock.begin((method, number))

    def made(self, method: str, number: int) -> None:
        """A trial is over."""
        if self._clock is not None:
            self._clock.leave((method, number))


def _stages(runs: Sequence[MethodSeed], task: Task) -> list[list[Stage]]:
    return estimates.stages(task.config, runs, task.dataset, task.samples)


def _left(methods: Sequence[str], task: Task, trials: int, out: Path) -> dict[str, int]:
    """How many trials of each method are lacking; an adapter's depend on the encoder that is chosen."""
    left, of_adapters = {}, task
    for method in methods:
        own = task if _is_encoder(method) else of_adapters
        known = _Searching(method, own, trials, out).known()
        left[method] = max(0, trials - (len(known.trials) if known else 0))
        if known and not left[method] and method == task.config.encoder.kind:
            best = replace(known, trials=known.trials[:trials]).best
            if best is not None:
                of_adapters = _reading(task, with_values(task.config, known.trials[best].settings))
    return left


def _reading(task: Task, chosen: RunConfig) -> Task:
    """The same task for adapters, which read the encoder that its search chose."""
    return replace(task, config=replace(task.config, encoder=chosen.encoder))
