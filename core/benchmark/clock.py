"""The time left for all of a benchmark, corrected by what has been measured so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from core.benchmark.costs import Stage
from core.events import (
    Emit,
    Event,
    MethodFinished,
    SettingTried,
    StageStarted,
    StepLogged,
    Stopped,
    TimeLeft,
)
from core.methods import MethodSeed
from core.run_time import run_seconds

TELL_SECONDS = 1.0
"""At least this long between two events of the time left."""
TRUSTED_SECONDS = 3.0
"""A stage that has run for so long is a better witness than the estimate."""
OVERDUE = 0.1
"""Of what was estimated, the share that is thought to be left where a stage takes longer than that."""


@dataclass
class Going:
    """A stage of the method at work, and how far it is."""

    stage: Stage
    spent: float = 0.0
    """Seconds."""
    done: float = 0.0
    """Of its units, in all."""
    first: float = 0.0
    """Units that were done before the first look: a run that goes on starts in the middle."""
    rounds: float = 0.0
    """Units of rounds that are over: validation starts from 0 every time."""
    over: bool = False


class Clock:
    """An `Emit` that passes everything on and says now and then how long all that is left will take.

    Args:
        stages: what each run will do, in the order in which the runs run.
        emit: receives everything.
        clock: seconds that only grow.
        jobs: processes that share the runs among them.
    """

    def __init__(
        self,
        stages: Mapping[MethodSeed, Sequence[Stage]],
        emit: Emit,
        clock: Callable[[], float] = run_seconds,
        jobs: int = 1,
    ) -> None:
        self._emit, self._clock, self._jobs = emit, clock, jobs
        self._left = {run: [Going(stage) for stage in of_run] for run, of_run in stages.items()}
        self._paces: dict[str, float] = {}
        self._now: Going | None = None
        self._looked = clock()
        self._told = -TELL_SECONDS
        self._where = ("", "load", 0)
        self._stopped = False

    def __call__(self, event: Event) -> None:
        """Passes an event on, and learns from it."""
        self._pass_time()
        match event:
            case StageStarted():
                self._enter(event.method, event.stage)
                self._where = (event.method, event.stage, 0)
            case StepLogged():
                self._enter(event.method, event.stage)
                self._advance(event)
                self._where = (event.method, event.stage, event.step)
            case SettingTried():
                self._begin_again()
            case MethodFinished():
                self.leave((event.method, event.seed))
            case Stopped():
                self._stopped = True
        self._emit(event)
        if isinstance(event, StageStarted | StepLogged | MethodFinished):
            self._tell(at_once=isinstance(event, MethodFinished))

    def begin(self, run: MethodSeed) -> None:
        """A run is at work from now on, whichever was to be the next."""
        if run in self._left:
            self._left = {run: self._left.pop(run), **self._left}

    def leave(self, run: MethodSeed) -> None:
        """A run is over."""
        self._left.pop(run, None)
        self._now = None

    def tell_stop(self, method: str, seed: int) -> None:
        """Says where a run was stopped, unless the one who stopped it did."""
        if not self._stopped:
            _, stage, step = self._where
            self(Stopped(method, seed, stage, step))

    def seconds(self) -> float:
        """What is left of all runs, shared evenly."""
        return sum(self._rest(going) for run in self._left.values() for going in run) / self._jobs

    def _pass_time(self) -> None:
        now = self._clock()
        if self._now is not None:
            self._now.spent += now - self._looked
        self._looked = now

    def _enter(self, method: str, stage: str) -> None:
        """The stage that events of this name belong to; those before it are over, but for training."""
        going = self._find(method, stage)
        if going is self._now or going is None:
            return
        of_run = next(iter(self._left.values()))
        for other in of_run[: of_run.index(going)]:
            goes_on = other.stage.name == "train" and going.stage.name == "validate"
            other.over = other.over or not goes_on
        self._now = going

    def _find(self, method: str, stage: str) -> Going | None:
        """The first stage of that name of the run at work, if any, that is not over."""
        for going in next(iter(self._left.values()), []):
            if (going.stage.method, going.stage.name) == (method, stage) and not going.over:
                return going
        return None

    def _advance(self, event: StepLogged) -> None:
        going = self._find(event.method, event.stage)
        if going is None or not going.stage.units or event.step > event.total:
            return
        done = going.rounds + event.step
        if done < going.done:  # a new round
            going.rounds = going.done
            done = going.rounds + event.step
        if not going.done and event.step > 1:
            going.first = event.step - 1.0 if going.spent < TRUSTED_SECONDS else 0.0
        going.done = done
        if going.spent >= TRUSTED_SECONDS and going.done > going.first and going.stage.seconds:
            thought = going.stage.seconds * (going.done - going.first) / going.stage.units
            self._paces[going.stage.pace] = going.spent / thought

    def _begin_again(self) -> None:
        """Another setting of an encoder begins at step 0; its steps are counted on."""
        if self._now is not None:
            self._now.rounds = self._now.done

    def _rest(self, going: Going) -> float:
        """Seconds that are left of a stage."""
        stage = going.stage
        if going.over:
            return 0.0
        thought = stage.seconds * self._paces.get(stage.pace, 1.0)
        if going.done and stage.units:
            return thought * max(1 - going.done / stage.units, 0.0 if going.done == stage.units else OVERDUE)
        return max(thought - going.spent, OVERDUE * thought)

    def _tell(self, at_once: bool) -> None:
        now = self._clock()
        if self._left and (at_once or now - self._told >= TELL_SECONDS):
            self._told = now
            self._emit(TimeLeft(round(self.seconds(), 1)))
