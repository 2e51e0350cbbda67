"""What a screen and its warm engine say to each other: requests in, events out, one JSON object a line.

Light on purpose: a user interface imports this without waiting for torch or numpy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from core.events import Event
from core.kinds import Positive
from core.records import build, line_of, message_of
from core.serving.tables import AssetListed as AssetListed
from core.serving.tables import CaseDiffered as CaseDiffered
from core.serving.tables import CurveListed as CurveListed
from core.serving.tables import ExpertListed as ExpertListed
from core.serving.tables import RunListed as RunListed
from core.serving.tables import TraitListed as TraitListed
from core.serving.tables import UserListed as UserListed

BENCHMARK, CATALOGUE, RAISED = "benchmark", "catalogue", "raised"
SOURCES = (BENCHMARK, CATALOGUE, RAISED)
"""Where candidates come from: the benchmark's twenty, the unseen items that the encoder scores
highest, or those whose score this history raises most above its mean over the training users."""
RETRIEVED = 100
"""Candidates that the encoder retrieves from the catalogue unless told otherwise."""


# --- requests: what the screen asks ----------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """Base of all requests; every answer carries the number, so that a stale one can be dropped."""

    request: int
    _registry: ClassVar[dict[str, type[Request]]] = {}
    replaceable: ClassVar[bool] = False
    """Whether a newer request of the same kind makes this one pointless."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Request._registry[cls.__name__] = cls

    def to_json(self) -> str:
        """This request as one line of JSON, its kind under `ask`."""
        return line_of(self, "ask")

    @staticmethod
    def from_json(line: str) -> Request:
        """The request written by `to_json`.

        Raises:
            DataError: the line is not JSON, asks for something unknown, or has other fields or types.
        """
        return message_of(line, "ask", Request.kinds())

    @staticmethod
    def kinds() -> dict[str, type[Request]]:
        """Every request that can be asked, by its name."""
        return {name: kind for name, kind in Request._registry.items() if kind is not Asking}


@dataclass(frozen=True)
class Survey(Request):
    """What is on this machine: datasets, models, runs."""

    out: str
    dataset: str = "movielens"


@dataclass(frozen=True)
class Fetch(Request):
    """Fetch a dataset and the embedded language model where they are missing."""

    dataset: str


@dataclass(frozen=True)
class Open(Request):
    """Open a run; without one, train the sequence encoder of a dataset and answer with that."""

    out: str
    run: str | None = None
    dataset: str = "movielens"
    early: bool = False
    """Whether the run's encoder answers while its language model is loaded; `EncoderReady` says from when."""


@dataclass(frozen=True)
class Question:
    """A history with all that changes how it is answered."""

    history: list[int]
    """Catalogue indices, oldest first."""
    source: str = BENCHMARK
    user: str | None = None
    """None for a history that somebody made up."""
    position: int | None = None
    """Index of the target in the user's sequence."""
    retrieve: Positive = RETRIEVED
    push: list[float] | None = None
    """Change of each expert's logit, on top of what every layer's own gate says."""
    lock: int | None = None
    """The expert that has everything in every layer."""
    candidates: list[int] | None = None
    """Rank exactly these, such as those that another run ranked."""


@dataclass(frozen=True)
class Asking(Request):
    """Base of requests about one history."""

    question: dict[str, Any] = field(default_factory=dict)
    """A `Question` as plain values."""

    def asked(self) -> Question:
        """The question.

        Raises:
            DataError: it lacks a field, has an unknown one, or one of a wrong type.
        """
        return build(Question, self.question, "question")


@dataclass(frozen=True)
class Rank(Asking):
    """Rank a history's candidates."""

    replaceable: ClassVar[bool] = True


@dataclass(frozen=True)
class Why(Asking):
    """Leave each item of the history out once and see how one candidate's score changes."""

    item: int = -1
    candidates: list[int] = field(default_factory=list)
    replaceable: ClassVar[bool] = True


@dataclass(frozen=True)
class Differences(Request):
    """Who gains and who loses between two finished runs, over all test users."""

    run: str
    other: str


@dataclass(frozen=True)
class Estimate(Request):
    """How long a benchmark will take here, and how much memory."""

    preset: str
    dataset: str
    model: str
    methods: list[str]
    seeds: int
    out: str
    samples: int | None = None
    """Training samples; the preset's if None."""
    replaceable: ClassVar[bool] = True


