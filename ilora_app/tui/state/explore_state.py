"""The question on screen: whose history, which edits, which weights, and what came of it. No widgets here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace

from core.serving.protocol import (
    BENCHMARK,
    CATALOGUE,
    RAISED,
    RETRIEVED,
    SOURCES,
    Explained,
    Question,
    Ranked,
)
from ilora_app.tui.state.run_data import RunData, User

COUNTS = (10, 20, 50, 100, 200, 500)
"""Steps of how many candidates are taken from the catalogue."""
STRONGEST = 12.0
"""Largest change of a logit: e to this power is everything or nothing."""


@dataclass(frozen=True)
class Edit:
    """All that somebody can change about a question; what undo goes back to."""

    history: tuple[int, ...] = ()
    push: tuple[float, ...] = ()
    """Change of each expert's logit; empty where nothing was pushed."""
    lock: int | None = None

    @property
    def pushed(self) -> bool:
        """Whether somebody changed the weights."""
        return any(self.push) or self.lock is not None


@dataclass
class Edits:
    """The edit in force, what undo goes back to, and what redo makes again."""

    now: Edit = Edit()
    past: list[Edit] = field(default_factory=list)
    future: list[Edit] = field(default_factory=list)

    def change(self, edit: Edit) -> bool:
        """Makes an edit that can be taken back; no where it changes nothing."""
        if edit == self.now:
            return False
        self.past.append(self.now)
        self.future.clear()
        self.now = edit
        return True

    def wind(self, back: bool) -> bool:
        """Takes back the last edit, or makes the one again that was taken back; no where there is none."""
        source, target = (self.past, self.future) if back else (self.future, self.past)
        if not source:
            return False
        target.append(self.now)
        self.now = source.pop()
        return True


