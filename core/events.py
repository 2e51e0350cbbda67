"""What the engine says while it works: frozen events, one JSON object per line when written down.

Engine functions take `emit: Emit` and `should_stop: ShouldStop`; they never print.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from core.records import line_of, message_of
from core.safe_text import plain_values


@dataclass(frozen=True)
class Event:
    """Base of all events; `name` is the event's key in JSON."""

    name: ClassVar[str] = "event"
    _registry: ClassVar[dict[str, type[Event]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.name = cls.__name__
        Event._registry[cls.name] = cls

    def to_json(self) -> str:
        """This event as one line of JSON, its class name under `event`."""
        return line_of(self, "event")

    @staticmethod
    def from_json(line: str) -> Event:
        """The event written by `to_json`, its texts without what would act on a screen.

        Raises:
            DataError: the line is not JSON, or names no known event, or has other fields or types.
        """
        return message_of(line, "event", Event._registry, plain_values)

    @staticmethod
    def kinds() -> dict[str, type[Event]]:
        """Every event by its name, as far as their modules are imported."""
        return dict(Event._registry)


@dataclass(frozen=True)
class Notice(Event):
    """Something worth knowing that changes nothing, such as what `auto` chose."""

    text: str
    level: str = "info"  # info | warning


@dataclass(frozen=True)
class Fetching(Event):
    """Bytes of an asset arriving; `total` is 0 where the source does not say."""

    asset: str
    source: str
    done: int
    total: int


@dataclass(frozen=True)
class PlanMade(Event):
    """What a benchmark is about to do, before it does anything; said again once trials chose settings."""

    dataset: str
    split: str
    preset: str
    methods: list[str]
    seeds: list[int]
    config: dict[str, Any]
    minutes: float
    """Estimated minutes on this hardware; 0 when everything is on disk already."""
    samples_sha256: str
    cases: dict[str, int]
    """Number of test cases per test set."""
    tuned: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Method -> its settings, where trials chose other ones than `config`."""


@dataclass(frozen=True)
class StageStarted(Event):
    """A method entered a stage: `fetch`, `convert`, `load`, `read`, `train`, `validate`, `test`, `gates`,
    `recommend`, `export`, `measure`, `teach`, `compare`.

    Of the first three the steps are seconds, of the others what the stage goes through.
    """

    method: str
    seed: int
    stage: str
    total: int = 0


@dataclass(frozen=True)
class StepLogged(Event):
    """Progress inside a stage, at most a few times a second."""

    method: str
    seed: int
    stage: str
    step: int
    total: int
    loss: float | None = None
    samples_per_second: float | None = None
    seconds_left: float | None = None
    learning_rate: float | None = None
    gate: list[float] | None = None
    """Mean weight of each expert over the latest steps (K values), for gated methods."""
    gpu_memory: int | None = None
    """Peak bytes of GPU memory so far, where there is a GPU."""


@dataclass(frozen=True)
class SettingTried(Event):
    """Tuning begins to train a method under another setting; what follows of the method belongs to it."""

    method: str
    seed: int
    setting: str
    """In words, such as `learning rate 0.001, dropout 0.3`."""


@dataclass(frozen=True)
class Evaluated(Event):
    """Metrics of a method on one set; `metrics` maps a metric's name to its mean."""

    method: str
    seed: int
    set: str
    n: int
    metrics: dict[str, float]
    step: int | None = None


@dataclass(frozen=True)
class Saved(Event):
    """A file or folder is complete on disk."""

    what: str
    path: str


@dataclass(frozen=True)
class MethodFinished(Event):
    """One (method, seed) is done; `reused` when its result was already on disk."""

    method: str
    seed: int
    path: str
    reused: bool
    metrics: dict[str, dict[str, float]]
    """Set name -> metric name -> mean."""
    intervals: dict[str, list[float]] = field(default_factory=dict)
    """Set name -> both ends of HR@1's 95 % interval."""


@dataclass(frozen=True)
class TimeLeft(Event):
    """How long all that is left of a benchmark will take, by what has been measured so far."""

    seconds: float


@dataclass(frozen=True)
class Finished(Event):
    """Everything asked for is done."""

    seconds: float
    paths: list[str]


@dataclass(frozen=True)
class Stopped(Event):
    """The user stopped the work; what is on disk lets the same command go on."""

    method: str
    seed: int
    stage: str
    step: int


@dataclass(frozen=True)
class Failed(Event):
    """The work ended with an error that the user can act on."""

    title: str
    hint: str


Emit = Callable[[Event], None]
ShouldStop = Callable[[], bool]


def silent(_: Event) -> None:
    """An `Emit` that drops everything."""


def never() -> bool:
    """A `ShouldStop` that never asks to stop."""
    return False
