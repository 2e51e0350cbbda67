"""The question on screen: whose history, which edits, which weights, and what came of it. No widgets here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from core.serving.protocol import BENCHMARK, CATALOGUE, RETRIEVED, Explained, Question, Ranked
from ilora_app.tui.state.run_data import User, World

COUNTS = (10, 20, 50, 100, 200, 500)
"""Steps of how many candidates are taken from the catalogue."""


@dataclass
class Scene:
    """A history, what was changed about it, and the answers to it."""

    world: World
    """What the engine has said; its dataset's rules say how long a history is."""
    user: User | None = None
    """None for a taste of one's own."""
    position: int | None = None
    original: list[int] = field(default_factory=list)
    history: list[int] = field(default_factory=list)
    omega: list[float] | None = None
    source: str = BENCHMARK
    retrieve: int = RETRIEVED
    base: Ranked | None = None
    """The answer to the unedited question, which movement is measured against."""
    ranked: Ranked | None = None
    beside: Ranked | None = None
    """The second run's answer on the same candidates."""
    why: Explained | None = None
    trail: list[Ranked] = field(default_factory=list)
    """Answers along a replay, oldest first."""

    @property
    def edited(self) -> bool:
        """Whether anything differs from what the user did and the gate says."""
        return self.history != self.original or self.omega is not None

    @property
    def own(self) -> bool:
        """Whether this is a taste of one's own."""
        return self.user is None and self.source == CATALOGUE

    @property
    def target(self) -> int | None:
        """What the user chose next."""
        if self.user is None or self.position is None:
            return None
        return self.user.items[self.position]

    def choose(self, user: User, position: int | None = None) -> None:
        """Looks at a user, at the last target unless told otherwise; edits are gone."""
        last = len(user.items) - 1
        self.user = user
        self.position = last if position is None else max(self.world.min_history, min(last, position))
        self.original = user.items[: self.position][-self.world.max_history :]
        self._fresh()

    def start_own(self) -> None:
        """Starts a taste from nothing; the whole catalogue is ranked."""
        self.user = self.position = None
        self.original = []
        self.source = CATALOGUE
        self._fresh()

    def _fresh(self) -> None:
        self.history = list(self.original)
        self.omega = self.base = self.ranked = self.beside = self.why = None

    def reset(self) -> None:
        """Takes back all edits."""
        self.history = list(self.original)
        self.omega = None
        self.why = None

    def drop(self, place: int) -> None:
        """Takes an item out of the history."""
        if 0 <= place < len(self.history):
            del self.history[place]
            self.why = None

    def add(self, item: int) -> bool:
        """Puts an item at the end of the history, unless it is there; where it is full the oldest goes."""
        if item in self.history:
            return False
        self.history = [*self.history, item][-self.world.max_history :]
        self.why = None
        return True

    def move(self, place: int, by: int) -> int:
        """Moves an item by some places; gives its new place."""
        to = max(0, min(len(self.history) - 1, place + by))
        if 0 <= place < len(self.history):
            self.history.insert(to, self.history.pop(place))
            self.why = None
        return to

    def weigh(self, expert: int, weight: float) -> None:
        """Sets one expert's weight; the others keep their proportions, and all sum to one."""
        now = self.weights()
        if now is None:
            return
        weight = max(0.0, min(1.0, weight))
        rest = sum(now) - now[expert]
        scale = (1 - weight) / rest if rest > 1e-9 else 0.0
        even = (1 - weight) / max(1, len(now) - 1)
        self.omega = [
            weight if place == expert else value * scale if rest > 1e-9 else even
            for place, value in enumerate(now)
        ]
        self.why = None

    def weights(self) -> list[float] | None:
        """The weights in use: somebody's, or the gate's."""
        if self.omega is not None:
            return self.omega
        return self.ranked.gate if self.ranked else None

    def switch_source(self) -> bool:
        """From the benchmark's candidates to the catalogue's and back; no for a taste of one's own."""
        if self.own:
            return False
        self.source = CATALOGUE if self.source == BENCHMARK else BENCHMARK
        self.base = self.ranked = self.beside = self.why = None
        return True

    def retrieve_more(self, by: int) -> bool:
        """More or fewer candidates from the catalogue; no where there are no more steps."""
        larger = [count for count in COUNTS if count > self.retrieve]
        smaller = [count for count in COUNTS if count < self.retrieve]
        if not (larger if by > 0 else smaller):
            return False
        self.retrieve = larger[0] if by > 0 else smaller[-1]
        self.base = self.why = None
        return True

    def question(self, original: bool = False, candidates: Sequence[int] | None = None) -> dict[str, object]:
        """What to ask the engine.

        Args:
            original: without the edits.
            candidates: exactly these, instead of the source's.
        """
        asked = Question(
            history=self.original if original else self.history,
            source=self.source,
            user=self.user.user if self.user else None,
            position=self.position,
            retrieve=self.retrieve,
            omega=None if original else self.omega,
            candidates=None if candidates is None else list(candidates),
        )
        return asdict(asked)

    def answer(self, ranked: Ranked) -> None:
        """Takes the answer to the question as it stands."""
        self.ranked, self.beside = ranked, None
        if not self.edited or self.base is None:
            self.base = ranked

    def before(self, item: int) -> int | None:
        """The item's place, from 1, before the edits; None where it was not there."""
        if self.base is None or item not in self.base.items:
            return None
        return self.base.items.index(item) + 1

    def beside_rank(self, item: int) -> int | None:
        """The item's rank under the second run."""
        if self.beside is None or item not in self.beside.items:
            return None
        return self.beside.ranks[self.beside.method][self.beside.items.index(item)]
