"""A run kept warm to answer questions: rank a history, say why, describe the experts, list the users."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from core.config.bounds import RETRIEVED
from core.data.samples import candidates_of, user_parts
from core.data.types import Dataset, Samples, UserSequence
from core.encoders.base import Encoder
from core.errors import InputError, Interrupted
from core.evaluation.metrics import Scores
from core.ilora.experts import Profile, describe_experts, one_sidedness
from core.ilora.gate import PushedGate
from core.recommenders.base import Recommender
from core.recommenders.popularity import item_counts
from core.runs.store import RunInfo
from core.serving.protocol import BENCHMARK, CATALOGUE, RAISED, SOURCES, Explained, Question, Ranked
from core.stages import UNWATCHED

if TYPE_CHECKING:
    from core.ilora.model import AdaptedModel

GATE_BATCH = 512


@dataclass(frozen=True)
class Retrieved:
    """What the encoder finds in the catalogue."""

    items: tuple[int, ...]
    """The best unseen ones, best first."""
    target_place: int | None
    """Where the target stands among all unseen items, 1 = best; None without a target."""


class Session:
    """An opened run with all that is needed to question it.

    Args:
        dataset: catalogue and sequences.
        samples: the benchmark's cases.
        recommender: the method that ranks.
        encoder: retrieves from the catalogue, and ranks beside the method.
        info: the run, if it is one on disk.
    """

    def __init__(
        self,
        dataset: Dataset,
        samples: Samples,
        recommender: Recommender,
        encoder: Encoder,
        info: RunInfo | None = None,
    ) -> None:
        self.dataset, self.samples, self.info = dataset, samples, info
        self.recommender, self.encoder = recommender, encoder
        self.counts: Scores = item_counts(dataset, samples)
        self.parts = user_parts(samples)
        self.watch = UNWATCHED
        """Told how far work over all users is, and may stop it."""
        self.rules = dataset.rules

    # --- ranking ----------------------------------------------------------------------------------------

    def rank(self, request: int, question: Question) -> Ranked:
        """A history's candidates, best first.

        Raises:
            InputError: the history is empty, an item or the user is unknown, the weights do not fit.
        """
        started = time.perf_counter()
        history = self.check_history(question.history)
        target = self.target(question)
        candidates, place = self.candidates(question, history, target)
        with self.pushed(question):
            scores = self.recommender.score([history], [candidates])[0]
            used, used_by_layer = self.weights(history)
        encoder_scores = self.encode(history, candidates)
        order = np.argsort(-scores, kind="stable")
        items = [candidates[index] for index in order]
        natural, by_layer = self.weights(history)
        beside = {
            self.recommender.name: scores,
            self.encoder.kind: encoder_scores,
            "popularity": self.counts[np.asarray(candidates)],
        }
        return Ranked(
            request=request,
            method=self.recommender.name,
            encoder=self.encoder.kind,
            user=question.user,
            position=question.position,
            source=question.source,
            history=list(history),
            target=target,
            gate=natural,
            omega=used,
            items=items,
            scores=[float(scores[index]) for index in order],
            encoder_scores=[float(encoder_scores[index]) for index in order],
            ranks={name: [ranks_of(found)[index] for index in order] for name, found in beside.items()},
            target_place=place,
            milliseconds=1000 * (time.perf_counter() - started),
            gate_by_layer=by_layer,
            omega_by_layer=used_by_layer,
        )

    def candidates(
        self, question: Question, history: Sequence[int], target: int | None
    ) -> tuple[tuple[int, ...], int | None]:
        """What is ranked for a question, and the target's place in the catalogue where that was asked."""
        if question.candidates is not None:
            self.check_items(question.candidates)
            if not question.candidates:
                raise InputError("there are no candidates to rank", "name some, or leave the list out")
            return tuple(question.candidates), None
        if question.source in (CATALOGUE, RAISED):
            seen, raised = self.seen(question, history), question.source == RAISED
            found = self.retrieve(history, seen, question.retrieve, target, raised)
            return found.items, found.target_place
        if question.source != BENCHMARK:
            raise InputError(
                f"unknown source of candidates: {question.source}", f"choose from: {', '.join(SOURCES)}"
            )
        if question.user is None or question.position is None or target is None:
            raise InputError(
                "the benchmark has no candidates for a history of your own",
                "rank the whole catalogue instead",
            )
        asked = self.dataset, question.user, question.position, target
        return candidates_of(*asked, seed=self.samples.seed), None

    def seen(self, question: Question, history: Sequence[int]) -> frozenset[int]:
        """Items that a recommendation may not repeat: met before the question's moment, or in the history."""
        known = frozenset(history)
        if question.user is None or question.position is None:
            return known
        sequence = self.sequence(question.user)
        later = frozenset(int(item) for item in sequence.items[question.position :])
        return known | (sequence.seen - later)

    @torch.no_grad()
    def retrieve(
        self,
        history: Sequence[int],
        seen: frozenset[int],
        count: int,
        target: int | None = None,
        raised: bool = False,
    ) -> Retrieved:
        """The best unseen items of the whole catalogue by the encoder's score, best first.

        With `raised` by how far the score lies above its mean over the training users: what this history
        raises, whatever is popular.
        """
        RETRIEVED.check(count)
        z = self.encoder.represent([history])
        scores = self.encoder.logits(z)[0].float().cpu().numpy()
        if raised:
            scores = scores - self.usual_scores
        scores[list(seen)] = -np.inf
        order = np.argsort(-scores, kind="stable")
        best = [int(item) for item in order[: min(count, len(order) - len(seen))]]
        if len(best) < 2:
            raise InputError("the history holds nearly the whole catalogue", "drop some items")
        place = None
        if target is not None and target not in seen:
            place = 1 + int((scores > scores[target]).sum())
        return Retrieved(tuple(best), place)

    @cached_property
    def usual_scores(self) -> Scores:
        """The mean of the encoder's scores, (items,), over the newest histories of all who train."""
        users, histories = self.newest_histories()
        trains = [history for user, history in zip(users, histories, strict=True) if user not in self.parts]
        total = np.zeros(len(self.dataset.catalogue))
        with torch.no_grad():
            for start in range(0, len(trains), GATE_BATCH):
                z = self.encoder.represent(trains[start : start + GATE_BATCH])
                total += self.encoder.logits(z).double().sum(0).cpu().numpy()
        found: Scores = (total / max(1, len(trains))).astype(np.float32)
        return found

    @torch.no_grad()
    def encode(self, history: Sequence[int], candidates: Sequence[int]) -> Scores:
        """The encoder's scores of candidates."""
        z = self.encoder.represent([history])
        ids = torch.tensor([list(candidates)], device=z.device)
        found: Scores = self.encoder.score(z, ids)[0].float().cpu().numpy()
        return found

    # --- explaining -------------------------------------------------------------------------------------

    def why(self, request: int, question: Question, item: int, candidates: Sequence[int]) -> Explained:
        """What each item of the history does for one candidate, all left-out histories scored in one call.

        A score means something within its row only, so what is compared is the candidate's log-probability
        among the candidates.
        """
        started = time.perf_counter()
        history = self.check_history(question.history)
        self.check_items(candidates)
        if item not in candidates:
            raise InputError("that item is not among the candidates", "highlight one of the ranking")
        rows = [history]
        if len(history) > 1:
            rows += [history[:place] + history[place + 1 :] for place in range(len(history))]
        with self.pushed(question):
            scores = self.recommender.score(rows, [tuple(candidates)] * len(rows)).astype(np.float64)
        column = list(candidates).index(item)
        chances = log_probabilities(scores)[:, column]
        changes: list[float | None] = [float(chances[0] - without) for without in chances[1:]]
        return Explained(
            request=request,
            item=item,
            history=list(history),
            changes=changes or [None],
            milliseconds=1000 * (time.perf_counter() - started),
        )

    # --- the gate ---------------------------------------------------------------------------------------

    @cached_property
    def _newest_omega(self) -> npt.NDArray[np.float32] | None:
        """omega of all users' newest histories, (users, layers, K), or (users, 1, K) where layers share one.

        None without a gate. Histories are read once for all that is said about them.
        """
        _, histories = self.newest_histories()
        parts = []
        stage = self.watch.stage("gates", len(histories))
        for start in range(0, len(histories), GATE_BATCH):
            if self.watch.should_stop():
                raise Interrupted
            part = histories[start : start + GATE_BATCH]
            weights = self.recommender.expert_weights_by_layer(part)
            if weights is None:
                shared = self.recommender.expert_weights(part)
                if shared is None:
                    return None
                weights = shared[:, None]
            parts.append(weights)
            stage.advance(len(weights))
        return np.concatenate(parts)

    def gates(self) -> tuple[list[str], npt.NDArray[np.float32] | None]:
        """Users and their omega, (users, K), for each one's newest history; None without a gate."""
        users, _ = self.newest_histories()
        omega = self._newest_omega
        return users, None if omega is None else omega.mean(axis=1)

    def one_sided(self) -> list[float]:
        """How one-sided the gate is for every user's newest history, 0 even to 1 one expert alone.

        Where layers have gates of their own, the mean over these: each may be sharp where their mean is even.
        Empty without a gate.
        """
        omega = self._newest_omega
        if omega is None:
            return []
        sides = one_sidedness(omega.reshape(-1, omega.shape[-1]))
        found: list[float] = np.reshape(sides, omega.shape[:2]).mean(axis=1).tolist()
        return found

    def profiles(self) -> list[Profile]:
        """Each expert in words, from all users' newest histories; empty without a gate."""
        _, weights = self.gates()
        if weights is None:
            return []
        _, histories = self.newest_histories()
        catalogue = self.dataset.catalogue
        return describe_experts(weights, histories, catalogue.tags, catalogue.years)

    def newest_histories(self) -> tuple[list[str], list[tuple[int, ...]]]:
        """Every user with a target, and the history before the last one."""
        users, histories = [], []
        for user, sequence in self.dataset.sequences.items():
            items = sequence.items.tolist()
            if len(items) > self.rules.min_history:
                users.append(user)
                histories.append(tuple(items[:-1][-self.rules.max_history :]))
        return users, histories

    def weights(self, history: Sequence[int]) -> tuple[list[float] | None, list[list[float]] | None]:
        """omega of a history as it is in force now, K, and per layer where layers have gates of their own."""
        mean = self.recommender.expert_weights([history])
        layers = self.recommender.expert_weights_by_layer([history])
        return None if mean is None else mean[0].tolist(), None if layers is None else layers[0].tolist()

    @contextmanager
    def pushed(self, question: Question) -> Iterator[None]:
        """Changes the gate inside the block as a question says, in each layer on top of its own weights.

        Raises:
            InputError: the method has no gate, or the change does not fit it.
        """
        push, lock = question.push, question.lock
        if push is None and lock is None:
            yield
            return
        model: AdaptedModel | None = getattr(self.recommender, "model", None)
        gate = getattr(model, "gate", None)
        if model is None or gate is None:
            raise InputError(f"{self.recommender.name} has no gate to set", "open an iLoRA run")
        if push is not None and (len(push) != gate.experts or not np.isfinite(push).all()):
            raise InputError(f"{push} are no changes of {gate.experts} experts", "reset the gate")
        if lock is not None and not 0 <= lock < gate.experts:
            raise InputError(f"no expert {lock} among {gate.experts}", "reset the gate")
        model.gate = PushedGate(gate, push, lock)
        try:
            yield
        finally:
            model.gate = gate

    # --- checking ---------------------------------------------------------------------------------------

    def check_history(self, history: Sequence[int]) -> tuple[int, ...]:
        """The items that a recommender reads.

        Raises:
            InputError: there are none, or one is not in the catalogue.
        """
        if not history:
            raise InputError("the history is empty", "add an item to it")
        self.check_items(history)
        return tuple(int(item) for item in history[-self.rules.max_history :])

    def check_items(self, items: Sequence[int]) -> None:
        """Raises `InputError` unless all items are in the catalogue."""
        size = len(self.dataset.catalogue)
        if wrong := [item for item in items if not 0 <= item < size]:
            raise InputError(f"no item {wrong[0]} in the catalogue of {size}", "choose another item")

    def sequence(self, user: str) -> UserSequence:
        """A user's sequence.

        Raises:
            InputError: there is no such user.
        """
        if user not in self.dataset.sequences:
            raise InputError(f"no user {user} in {self.dataset.title}", "choose one from the list")
        return self.dataset.sequences[user]

    def target(self, question: Question) -> int | None:
        """What the user chose next, or None for a history without one.

        Raises:
            InputError: the user has no such position.
        """
        if question.user is None or question.position is None:
            return None
        sequence = self.sequence(question.user)
        if not 0 <= question.position < len(sequence.items):
            raise InputError(
                f"user {question.user} has no position {question.position}",
                f"choose from 0 to {len(sequence.items) - 1}",
            )
        return int(sequence.items[question.position])


# --- facts -----------------------------------------------------------------------------------------------


def ranks_of(scores: npt.NDArray[np.floating]) -> list[int]:
    """The rank of every score, 1 = best, ties counted against each of them."""
    return [int((scores >= score).sum()) for score in scores]


def log_probabilities(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Log-softmax of each row."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    found: npt.NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return found