@dataclass(frozen=True)
class Curves(Request):
    """How runs learnt, step by step, as their result files have it."""

    runs: list[str]
    """Run folders."""
    replaceable: ClassVar[bool] = True


# --- answers: events that carry the request's number -----------------------------------------------------


@dataclass(frozen=True)
class Answer(Event):
    """Base of all answers."""

    request: int


@dataclass(frozen=True)
class Surveyed(Answer):
    """What is on this machine."""

    assets: list[AssetListed]
    runs: list[RunListed]
    """Newest first."""
    problems: list[str]
    """A line for each folder that could not be read."""


@dataclass(frozen=True)
class Fetched(Answer):
    """Everything asked for is in the cache."""


@dataclass(frozen=True)
class Opened(Answer):
    """A run is loaded; catalogue, users and gates follow in pieces."""

    run: str | None
    method: str
    dataset: str
    title: str
    split: str
    seed: int
    model: str | None
    experts: int
    """K; 0 for a method without a gate."""
    min_history: int
    """A target has at least this many earlier items."""
    max_history: int
    """Items of a history that are read, the newest ones."""
    items: int
    users: int
    metrics: dict[str, dict[str, float]]
    seconds: float
    first: str | None = None
    """The user whom a screen begins with; None for the first of the list."""
    why_first: str = ""
    """How that user was chosen."""


@dataclass(frozen=True)
class ItemsListed(Answer):
    """A piece of the catalogue, in its order."""

    first: int
    titles: list[str]
    years: list[str]
    tags: list[list[str]]


@dataclass(frozen=True)
class UsersListed(Answer):
    """A piece of the users."""

    first: int
    users: list[UserListed]


@dataclass(frozen=True)
class GatesListed(Answer):
    """What the gate makes of every user's newest history, and what wakes each expert."""

    users: list[str]
    one_sided: list[float]
    """Per user, 0 where all experts weigh the same, 1 where one has everything; empty without a gate."""
    profiles: list[ExpertListed]


@dataclass(frozen=True)
class EncoderReady(Answer):
    """The run's encoder answers from here on, and the run itself once it is loaded."""

    encoder: str
    seconds: float


@dataclass(frozen=True)
class WarmedUp(Answer):
    """Everything is loaded: answers are quick from here on."""

    seconds: float


@dataclass(frozen=True)
class Ranked(Answer):
    """A history's candidates, best first."""

    method: str
    """The method that ranks."""
    encoder: str
    """The sequence encoder that retrieves and ranks beside it; the method itself where that is one."""
    user: str | None
    position: int | None
    source: str
    history: list[int]
    target: int | None
    gate: list[float] | None
    """What the gate says, also where other weights were used."""
    omega: list[float] | None
    """The weights that were used, their mean where there are several gates."""
    items: list[int]
    scores: list[float]
    encoder_scores: list[float]
    ranks: dict[str, list[int]]
    """Method -> rank of each item, ties counted against it; `method` and `encoder` are among them."""
    target_place: int | None
    """The target's place in the encoder's order of the whole catalogue, where that was asked."""
    milliseconds: float
    gate_by_layer: list[list[float]] | None = None
    """Where every adapted layer has a gate of its own: K weights per layer, lowest layer first."""
    omega_by_layer: list[list[float]] | None = None
    """The weights that were used in each of these layers."""


@dataclass(frozen=True)
class Explained(Answer):
    """How a candidate's log-probability changes with each item of the history left out."""

    item: int
    history: list[int]
    changes: list[float | None]
    """Log-probability with the item minus without it; None where nothing would be left."""
    milliseconds: float


@dataclass(frozen=True)
class Differed(Answer):
    """Per test user, how the target's rank differs between two runs; the largest difference first."""

    run: str
    other: str
    test_set: str
    users: list[CaseDiffered]
    gained: int
    lost: int
    level: int


@dataclass(frozen=True)
class CurvesListed(Answer):
    """How runs learnt; those whose result cannot be read are left out."""

    curves: list[CurveListed]


@dataclass(frozen=True)
class Estimated(Answer):
    """What a benchmark will cost on this machine."""

    preset: str
    """What `auto` stands for here, or the preset that was asked about."""
    minutes: float
    memory_bytes: int
    memory_basis: str
    """Where the figure for memory comes from."""
    hardware: str
    cases: dict[str, int]
    why: str = ""
    """Why `auto` stands for this preset; empty where one was named."""


@dataclass(frozen=True)
class RequestFailed(Answer):
    """A request that could not be answered; the engine goes on."""

    title: str
    hint: str
