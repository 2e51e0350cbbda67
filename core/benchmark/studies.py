"""A search's study as Optuna keeps it: an SQLite file below the output folder, which goes on after a kill."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from core.benchmark.spaces import Range, value_at
from core.config.checks import sha256_of
from core.config.settings import RunConfig
from core.errors import ResultError
from core.results.trials import ENDED, FAILED, PRUNED, Trial

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial
    from optuna.trial import Trial as Asked

STARTED = 4
"""Trials that are drawn at random before TPE proposes; as many end before one is stopped early."""
SECONDS, PROBLEM = "seconds", "problem"
"""What a trial has beside its settings: what it took in all, and why its training could not go on."""


def open_study(path: Path, key: str, quiet: int) -> Study:
    """The study on disk, made where there is none.

    Raises:
        ResultError: it is damaged.
    """
    import optuna
    from optuna.exceptions import OptunaError
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path.parent.mkdir(parents=True, exist_ok=True)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=STARTED, n_warmup_steps=quiet)
    try:
        study = optuna.create_study(
            storage=f"sqlite:///{path.resolve()}",
            study_name=key,
            direction="maximize",
            pruner=pruner,
            load_if_exists=True,
        )
        study.get_trials(deepcopy=False)  # what is damaged shows now, and not after hours
        return study
    except (SQLAlchemyError, OptunaError, RuntimeError, ValueError, LookupError, TypeError) as error:
        raise ResultError(
            f"{path} holds trials and is damaged", "remove it; the same command searches anew"
        ) from error


def given_up(study: Study) -> list[FrozenTrial]:
    """Closes the trials that nobody works on any more, and returns them: what they reported still counts."""
    from optuna.trial import TrialState

    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        study.tell(trial.number, state=TrialState.FAIL)
    failed = study.get_trials(deepcopy=True, states=(TrialState.FAIL,))
    return failed[::-1]  # the newest first: it knows most


def finished_of(study: Study) -> list[FrozenTrial]:
    """The trials that ended or were stopped early, in the order in which they were made."""
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))


def asked_of(study: Study, number: int, config: RunConfig, seed: int, space: Sequence[Range]) -> Asked:
    """The proposal of a trial, the same whenever and however often it is asked for."""
    import optuna

    study.sampler = optuna.samplers.TPESampler(
        n_startup_trials=STARTED, seed=int(sha256_of([seed, number])[:8], 16)
    )
    if number == 0:
        study.enqueue_trial({one.path: value_at(config, one.path) for one in space})
    asked = study.ask()
    for one in space:
        asked.suggest_float(one.path, one.low, one.high, log=one.by_ratio)
    return asked


def kept_of(trial: FrozenTrial) -> Trial:
    """What is kept of a finished trial."""
    from optuna.trial import TrialState

    reported = list(trial.intermediate_values.values())
    ended = trial.state == TrialState.COMPLETE  # a pruned one has a value, too: the last that it reported
    state = FAILED if PROBLEM in trial.user_attrs else ENDED if ended else PRUNED
    mrr = float(trial.values[0]) if ended and trial.values else max(reported, default=None)
    return Trial(dict(trial.params), state, mrr, float(trial.user_attrs.get(SECONDS, 0.0)))