@dataclass
class ExploreState:
    """A history, what was changed about it, and the answers to it."""

    run_data: RunData
    """What the engine has said; its dataset's rules say how long a history is."""
    user: User | None = None
    """None for a taste of one's own."""
    position: int | None = None
    original: list[int] = field(default_factory=list)
    edits: Edits = field(default_factory=Edits)
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
    awaited: bool = False
    """Whether the ranking on screen answers an earlier question than the one that was asked last."""
    answered: Edit | None = None
    """The edit that the ranking on screen answers."""
    own_edit: Edit = Edit()
    """The taste of one's own, kept while users are looked at."""

    @property
    def edit(self) -> Edit:
        """What somebody has changed, as it stands."""
        return self.edits.now

    @property
    def history(self) -> list[int]:
        """Items that are read, oldest first."""
        return list(self.edit.history)

    @property
    def edited(self) -> bool:
        """Whether anything differs from what the user did and the gate says."""
        return self.history != self.original or self.edit.pushed

    @property
    def own(self) -> bool:
        """Whether this is a taste of one's own."""
        return self.user is None and self.source != BENCHMARK

    @property
    def target(self) -> int | None:
        """What the user chose next."""
        if self.user is None or self.position is None:
            return None
        return self.user.items[self.position]

    # --- whose history ----------------------------------------------------------------------------------

    def choose(self, user: User, position: int | None = None, step: bool = False) -> None:
        """Looks at a user, at the last target unless told otherwise; a taste of one's own is kept.

        A `step` of a replay leaves the ranking before it on screen, as one that is out of date.
        """
        before = self.ranked if step else None
        if self.own:
            self.own_edit, self.source = self.edit, BENCHMARK
        last = len(user.items) - 1
        self.user = user
        self.position = last if position is None else max(self.run_data.min_history, min(last, position))
        self.original = user.items[: self.position][-self.run_data.max_history :]
        self._fresh(Edit(tuple(self.original)))
        self.ranked = before

    def start_own(self) -> None:
        """A taste of one's own: the one that was kept, or a new one; the whole catalogue is ranked."""
        if self.own:
            return
        self.user = self.position = None
        self.original = []
        self.source = CATALOGUE
        self._fresh(self.own_edit)

    def _fresh(self, edit: Edit) -> None:
        self.edits = Edits(edit)
        self.base = self.ranked = self.beside = self.why = None
        self.awaited = False

    # --- edits ------------------------------------------------------------------------------------------

    def _change(self, edit: Edit) -> bool:
        changed = self.edits.change(edit)
        self.why = None if changed else self.why
        return changed

    def wind(self, back: bool) -> bool:
        """Takes back the last edit, or makes the one again that was taken back; no where there is none."""
        changed = self.edits.wind(back)
        self.why = None if changed else self.why
        return changed

    def reset(self) -> bool:
        """Takes back all edits at once, which itself can be undone."""
        return self._change(Edit(tuple(self.original)))

    def drop(self, place: int) -> bool:
        """Takes an item out of the history."""
        kept = self.history
        if not 0 <= place < len(kept):
            return False
        del kept[place]
        return self._change(replace(self.edit, history=tuple(kept)))

    def add(self, item: int) -> bool:
        """Puts an item at the end of the history, unless it is there; where it is full the oldest goes."""
        if item in self.edit.history:
            return False
        kept = (*self.edit.history, item)[-self.run_data.max_history :]
        return self._change(replace(self.edit, history=kept))

    def move(self, place: int, by: int) -> int:
        """Moves an item by some places; gives its new place."""
        kept = self.history
        to = max(0, min(len(kept) - 1, place + by))
        if 0 <= place < len(kept):
            kept.insert(to, kept.pop(place))
            self._change(replace(self.edit, history=tuple(kept)))
        return to

    # --- weights ----------------------------------------------------------------------------------------

    def nudge(self, expert: int, by: float) -> bool:
        """Adds to one expert's logit in every layer; the same back gives the same weights to the bit."""
        push = pushes(self.edit, self.ranked)
        if not push:
            return False
        push[expert] = max(-STRONGEST, min(STRONGEST, push[expert] + by))
        return self._change(Edit(self.edit.history, tuple(push) if any(push) else ()))

    def weigh(self, expert: int, weight: float) -> bool:
        """Pushes one expert until its mean weight is this; the others keep their proportions."""
        rows, push = own_rows(self.ranked), pushes(self.edit, self.ranked)
        if not push:
            return False
        middle = max(by for place, by in enumerate([*push, 0.0]) if place != expert)
        low, high = middle - STRONGEST, middle + STRONGEST
        for _ in range(40):
            push[expert] = (low + high) / 2
            if mean_of(pushed_rows(rows, push))[expert] < weight:
                low = push[expert]
            else:
                high = push[expert]
        return self._change(Edit(self.edit.history, tuple(push) if any(push) else ()))

    def lock(self, expert: int) -> bool:
        """Gives one expert everything in every layer; the same expert again lets go."""
        if not own_rows(self.ranked):
            return False
        lock = None if self.edit.lock == expert else expert
        return self._change(Edit(self.edit.history, self.edit.push, lock))

    def layers(self) -> list[list[float]]:
        """The weights in force in every layer, as answered or as the next answer will use them.

        Empty where all layers share one gate.
        """
        if self.ranked is None or not self.ranked.gate_by_layer:
            return []
        if self.edit == self.answered and self.ranked.omega_by_layer:
            return self.ranked.omega_by_layer
        return pushed_rows(self.ranked.gate_by_layer, self.edit.push, self.edit.lock)

    def weights(self) -> list[float] | None:
        """The mean weights in force, as answered or as the next answer will use them."""
        if self.ranked is None or self.ranked.gate is None:
            return None
        if self.edit == self.answered:
            return self.ranked.omega
        if not self.edit.pushed:
            return self.ranked.gate
        return mean_of(pushed_rows(own_rows(self.ranked), self.edit.push, self.edit.lock))

    # --- what is ranked ---------------------------------------------------------------------------------

    def switch_source(self) -> bool:
        """From the benchmark's candidates to the catalogue's best, to those that are raised most, and back.

        A taste of one's own has no benchmark; no where nothing is asked yet.
        """
        if self.user is None and not self.own:
            return False
        sources = [CATALOGUE, RAISED] if self.own else list(SOURCES)
        self.source = sources[(sources.index(self.source) + 1) % len(sources)]
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

    # --- questions and answers --------------------------------------------------------------------------

    def question(self, original: bool = False, candidates: Sequence[int] | None = None) -> dict[str, object]:
        """What to ask the engine.

        Args:
            original: without the edits.
            candidates: exactly these, instead of the source's.
        """
        asked = Question(
            history=list(self.original) if original else self.history,
            source=self.source,
            user=self.user.user if self.user else None,
            position=self.position,
            retrieve=self.retrieve,
            push=None if original or not self.edit.push else list(self.edit.push),
            lock=None if original else self.edit.lock,
            candidates=None if candidates is None else list(candidates),
        )
        return asdict(asked)

    def answer(self, ranked: Ranked) -> None:
        """Takes the answer to the question as it stands."""
        self.ranked, self.beside, self.awaited, self.answered = ranked, None, False, self.edit
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


def own_rows(ranked: Ranked | None) -> list[list[float]]:
    """The gates' own weights, a row for each layer that has a gate; empty without any."""
    if ranked is None or ranked.gate is None:
        return []
    return ranked.gate_by_layer or [ranked.gate]


def pushes(edit: Edit, ranked: Ranked | None) -> list[float]:
    """Change of each expert's logit, zeros where there is none yet; empty without a gate."""
    experts = len(ranked.gate) if ranked and ranked.gate else 0
    return list(edit.push or [0.0] * experts)[:experts]


def pushed_rows(
    rows: Sequence[Sequence[float]], push: Sequence[float], lock: int | None = None
) -> list[list[float]]:
    """Each layer's weights with the same change of logits in all of them; rows sum to one again."""
    found = []
    for row in rows:
        if lock is not None:
            found.append([float(expert == lock) for expert in range(len(row))])
            continue
        raised = [weight * math.exp(by) for weight, by in zip(row, push or [0.0] * len(row), strict=True)]
        found.append([weight / sum(raised) for weight in raised] if any(push) else list(row))
    return found


def mean_of(rows: Sequence[Sequence[float]]) -> list[float]:
    """The mean of the rows."""
    return [sum(column) / len(rows) for column in zip(*rows, strict=True)]
