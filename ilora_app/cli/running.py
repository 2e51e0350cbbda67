"""Runs a plan from the command line: live progress for people, or one JSON event a line for programs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ilora_app.cli.saying import say, write_json

if TYPE_CHECKING:
    from core.benchmark.run import Plan
    from core.events import Emit, Event
    from core.results.format import Result

FOLDERS = ("--out", "--tensorboard")
"""Options that say where files go."""


def kept_command(arguments: Sequence[str]) -> str:
    """The command as results keep it: without the folders that its maker chose, which decide no figure."""
    kept: list[str] = []
    own = iter(arguments)
    for argument in own:
        if argument in FOLDERS:
            next(own, None)
        elif argument.partition("=")[0] not in FOLDERS:
            kept.append(argument)
    return shlex.join(["ilora-app", *kept])


def run_plan(plan: Plan, notice: str, as_json: bool, tensorboard: Path | None = None) -> list[Result]:
    """All results of one plan; see `run_plans`."""
    return run_plans([plan], [notice], as_json, tensorboard)


def run_plans(
    plans: Sequence[Plan], notices: Sequence[str], as_json: bool, tensorboard: Path | None = None
) -> list[Result]:
    """All results of the plans, one after the other; Ctrl-C saves first.

    Of several processes that a launcher started, only the main one speaks and returns.

    Args:
        plans: what to run.
        notices: for each plan what is said first, empty for nothing.
        as_json: print events and nothing else.
        tensorboard: a folder for TensorBoard's event files, which the main process writes.

    Raises:
        Interrupted: stopped by the user; the same command goes on from there.
        IloraError: something cannot be used here.
    """
    from core.training import parallel
    from ilora_app.render.tensorboard import board, check_board

    with parallel.joined():
        with _failure_told(as_json and parallel.is_main()):
            check_board(tensorboard)
        if len({plan.config.model for plan in plans}) > 1:
            _find_models(plans, as_json)
        if parallel.is_main():
            run = _run_json if as_json else _run_live
            with board(tensorboard) as watch:
                return [
                    result
                    for plan, said in zip(plans, notices, strict=True)
                    for result in run(plan, said, watch)
                ]
        for plan in plans:
            _run_silently(plan)
    raise typer.Exit


def _find_models(plans: Sequence[Plan], as_json: bool) -> None:
    """Fetches every model of an ablation before anything is trained, so that none turns out missing later."""
    from core.lm.checking import try_model
    from core.methods import any_needs_llm
    from core.stages import Watch
    from core.training import parallel
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    models = dict.fromkeys(plan.config.model for plan in plans if any_needs_llm(plan.methods))
    with (
        _failure_told(as_json and parallel.is_main()),
        parallel.main_first(),
        ProgressView() as view,
        stoppable() as should_stop,
    ):
        for model in models:
            try_model(model, Watch(_tell if as_json else view, should_stop))


def _tell(event: Event) -> None:
    """One line of JSON."""
    write_json(event.to_json())


@contextmanager
def _failure_told(as_json: bool) -> Iterator[None]:
    """What fails inside is an event, too, where events are printed."""
    from core.errors import IloraError
    from core.events import Failed

    try:
        yield
    except IloraError as error:
        if as_json:
            _tell(Failed(error.title, error.hint))
        raise


def _run_silently(plan: Plan) -> None:
    """What every process but the main one does; it shows warnings alone."""
    from core.benchmark.run import run_benchmark
    from core.events import Notice
    from core.training import parallel
    from ilora_app.cli.stopping import stoppable

    def emit(event: Event) -> None:
        if isinstance(event, Notice) and event.level == "warning":
            say(f"process {parallel.rank()}: {event.text}", err=True)

    with stoppable() as should_stop:
        run_benchmark(plan, emit, should_stop)


def _run_json(plan: Plan, notice: str, watch: Emit) -> list[Result]:
    from core.benchmark.run import run_benchmark
    from core.events import Finished, Notice, Saved
    from ilora_app.cli.results import report_folder
    from ilora_app.cli.stopping import stoppable

    def emit(event: Event) -> None:
        watch(event)
        if isinstance(event, Finished):  # not before the report is there, too
            for path in report_folder(plan.out):
                _tell(Saved("report", str(path)))
        _tell(event)

    with _failure_told(True):
        if notice:
            emit(Notice(notice))
        with stoppable() as should_stop:
            return run_benchmark(plan, emit, should_stop)


def _run_live(plan: Plan, notice: str, watch: Emit) -> list[Result]:
    from core.benchmark.run import run_benchmark
    from core.events import Notice
    from ilora_app.cli.stopping import stoppable
    from ilora_app.render.progress import ProgressView

    with ProgressView() as view, stoppable() as should_stop:

        def emit(event: Event) -> None:
            watch(event)
            view(event)

        if notice:
            emit(Notice(notice))
        return run_benchmark(plan, emit, should_stop)
